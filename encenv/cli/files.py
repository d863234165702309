"""The .env files that a command is given: read whole and understood whole, or an error that names every bad line."""

from encenv.cli.options import STANDARD_INPUT
from encenv.cli.terminal import read as read_standard_input
from encenv.errors import EncenvError, FileError, combine
from encenv.files.document import EnvFile, parse
from encenv.files.read import read
from encenv.files.text import decode, printable
from encenv.format.sealed import LOCAL_KEY_NAME
from encenv.keys.entries import local_key_beside_values


def read_text(path: str) -> str:
    """Return the text of the file *path*, or of standard input for ``-``, newlines untranslated.

    Raises:
        FileError: If it cannot be read, or is not UTF-8.
    """
    data = read_standard_input() if path == STANDARD_INPUT else read(path)
    return decode(data, place(path))


def place(path: str) -> str:
    """Return what to call the file *path* in messages."""
    return "standard input" if path == STANDARD_INPUT else printable(path)


def parsed(text: str, where: str) -> EnvFile:
    """Return the lines of the .env file *text*.

    Raises:
        EncenvError: If there is a line that cannot be parsed, or a local key. All of them are reported together.
    """
    file = parse(text)
    failures: list[EncenvError] = [
        FileError(
            f"line {binding.line} of {where} cannot be parsed",
            hint="write it as NAME=value, with quotes round values that need them, or as a # comment",
        )
        for binding in file.bindings
        if binding.error
    ]
    if any(binding.name == LOCAL_KEY_NAME and binding.value for binding in file.bindings):
        failures.append(local_key_beside_values(where))
    if failures:
        raise combine(failures, whole="the file", done="read")
    return file
