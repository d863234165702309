"""Options that name wrapping keys and an encryption context."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from encenv.cli.options import Misuse
from encenv.errors import MalformedError
from encenv.files.key_names import KeyName, Pairs, parse_context, parse_keys

F = TypeVar("F", bound=Callable[..., Any])


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
