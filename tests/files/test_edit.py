"""encenv.files.edit and rewrap: one variable, or a whole file edited by hand, and nothing else in the diff."""

import dataclasses
from difflib import ndiff

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
    LocalKeys,
    MalformedError,
    PolicyError,
    clear_cache,
    decrypt_environ,
)
from encenv.files.document import parse
from encenv.files.edit import close_edited, open_to_edit, rename, set_value, unset
from encenv.files.encrypt import KeyName, Writer, encrypt, reencrypt, rotate
from encenv.files.quoting import quote
from encenv.files.rewrap import rewrap
from encenv.format.sealed import KeyEntry, SealedValue, WrappedKey, entry_kid
from encenv.keys.aws.kms import AwsKms
from encenv.keys.local import generate_key_text, parse_keys

pytest_plugins = ["encenv.testing"]

KEY_TEXT, OTHER_TEXT = generate_key_text(), generate_key_text()
KEY_ID, OTHER_ID = (next(iter(parse_keys(text, "here"))) for text in (KEY_TEXT, OTHER_TEXT))
KEYS, OTHER_KEYS = (LocalKeys({"ENCENV_LOCAL_KEY": text}) for text in (KEY_TEXT, OTHER_TEXT))
BOTH_KEYS = LocalKeys({"ENCENV_LOCAL_KEY": f"{KEY_TEXT}\n{OTHER_TEXT}"})
LOCAL = Writer((KeyName("local", ""),), environ={}, providers=[KEYS])
OTHER = Writer((KeyName("local", ""),), environ={}, providers=[OTHER_KEYS])
UNNAMED = dataclasses.replace(LOCAL, keys=())
NOBODY = Writer(environ={}, providers=[])
MINE, THEIRS = KeyName("local", KEY_ID), KeyName("local", OTHER_ID)


@pytest.fixture(autouse=True)
def no_data_keys_kept():
    """Each test unwraps what it needs itself."""
    clear_cache()
    yield
    clear_cache()


def lines(text):
    """Return the variables of *text* as they stand."""
    return {binding.name: binding.value for binding in parse(text).bindings if binding.value is not None}


def opened(text, *providers):
    """Return the values of the encrypted file *text*."""
    return decrypt_environ(lines(text), key_providers=[*providers] or [KEYS])


def entries(text):
    """Return the key entries in *text*, in order."""
    found = [(entry_kid(b.name or ""), b.value) for b in parse(text).bindings]
    return [KeyEntry.parse(kid, value) for kid, value in found if kid]


def difference(before, after):
    """Return the lines that a diff from *before* to *after* would show, cut behind the name."""
    shown = ndiff(before.splitlines(), after.splitlines())
    return [line.split("=")[0] for line in shown if line[:1] in "+-"]


VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20).filter(
    lambda text: "encenv:" not in text
)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(lambda name: not entry_kid(name))
FILES = st.lists(
    st.one_of(
        st.tuples(NAMES, VALUES).map(lambda pair: f"{pair[0]}={quote(pair[1])}"),
        st.sampled_from(["", "# a comment", "export E=1  # why", "BARE", "  S = 'x y'"]),
    ),
    max_size=6,
).map(lambda found: "".join(f"{line}\n" for line in found))


# --- set ---------------------------------------------------------------------------------------------------------


@given(text=FILES, name=NAMES, value=VALUES, again=VALUES)
@settings(max_examples=60, deadline=None)
def test_set_and_unset_round_trip(text, name, value, again):
    """What is set is what is got, the others stay as they are; unset gives the rest back."""
    before = encrypt(text, LOCAL).text
    first = set_value(before, name, value, LOCAL).text
    assert opened(first) == opened(before) | {name: value}
    second = set_value(first, name, again, LOCAL).text
    assert opened(second) == opened(before) | {name: again}
    changed = [a for a, b in zip(first.split("\n"), second.split("\n"), strict=True) if a != b]
    assert len(changed) == (0 if value == again else 1)
    gone = unset(second, [name])
    assert opened(gone) == {other: text for other, text in opened(before).items() if other != name}
    if name not in {binding.name for binding in parse(before).bindings}:
        assert gone == before


def test_set_changes_one_line():
    """A value that is set is the only line of the diff; the first time with its key entry above it."""
    text = "# top\n\nexport A = '1'  # one\nB=2\n"
    first = set_value(text, "A", "x", LOCAL)
    assert difference(text, first.text) == ["- export A ", f"+ {first.entry.name}", "+ export A "]
    assert first.text.endswith("  # one\nB=2\n")
    assert first.is_new
    added = set_value(first.text, "C", "y", UNNAMED)
    assert difference(first.text, added.text) == ["+ C"]
    changed = set_value(added.text, "A", "z", LOCAL)
    assert difference(added.text, changed.text) == ["- export A ", "+ export A "]
    assert opened(changed.text) == {"A": "z", "B": "2", "C": "y"}
    assert set_value(changed.text, "A", "z", LOCAL).text == changed.text


def test_set_in_unusual_places():
    """The last of several lines counts, a bare name gets a value, and a file without a last newline gets one."""
    assert opened(set_value("A=1\nA=2\n", "A", "x", LOCAL).text) == {"A": "x"}
    assert set_value("A=1\nA=2\n", "A", "x", LOCAL).text.startswith("A=1\n")
    assert opened(set_value("A\nB=1\n", "A", "x", LOCAL).text) == {"A": "x", "B": "1"}
    assert set_value("B=1", "A", "x", LOCAL).text.startswith("B=1\nENCENV_KEY_")
    crlf = set_value("B=1\r\n", "A", "x", LOCAL).text
    assert crlf.count("\r\n") == crlf.count("\n") == 3


def test_set_mends_a_broken_value():
    """A value that is damaged, or lost its key entry, can be set again; other broken values stop the writer."""
    text = encrypt("A=1\nB=2\n", LOCAL).text
    broken = text.replace(lines(text)["A"], "encenv:1:AAAAAAAA:short")
    assert opened(set_value(broken, "A", "x", LOCAL).text) == {"A": "x", "B": "2"}
    with pytest.raises(MalformedError, match="A: "):
        set_value(broken, "B", "x", LOCAL)
    renamed = text.replace("\nA=", "\nX=")
    assert opened(set_value(renamed, "X", "x", LOCAL).text) == {"X": "x", "B": "2"}
    with pytest.raises(AuthenticationError, match="X: "):
        set_value(renamed, "B", "x", LOCAL)
    lost = f"A={lines(text)['A']}\n"
    assert opened(set_value(lost, "A", "x", LOCAL).text) == {"A": "x"}


@pytest.mark.parametrize(
    "name", ["", "A B", "A=B", "1A", "ENCENV_LOCAL_KEY", "ENCENV_KEY_AAAAAAAA", "A\n", "#A"]
)
def test_what_is_no_name(name):
    """What is no name, or that of a key, is neither set nor renamed to."""
    for act in (
        lambda: set_value("A=1\n", name, CANARY, LOCAL),
        lambda: rename("A=1\n", "A", name, LOCAL),
    ):
        error = caught(act)
        assert isinstance(error, MalformedError | ConflictError)


def test_errors_are_silent():
    """No failing edit says or holds a value."""
    text = encrypt(f"A={CANARY}\nB=2\n", LOCAL).text
    broken = text.replace("\nB=", "\nX=")
    shown = open_to_edit(text, LOCAL)
    for act in (
        lambda: set_value(broken, "A", CANARY, LOCAL),
        lambda: set_value(text, "A", CANARY + "\0", LOCAL),
        lambda: rename(broken, "A", "C", LOCAL),
        lambda: rotate(broken, LOCAL),
        lambda: open_to_edit(broken, LOCAL),
        lambda: close_edited(shown, f"{CANARY} {CANARY}\n", LOCAL),
        lambda: close_edited(shown, f"A={CANARY}encenv:1:AAAAAAAA:\n", LOCAL),
    ):
        clear_cache()
        error = caught(act)
        assert isinstance(error, EncenvError)
        assert_silent(error.with_traceback(None), CANARY)


# --- unset and rename --------------------------------------------------------------------------------------------


def test_unset_takes_the_key_entry_that_nothing_uses():
    """A key entry goes with its last value, not before, and not while a comment still has a value under it."""
    text = encrypt("A=1\nB=2\n", LOCAL).text
    once = unset(text, ["A"])
    assert len(entries(once)) == 1
    assert opened(once) == {"B": "2"}
    assert unset(once, ["B"]) == ""
    commented = text.replace("\nB=", "\n# B=")
    assert len(entries(unset(commented, ["A"]))) == 1
    kept = entries(text)[0].name
    with pytest.raises(ConflictError, match="without it they are lost"):
        unset(text, [kept])
    assert unset(text, [kept, "A", "B"]) == ""
    with pytest.raises(FileError, match="no variable Z"):
        unset(text, ["A", "Z"])


@given(text=FILES, name=NAMES, value=VALUES, new=NAMES)
@settings(max_examples=60, deadline=None)
def test_rename_round_trip(text, name, value, new):
    """A renamed variable has its value under the new name, in its place, and gets its old name back."""
    before = set_value(encrypt(text, LOCAL).text, name, value, LOCAL).text
    if new != name and new in {binding.name for binding in parse(before).bindings}:
        with pytest.raises(ConflictError, match="already"):
            rename(before, name, new, LOCAL)
        return
    after = rename(before, name, new, UNNAMED).text
    expected = {new if other == name else other: text for other, text in opened(before).items()}
    assert opened(after) == expected
    assert [*lines(after)] == [new if other == name else other for other in lines(before)]
    assert opened(rename(after, new, name, LOCAL).text) == opened(before)


def test_rename_without_a_key():
    """A plain value, and a name that differs in case alone, are renamed without any key."""
    text = encrypt("a=1\n", LOCAL).text + "# why\nB=2 # two\n"
    plain = rename(text, "B", "C", NOBODY)
    assert plain.text == text.replace("B=2", "C=2")
    case = rename(text, "a", "A", NOBODY)
    assert case.text == text.replace("\na=", "\nA=")
    assert opened(case.text) == {"A": "1", "B": "2"}
    clear_cache()
    with pytest.raises(EncenvError):
        rename(text, "a", "D", NOBODY)


# --- rotate ------------------------------------------------------------------------------------------------------


@given(text=FILES, plain=st.booleans())
@settings(max_examples=40, deadline=None)
def test_rotate_round_trip(text, plain):
    """Every sealed value comes under one new data key and is what it was; plain ones stay plain."""
    before = encrypt(text, LOCAL).text + ("PLAIN=p\n" if plain else "")
    outcome = rotate(before, UNNAMED)
    assert opened(outcome.text) == opened(before)
    kids = {value.split(":")[2] for value in lines(outcome.text).values() if value.startswith("encenv:1:")}
    assert kids == {entry.kid for entry in entries(outcome.text)}
    assert not kids & {entry.kid for entry in entries(before)}
    assert not plain or "\nPLAIN=p\n" in f"\n{outcome.text}"


def test_rotate_folds_in_what_contributors_added(encenv_kms, encenv_kms_key):
    """Contributors' entries go; who only contributes cannot rotate, and does not choose the key."""
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
    alone = unset(added.text, ["A"])
    with pytest.raises(PolicyError, match="contributors' data keys only"):
        rotate(alone, Writer())


def test_rotate_to_other_keys():
    """Wrapping key and context may change with the data key."""
    text = encrypt("A=1\n", dataclasses.replace(LOCAL, context=(("stage", "dev"),))).text
    writer = Writer((THEIRS,), context=(), environ={}, providers=[BOTH_KEYS])
    outcome = rotate(text, writer)
    assert outcome.entry.context == ()
    assert opened(outcome.text, OTHER_KEYS) == {"A": "1"}
    assert rotate("A=1\n", writer).entry is None


# --- edit --------------------------------------------------------------------------------------------------------


@given(text=FILES, plain=st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_is_not_edited_keeps_its_bytes(text, plain):
    """No change gives the file back byte for byte, and a comment that is added is the only difference."""
    before = encrypt(text, LOCAL).text + ("P='plain' # p\n" if plain else "")
    edit = open_to_edit(before, LOCAL)
    assert "encenv:1:" not in edit.shown
    assert {**lines(edit.shown)} == opened(before)
    assert close_edited(edit, edit.shown, NOBODY).text == before
    added = close_edited(edit, edit.shown + "# more\n", NOBODY)
    assert added.text == before + "# more\n"
    assert added.names == ()


def test_edits():
    """Changed and new values are sealed under the data key that is there, others keep place and bytes."""
    text = encrypt('# top\n\nA=1  # one\nB="2 2"\nC=3\n', LOCAL).text + "D=plain\nE=plain\n"
    edit = open_to_edit(text, LOCAL)
    edited = edit.shown.replace("C=3", "C=33").replace("A=1", "A='1'").replace("E=plain", "E=more") + "F=6\n"
    outcome = close_edited(edit, edited, LOCAL, wanted=lambda name: name != "E")
    assert outcome.names == ("C", "F")
    assert difference(text, outcome.text) == ["- C", "+ C", "- E", "+ E", "+ F"]
    assert opened(outcome.text) == {"A": "1", "B": "2 2", "C": "33", "D": "plain", "E": "more", "F": "6"}
    assert lines(outcome.text)["E"] == "more"
    # moved, renamed and removed
    edit = open_to_edit(outcome.text, LOCAL)
    bindings = edit.shown.splitlines(keepends=True)
    moved = "".join(bindings[-1:] + bindings[:-2]).replace("B=", "BB=")
    done = close_edited(edit, moved, LOCAL)
    assert done.names == ("BB", "B", "E")
    assert lines(done.text)["F"] == lines(outcome.text)["F"]
    assert opened(done.text) == {"F": "6", "A": "1", "BB": "2 2", "C": "33", "D": "plain"}


def test_edits_of_key_entries():
    """A key entry whose comment was deleted comes back while values need it, and goes with the last of them."""
    text = encrypt("A=1\nB=2\n", LOCAL).text
    edit = open_to_edit(text, LOCAL)
    kept = close_edited(edit, "B=2\n", NOBODY)
    assert opened(kept.text) == {"B": "2"}
    assert kept.text.endswith(text.splitlines(keepends=True)[-1])
    assert close_edited(edit, "# nothing\n", NOBODY).text == "# nothing\n"
    empty = open_to_edit("", LOCAL)
    assert opened(close_edited(empty, "A=1", LOCAL).text) == {"A": "1"}
    two = open_to_edit("A=1\nA=2\n", LOCAL)
    assert lines(close_edited(two, "A=2\n", LOCAL).text) == {"A": "2"}


def test_edits_that_cannot_be_saved():
    """A text that cannot be parsed, a pasted sealed value and a local key are refused, with their names or lines."""
    text = encrypt("A=1\n", LOCAL).text
    edit = open_to_edit(text, LOCAL)
    with pytest.raises(FileError, match=r"line 2 of \.env cannot be parsed"):
        close_edited(edit, "A=1\nnot a line\n", LOCAL)
    with pytest.raises(ConflictError, match="A: the value is sealed already"):
        close_edited(edit, text, LOCAL)
    with pytest.raises(PolicyError, match="local key"):
        close_edited(edit, f"ENCENV_LOCAL_KEY={KEY_TEXT}\n", LOCAL)
    with pytest.raises(KeyUnreachableError):
        open_to_edit(encrypt("A=1\n", OTHER).text, LOCAL)


# --- rewrap ------------------------------------------------------------------------------------------------------


@given(text=FILES)
@settings(max_examples=40, deadline=None)
def test_rewrap_round_trip(text):
    """A wrapping key is added and the first removed: values keep their bytes and open with the other one."""
    before = encrypt(f"A=1\n{text}", LOCAL).text
    writer = Writer(environ={}, providers=[BOTH_KEYS])
    added = rewrap(before, writer, add=[THEIRS])
    assert (added.added, added.removed, added.refreshed) == ((THEIRS,), (), ())
    assert opened(added.text, OTHER_KEYS) == opened(added.text, KEYS) == opened(before)
    removed = rewrap(added.text, writer, remove=[MINE])
    assert (removed.added, removed.removed, removed.refreshed) == ((), (MINE,), ())
    assert opened(removed.text, OTHER_KEYS) == opened(before)
    assert [b.text for b in parse(removed.text).bindings if not entry_kid(b.name or "")] == [
        b.text for b in parse(before).bindings if not entry_kid(b.name or "")
    ]


def test_rewrap_refuses():
    """The last copy stays; what has no copy, or is not the only one, is not removed; no entry is an error."""
    text = encrypt("A=1\n", LOCAL).text
    both = Writer(environ={}, providers=[BOTH_KEYS])
    with pytest.raises(PolicyError, match="no wrapping key would be left"):
        rewrap(text, both, remove=[MINE])
    with pytest.raises(ConflictError, match="no copy under"):
        rewrap(text, both, remove=[THEIRS])
    two = rewrap(text, both, add=[THEIRS]).text
    with pytest.raises(ConflictError, match="2 local keys"):
        rewrap(two, both, remove=[KeyName("local", "")])
    with pytest.raises(KeyEntryError, match="no key entry"):
        rewrap("A=1\n", both, add=[MINE])
    with pytest.raises(MalformedError):
        rewrap(text.replace("=1:", "=1:x", 1), both)
    with pytest.raises(PolicyError, match="no wrapping key would be left"):
        rewrap(two, both, remove=[MINE, THEIRS])


def test_a_changed_context_is_every_copys():
    """Another context wraps every copy anew or fails; a refresh leaves what it cannot reach, and says so."""
    both = Writer(environ={}, providers=[BOTH_KEYS])
    text = rewrap(encrypt("A=1\n", LOCAL).text, both, add=[THEIRS]).text
    stage = (("stage", "dev"),)
    done = rewrap(text, dataclasses.replace(both, context=stage))
    assert entries(done.text)[0].context == stage
    assert {*done.refreshed} == {MINE, THEIRS}
    assert opened(done.text, KEYS) == opened(done.text, OTHER_KEYS) == {"A": "1"}
    with pytest.raises(KeyUnreachableError, match=OTHER_ID):
        rewrap(text, dataclasses.replace(UNNAMED, context=stage))
    refreshed = rewrap(text, UNNAMED)
    assert refreshed.refreshed == (MINE,)
    assert [key for key, _ in refreshed.stale] == [THEIRS]
    assert opened(refreshed.text, OTHER_KEYS) == {"A": "1"}
    with pytest.raises(KeyUnreachableError):
        rewrap(text, NOBODY)


def test_kms_keeps_the_data_key(encenv_kms, encenv_kms_key):
    """Within a region ReEncrypt is all that is asked for; between regions the data key has to come here."""
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
def planted(encenv_kms, encenv_kms_key):
    """Give a file that somebody who cannot open it has changed: beside the one copy stands one under a key of his own."""
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


def reads(text, key):
    """Return whether who has the wrapping key *key*, and no other, opens a value of *text*."""
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
def test_a_planted_copy_never_becomes_a_true_one(encenv_kms, encenv_kms_key, planted, kind):
    """A copy that somebody put into a key entry is not made to open it, and no new data key is wrapped under its key."""
    probe = encenv_kms.create_key()
    text, theirs = planted(bytes(184))
    if kind != "junk":
        text, theirs = planted(AwsKms().generate(theirs, {"encenv": "1"})[1].wrapped)
    mine = Writer((KeyName.parse(encenv_kms_key),))
    for writer in (Writer(), mine):
        assert not reads(rewrap(text, writer).text, theirs)
        added = rewrap(text, mine, add=[KeyName.parse(probe)]).text
        assert not reads(added, theirs)
        assert reads(added, probe)
    moved = rewrap(text, Writer(), add=[KeyName.parse(probe)], remove=[KeyName.parse(encenv_kms_key)]).text
    assert reads(moved, probe)  # the copy that goes is one that somebody named: that one is the source
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
    """Data keys under different wrapping keys get no other one while somebody has yet to say that these belong there."""
    theirs, new = (encenv_kms.create_key() for _ in range(2))
    mine, planter = (Writer((KeyName.parse(key),)) for key in (encenv_kms_key, theirs))
    text = encrypt("A=1\n", mine).text + encrypt("B=2\n", planter).text
    for writer in (Writer(), mine):
        with pytest.raises(ConflictError, match=f"nobody named aws-kms:{theirs if writer.keys else ''}"):
            rewrap(text, writer, add=[KeyName.parse(new)])
    named = dataclasses.replace(mine, keys=(*mine.keys, *planter.keys))
    assert all(len(entry.items) == 2 for entry in entries(rewrap(text, named, add=[KeyName.parse(new)]).text))
    # A contributor's data key is under the same wrapping keys, and goes along.
    encenv_kms.deny("Decrypt")
    contributed = set_value(encrypt("A=1\n", mine).text, "C", "3", Writer()).text
    encenv_kms.heal()
    done = entries(rewrap(contributed, Writer(), add=[KeyName.parse(new)]).text)
    assert [len(entry.items) for entry in done] == [2, 2]
    assert [bool(entry.context) for entry in done] == [False, True]


@pytest.mark.parametrize("failing", ["junk", "denied"])
def test_only_a_denial_makes_a_contributor(encenv_kms, encenv_kms_key, failing):
    """Who is denied contributes; where one copy is damaged as well, nobody seals: somebody changed the entry."""
    other = encenv_kms.create_key()
    both = Writer((KeyName.parse(encenv_kms_key), KeyName.parse(other)))
    text = encrypt("A=1\n", both).text
    (entry,) = entries(text)
    if failing == "junk":
        items = (entry.items[0], entry.items[1]._replace(wrapped=bytes(184)))
        text = text.replace(str(entry), str(entry._replace(items=items)))
        encenv_kms.deny("Decrypt", key=encenv_kms_key)
        clear_cache()
        error = caught(lambda: set_value(text, "B", "2", both))
        assert type(error) is KeyRefusedError
    else:
        encenv_kms.deny("Decrypt")
        assert ("encenv-add", "1") in set_value(text, "B", "2", both).entry.context


def test_entries_of_one_data_key_are_rewrapped_together():
    """Where two entries of one data key stand in a file, a copy is removed from either, and an empty one goes."""
    both = Writer(environ={}, providers=[BOTH_KEYS])
    text = rewrap(encrypt("A=1\n", LOCAL).text, both, add=[THEIRS]).text
    (entry,) = entries(text)
    halves = [entry._replace(items=(item,)) for item in entry.items]
    split = "".join(f"{half.name}={half}\n" for half in halves) + f"A={lines(text)['A']}\n"
    outcome = rewrap(split, both, remove=[MINE])
    assert entries(outcome.text) == [halves[1]]
    assert opened(outcome.text, OTHER_KEYS) == {"A": "1"}
