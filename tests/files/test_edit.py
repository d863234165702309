"""encenv.files.edit: set, unset and rename one variable, and change nothing else in the file."""

import pytest
from hypothesis import given, settings
from support.canary import CANARY, assert_silent, caught
from support.encrypted_files import (
    FILES,
    LOCAL,
    NAMES,
    UNNAMED,
    VALUES,
    WITHOUT_KEYS,
    decrypted,
    difference,
    entries,
    lines,
)

from encenv import (
    AuthenticationError,
    ConflictError,
    EncenvError,
    FileError,
    MalformedError,
    clear_cache,
)
from encenv.files.document import parse
from encenv.files.edit import rename, set_value, unset
from encenv.files.editor_session import finish_edit, start_edit
from encenv.files.encrypt import encrypt, rotate

pytest_plugins = ["encenv.testing"]


@given(text=FILES, name=NAMES, value=VALUES, again=VALUES)
@settings(max_examples=60, deadline=None)
def test_set_and_unset_round_trip(text, name, value, again):
    """set_value sets one value and leaves the others; unset restores the file."""
    before = encrypt(text, LOCAL).text
    first = set_value(before, name, value, LOCAL).text
    assert decrypted(first) == decrypted(before) | {name: value}
    second = set_value(first, name, again, LOCAL).text
    assert decrypted(second) == decrypted(before) | {name: again}
    changed = [a for a, b in zip(first.split("\n"), second.split("\n"), strict=True) if a != b]
    assert len(changed) == (0 if value == again else 1)
    gone = unset(second, [name]).text
    assert decrypted(gone) == {other: text for other, text in decrypted(before).items() if other != name}
    if name not in {binding.name for binding in parse(before).bindings}:
        assert gone == before


def test_set_changes_one_line():
    """Setting a value changes its line only, and adds the key entry above it the first time."""
    text = "# top\n\nexport A = '1'  # one\nB=2\n"
    first = set_value(text, "A", "x", LOCAL)
    assert difference(text, first.text) == ["- export A ", f"+ {first.entry.name}", "+ export A "]
    assert first.text.endswith("  # one\nB=2\n")
    assert first.is_new
    added = set_value(first.text, "C", "y", UNNAMED)
    assert difference(first.text, added.text) == ["+ C"]
    changed = set_value(added.text, "A", "z", LOCAL)
    assert difference(added.text, changed.text) == ["- export A ", "+ export A "]
    assert decrypted(changed.text) == {"A": "z", "B": "2", "C": "y"}
    assert set_value(changed.text, "A", "z", LOCAL).text == changed.text


def test_set_in_unusual_places():
    """The last of several lines counts, a bare name gets a value, and a missing last newline is added."""
    assert decrypted(set_value("A=1\nA=2\n", "A", "x", LOCAL).text) == {"A": "x"}
    assert set_value("A=1\nA=2\n", "A", "x", LOCAL).text.startswith("A=1\n")
    assert decrypted(set_value("A\nB=1\n", "A", "x", LOCAL).text) == {"A": "x", "B": "1"}
    assert set_value("B=1", "A", "x", LOCAL).text.startswith("B=1\nENCENV_KEY_")
    crlf = set_value("B=1\r\n", "A", "x", LOCAL).text
    assert crlf.count("\r\n") == crlf.count("\n") == 3


def test_set_replaces_a_broken_value():
    """A value that is damaged or lost its key entry can be set again; other broken values stop the writer."""
    text = encrypt("A=1\nB=2\n", LOCAL).text
    broken = text.replace(lines(text)["A"], "encenv:1:AAAAAAAA:short")
    assert decrypted(set_value(broken, "A", "x", LOCAL).text) == {"A": "x", "B": "2"}
    with pytest.raises(MalformedError, match="A: "):
        set_value(broken, "B", "x", LOCAL)
    renamed = text.replace("\nA=", "\nX=")
    assert decrypted(set_value(renamed, "X", "x", LOCAL).text) == {"X": "x", "B": "2"}
    with pytest.raises(AuthenticationError, match="X: "):
        set_value(renamed, "B", "x", LOCAL)
    lost = f"A={lines(text)['A']}\n"
    assert decrypted(set_value(lost, "A", "x", LOCAL).text) == {"A": "x"}


@pytest.mark.parametrize(
    "name", ["", "A B", "A=B", "1A", "ENCENV_LOCAL_KEY", "ENCENV_KEY_AAAAAAAA", "A\n", "#A"]
)
def test_an_invalid_name(name):
    """A text that is not a name, and the name of a key, can be neither set nor renamed to."""
    for act in (
        lambda: set_value("A=1\n", name, CANARY, LOCAL),
        lambda: rename("A=1\n", "A", name, LOCAL),
    ):
        error = caught(act)
        assert isinstance(error, MalformedError | ConflictError)


def test_errors_are_silent():
    """The errors of all edits hold no value."""
    text = encrypt(f"A={CANARY}\nB=2\n", LOCAL).text
    broken = text.replace("\nB=", "\nX=")
    shown = start_edit(text, LOCAL)
    for act in (
        lambda: set_value(broken, "A", CANARY, LOCAL),
        lambda: set_value(text, "A", CANARY + "\0", LOCAL),
        lambda: rename(broken, "A", "C", LOCAL),
        lambda: rotate(broken, LOCAL),
        lambda: start_edit(broken, LOCAL),
        lambda: finish_edit(shown, f"{CANARY} {CANARY}\n", LOCAL),
        lambda: finish_edit(shown, f"A={CANARY}encenv:1:AAAAAAAA:\n", LOCAL),
    ):
        clear_cache()
        error = caught(act)
        assert isinstance(error, EncenvError)
        assert_silent(error.with_traceback(None), CANARY)


def test_unset_drops_an_unused_key_entry():
    """A key entry is dropped with its last value, but not while a commented-out value needs it."""
    text = encrypt("A=1\nB=2\n", LOCAL).text
    once = unset(text, ["A"]).text
    assert len(entries(once)) == 1
    assert decrypted(once) == {"B": "2"}
    assert unset(once, ["B"]).text == ""
    commented = text.replace("\nB=", "\n# B=")
    assert len(entries(unset(commented, ["A"]).text)) == 1
    kept = entries(text)[0].name
    with pytest.raises(ConflictError, match="without it they are lost"):
        unset(text, [kept])
    assert unset(text, [kept, "A", "B"]).text == ""
    with pytest.raises(FileError, match="no variable Z"):
        unset(text, ["A", "Z"])


@given(text=FILES, name=NAMES, value=VALUES, new=NAMES)
@settings(max_examples=60, deadline=None)
def test_rename_round_trip(text, name, value, new):
    """A renamed variable keeps its value and place, and can be renamed back."""
    before = set_value(encrypt(text, LOCAL).text, name, value, LOCAL).text
    if new != name and new in {binding.name for binding in parse(before).bindings}:
        with pytest.raises(ConflictError, match="already"):
            rename(before, name, new, LOCAL)
        return
    after = rename(before, name, new, UNNAMED).text
    expected = {new if other == name else other: text for other, text in decrypted(before).items()}
    assert decrypted(after) == expected
    assert [*lines(after)] == [new if other == name else other for other in lines(before)]
    assert decrypted(rename(after, new, name, LOCAL).text) == decrypted(before)


def test_rename_without_a_key():
    """A plain value is renamed without a key, and so is a name that changes only in case."""
    text = encrypt("a=1\n", LOCAL).text + "# why\nB=2 # two\n"
    plain = rename(text, "B", "C", WITHOUT_KEYS)
    assert plain.text == text.replace("B=2", "C=2")
    case = rename(text, "a", "A", WITHOUT_KEYS)
    assert case.text == text.replace("\na=", "\nA=")
    assert decrypted(case.text) == {"A": "1", "B": "2"}
    clear_cache()
    with pytest.raises(EncenvError):
        rename(text, "a", "D", WITHOUT_KEYS)


@pytest.mark.parametrize(
    ("where", "option"), [("my file.env", "-f 'my file.env'"), ("standard input", "-f -")]
)
def test_a_hint_names_the_file(where, option):
    """A command in a hint names the file that the message is about, unless it is the command's default."""
    error = caught(rename, "A=1\nB=2\n", "A", "B", LOCAL, where)
    assert error.hint.endswith(f"encenv unset B {option}")
