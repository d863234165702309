"""Keys are written into pyproject.toml: every other byte stays, and each comment stays with its table."""

import tomllib

import pytest

from encenv.errors import FileError
from encenv.policy.project import write_keys

LINE = 'keys = ["local:AAAAAAAA"]'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", f"[tool.encenv]\n{LINE}\n"),
        ("[tool.x]\r\nx = 1", f"[tool.x]\r\nx = 1\r\n\r\n[tool.encenv]\r\n{LINE}\r\n"),
        (
            '[tool.encenv]  # ours\nplain = ["A"]\n\n# about x\n[tool.x]\n',
            f'[tool.encenv]  # ours\n{LINE}\nplain = ["A"]\n\n# about x\n[tool.x]\n',
        ),
        ("[tool.encenv]", f"[tool.encenv]\n{LINE}\n"),
        (
            '[[tool.encenv.environments]]\nfiles = ["a"]\n',
            f'[[tool.encenv.environments]]\nfiles = ["a"]\n\n[tool.encenv]\n{LINE}\n',
        ),
    ],
    ids=["empty", "CRLF", "comments", "no newline", "a table below"],
)
def test_only_the_keys_are_added(tmp_path, before, after):
    """The keys are the first line of the table, in the newlines of the file; nothing else changes."""
    path = tmp_path / "pyproject.toml"
    path.write_bytes(before.encode())
    write_keys(path, ["local:AAAAAAAA"], (), "")
    assert path.read_bytes().decode() == after


def test_a_new_file(tmp_path):
    """Without a pyproject.toml one is made, with the context and a comment for the alias."""
    path = tmp_path / "pyproject.toml"
    write_keys(path, ["arn:x", "arn:y"], (("stage", "test"),), "alias/x")
    text = path.read_text()
    assert text.startswith('[tool.encenv]\nkeys = ["arn:x", "arn:y"]  # alias/x\n')
    assert tomllib.loads(text)["tool"]["encenv"] == {"keys": ["arn:x", "arn:y"], "context": {"stage": "test"}}


@pytest.mark.parametrize(
    "text",
    [
        '[tool]\nencenv = { plain = ["A"] }\n',
        "[tool.encenv]\nkeys = []\n",
        "[tool]\nencenv.plain = []\n",
        "tool = 1\n",
        "[tool.x\n",
        's = """\n[tool.encenv]\n"""\n',
    ],
)
def test_a_file_that_cannot_be_changed(tmp_path, text):
    """If the new lines would mean something else, the file is unchanged and the error says what to write."""
    path = tmp_path / "pyproject.toml"
    path.write_text(text)
    with pytest.raises(FileError) as caught:
        write_keys(path, ["local:AAAAAAAA"], (), "")
    assert caught.value.hint == f"add this yourself: [tool.encenv] with {LINE}"
    assert path.read_text() == text
