"""The files that verbs read, create and rewrite; ``-`` is standard input, or standard output."""

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from encenv.cli.options import STANDARD_INPUT, STANDARD_OUTPUT
from encenv.cli.terminal import progress, read_standard_input, say, write
from encenv.errors import EncenvError, FileError, combine
from encenv.files.atomic import PRIVATE, create, edit_file
from encenv.files.disk import NOT_UTF8_HINT, decode, printable, read
from encenv.files.document import EnvFile, parse, parse_failure
from encenv.files.encrypt import EncryptResult
from encenv.files.rewrap import RewrapResult
from encenv.files.writer import Writer
from encenv.format.sealed import ADDED_BY_WRITER, LOCAL_KEY_NAME, KeyEntry
from encenv.keys.entries import local_key_beside_values

FILE_MODE = 0o644  # before the umask: what is in the file is encrypted, and is meant to be committed
T = TypeVar("T", EncryptResult, RewrapResult)


def place(path: str) -> str:
    """Return what to call the file *path* in messages."""
    return "standard input" if path == STANDARD_INPUT else printable(path)


def for_each_file(files: Sequence[str], doing: str, act: Callable[[str], None]) -> None:
    """Call *act* with each of *files*; if there are several, an error names its file."""
    for path in progress(files, doing):
        try:
            act(path)
        except EncenvError as error:
            if len(files) > 1 and place(path) not in error.message:
                error.message = f"{place(path)}: {error.message}"
            raise


def read_text(path: str, hint: str = NOT_UTF8_HINT) -> str:
    """Return the text of the file *path*, with newlines unchanged; *hint* says what to do if it is not UTF-8."""
    # The bytes get no name here: an error would keep them with this frame.
    return decode(read_standard_input() if path == STANDARD_INPUT else read(path), place(path), hint=hint)


def read_every_line(path: str) -> EnvFile:
    """Return the .env file *path*; a local key in it and lines that cannot be parsed are one EncenvError."""
    file = parse(read_text(path))
    failures: list[EncenvError] = [parse_failure(one, place(path)) for one in file.bindings if one.error]
    if any(binding.name == LOCAL_KEY_NAME and binding.value for binding in file.bindings):
        failures.append(local_key_beside_values(place(path)))
    if failures:
        raise combine(failures, whole="the file", done="read")
    return file


def write_text(path: str, text: str, mode: int = PRIVATE) -> None:
    """Write *text* to *path*, a new file, or to standard output."""
    data = text.encode("utf-8", "surrogateescape")
    if path == STANDARD_OUTPUT:
        write(data)
    else:
        create(path, data, mode)


def exists(path: str) -> bool:
    """Return whether there is a file *path*; a broken link counts as one that cannot be read."""
    return path == STANDARD_INPUT or os.path.lexists(path)


def check_creatable(path: str, writer: Writer, command: str) -> None:
    """Check that the file *path* exists or that a key for it is named; the hint adds a key to *command*."""
    if not writer.keys and not exists(path):
        hint = f"check the path, or create the file by naming a key: {command} --key local"
        raise FileError(f"the file {printable(path)} does not exist", hint=hint)


def rewrite(path: str, change: Callable[[str], T], *, may_create: bool = False) -> T:
    """Replace the text of *path* by what *change* makes of it; ``-`` rewrites standard input to standard output.

    If it *may_create* the file, one that does not exist is created, as if it were empty.
    """
    if path == STANDARD_INPUT:
        outcome = change(read_text(path))
        write(outcome.text.encode())
    elif may_create and not exists(path):
        outcome = change("")
        create(path, outcome.text.encode(), FILE_MODE)
    else:
        with edit_file(path) as file:
            outcome = change(decode(file.data, place(path)))
            file.replace(outcome.text.encode())
    return outcome


def report(path: str, what: str, outcome: EncryptResult) -> None:
    """Say *what* was done to the file *path*, and with which keys."""
    where = "standard output" if path == STANDARD_OUTPUT else printable(path)
    if outcome.entry is None:
        say(f"{where}: {what}")
        return
    key = "new data key under" if outcome.is_new else "key"
    say(f"{where}: {what} ({key} {', '.join(sorted(key_texts(outcome.entry)))})")
    if outcome.is_new and ADDED_BY_WRITER in outcome.entry.context:
        say(f"{where}: added as a contributor, because you may not decrypt; encenv rotate merges it")


def key_texts(entry: KeyEntry) -> set[str]:
    """Return the wrapping keys of *entry*, as a person reads them."""
    return {item.wrapping_key for item in entry.items}
