"""A .env file that a verb rewrites, and what is said of the outcome."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from encenv.cli.files import place, read_text, target
from encenv.cli.options import STANDARD_INPUT
from encenv.cli.terminal import say, write
from encenv.files.atomic import create, edit_file
from encenv.files.encrypt import EncryptResult
from encenv.files.rewrap import RewrapResult
from encenv.files.text import decode
from encenv.format.sealed import ADDED_BY_WRITER, KeyEntry

FILE_MODE = 0o644  # less the umask: what is in the file is encrypted, and is meant to be committed
T = TypeVar("T", EncryptResult, RewrapResult)


def rewrite(path: str, change: Callable[[str], T]) -> T:
    """Replace the text of the file *path* by what *change* makes of it; return the outcome.

    For ``-`` standard input is read and standard output written.
    """
    if path == STANDARD_INPUT:
        outcome = change(read_text(path))
        write(outcome.text.encode())
    else:
        with edit_file(path) as file:
            outcome = change(decode(file.data, place(path)))
            file.replace(outcome.text.encode())
    return outcome


def rewrite_or_create(path: str, change: Callable[[str], T]) -> T:
    """Do as `rewrite`; a file that does not exist is created, as if it were empty."""
    if is_there(path):
        return rewrite(path, change)
    outcome = change("")
    create(path, outcome.text.encode(), FILE_MODE)
    return outcome


def is_there(path: str) -> bool:
    """Return whether there is a file *path*; a link that leads nowhere is one that cannot be read."""
    return path == STANDARD_INPUT or Path(path).exists() or Path(path).is_symlink()


def report(path: str, what: str, outcome: EncryptResult) -> None:
    """Say *what* was done to the file *path*, and with which keys."""
    where = target(path)
    if outcome.entry is None:
        say(f"{where}: {what}")
        return
    key = "new data key under" if outcome.is_new else "key"
    say(f"{where}: {what} ({key} {', '.join(sorted(key_texts(outcome.entry)))})")
    if outcome.is_new and ADDED_BY_WRITER in outcome.entry.context:
        say(f"{where}: added as a contributor, because you may not decrypt; encenv rotate merges it")


def key_texts(entry: KeyEntry) -> set[str]:
    """Return the wrapping keys of *entry*, as a person reads them."""
    return {f"{item.provider}:{item.reference}" for item in entry.items}
