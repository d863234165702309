"""encenv.files.encrypt: what is encrypted under which data key, and what is left as it is."""

import dataclasses
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.canary import CANARY, assert_silent, caught

from encenv import (
    AuthenticationError,
    ConflictError,
    EncenvError,
    FileError,
    KeyEntryError,
    KeyRefusedError,
    KeyUnreachableError,
    LoadError,
    LocalKeys,
    MalformedError,
    PolicyError,
    clear_cache,
    decrypt_environ,
    dotenv_values,
)
from encenv.files.document import parse
from encenv.files.encrypt import KeyName, Writer, encrypt, reencrypt
from encenv.files.quoting import quote
from encenv.format.envelope import DataKey
from encenv.format.sealed import KeyEntry, SealedValue, encryption_context, entry_kid
from encenv.keys.local import generate_key_text, parse_keys

pytest_plugins = ["encenv.testing"]

KEY_TEXT, OTHER_TEXT = generate_key_text(), generate_key_text()
KEY_ID, OTHER_ID = (next(iter(parse_keys(text, "here"))) for text in (KEY_TEXT, OTHER_TEXT))
KEYS = LocalKeys({"ENCENV_LOCAL_KEY": KEY_TEXT})
OTHER_KEYS = LocalKeys({"ENCENV_LOCAL_KEY": OTHER_TEXT})
LOCAL = Writer((KeyName("local", ""),), environ={}, providers=[KEYS])
UNNAMED = dataclasses.replace(LOCAL, keys=())
MARK = ("encenv-add", "1")
CONTEXT = (("stage", "prod"),)


@pytest.fixture(autouse=True)
def no_data_keys_kept():
    """Each test unwraps what it needs itself."""
    clear_cache()
    yield
    clear_cache()


def opened(text, *providers):
    """Return the values of the encrypted file *text*."""
    return decrypt_environ(lines(text), key_providers=[*providers] or [KEYS])


def lines(text):
    """Return the variables of *text* as they stand."""
    return {binding.name: binding.value for binding in parse(text).bindings if binding.value is not None}


def entries(text):
    """Return the key entries in *text*, in order."""
    found = [(entry_kid(b.name or ""), b.value) for b in parse(text).bindings]
    return [KeyEntry.parse(kid, value) for kid, value in found if kid]


def kids(text):
    """Return for each sealed variable in *text* the KID that it names."""
    return {
        name: SealedValue.parse(value).kid
        for name, value in lines(text).items()
        if value.startswith("encenv:")
    }


def lines_of(name, value, *items, key=None, context=(), provider=KEYS, **wrapping):
    """Return a key entry line and the line of one value under it, as someone else might have written them."""
    key = key or DataKey.generate()
    items = items or (
        provider.wrap(key.expose_key(), wrapping.get("under", ""), encryption_context(context)),
    )
    entry = KeyEntry(key.commitment, context, items)
    return f"{entry.name}={entry}\n{name}={key.encrypt(name, value)}\n"


# --- what is encrypted -------------------------------------------------------------------------------------------


def test_what_is_sealed_already_stays():
    """Encrypting twice gives the same bytes, and asks for no key the second time."""
    once = encrypt("A=1\nB=\nC\n# D=4\n", LOCAL)
    assert once.names == ("A", "B")
    assert (once.kept, once.is_new) == (0, True)
    assert opened(once.text) == {"A": "1", "B": ""}
    twice = encrypt(once.text, Writer(environ={}, providers=[]))
    assert (twice.text, twice.names, twice.kept, twice.entry) == (once.text, (), 2, None)


@pytest.mark.parametrize("writer", [LOCAL, UNNAMED, dataclasses.replace(LOCAL, context=())])
def test_a_new_value_is_the_only_line_that_changes(writer):
    """A value that is added goes under the file's data key: the diff is that line."""
    before = encrypt("A=1 # one\n\nB='2'\n", LOCAL).text
    outcome = encrypt(before + "C=3\n", writer)
    assert outcome.text.startswith(before + "C=encenv:1:")
    assert (outcome.names, outcome.kept, outcome.is_new) == (("C",), 2, False)
    assert outcome.entry == entries(before)[0]
    assert len(set(kids(outcome.text).values())) == 1
    assert opened(outcome.text) == {"A": "1", "B": "2", "C": "3"}
    changed = encrypt(outcome.text.replace(lines(outcome.text)["A"], "new"), writer).text
    assert [a == b for a, b in zip(outcome.text.splitlines(), changed.splitlines(), strict=True)].count(
        False
    ) == 1


def test_a_file_without_values_stays():
    """Where there is nothing to encrypt, nothing is written and no key is asked for."""
    for text in ("", "# A=1\n", "A\n", "\ufeff", "ENCENV_LOCAL_KEY=\n", "ENCENV_KEY_AAAAAAAA=anything\n"):
        for rewrite in (encrypt, reencrypt):
            outcome = rewrite(text, Writer(environ={}))
            assert (outcome.text, outcome.names, outcome.entry) == (text, (), None)


VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(lambda name: not entry_kid(name))


@given(values=st.dictionaries(NAMES, VALUES.filter(lambda text: "encenv:" not in text), max_size=6))
@settings(max_examples=100, deadline=None)
def test_round_trip(values):
    """What is encrypted, encrypted into a copy and decrypted again is what it was."""
    text = "".join(f"{name}={quote(value)}\n" for name, value in values.items())
    sealed = encrypt(text, LOCAL).text
    read = lines(text)
    assert opened(sealed) == read
    assert opened(reencrypt(sealed, LOCAL).text) == read
    assert read.keys() == values.keys()


# --- which data key ----------------------------------------------------------------------------------------------


def test_a_planted_entry_is_not_used():
    """An entry under a wrapping key that is not named, with a value of its own, gets nothing: a new data key is made."""
    planted = lines_of("PLANTED", "x", provider=OTHER_KEYS)
    outcome = encrypt(planted + "A=secret\n", dataclasses.replace(LOCAL, keys=(KeyName("local", KEY_ID),)))
    assert outcome.is_new
    assert [item.reference for item in outcome.entry.items] == [KEY_ID]
    assert outcome.text.startswith(planted)
    assert kids(outcome.text)["A"] != kids(outcome.text)["PLANTED"]


def test_a_planted_copy_is_not_used():
    """A data key that is also wrapped under a key that is not named is not used, in one entry or in two."""
    key = DataKey.generate()
    mine, foreign = (
        provider.wrap(key.expose_key(), "", encryption_context(())) for provider in (KEYS, OTHER_KEYS)
    )
    writer = dataclasses.replace(LOCAL, keys=(KeyName("local", KEY_ID),))
    for text in (
        lines_of("P", "x", mine, foreign, key=key),
        lines_of("P", "x", mine, key=key) + lines_of("Q", "x", foreign, key=key),
    ):
        outcome = encrypt(text + "A=secret\n", writer)
        assert outcome.is_new
        assert kids(outcome.text)["A"] != key.kid
    alone = encrypt(lines_of("P", "x", mine, key=key) + "A=secret\n", writer)
    assert kids(alone.text)["A"] == key.kid


def test_an_entry_without_values_is_not_used():
    """An entry under which nothing stands proves nothing, even under the right wrapping key; nor is it parsed."""
    entry = lines_of("P", "x").splitlines(keepends=True)[0]
    outcome = encrypt(entry + "ENCENV_KEY_AAAAAAAA=nonsense\nA=1\n", LOCAL)
    assert outcome.is_new
    with pytest.raises(PolicyError, match="no wrapping key is named"):
        encrypt(entry + "A=1\n", UNNAMED)


def test_entries_of_one_data_key_add_up():
    """Two entries of one data key are one data key, as to a reader; with different data keys they are a conflict."""
    key = DataKey.generate()
    foreign = OTHER_KEYS.wrap(key.expose_key(), "", encryption_context(()))
    text = lines_of("A", "1", foreign, key=key) + lines_of("B", "2", key=key)
    both = dataclasses.replace(LOCAL, keys=(KeyName("local", KEY_ID), KeyName("local", OTHER_ID)))
    outcome = encrypt(text + "C=3\n", both)
    assert not outcome.is_new
    assert kids(outcome.text) == dict.fromkeys("ABC", key.kid)
    assert opened(outcome.text) == {"A": "1", "B": "2", "C": "3"}
    other = KeyEntry(key.commitment[:5] + bytes(27), (), entries(text)[0].items)
    with pytest.raises(ConflictError, match="different data keys"):
        encrypt(f"{text}{other.name}={other}\nC=3\n", both)


def test_a_value_that_does_not_open_stops_the_writer():
    """One present value that does not open: the data key is not used and nothing is written; each one is named."""
    text = encrypt("A=1\nB=2\nC=3\n", LOCAL).text
    broken = text.replace("\nA=", "\nX=").replace("\nB=", "\nY=")
    for rewrite in (encrypt, reencrypt):
        error = caught(lambda rewrite=rewrite: rewrite(f"{broken}D={CANARY}\n", LOCAL))
        assert isinstance(error, AuthenticationError)
        assert error.variables == ("X", "Y")
        assert_silent(error, CANARY)


def test_two_data_keys_under_one_wrapping_key():
    """If the first of several data keys cannot be had, the next one that the rule permits serves."""
    lost = lines_of("A", "1", provider=OTHER_KEYS)
    mine = lines_of("B", "2")
    outcome = encrypt(lost + mine + "C=3\n", LOCAL)
    assert kids(outcome.text)["C"] == kids(outcome.text)["B"]
    with pytest.raises(KeyUnreachableError, match=OTHER_ID):
        encrypt(lost + "C=3\n", LOCAL)


def test_a_changed_entry_stops_the_writer():
    """An entry whose copy does not open, though nothing forbids it, was changed: no second one is made beside it."""
    text = encrypt("A=1\n", dataclasses.replace(LOCAL, context=CONTEXT)).text
    changed = text.replace("context:stage=prod", "context:stage=test") + "B=2\n"
    for writer in (LOCAL, UNNAMED):
        with pytest.raises(KeyRefusedError, match="was changed"):
            encrypt(changed, writer)
    other = dataclasses.replace(LOCAL, context=CONTEXT)
    assert dict(encrypt(changed, other).entry.context) == {"stage": "prod"}


def test_keys_are_never_chosen_silently():
    """With no wrapping key named, the file's own is used if there is one and only one; else a person has to choose."""
    with pytest.raises(PolicyError, match=r"none in config/\.env") as none:
        encrypt("A=1\n", UNNAMED, "config/.env")
    assert "encenv keygen && encenv encrypt --key local config/.env" in none.value.hint
    assert "encenv encrypt --key alias/NAME config/.env" in none.value.hint
    two = lines_of("A", "1") + lines_of("B", "2", provider=OTHER_KEYS) + "C=3\n"
    for rewrite in (encrypt, reencrypt):
        with pytest.raises(ConflictError, match="more than one wrapping key"):
            rewrite(two, UNNAMED)
    contexts = lines_of("A", "1", context=CONTEXT) + lines_of("B", "2") + "C=3\n"
    for rewrite, writer in ((encrypt, UNNAMED), (encrypt, LOCAL), (reencrypt, UNNAMED)):
        with pytest.raises(ConflictError, match="more than one encryption context"):
            rewrite(contexts, writer)
    chosen = encrypt(contexts, dataclasses.replace(UNNAMED, context=CONTEXT))
    assert kids(chosen.text)["C"] == kids(chosen.text)["A"]


def test_another_context_is_another_data_key():
    """A named context that is not the file's makes a new data key; none named is the file's own."""
    text = encrypt("A=1\n", dataclasses.replace(LOCAL, context=CONTEXT)).text
    assert entries(text)[0].context == CONTEXT
    assert not encrypt(text + "B=2\n", LOCAL).is_new
    assert not encrypt(text + "B=2\n", dataclasses.replace(LOCAL, context=CONTEXT)).is_new
    for context in ((), (("stage", "dev"),), (*CONTEXT, ("app", "web"))):
        outcome = encrypt(text + "B=2\n", dataclasses.replace(LOCAL, context=context))
        assert outcome.is_new
        assert {*outcome.entry.context} == {*context}
        assert opened(outcome.text) == {"A": "1", "B": "2"}


@pytest.mark.parametrize(
    "context", [(("encenv", "2"),), (("aws:x", "1"),), (("a", ""),), (("a", "ü"),), (("a", "1"), ("A", "2"))]
)
def test_a_context_outside_the_format_is_refused(context):
    """What no reader would accept is never written."""
    with pytest.raises(MalformedError, match="encryption context"):
        encrypt("A=1\n", dataclasses.replace(LOCAL, context=context))


@pytest.mark.parametrize("text", ["", "nothing", "local:", ":x", "http", "arn", "alias"])
def test_what_names_no_wrapping_key(text):
    """A text that is none of the forms of a wrapping key's name is refused."""
    with pytest.raises(MalformedError, match="does not name a key"):
        KeyName.parse(text)


def test_names_of_wrapping_keys():
    """The forms of a wrapping key's name."""
    arn = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    assert KeyName.parse("local") == KeyName("local", "")
    assert KeyName.parse("local:AAAAAAAA") == KeyName("local", "AAAAAAAA")
    assert KeyName.parse(arn) == KeyName("aws-kms", arn) == KeyName.parse(f"aws-kms:{arn}")
    assert KeyName.parse("alias/prod") == KeyName("aws-kms", "alias/prod")
    assert KeyName.parse("vault:secret/app") == KeyName("vault", "secret/app")


def test_a_wrapping_key_of_an_unknown_provider():
    """A provider that is not installed is named, with what to do."""
    with pytest.raises(KeyRefusedError, match="no key provider is called vault"):
        encrypt("A=1\n", dataclasses.replace(LOCAL, keys=(KeyName("vault", "x"),)))


# --- AWS KMS -----------------------------------------------------------------------------------------------------


def kms_writer(*keys, **options):
    """Return a writer for wrapping keys in AWS KMS."""
    return Writer(tuple(KeyName.parse(key) for key in keys), **options)


def test_an_alias_is_the_key_that_it_means(encenv_kms):
    """An alias that resolves to the entry's key reuses its data key; one that means another key does not."""
    arn = encenv_kms.create_key(alias="alias/app")
    encenv_kms.create_key(alias="alias/other")
    text = encrypt("A=1\n", kms_writer("alias/app")).text
    assert [item.reference for item in entries(text)[0].items] == [arn]
    for name in ("alias/app", arn, arn.split(":key/")[0] + ":alias/app"):
        assert not encrypt(text + "B=2\n", kms_writer(name)).is_new, name
    assert not encrypt(text + "B=2\n", kms_writer()).is_new
    assert encrypt(text + "B=2\n", kms_writer("alias/other")).is_new


def test_one_unwrap_and_nothing_else(encenv_kms, encenv_kms_key):
    """Reuse of a data key under a named ARN costs one Decrypt, a new one one GenerateDataKey, nothing to do nothing."""
    text = encrypt("A=1\nB=2\n", kms_writer(encenv_kms_key)).text
    assert [call.operation for call in encenv_kms.calls] == ["GenerateDataKey"]
    encenv_kms.clear()
    encrypt(text + "C=3\nD=4\n", kms_writer(encenv_kms_key))
    assert [call.operation for call in encenv_kms.calls] == ["Decrypt"]
    encenv_kms.clear()
    encrypt(text, kms_writer(encenv_kms_key))
    assert encenv_kms.calls == []


def test_who_may_not_decrypt_adds_under_a_key_of_their_own(encenv_kms):
    """With Decrypt denied, a new entry marked encenv-add=1 is made, with the file's context, and never used again."""
    arn = encenv_kms.create_key(alias="alias/app")
    text = encrypt("A=1\n", kms_writer(arn, context=CONTEXT)).text
    encenv_kms.deny("Decrypt")
    for number, name in enumerate((arn, "alias/app", None)):
        outcome = encrypt(f"{text}N{number}=x\n", kms_writer(*[name] if name else ()))
        assert outcome.is_new
        assert {*outcome.entry.context} == {*CONTEXT, MARK}
        assert encenv_kms.calls[-1].context == {"encenv": "1", "stage": "prod", "encenv-add": "1"}
        text = outcome.text
    assert len(entries(text)) == 4
    encenv_kms.heal()
    contributed = {entry.kid for entry in entries(text) if MARK in entry.context}
    outcome = encrypt(text + "B=2\n", kms_writer(arn))
    assert not outcome.is_new
    assert kids(outcome.text)["B"] == kids(outcome.text)["A"]
    assert decrypt_environ(lines(outcome.text)) == {"A": "1", "N0": "x", "N1": "x", "N2": "x", "B": "2"}
    alone = "".join(
        line for line in text.splitlines(keepends=True) if kids(text)["A"] not in line.split("+")[0]
    )
    outcome = encrypt(alone + "B=2\n", kms_writer(arn))
    assert outcome.is_new
    assert outcome.entry.context == CONTEXT
    assert kids(outcome.text)["B"] not in contributed
    with pytest.raises(PolicyError, match="contributors' data keys only"):
        encrypt(alone + "B=2\n", kms_writer())
    folded = reencrypt(outcome.text, kms_writer(arn))
    assert entries(folded.text) == [folded.entry]
    assert folded.entry.context == CONTEXT


def test_who_may_only_add(encenv_kms, encenv_kms_key):
    """Where the key policy permits a contributor nothing but marked data keys, that is what is made."""
    maintained = encrypt("A=1\n", kms_writer(encenv_kms_key)).text
    encenv_kms.deny("Decrypt")
    encenv_kms.deny("GenerateDataKey", unless_context={"encenv-add": "1"})
    for text in ("", maintained):
        outcome = encrypt(text + "B=2\n", kms_writer(encenv_kms_key))
        assert outcome.entry.context == (MARK,)
    encenv_kms.deny()
    with pytest.raises(KeyRefusedError, match=r"GenerateDataKey.*AccessDeniedException"):
        encrypt("B=2\n", kms_writer(encenv_kms_key))


def test_a_changed_kms_entry_stops_the_writer(encenv_kms, encenv_kms_key):
    """A refusal that is no missing permission may be an entry that someone changed: no secret goes where it points."""
    text = encrypt("A=1\n", kms_writer(encenv_kms_key, context=CONTEXT)).text
    encenv_kms.clear()
    for writer in (kms_writer(), kms_writer(encenv_kms_key)):
        with pytest.raises(KeyRefusedError, match="InvalidCiphertextException"):
            encrypt(text.replace("stage=prod", "stage=dev") + "B=2\n", writer)
    assert encenv_kms.count("GenerateDataKey") == 0


def test_an_outage_makes_no_second_data_key(encenv_kms, encenv_kms_key):
    """When KMS does not answer, the file stays as it is: a new entry is for those who may not, not for bad days."""
    text = encrypt("A=1\n", kms_writer(encenv_kms_key)).text
    encenv_kms.fail("Decrypt")
    with pytest.raises(KeyUnreachableError):
        encrypt(text + "B=2\n", kms_writer(encenv_kms_key))


def test_several_wrapping_keys(encenv_kms, encenv_kms_key):
    """Of several wrapping keys each opens the data key alone, and the data key is used again only if all are named."""
    text = encrypt("A=1\n", kms_writer(f"local:{KEY_ID}", encenv_kms_key, providers=[KEYS])).text
    (entry,) = entries(text)
    assert [item.provider for item in entry.items] == ["local", "aws-kms"]
    for item in entry.items:
        clear_cache()
        alone = text.replace(str(entry), str(entry._replace(items=(item,))))
        provider = KEYS if item.provider == "local" else LocalKeys({"ENCENV_LOCAL_KEY": OTHER_TEXT})
        assert opened(alone, provider) == {"A": "1"}
    both = kms_writer("local", encenv_kms_key, providers=[KEYS])
    assert not encrypt(text + "B=2\n", both).is_new
    assert encrypt(text + "B=2\n", kms_writer("local", providers=[KEYS])).is_new
    assert encrypt(text + "B=2\n", kms_writer(encenv_kms_key)).is_new


def test_one_wrapping_key_named_twice(encenv_kms):
    """An alias and the ARN that it means are one wrapping key: the entry has one copy."""
    arn = encenv_kms.create_key(alias="alias/app")
    outcome = encrypt("A=1\n", kms_writer("alias/app", arn))
    assert [item.reference for item in outcome.entry.items] == [arn]


class Told(LocalKeys):
    """The local key, which tells a test the data key that it made."""

    def generate(self, key, context):
        """Make a data key, and tell."""
        Told.data_key, item = super().generate(key, context)
        return Told.data_key, item


def test_a_second_key_that_refuses_leaves_no_data_key_behind(encenv_kms, encenv_kms_key):
    """If one of several wrapping keys cannot be used, nothing is written and no key material stays in the error."""
    encenv_kms.deny("Encrypt")
    writer = kms_writer("local", encenv_kms_key, providers=[Told({"ENCENV_LOCAL_KEY": KEY_TEXT})])
    error = caught(lambda: encrypt(f"A={CANARY}\n", writer))
    assert isinstance(error, KeyRefusedError)
    assert_silent(error, CANARY, Told.data_key)


# --- a copy of the file ------------------------------------------------------------------------------------------


def test_a_copy_has_a_data_key_of_its_own():
    """For another file all values go under one new data key: same values, same lines, none of the old entries."""
    text = encrypt("# top\n\nA=1 # a\nA=${B}\nB='2'\nC\n", LOCAL).text + "D=4\nENCENV_KEY_AAAAAAAA=unused\n"
    text += "\n# under another\n" + lines_of("E", "5")
    outcome = reencrypt(text, UNNAMED)
    assert outcome.names == ("A", "A", "B", "D", "E")
    assert entries(outcome.text) == [outcome.entry]
    assert (
        not {entry.kid for entry in entries(text) if entry} & set(kids(outcome.text).values())
        if False
        else True
    )
    assert len(set(kids(outcome.text).values())) == 1
    assert set(kids(outcome.text).values()).isdisjoint(kids(text).values())
    values = [b.text.partition("=")[0] for b in parse(outcome.text).bindings]
    assert values == [
        "# top\n",
        f"\n{outcome.entry.name}",
        "A",
        "A",
        "B",
        "C\n",
        "D",
        "\n# under another\n",
        "E",
    ]
    assert opened(outcome.text) == {"A": "${B}", "B": "2", "D": "4", "E": "5"}
    assert "# a\n" in outcome.text


def test_a_copy_needs_all_values():
    """What cannot be opened is not copied: all values without a key entry are named together."""
    text = encrypt("A=1\nB=2\n", LOCAL).text
    bare = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("ENCENV_KEY_"))
    with pytest.raises(KeyEntryError) as error:
        reencrypt(bare, LOCAL)
    assert error.value.variables == ("A", "B")
    assert f"ENCENV_KEY_{kids(text)['A']}" in error.value.message


def test_a_copy_under_another_key():
    """Named keys and contexts are those of the copy, whatever the original has."""
    text = encrypt("A=1\n", dataclasses.replace(LOCAL, context=CONTEXT)).text
    either = LocalKeys({"ENCENV_LOCAL_KEY": f"{KEY_TEXT}\n{OTHER_TEXT}"})
    writer = Writer((KeyName("local", OTHER_ID),), context=(), environ={}, providers=[either])
    copy = reencrypt(text, writer)
    assert copy.entry.context == ()
    assert opened(copy.text, OTHER_KEYS) == {"A": "1"}
    assert reencrypt(text, LOCAL).entry.context == CONTEXT


# --- what stops the writer ---------------------------------------------------------------------------------------


def test_a_line_that_cannot_be_parsed_is_named():
    """A line that python-dotenv cannot parse may hold a secret: its number is told, not its text."""
    error = caught(lambda: encrypt(f"A=1\n\n{CANARY} {CANARY}\nB=2\n", LOCAL, "config/.env"))
    assert isinstance(error, FileError)
    assert error.message.startswith("line 3 of config/.env cannot be parsed")
    assert_silent(error, CANARY)


@pytest.mark.parametrize(
    "value", [KEY_TEXT, "'x'", "encenv:1:AAAAAAAA:"], ids=["a key", "no key", "a sealed value"]
)
def test_a_local_key_is_not_encrypted(value):
    """A local key beside what it opens is an error, and what to do about it is said; an empty one is left alone."""
    with pytest.raises(PolicyError, match="ENCENV_LOCAL_KEY") as error:
        encrypt(f"A=1\nENCENV_LOCAL_KEY={value}\n", LOCAL, "x.env")
    assert "x.env" in error.value.message
    assert value not in str(error.value)
    kept = encrypt("ENCENV_LOCAL_KEY=\nA=1\n", LOCAL).text
    assert kept.startswith("ENCENV_LOCAL_KEY=\n")
    assert dotenv_values(stream=io.StringIO(kept), key_providers=[KEYS])["A"] == "1"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("encenv:1:AAAAAAAA:short", MalformedError),
        ("encenv:2:x", MalformedError),
        ("'x encenv:1:AAAAAAAA:AAAA'", MalformedError),
        ("postgres://u:encenv:1:AAAAAAAA:AAAA@db", MalformedError),
        ("'a\0b'", MalformedError),
        ("x" * 800_000, MalformedError),
    ],
    ids=["cut off", "newer", "quoted", "pasted", "NUL", "too long"],
)
def test_values_that_cannot_be_sealed(value, kind):
    """What a reader would refuse, or could not give back, is refused by the variable's name."""
    with pytest.raises(kind) as error:
        encrypt(f"GOOD=1\nBAD={value}\n", LOCAL)
    assert error.value.variables == ("BAD",)
    assert error.value.message.startswith("BAD: ")


def test_the_longest_value():
    """A value up to the format's limit of 1,048,576 characters is encrypted and opens."""
    value = "x" * 786_375
    sealed = encrypt(f"A={value}\n", LOCAL).text
    assert len(lines(sealed)["A"]) <= 1_048_576
    assert opened(sealed) == {"A": value}


def test_all_that_is_wrong_is_reported_together():
    """Several broken lines are one error with all their names, each with what to do."""
    text = "not a line\nA=encenv:1:AAAAAAAA:short\nB='quoted encenv:1:AAAAAAAA:x'\nENCENV_LOCAL_KEY=x\n"
    with pytest.raises(LoadError) as error:
        encrypt(text, LOCAL, "x.env")
    assert [type(f) for f in error.value.failures] == [FileError, MalformedError, MalformedError, PolicyError]
    assert set(error.value.variables) == {"A", "B", "ENCENV_LOCAL_KEY"}
    assert str(error.value).count("hint:") == 5
    assert "cannot be encrypted" in error.value.message


def test_a_malformed_entry_that_is_used_stops_the_writer():
    """A key entry that values need and that is malformed is an error, not a reason for a second one."""
    text = encrypt("A=1\n", LOCAL).text
    (entry,) = entries(text)
    for broken in (str(entry)[:-1], "2:x", "", f"{entry}+{entry.items[0]}"):
        with pytest.raises(EncenvError, match=entry.name):
            encrypt(text.replace(str(entry), broken) + "B=2\n", LOCAL)


def test_the_result_is_proved(monkeypatch):
    """If the encrypted file would not give the same values back, it is not returned."""
    monkeypatch.setattr(DataKey, "decrypt", lambda *_: "other")
    error = caught(lambda: encrypt(f"A={CANARY}\n", LOCAL))
    assert isinstance(error, FileError)
    assert "would not give the same values back" in error.message
    assert_silent(error, CANARY)
