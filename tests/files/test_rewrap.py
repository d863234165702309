"""encenv.files.rewrap: add, remove and refresh wrapped keys, and never trust a planted one."""

import dataclasses

import pytest
from hypothesis import given, settings
from support.encrypted_files import (
    BOTH,
    FILES,
    KEYS,
    LOCAL,
    MINE,
    OTHER_ID,
    OTHER_KEYS,
    THEIRS,
    UNNAMED,
    WITHOUT_KEYS,
    decrypted,
    entries,
    lines,
)

from encenv import (
    ConflictError,
    KeyEntryError,
    KeyRefusedError,
    KeyUnreachableError,
    MalformedError,
    PolicyError,
    clear_cache,
    decrypt_environ,
)
from encenv.files.document import parse
from encenv.files.edit import set_value
from encenv.files.encrypt import encrypt, reencrypt, rotate
from encenv.files.key_names import KeyName
from encenv.files.rewrap import rewrap
from encenv.files.writer import Writer
from encenv.format.sealed import SealedValue, WrappedKey, entry_kid
from encenv.keys.aws.kms import AwsKms

pytest_plugins = ["encenv.testing"]


@given(text=FILES)
@settings(max_examples=40, deadline=None)
def test_rewrap_round_trip(text):
    """A wrapping key is added and the first one removed: values keep their bytes and decrypt with the new one."""
    before = encrypt(f"A=1\n{text}", LOCAL).text
    added = rewrap(before, BOTH, add=[THEIRS])
    assert (added.added, added.removed, added.refreshed) == ((THEIRS,), (), ())
    assert decrypted(added.text, OTHER_KEYS) == decrypted(added.text, KEYS) == decrypted(before)
    removed = rewrap(added.text, BOTH, remove=[MINE])
    assert (removed.added, removed.removed, removed.refreshed) == ((), (MINE,), ())
    assert decrypted(removed.text, OTHER_KEYS) == decrypted(before)
    assert [b.text for b in parse(removed.text).bindings if not entry_kid(b.name or "")] == [
        b.text for b in parse(before).bindings if not entry_kid(b.name or "")
    ]


def test_rewrap_refuses():
    """Rewrap refuses to remove the last key, an absent key and an ambiguous one; a file without entries is an error."""
    text = encrypt("A=1\n", LOCAL).text
    with pytest.raises(PolicyError, match="no key would be left"):
        rewrap(text, BOTH, remove=[MINE])
    with pytest.raises(ConflictError, match="is not encrypted under"):
        rewrap(text, BOTH, remove=[THEIRS])
    two = rewrap(text, BOTH, add=[THEIRS]).text
    with pytest.raises(ConflictError, match="2 local keys"):
        rewrap(two, BOTH, remove=[KeyName("local", "")])
    with pytest.raises(KeyEntryError, match="no key entry"):
        rewrap("A=1\n", BOTH, add=[MINE])
    with pytest.raises(MalformedError):
        rewrap(text.replace("=1:", "=1:x", 1), BOTH)
    with pytest.raises(PolicyError, match="no key would be left"):
        rewrap(two, BOTH, remove=[MINE, THEIRS])


def test_a_changed_context_applies_to_every_wrapped_key():
    """A new context re-wraps every wrapped key or fails; a refresh reports the ones that it cannot reach."""
    text = rewrap(encrypt("A=1\n", LOCAL).text, BOTH, add=[THEIRS]).text
    stage = (("stage", "dev"),)
    done = rewrap(text, dataclasses.replace(BOTH, context=stage))
    assert entries(done.text)[0].context == stage
    assert {*done.refreshed} == {MINE, THEIRS}
    assert decrypted(done.text, KEYS) == decrypted(done.text, OTHER_KEYS) == {"A": "1"}
    with pytest.raises(KeyUnreachableError, match=OTHER_ID):
        rewrap(text, dataclasses.replace(UNNAMED, context=stage))
    refreshed = rewrap(text, UNNAMED)
    assert refreshed.refreshed == (MINE,)
    assert [key for key, _ in refreshed.stale] == [THEIRS]
    assert decrypted(refreshed.text, OTHER_KEYS) == {"A": "1"}
    with pytest.raises(KeyUnreachableError):
        rewrap(text, WITHOUT_KEYS)


def test_kms_keeps_the_data_key(encenv_kms, encenv_kms_key):
    """Within a region only ReEncrypt is called; between regions the data key is unwrapped here."""
    near = encenv_kms.create_key(alias="alias/near")
    far = encenv_kms.create_key("eu-west-1")
    text = encrypt("A=1\n", Writer((KeyName.parse(encenv_kms_key),))).text
    encenv_kms.clear()
    added = rewrap(text, Writer(), add=[KeyName.parse("alias/near")])
    assert [key.key for key in added.added] == [near]
    rewrap(added.text, dataclasses.replace(Writer(), context=(("stage", "dev"),)))
    assert {call.operation for call in encenv_kms.calls} == {"ReEncrypt"}
    moved = rewrap(added.text, Writer(), remove=[KeyName.parse(encenv_kms_key)]).text
    encenv_kms.disable(encenv_kms_key)
    assert decrypt_environ(lines(moved)) == {"A": "1"}
    clear_cache()
    encenv_kms.clear()
    further = rewrap(moved, Writer(), add=[KeyName.parse(far)])
    assert [call.operation for call in encenv_kms.calls] == ["Decrypt", "Encrypt"]
    clear_cache()
    encenv_kms.disable(near)
    assert decrypt_environ(lines(further.text)) == {"A": "1"}
    assert SealedValue.parse(lines(text)["A"]) == SealedValue.parse(lines(further.text)["A"])


def test_an_answer_for_another_key(encenv_kms_key, monkeypatch):
    """An answer of ReEncrypt that names another source key is refused."""
    answer = {"KeyId": encenv_kms_key, "SourceKeyId": encenv_kms_key[:-1], "CiphertextBlob": b"x"}
    monkeypatch.setattr(AwsKms, "_call", lambda *_: answer)
    item = WrappedKey("aws-kms", b"x", encenv_kms_key)
    with pytest.raises(KeyRefusedError, match="answered for another key"):
        AwsKms().rewrap(item, encenv_kms_key, {}, {})


@pytest.fixture
def plant(encenv_kms, encenv_kms_key):
    """Return a function that adds a wrapped key under an attacker's wrapping key to the entry of a file."""
    theirs = encenv_kms.create_key()
    text = encrypt("A=1\n", Writer((KeyName.parse(encenv_kms_key),))).text
    (entry,) = entries(text)
    return lambda wrapped: (
        text.replace(
            str(entry),
            str(entry._replace(items=(WrappedKey("aws-kms", wrapped, theirs), *entry.items))),
        ),
        theirs,
    )


def opens(text, key):
    """Return whether the wrapping key *key* alone decrypts a value of *text*."""
    for entry in entries(text):
        items = tuple(item for item in entry.items if item.reference == key)
        if items:
            alone = dict(lines(text)) | {entry.name: str(entry._replace(items=items))}
            alone = {name: value for name, value in alone.items() if entry.kid in name + value}
            clear_cache()
            try:
                decrypt_environ(alone)
            except KeyRefusedError:
                continue
            return True
    return False


@pytest.mark.parametrize("kind", ["junk", "a data key of his own"])
def test_a_planted_wrapped_key_never_becomes_valid(encenv_kms, encenv_kms_key, plant, kind):
    """A wrapped key that an attacker added is not re-wrapped from others, and no new data key is wrapped under its key."""
    probe = encenv_kms.create_key()
    text, theirs = plant(bytes(184))
    if kind != "junk":
        text, theirs = plant(AwsKms().generate(theirs, {"encenv": "1"})[1].wrapped)
    mine = Writer((KeyName.parse(encenv_kms_key),))
    for writer in (Writer(), mine):
        assert not opens(rewrap(text, writer).text, theirs)
        added = rewrap(text, mine, add=[KeyName.parse(probe)]).text
        assert not opens(added, theirs)
        assert opens(added, probe)
    moved = rewrap(text, Writer(), add=[KeyName.parse(probe)], remove=[KeyName.parse(encenv_kms_key)]).text
    assert opens(moved, probe)  # the source is the removed copy, which somebody named
    stage = (("stage", "x"),)
    for act in (
        lambda: rotate(text, Writer()),
        lambda: reencrypt(text, Writer()),
        lambda: set_value(text, "B", "2", Writer(context=stage)),
    ):
        clear_cache()
        with pytest.raises(PolicyError, match=f"nothing shows that aws-kms:{theirs} belongs"):
            act()
    assert [item.reference for item in rotate(text, mine).entry.items] == [encenv_kms_key]
    new = set_value(text, "B", "2", mine)
    assert [item.reference for item in new.entry.items] == [encenv_kms_key]
    encenv_kms.deny("Decrypt")
    clear_cache()
    with pytest.raises(PolicyError, match="nothing shows"):
        set_value(text, "B", "2", Writer())


def test_nothing_is_added_to_a_planted_data_key(encenv_kms, encenv_kms_key):
    """No key is added to data keys under different wrapping keys until the user names all of them."""
    theirs, new = (encenv_kms.create_key() for _ in range(2))
    mine, planter = (Writer((KeyName.parse(key),)) for key in (encenv_kms_key, theirs))
    text = encrypt("A=1\n", mine).text + encrypt("B=2\n", planter).text
    for writer in (Writer(), mine):
        with pytest.raises(ConflictError, match=f"nobody named aws-kms:{theirs if writer.keys else ''}"):
            rewrap(text, writer, add=[KeyName.parse(new)])
    named = dataclasses.replace(mine, keys=(*mine.keys, *planter.keys))
    assert all(len(entry.items) == 2 for entry in entries(rewrap(text, named, add=[KeyName.parse(new)]).text))
    # A contributor's data key is under the same wrapping keys, and is changed as well.
    encenv_kms.deny("Decrypt")
    contributed = set_value(encrypt("A=1\n", mine).text, "C", "3", Writer()).text
    encenv_kms.heal()
    done = entries(rewrap(contributed, Writer(), add=[KeyName.parse(new)]).text)
    assert [len(entry.items) for entry in done] == [2, 2]
    assert [bool(entry.context) for entry in done] == [False, True]


def test_entries_of_one_data_key_are_rewrapped_together():
    """If two entries have one data key, a key is removed from BOTH, and an empty entry is dropped."""
    text = rewrap(encrypt("A=1\n", LOCAL).text, BOTH, add=[THEIRS]).text
    (entry,) = entries(text)
    halves = [entry._replace(items=(item,)) for item in entry.items]
    split = "".join(f"{half.name}={half}\n" for half in halves) + f"A={lines(text)['A']}\n"
    outcome = rewrap(split, BOTH, remove=[MINE])
    assert entries(outcome.text) == [halves[1]]
    assert decrypted(outcome.text, OTHER_KEYS) == {"A": "1"}


class OwnError(KeyUnreachableError):
    """An error of a plug-in, whose class takes no message."""

    def __init__(self):
        super().__init__("the vault is down", hint="start it")


def test_a_plug_ins_own_error(encenv_kms_key, monkeypatch):
    """An error of a plug-in's own class that re-wrapping raises keeps its message and hint."""

    def refuse(self, *_):
        raise OwnError

    key = KeyName.parse(encenv_kms_key)
    writer = Writer(keys=(key,))
    text = encrypt("A=1\n", writer).text
    monkeypatch.setattr(AwsKms, "rewrap", refuse)
    clear_cache()
    with pytest.raises(KeyUnreachableError, match="the vault is down") as caught:
        rewrap(text, writer)
    assert (type(caught.value), caught.value.hint) == (KeyUnreachableError, "start it")
