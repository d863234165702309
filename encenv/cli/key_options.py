"""What the verbs that rewrite files share: the options that name keys, the rewriting itself, and how it is told."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from encenv.cli.files import STANDARD_INPUT, place, read_text
from encenv.cli.options import FILE
from encenv.cli.terminal import say, write
from encenv.errors import EncenvError, MalformedError
from encenv.files.atomic import create, rewriting
from encenv.files.data_key_choice import Pairs
from encenv.files.encrypt import KeyName, Rewritten
from encenv.files.text import decode, printable
from encenv.format.sealed import ADDED_BY_WRITER, KeyEntry, check_context

FILE_MODE = 0o644  # less the umask: what is in the file is encrypted, and is meant to be committed
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class Misuse(click.UsageError):
    """A wrong call, with what to do about it."""

    def __init__(self, error: EncenvError, option: str) -> None:
        super().__init__(f"{option}: {error.message}")
        self.hint = error.hint


def key_options(command: F) -> F:
    """Add ``--key`` and ``--context``."""
    command = click.option(
        "--context", metavar="KEY=VALUE", multiple=True, help="A pair of the encryption context."
    )(command)
    return click.option(
        "--key", "keys", metavar="KEY", multiple=True, help="A wrapping key; repeat it for several."
    )(command)


def file_option(command: F) -> F:
    """Add ``-f``: the one file that the verb is about."""
    return click.option(
        "-f",
        "--file",
        metavar="FILE",
        default=".env",
        type=FILE,
        show_default=True,
        help="The file; - is a pipe.",
    )(command)


def keys_of(texts: tuple[str, ...], option: str = "--key") -> tuple[KeyName, ...]:
    """Return the wrapping keys that the *option* names."""
    try:
        return tuple(dict.fromkeys(KeyName.parse(text) for text in texts))
    except MalformedError as error:
        misuse = Misuse(error, option)
    raise misuse


def context_of(texts: tuple[str, ...]) -> Pairs | None:
    """Return the encryption context that ``--context`` says; None if it says nothing."""
    pairs = []
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"--context: {text!r} is not KEY=VALUE")
        if (key, value) == ADDED_BY_WRITER:
            raise click.UsageError(f"--context: {text} is encenv's own")
        pairs.append((key, value))
    try:
        check_context(tuple(pairs), where="the encryption context")
    except MalformedError as error:
        misuse = Misuse(error, "--context")
    else:
        return tuple(pairs) if pairs else None
    raise misuse


def rewrite(
    path: str, change: Callable[[str], tuple[str, T]], *, make: bool = False, among: Sequence[str] = ()
) -> T:
    """Replace the text of the file *path* by the first of what *change* returns; return the second.

    Args:
        path: The file; for ``-`` standard input is read and standard output written.
        change: What makes a new text of the old one.
        make: Whether a file that does not exist is made, as if it were empty.
        among: The files of the whole call; if they are several, an error names the one.
    """
    try:
        return _rewrite(path, change, make=make)
    except EncenvError as error:
        if len(among) <= 1 or place(path) in error.message:
            raise
        failure = type(error)(f"{place(path)}: {error.message}", hint=error.hint, variables=error.variables)
    raise failure


def _rewrite(path: str, change: Callable[[str], tuple[str, T]], *, make: bool) -> T:
    if path == STANDARD_INPUT:
        text, outcome = change(read_text(path))
        write(text.encode())
    elif make and not Path(path).exists() and not Path(path).is_symlink():
        text, outcome = change("")
        create(path, text.encode(), FILE_MODE)
    else:
        with rewriting(path) as file:
            text, outcome = change(decode(file.data, place(path)))
            file.replace(text.encode())
    return outcome


def report(path: str, what: str, outcome: Rewritten) -> None:
    """Say what was done to the file *path*, and under which data key."""
    where = "standard output" if path == STANDARD_INPUT else printable(path)
    if outcome.entry is None:
        say(f"{where}: {what}")
        return
    new = "new data key" if outcome.is_new else "data key"
    say(f"{where}: {what} under {new} {outcome.entry.kid} ({under(outcome.entry)})")
    if outcome.is_new and ADDED_BY_WRITER in outcome.entry.context:
        say(
            f"{where}: it is a contributor's, for decrypting is not permitted here; encenv rotate folds it in"
        )


def under(entry: KeyEntry) -> str:
    """Return the wrapping keys of *entry* as a person reads them."""
    return ", ".join(f"{item.provider}:{item.reference}" for item in entry.items)


def count(number: int, what: str = "value") -> str:
    """Return how many, in words."""
    return f"1 {what}" if number == 1 else f"{number} {what}s"
