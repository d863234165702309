"""What the verbs that rewrite files share: the options that name keys, the rewriting itself, and how it is told."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from encenv.cli.files import place, read_text
from encenv.cli.options import FILE, STANDARD_INPUT, Misuse
from encenv.cli.terminal import say, write
from encenv.errors import EncenvError, MalformedError
from encenv.files.atomic import create, edit_file
from encenv.files.encrypt import Rewritten
from encenv.files.key_names import KeyName, Pairs, parse_context, parse_keys
from encenv.files.text import decode, printable
from encenv.format.sealed import ADDED_BY_WRITER, KeyEntry

FILE_MODE = 0o644  # less the umask: what is in the file is encrypted, and is meant to be committed
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def key_option(*names: str, text: str) -> Callable[[F], F]:
    """Add an option that names wrapping keys; *text* is its help."""
    return click.option(*names, metavar="KEY", multiple=True, callback=_parsed_keys, help=text)


def context_option(text: str) -> Callable[[F], F]:
    """Add ``--context``, None if it is not given; *text* is its help."""
    return click.option("--context", metavar="KEY=VALUE", multiple=True, callback=_parsed_context, help=text)


def key_options(command: F) -> F:
    """Add ``--key`` and ``--context``: what to encrypt with."""
    command = context_option("Add a pair to the encryption context.")(command)
    return key_option("--key", "keys", text="Encrypt with KEY; repeat it for several keys.")(command)


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


def _parsed_keys(_: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> tuple[KeyName, ...]:
    try:
        return parse_keys(texts)
    except MalformedError as error:
        misuse = Misuse(f"{option.opts[0]}: {error.message}", error.hint)
    raise misuse


def _parsed_context(_: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> Pairs | None:
    for text in texts:
        if "=" not in text:
            raise click.UsageError(f"{option.opts[0]}: {text!r} is not KEY=VALUE")
    try:
        return parse_context(text.partition("=")[::2] for text in texts) or None
    except MalformedError as error:
        misuse = Misuse(f"{option.opts[0]}: {error.message}", error.hint)
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
        with edit_file(path) as file:
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
