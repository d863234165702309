"""encenv.files.encrypt: encrypt, copy and rotate a file; what stays, and what stops the writer."""

import dataclasses
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.canary import CANARY, assert_silent, caught
from support.encrypted_files import (
    BOTH_KEYS,
    CONTEXT,
    FILES,
    KEY_TEXT,
    KEYS,
    LOCAL,
    NAMES,
    OTHER_ID,
    OTHER_KEYS,
    OTHER_TEXT,
    THEIRS,
    UNNAMED,
    VALUES,
    decrypted,
    entries,
    kids,
    lines,
    lines_of,
)

from encenv import (
    EncenvError,
    FileError,
    KeyEntryError,
    KeyRefusedError,
    LoadError,
    LocalKeys,
    MalformedError,
    PolicyError,
    decrypt_environ,
    dotenv_values,
)
from encenv.files.document import parse, quote
from encenv.files.edit import set_value, unset
from encenv.files.encrypt import encrypt, reencrypt, rotate
from encenv.files.key_names import KeyName
from encenv.files.writer import Writer
from encenv.format.envelope import DataKey

pytest_plugins = ["encenv.testing"]


# --- encrypt ------------------------------------------------------------------------------------------------------


def test_encrypted_values_stay():
    """Encrypting twice gives the same bytes, and needs no key the second time."""
    once = encrypt("A=1\nB=\nC\n# D=4\n", LOCAL)
    assert once.names == ("A", "B")
    assert (once.unchanged, once.is_new) == (0, True)
    assert decrypted(once.text) == {"A": "1", "B": ""}
    twice = encrypt(once.text, Writer(environ={}, providers=[]))
    assert (twice.text, twice.names, twice.unchanged, twice.entry) == (once.text, (), 2, None)


@pytest.mark.parametrize("writer", [LOCAL, UNNAMED, dataclasses.replace(LOCAL, context=())])
def test_a_new_value_is_the_only_line_that_changes(writer):
    """A new value is encrypted under the file's data key, and its line is the whole diff."""
    before = encrypt("A=1 # one\n\nB='2'\n", LOCAL).text
    outcome = encrypt(before + "C=3\n", writer)
    assert outcome.text.startswith(before + "C=encenv:1:")
    assert (outcome.names, outcome.unchanged, outcome.is_new) == (("C",), 2, False)
    assert outcome.entry == entries(before)[0]
    assert len(set(kids(outcome.text).values())) == 1
    assert decrypted(outcome.text) == {"A": "1", "B": "2", "C": "3"}
    changed = encrypt(outcome.text.replace(lines(outcome.text)["A"], "new"), writer).text
    assert [a == b for a, b in zip(outcome.text.splitlines(), changed.splitlines(), strict=True)].count(
        False
    ) == 1


def test_a_file_without_values_stays():
    """If there is nothing to encrypt, nothing changes and no key is needed."""
    for text in ("", "# A=1\n", "A\n", "\ufeff", "ENCENV_LOCAL_KEY=\n", "ENCENV_KEY_AAAAAAAA=anything\n"):
        for function in (encrypt, reencrypt):
            outcome = function(text, Writer(environ={}))
            assert (outcome.text, outcome.names, outcome.entry) == (text, (), None)


@given(values=st.dictionaries(NAMES, VALUES.filter(lambda text: "encenv:" not in text), max_size=6))
@settings(max_examples=100, deadline=None)
def test_round_trip(values):
    """Values that are encrypted, copied under a new data key and decrypted are the same."""
    text = "".join(f"{name}={quote(value)}\n" for name, value in values.items())
    sealed = encrypt(text, LOCAL).text
    read = lines(text)
    assert decrypted(sealed) == read
    assert decrypted(reencrypt(sealed, LOCAL).text) == read
    assert read.keys() == values.keys()


# --- a copy of the file -------------------------------------------------------------------------------------------


def test_a_copy_has_a_data_key_of_its_own():
    """A copy has all values under one new data key, on the same lines, and none of the old entries."""
    text = encrypt("# top\n\nA=1 # a\nA=${B}\nB='2'\nC\n", LOCAL).text + "D=4\nENCENV_KEY_AAAAAAAA=unused\n"
    text += "\n# under another\n" + lines_of("E", "5")
    outcome = reencrypt(text, UNNAMED)
    assert outcome.names == ("A", "A", "B", "D", "E")
    assert entries(outcome.text) == [outcome.entry]
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
    assert decrypted(outcome.text) == {"A": "${B}", "B": "2", "D": "4", "E": "5"}
    assert "# a\n" in outcome.text


def test_a_copy_needs_all_values():
    """A file is not copied if values cannot be decrypted; all values without a key entry are named together."""
    text = encrypt("A=1\nB=2\n", LOCAL).text
    bare = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("ENCENV_KEY_"))
    with pytest.raises(KeyEntryError) as error:
        reencrypt(bare, LOCAL)
    assert error.value.variables == ("A", "B")
    assert f"ENCENV_KEY_{kids(text)['A']}" in error.value.message


def test_a_copy_under_another_key():
    """The copy has the named keys and context, whatever the original has."""
    text = encrypt("A=1\n", dataclasses.replace(LOCAL, context=CONTEXT)).text
    either = LocalKeys({"ENCENV_LOCAL_KEY": f"{KEY_TEXT}\n{OTHER_TEXT}"})
    writer = Writer((KeyName("local", OTHER_ID),), context=(), environ={}, providers=[either])
    copy = reencrypt(text, writer)
    assert copy.entry.context == ()
    assert decrypted(copy.text, OTHER_KEYS) == {"A": "1"}
    assert reencrypt(text, LOCAL).entry.context == CONTEXT


# --- rotate -------------------------------------------------------------------------------------------------------


@given(text=FILES, plain=st.booleans())
@settings(max_examples=40, deadline=None)
def test_rotate_round_trip(text, plain):
    """Rotate puts every encrypted value under one new data key, unchanged; plain values stay plain."""
    before = encrypt(text, LOCAL).text + ("PLAIN=p\n" if plain else "")
    outcome = rotate(before, UNNAMED)
    assert decrypted(outcome.text) == decrypted(before)
    kids = {value.split(":")[2] for value in lines(outcome.text).values() if value.startswith("encenv:1:")}
    assert kids == {entry.kid for entry in entries(outcome.text)}
    assert not kids & {entry.kid for entry in entries(before)}
    assert not plain or "\nPLAIN=p\n" in f"\n{outcome.text}"


def test_rotate_merges_contributions(encenv_kms, encenv_kms_key):
    """Rotate drops contributors' entries; a contributor cannot rotate, and does not choose the key."""
    writer = Writer((KeyName.parse(encenv_kms_key),), context=(("stage", "prod"),))
    text = encrypt("A=1\n", writer).text
    encenv_kms.deny("Decrypt")
    added = set_value(text, "B", "2", Writer())
    assert ("encenv-add", "1") in added.entry.context
    with pytest.raises(KeyRefusedError, match="Decrypt"):
        rotate(added.text, Writer())
    encenv_kms.heal()
    later = set_value(added.text, "C", "3", Writer())
    assert not later.is_new
    assert later.entry.kid == entries(text)[0].kid
    done = rotate(later.text, Writer())
    assert done.entry.context == (("stage", "prod"),)
    assert entries(done.text) == [done.entry]
    assert decrypt_environ(lines(done.text)) == {"A": "1", "B": "2", "C": "3"}
    encenv_kms.deny("GenerateDataKey", unless_context={"encenv-add": "1"})
    with pytest.raises(PolicyError, match="contributor"):
        rotate(done.text, Writer())
    encenv_kms.heal()
    alone = unset(added.text, ["A"]).text
    with pytest.raises(PolicyError, match="contributors added all values"):
        rotate(alone, Writer())


def test_rotate_to_other_keys():
    """Rotate can change the wrapping key and the context."""
    text = encrypt("A=1\n", dataclasses.replace(LOCAL, context=(("stage", "dev"),))).text
    writer = Writer((THEIRS,), context=(), environ={}, providers=[BOTH_KEYS])
    outcome = rotate(text, writer)
    assert outcome.entry.context == ()
    assert decrypted(outcome.text, OTHER_KEYS) == {"A": "1"}
    assert rotate("A=1\n", writer).entry is None


# --- what stops the writer ----------------------------------------------------------------------------------------


def test_a_line_that_cannot_be_parsed_is_named():
    """A line that cannot be parsed may hold a secret: the error has its number and not its text."""
    error = caught(lambda: encrypt(f"A=1\n\n{CANARY} {CANARY}\nB=2\n", LOCAL, "config/.env"))
    assert isinstance(error, FileError)
    assert error.message.startswith("line 3 of config/.env cannot be parsed")
    assert_silent(error, CANARY)


@pytest.mark.parametrize(
    "value", [KEY_TEXT, "'x'", "encenv:1:AAAAAAAA:"], ids=["a key", "no key", "a sealed value"]
)
def test_a_local_key_is_not_encrypted(value):
    """A local key beside the values it opens is an error with a hint; an empty one is left alone."""
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
def test_values_that_cannot_be_encrypted(value, kind):
    """A value that a reader would refuse or could not restore is refused, with the variable's name."""
    with pytest.raises(kind) as error:
        encrypt(f"GOOD=1\nBAD={value}\n", LOCAL)
    assert error.value.variables == ("BAD",)
    assert error.value.message.startswith("BAD: ")


def test_the_longest_value():
    """A value up to the format's limit of 1,048,576 characters is encrypted and decrypts."""
    value = "x" * 786_375
    sealed = encrypt(f"A={value}\n", LOCAL).text
    assert len(lines(sealed)["A"]) <= 1_048_576
    assert decrypted(sealed) == {"A": value}


def test_all_problems_are_reported_together():
    """Several broken lines make one error with all their names, each with a hint."""
    text = "not a line\nA=encenv:1:AAAAAAAA:short\nB='quoted encenv:1:AAAAAAAA:x'\nENCENV_LOCAL_KEY=x\n"
    with pytest.raises(LoadError) as error:
        encrypt(text, LOCAL, "x.env")
    assert [type(f) for f in error.value.failures] == [FileError, MalformedError, MalformedError, PolicyError]
    assert set(error.value.variables) == {"A", "B", "ENCENV_LOCAL_KEY"}
    assert str(error.value).count("hint:") == 5
    assert "cannot be encrypted" in error.value.message


def test_a_malformed_entry_that_is_used_stops_the_writer():
    """A malformed key entry that values need is an error, not a reason to make a second one."""
    text = encrypt("A=1\n", LOCAL).text
    (entry,) = entries(text)
    for broken in (str(entry)[:-1], "2:x", "", f"{entry}+{entry.items[0]}"):
        with pytest.raises(EncenvError, match=entry.name):
            encrypt(text.replace(str(entry), broken) + "B=2\n", LOCAL)


def test_the_result_is_proven(monkeypatch):
    """If the encrypted file would not give the same values back, it is not returned."""
    monkeypatch.setattr(DataKey, "decrypt_text", lambda *_: "other")
    error = caught(lambda: encrypt(f"A={CANARY}\n", LOCAL))
    assert isinstance(error, FileError)
    assert "would not give the same values back" in error.message
    assert_silent(error, CANARY)
