"""The files that a command is given and the text that it writes: ``-`` is standard input, or standard output."""

from collections.abc import Callable, Sequence

from encenv.cli.options import STANDARD_INPUT, STANDARD_OUTPUT
from encenv.cli.terminal import progress, read_standard_input, write
from encenv.errors import EncenvError, FileError, combine
from encenv.files.atomic import PRIVATE, create
from encenv.files.disk import read
from encenv.files.document import UNPARSED_HINT, EnvFile, parse
from encenv.files.text import NOT_UTF8_HINT, decode, printable
from encenv.format.sealed import LOCAL_KEY_NAME
from encenv.keys.entries import local_key_beside_values


def read_text(path: str, hint: str = NOT_UTF8_HINT) -> str:
    """Return the text of the file *path*, with newlines unchanged.

    Raises:
        FileError: If it cannot be read, or is not UTF-8; then *hint* says what to do.
    """
    # Without a name for the bytes: the error would keep them with this frame.
    return decode(read_standard_input() if path == STANDARD_INPUT else read(path), place(path), hint=hint)


def write_text(path: str, text: str, mode: int = PRIVATE) -> None:
    """Write *text* to the new file *path*.

    Raises:
        EncenvError: If it exists already or cannot be written.
        OSError: If standard output cannot be written.
    """
    data = text.encode("utf-8", "surrogateescape")
    if path == STANDARD_OUTPUT:
        write(data)
    else:
        create(path, data, mode)


def place(path: str) -> str:
    """Return what to call the file *path* in messages."""
    return "standard input" if path == STANDARD_INPUT else printable(path)


def target(path: str) -> str:
    """Return what to call the file *path* that was written in messages."""
    return "standard output" if path == STANDARD_OUTPUT else printable(path)


def for_each_file(files: Sequence[str], doing: str, act: Callable[[str], None]) -> None:
    """Call *act* with each of *files*; if there are several, an error names its file."""
    for path in progress(files, doing):
        try:
            act(path)
        except EncenvError as error:
            if len(files) == 1 or place(path) in error.message:
                raise
            failure = type(error)(
                f"{place(path)}: {error.message}", hint=error.hint, variables=error.variables
            )
        else:
            continue
        raise failure


def parse_every_line(text: str, where: str) -> EnvFile:
    """Return the lines of the .env file *text*.

    Raises:
        EncenvError: If there is a line that cannot be parsed, or a local key. All of them are reported together.
    """
    file = parse(text)
    failures: list[EncenvError] = [
        FileError(f"line {binding.line} of {where} cannot be parsed", hint=UNPARSED_HINT)
        for binding in file.bindings
        if binding.error
    ]
    if any(binding.name == LOCAL_KEY_NAME and binding.value for binding in file.bindings):
        failures.append(local_key_beside_values(where))
    if failures:
        raise combine(failures, whole="the file", done="read")
    return file
