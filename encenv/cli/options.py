"""Options that several verbs have, each with one meaning."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from encenv.cli.terminal import hush
from encenv.errors import EncenvError
from encenv.files.document import parse
from encenv.files.read import read
from encenv.format.sealed import LOCAL_KEY_NAME, entry_kid

F = TypeVar("F", bound=Callable[..., Any])
STANDARD_INPUT = "-"
_USED_BY = f"{__name__}.standard_input"  # in Context.meta: what uses it in this call


class Misuse(click.UsageError):
    """A wrong call, with what to do about it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def use_standard_input(context: click.Context, user: str) -> None:
    """Note that this call uses standard input for *user*; a second use would get what the first one left: nothing.

    Raises:
        Misuse: If something else uses it already.
    """
    first = context.meta.get(_USED_BY)
    if first is not None:
        raise Misuse(
            f"standard input cannot be used twice: {first} and {user}", "name a file for one of them"
        )
    context.meta[_USED_BY] = user


class _InputFile(click.Path):
    """The path of a file to read, or ``-``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        if path == STANDARD_INPUT and param is not None and ctx is not None and not ctx.resilient_parsing:
            name = (
                param.opts[0] if isinstance(param, click.Option) else param.human_readable_name.strip("[].")
            )
            use_standard_input(ctx, f"{name} {STANDARD_INPUT}")
        return path


# What a path leads to is found out when it is opened; here it is only for shells to complete.
FILE = _InputFile(readable=False, allow_dash=True)
OUTPUT = click.Path(readable=False, allow_dash=True)


def complete_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a variable of the file that the command line names, else of .env."""
    given = ctx.params.get("file") or ctx.params.get("files") or ".env"
    names: dict[str, None] = {}
    for path in (given,) if isinstance(given, str) else given:
        try:
            bindings = parse(read(path).decode("utf-8", "surrogateescape")).bindings
        except EncenvError:
            continue
        names.update((binding.name, None) for binding in bindings if binding.name)
    own = (name for name in names if entry_kid(name) is None and name != LOCAL_KEY_NAME)
    return [name for name in own if name.upper().startswith(incomplete.upper())]


def quiet(command: F) -> F:
    """Add ``-q``: say nothing of what went well."""
    return click.option(
        "-q",
        "--quiet",
        is_flag=True,
        expose_value=False,
        callback=_hush,
        help="Say nothing but warnings and errors.",
    )(command)


def as_json(command: F) -> F:
    """Add ``--json``: the report as one JSON object on standard output, for programs."""
    return click.option("--json", "as_json", is_flag=True, help="Report as JSON.")(command)


def chosen_names(command: F) -> F:
    """Add ``--only`` and ``--except``: globs of the variables that the verb is about."""
    command = click.option(
        "--except",
        "excepted",
        metavar="GLOB",
        multiple=True,
        shell_complete=complete_names,
        help="Leave the variables alone that it matches.",
    )(command)
    return click.option(
        "--only",
        metavar="GLOB",
        multiple=True,
        shell_complete=complete_names,
        help="Only the variables that it matches; repeat it for several.",
    )(command)


def chooser(
    only: tuple[str, ...], excepted: tuple[str, ...], otherwise: Callable[[str], bool] = lambda _: True
) -> Callable[[str], bool]:
    """Return whether a variable is chosen: by ``--only``, else by *otherwise*, and not by ``--except``."""
    # A lazy door: encenv run chooses nothing, and starts sooner without.
    from encenv.policy.rules import matches

    return lambda name: (matches(name, only) if only else otherwise(name)) and not matches(name, excepted)


def _hush(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        hush(is_quiet=True)
        ctx.call_on_close(lambda: hush(is_quiet=False))
