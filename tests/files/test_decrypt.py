"""encenv.files.encrypt: decrypt a file, or some of its values, and keep what its other values need."""

import pytest

from encenv.errors import AuthenticationError, FileError, KeyEntryError, LoadError, MalformedError
from encenv.files.document import parse
from encenv.files.edit import get_value
from encenv.files.encrypt import decrypt, encrypt
from encenv.files.key_names import KeyName
from encenv.files.writer import Writer
from encenv.keys.local import TEXT_VARIABLE, generate_key_text

ENVIRON = {TEXT_VARIABLE: generate_key_text()}
WRITER = Writer((KeyName("local", ""),), environ=ENVIRON)
PLAIN = "# top\n\nA=1  # one\nexport B='x y'\nBARE\n"


def sealed(text: str = PLAIN) -> str:
    """Return *text* with its values encrypted."""
    return encrypt(text, WRITER).text


def decrypted(text: str, *names: str) -> str:
    """Return *text* with the values of *names* decrypted, or all values."""
    return str(decrypt(parse(text), ENVIRON, lambda name: not names or name in names))


def test_all_values():
    """All values are decrypted, the key entry is dropped, and every other byte is the original's."""
    assert decrypted(sealed()) == PLAIN


def test_some_values():
    """The other values stay encrypted, with their key entry."""
    text = decrypted(sealed(), "A")
    assert "A=1  # one\n" in text
    assert "ENCENV_KEY_" in text
    assert decrypted(text) == PLAIN


def test_another_value_that_is_damaged():
    """A value that is not decrypted may be damaged: it stays, with its key entry."""
    text = sealed("A=1\nB=2\n")[:-20] + "\n"
    assert decrypted(text, "A") == text.replace(text.splitlines()[1], "A=1")


def test_drops_only_unused_key_entries():
    """Of two data keys, the one whose values are all decrypted loses its key entry."""
    text = sealed("A=1\n") + sealed("B=2\n")
    first = decrypted(text, "A")
    assert first.startswith("A=1\nENCENV_KEY_")
    assert first.count("ENCENV_KEY_") == 1
    assert decrypted(first) == "A=1\nB=2\n"


def test_key_entry_in_the_environment():
    """A key entry of the process environment opens values that are in the file without one."""
    entry, value = sealed("A=1\n").splitlines(keepends=True)
    name, _, content = entry.strip().partition("=")
    assert str(decrypt(parse(value), ENVIRON | {name: content}, lambda _: True)) == "A=1\n"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda text: text.replace("\nA=", "\nOTHER="), AuthenticationError),
        (lambda text: text.partition("\n")[2], KeyEntryError),
        (lambda text: text + f"X='see {text.split('A=')[1].strip()}'\n", MalformedError),
    ],
    ids=["renamed", "no-key-entry", "embedded"],
)
def test_refuses(change, error):
    """A value that cannot be decrypted is an error, for the whole file and for the value alone."""
    text = change(sealed("A=secret1\n"))
    name = next(b.name for b in reversed(parse(text).bindings) if b.name != "A" or error is KeyEntryError)
    with pytest.raises(error, match=name) as caught:
        decrypted(text)
    assert "secret1" not in str(caught.value)
    with pytest.raises(error, match=name):
        get_value(text, name, ".env", ENVIRON)


def test_reports_all_failures():
    """All values that cannot be decrypted are in one error."""
    text = sealed("A=1\nB=2\n").replace("\nA=", "\nC=") + "D=encenv:1:ABCDEFGH:" + "A" * 40 + "\n"
    with pytest.raises(LoadError, match="2 variables cannot be decrypted") as caught:
        decrypted(text)
    assert caught.value.variables == ("C", "D")


def test_one_value():
    """The value is that of the last line of its name; another value under another key does not matter."""
    text = sealed("A=1\n") + "A=2\n" + sealed("B=3\n")
    assert get_value(text, "A", ".env", ENVIRON) == "2"
    assert get_value(text, "B", ".env", ENVIRON) == "3"
    assert get_value(sealed("A=1\n") + "B=encenv:1:broken\n", "A", ".env", ENVIRON) == "1"


def test_one_value_that_is_absent():
    """An unknown name is answered with similar ones; a line without "=" has no value."""
    text = sealed("DATABASE_URL=1\n") + "BARE\n"
    with pytest.raises(FileError, match="there is no variable DATABASE_URI in \\.env") as caught:
        get_value(text, "DATABASE_URI", ".env", ENVIRON)
    assert caught.value.hint == "did you mean DATABASE_URL?"
    with pytest.raises(FileError, match="BARE has no value"):
        get_value(text, "BARE", ".env", ENVIRON)
