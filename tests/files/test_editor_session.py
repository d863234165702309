"""encenv.files.editor_session: a whole file edited by hand, and what its encrypted form becomes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.encrypted_files import (
    FILES,
    KEY_TEXT,
    LOCAL,
    OTHER,
    WITHOUT_KEYS,
    decrypted,
    difference,
    lines,
)

from encenv import (
    ConflictError,
    FileError,
    KeyUnreachableError,
    PolicyError,
)
from encenv.files.editor_session import finish_edit, start_edit
from encenv.files.encrypt import encrypt

pytest_plugins = ["encenv.testing"]


@given(text=FILES, plain=st.booleans())
@settings(max_examples=60, deadline=None)
def test_unedited_lines_keep_their_bytes(text, plain):
    """A file saved without changes is the same bytes, and an added comment is the only difference."""
    before = encrypt(text, LOCAL).text + ("P='plain' # p\n" if plain else "")
    edit = start_edit(before, LOCAL)
    assert "encenv:1:" not in edit.draft
    assert {**lines(edit.draft)} == decrypted(before)
    assert finish_edit(edit, edit.draft, WITHOUT_KEYS).text == before
    added = finish_edit(edit, edit.draft + "# more\n", WITHOUT_KEYS)
    assert added.text == before + "# more\n"
    assert added.names == ()


def test_edits():
    """Changed and new values are encrypted under the present data key; the other lines keep place and bytes."""
    text = encrypt('# top\n\nA=1  # one\nB="2 2"\nC=3\n', LOCAL).text + "D=plain\nE=plain\n"
    edit = start_edit(text, LOCAL)
    edited = edit.draft.replace("C=3", "C=33").replace("A=1", "A='1'").replace("E=plain", "E=more") + "F=6\n"
    outcome = finish_edit(edit, edited, LOCAL, must_encrypt=lambda name: name != "E")
    assert outcome.names == ("C", "F")
    assert difference(text, outcome.text) == ["- C", "+ C", "- E", "+ E", "+ F"]
    assert decrypted(outcome.text) == {"A": "1", "B": "2 2", "C": "33", "D": "plain", "E": "more", "F": "6"}
    assert lines(outcome.text)["E"] == "more"
    # moved, renamed and removed
    edit = start_edit(outcome.text, LOCAL)
    bindings = edit.draft.splitlines(keepends=True)
    moved = "".join(bindings[-1:] + bindings[:-2]).replace("B=", "BB=")
    done = finish_edit(edit, moved, LOCAL)
    assert done.names == ("BB", "B", "E")
    assert lines(done.text)["F"] == lines(outcome.text)["F"]
    assert decrypted(done.text) == {"F": "6", "A": "1", "BB": "2 2", "C": "33", "D": "plain"}


def test_edits_of_key_entries():
    """A key entry whose comment was deleted is restored while values need it, and dropped with the last one."""
    text = encrypt("A=1\nB=2\n", LOCAL).text
    edit = start_edit(text, LOCAL)
    kept = finish_edit(edit, "B=2\n", WITHOUT_KEYS)
    assert decrypted(kept.text) == {"B": "2"}
    assert kept.text.endswith(text.splitlines(keepends=True)[-1])
    assert finish_edit(edit, "# nothing\n", WITHOUT_KEYS).text == "# nothing\n"
    empty = start_edit("", LOCAL)
    assert decrypted(finish_edit(empty, "A=1", LOCAL).text) == {"A": "1"}
    two = start_edit("A=1\nA=2\n", LOCAL)
    assert lines(finish_edit(two, "A=2\n", LOCAL).text) == {"A": "2"}


def test_edits_that_cannot_be_saved():
    """A line that cannot be parsed, a pasted sealed value and a local key are refused, with line or name."""
    text = encrypt("A=1\n", LOCAL).text
    edit = start_edit(text, LOCAL)
    with pytest.raises(FileError, match=r"line 2 of \.env cannot be parsed"):
        finish_edit(edit, "A=1\nnot a line\n", LOCAL)
    with pytest.raises(ConflictError, match="A: the value is encrypted already"):
        finish_edit(edit, text, LOCAL)
    with pytest.raises(PolicyError, match="local key"):
        finish_edit(edit, f"ENCENV_LOCAL_KEY={KEY_TEXT}\n", LOCAL)
    with pytest.raises(KeyUnreachableError):
        start_edit(encrypt("A=1\n", OTHER).text, LOCAL)
