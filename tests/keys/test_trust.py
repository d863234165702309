"""Test which wrapping keys and contexts a reader accepts, before any network call or import of a plug-in."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encenv import decrypt_environ
from encenv.errors import MalformedError, PolicyError
from encenv.format.envelope import DataKey
from encenv.format.sealed import KeyEntry, WrappedKey
from encenv.keys.local import TEXT_VARIABLE, LocalKeys, generate_key_text
from encenv.keys.trust import Trust

pytest_plugins = ["encenv.testing"]

KEY = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
MRK = "arn:aws:kms:us-east-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab"
DATA_KEY = DataKey(bytes(range(32)))


def aws(arn):
    """Return a key wrapped under the AWS key *arn*."""
    return WrappedKey("aws-kms", b"blob", arn)


def trusts(pattern, item):
    """Return whether a reader with this one pattern accepts *item*."""
    return Trust.of([pattern]).trusts(item)


# -- AWS keys


@pytest.mark.parametrize(
    ("pattern", "trusted"),
    [
        (KEY, True),
        ("111122223333", True),
        ("arn:aws:kms:*:111122223333:key/*", True),
        ("arn:*:kms:*:111122223333:key/*", True),
        ("arn:aws:kms:us-*:111122223333:key/1234abcd-*", True),
        ("arn:aws:kms:us-east-1:1111*:key/*", True),
        ("arn:aws:*:us-east-1:111122223333:*", True),
        ("arn:aws:kms:us-east-1:111122223333:key*", True),
        ("arn:*:*:*:*:*", True),
        ("arn:aws:kms:us-east-1:111122223333:key/*-1234567890ab", True),
        (KEY[:-1] + "c", False),
        (KEY[:-1], False),
        (KEY + "0", False),
        ("111122223334", False),
        ("arn:aws:kms:*:111122223334:key/*", False),
        ("arn:aws-cn:kms:*:111122223333:key/*", False),
        ("arn:aws:kms:eu-*:111122223333:key/*", False),
        ("arn:aws:kms:us-east-1:111122223333:key/mrk-*", False),
        ("arn:aws:kms:us-east:111122223333:key/*", False),
        ("local:ABCDEFGH", False),
        ("vault:*", False),
    ],
)
def test_patterns_of_arns(pattern, trusted):
    """An ARN pattern is matched field by field and as a whole; an account id means all keys of the account."""
    assert trusts(pattern, aws(KEY)) is trusted


@given(
    st.lists(
        st.sampled_from(["aws", "us-east-1", "kms", "111122223333", "*", "key/x", "key/mrk-x"]), max_size=8
    )
)
def test_a_star_never_matches_a_colon(fields):
    """A pattern with more or fewer fields than an ARN is refused or matches nothing."""
    pattern = ":".join(["arn", *fields])
    try:
        trust = Trust.of([pattern])
    except PolicyError:
        return
    assert len(fields) == 5
    assert trust.trusts(aws(KEY)) == recursive_match(pattern, KEY)


def recursive_match(pattern, arn):
    """Return by recursion, field by field, whether *pattern* matches *arn*."""

    def fits(glob, text):
        if not glob:
            return not text
        if glob[0] == "*":
            return any(fits(glob[1:], text[at:]) for at in range(len(text) + 1))
        return bool(text) and glob[0] == text[0] and fits(glob[1:], text[1:])

    globs, fields = pattern.split(":"), arn.split(":")
    if len(globs) != len(fields):
        return False
    same_key = globs[5] == fields[5] and fields[5].startswith("key/mrk-")
    return all(
        fits(glob, field) or (at == 3 and same_key)
        for at, (glob, field) in enumerate(zip(globs, fields, strict=True))
    )


def _globs(texts):
    """Strategy: one of *texts*, with some of its characters replaced by *."""

    def replace(text, spans):
        for span in spans:
            start, end = sorted(at % (len(text) + 1) for at in span)
            text = f"{text[:start]}*{text[end:]}"
        return text

    spans = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=2)
    return st.builds(replace, st.sampled_from(texts), spans)


_PARTS = (
    ["aws", "aws-cn"],
    ["kms"],
    ["us-east-1", "us-east-2", "cn-north-1"],
    ["111122223333", "111122223334"],
    ["key/abc", "key/abd", "key/mrk-abc", "key/mrk-abd"],
)


@given(
    st.tuples(*map(_globs, _PARTS)).map(lambda fields: ":".join(["arn", *fields])),
    st.tuples(*map(st.sampled_from, _PARTS)).map(lambda fields: ":".join(["arn", *fields])),
)
def test_matching_against_a_slow_reference(pattern, arn):
    """Every accepted pattern matches what a recursion over fields and characters matches."""
    try:
        trust = Trust.of([pattern])
    except PolicyError:
        # A pattern of these parts is refused only for a star in place of a letter of kms or of the slash of key/.
        fields = pattern.split(":")
        assert fields[2] not in ("kms", "*") or not fields[5].startswith("key/")
        return
    assert trust.trusts(aws(arn)) == recursive_match(pattern, arn)


@pytest.mark.parametrize(
    ("pattern", "trusted"),
    [
        (MRK, True),
        (MRK.replace("us-east-1", "eu-west-1"), True),
        (MRK.replace("us-east-1", "us-*"), True),
        (MRK.replace("us-east-1", "eu-*"), True),
        (MRK.replace("aws", "aws-cn"), False),
        (MRK.replace("111122223333", "111122223334"), False),
        (MRK[:-1] + "c", False),
        (MRK[:-1] + "*", True),
        (MRK[:-1].replace("us-east-1", "eu-west-1") + "*", False),
        ("arn:aws:kms:eu-west-1:111122223333:key/*", False),
        ("arn:aws:kms:eu-west-1:111122223333:key/mrk-*", False),
        (KEY.replace("us-east-1", "eu-west-1"), False),
    ],
)
def test_multi_region_keys(pattern, trusted):
    """A multi-region key that is named in full is trusted in every region, but in no other account or partition."""
    assert trusts(pattern, aws(MRK)) is trusted


# -- local keys and plug-ins


@pytest.mark.parametrize(
    ("pattern", "item", "trusted"),
    [
        ("local:ABCDEFGH", WrappedKey("local", b"", "ABCDEFGH"), True),
        ("local:ABCDEFGH", WrappedKey("local", b"", "ABCDEFG2"), False),
        ("local:*", WrappedKey("local", b"", "ABCDEFGH"), True),
        ("local:AB*", WrappedKey("local", b"", "ABCDEFGH"), True),
        ("local:*", WrappedKey("locals", b"", "ABCDEFGH"), False),
        ("vault:team/a", WrappedKey("vault", b"", "team/a"), True),
        ("vault:team/*", WrappedKey("vault", b"", "team/a"), True),
        ("vault:*", WrappedKey("vault", b"", "team/a"), True),
        ("vault:*", WrappedKey("vault", b"", "team:a"), False),
        ("vault:*:*", WrappedKey("vault", b"", "team:a"), True),
        ("vault:team/*", WrappedKey("vault", b"", "other/a"), False),
        ("vault:*", WrappedKey("vault2", b"", "team/a"), False),
        ("111122223333", WrappedKey("vault", b"", "111122223333"), False),
        ("local:*", aws(KEY), False),
        ("v.ult:a", WrappedKey("vault", b"", "a"), None),
        (KEY, WrappedKey("arn", b"", KEY.removeprefix("arn:")), False),
        ("arn:*:*:*:*:*", WrappedKey("arn", b"", KEY.removeprefix("arn:")), False),
    ],
)
def test_other_providers(pattern, item, trusted):
    """A pattern for another provider begins with its name; an ARN is for AWS KMS only."""
    if trusted is None:
        with pytest.raises(PolicyError):
            Trust.of([pattern])
    else:
        assert trusts(pattern, item) is trusted


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "*",
        ":",
        "local",
        "local:",
        "local:abcdefgh",
        "local:ABCDEFG",
        "local:ABCDEFGHI",
        "local:ABCDEFG1",
        "LOCAL:ABCDEFGH",
        "alias/app",
        "1234abcd-12ab-34cd-56ef-1234567890ab",
        "11112222333",
        "1111222233334",
        "\u0661" * 12,
        "arn:aws:kms:us-east-1:111122223333:alias/app",
        "arn:aws:kms:us-east-1:111122223333:*alias*/app:x",
        "arn:aws:s3:us-east-1:111122223333:key/x",
        "arn:aws:kms:us-east-1:key/x",
        "arn:aws:kms:*",
        "arn:*",
        KEY + ":x",
        KEY + "\n",
        " " + KEY,
        KEY.upper(),
        f"{KEY},{MRK}",
        "arn:aws:kms:us-east-1:11112222333[0-9]:key/x",
        "arn:aws:kms:us-east-?:111122223333:key/x",
        f"aws-kms:{KEY}",
        "context:stage",
        "vault:",
        "*:*",
        "va*:x",
        111122223333,
        None,
        b"111122223333",
    ],
    ids=repr,
)
def test_patterns_that_are_refused(pattern):
    """A pattern that can match no wrapping key is reported at once, with the valid forms."""
    with pytest.raises(PolicyError) as caught:
        Trust.of([KEY, pattern])
    assert repr(pattern) in caught.value.message
    assert "arn:aws:kms:<region>:<account>:key/<id>" in caught.value.hint


def test_how_trusted_keys_are_given():
    """One text is one pattern, an empty list trusts nothing, and None trusts every key that the process may use."""
    assert Trust.of(KEY).trusts(aws(KEY))
    assert not Trust.of([]).trusts(aws(KEY))
    assert not Trust.of(()).trusts(WrappedKey("local", b"", "ABCDEFGH"))
    assert Trust.of(None).trusts(aws(KEY))
    assert Trust.of(pattern for pattern in [KEY, "local:*"]).trusts(WrappedKey("local", b"", "ABCDEFGH"))
    with pytest.raises(PolicyError):
        Trust.of("")


# -- entries


def entry_of(*items, context=()):
    """Return a key entry."""
    return KeyEntry(DATA_KEY.commitment, context, items)


def test_only_trusted_keys_are_left():
    """Keys that are not trusted are left out, and the order is kept; if none is left that is an error."""
    items = [aws(KEY), aws(MRK), WrappedKey("local", b"", "ABCDEFGH")]
    assert Trust.of(["local:*", KEY]).accepted_keys(entry_of(*items)) == (items[0], items[2])
    with pytest.raises(PolicyError, match=r"none of the keys in ENCENV_KEY_[A-Z2-7]{8} is trusted"):
        Trust.of(["999999999999"]).accepted_keys(entry_of(*items))


@pytest.mark.parametrize(
    ("required", "accepted"),
    [
        ({}, True),
        ({"stage": "prod"}, True),
        ({"stage": "prod", "app": "shop"}, True),
        ({"stage": "test"}, False),
        ({"stage": "prod", "more": "x"}, False),
        ({"Stage": "prod"}, False),
        ({"stage": "Prod"}, False),
        ({"encenv-add": "1"}, False),
    ],
)
def test_required_context(required, accepted):
    """An entry must carry every required pair exactly; it may carry more."""
    entry = entry_of(aws(KEY), context=(("app", "shop"), ("stage", "prod")))
    trust = Trust.of(None, required)
    if accepted:
        assert trust.accepted_keys(entry) == (aws(KEY),)
    else:
        with pytest.raises(PolicyError, match="does not carry the required context"):
            trust.accepted_keys(entry)


@pytest.mark.parametrize(
    "context",
    [
        {"": "x"},
        {"stage": ""},
        {"stage": "a b"},
        {"st=age": "x"},
        {"encenv": "1"},
        {"aws:x": "1"},
        {"stage": "a", "Stage": "b"},
        {"stage": 1},
        {1: "x", "stage": "x"},
        {f"k{number}": "x" for number in range(8)},
    ],
    ids=str,
)
def test_context_that_no_entry_can_carry(context):
    """A required context outside the format's limits is reported at once."""
    with pytest.raises(PolicyError):
        Trust.of(None, context)


# -- before any call


RECORDER = """
import os
from pathlib import Path

Path(os.environ["RECORD"]).write_text("imported")


class Recorder:
    name = "recorder"

    def __init__(self, environ):
        pass

    def unwrap(self, item, context, timeout):
        return item.wrapped
"""


@pytest.fixture
def record(tmp_path, monkeypatch):
    """A file that exists once the plug-in called recorder was imported."""
    info = tmp_path / "recorder-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: recorder\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[encenv.providers]\nrecorder = encenv_recorder:Recorder\n")
    (tmp_path / "encenv_recorder.py").write_text(RECORDER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "encenv_recorder", raising=False)
    monkeypatch.setenv("RECORD", str(tmp_path / "record"))
    return tmp_path / "record"


def environ_of(*items, context=()):
    """Return an environment of one variable, with its wrapped data keys."""
    entry = entry_of(*items, context=context)
    return {entry.name: str(entry), "SECRET": DATA_KEY.encrypt("SECRET", "opened")}


def plug_in_key():
    """Return a key wrapped by the plug-in."""
    return WrappedKey("recorder", DATA_KEY.expose_key(), "ref")


@pytest.mark.parametrize(
    "rules",
    [
        {"trusted_keys": []},
        {"trusted_keys": ["999999999999", "local:*", "recorder:other"]},
        {"encryption_context": {"stage": "test"}},
    ],
    ids=["nothing", "others", "context"],
)
def test_nothing_is_called_for_an_untrusted_entry(encenv_kms, encenv_kms_key, record, rules):
    """If no key is trusted, the load fails before KMS is called and before a plug-in is imported."""
    environ = environ_of(aws(encenv_kms_key), plug_in_key(), context=(("stage", "prod"),))
    with pytest.raises(PolicyError, match="SECRET: "):
        decrypt_environ(environ, **rules)
    assert encenv_kms.calls == []
    assert not record.exists()
    assert "encenv_recorder" not in sys.modules


def test_only_the_trusted_key_is_tried(encenv_kms, encenv_kms_key, record):
    """Only the trusted keys of an entry are tried."""
    environ = environ_of(aws(encenv_kms_key), plug_in_key())
    assert decrypt_environ(environ, trusted_keys="recorder:ref") == {"SECRET": "opened"}
    assert encenv_kms.calls == []
    assert record.exists()


def test_one_forbidden_value_stops_the_load(encenv_kms, record):
    """A value whose entry is not trusted stops the load before any other data key is unwrapped."""
    text = generate_key_text()
    item = LocalKeys({TEXT_VARIABLE: text}).wrap(bytes(32), "", {"encenv": "1"})
    other = DataKey(bytes(32))
    entry = KeyEntry(other.commitment, (), (item, aws(encenv_kms.create_key())))
    environ = environ_of(plug_in_key()) | {entry.name: str(entry), "OTHER": other.encrypt("OTHER", "x")}
    with pytest.raises(PolicyError):
        decrypt_environ(environ, trusted_keys=["111122223333"])
    assert encenv_kms.calls == []
    assert not record.exists()


def test_a_malformed_entry_comes_first(record):
    """A malformed entry is reported as such, whatever the rules are, and no plug-in is imported."""
    environ = environ_of(plug_in_key())
    name = next(name for name in environ if name.startswith("ENCENV_KEY_"))
    for broken in (environ[name] + "+", environ[name].replace("recorder:", "Recorder:"), "1:"):
        with pytest.raises(MalformedError):
            decrypt_environ(environ | {name: broken}, trusted_keys=["recorder:*"])
    assert not record.exists()
