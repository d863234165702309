"""Options and arguments that several verbs have, each with one meaning."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from encenv.cli.terminal import quietly

F = TypeVar("F", bound=Callable[..., Any])
STANDARD_INPUT = STANDARD_OUTPUT = "-"
DEFAULT_FILE = ".env"
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
            name = param.opts[0] if isinstance(param, click.Option) else param.human_readable_name
            use_standard_input(ctx, f"{name.strip('[].')} {STANDARD_INPUT}")
        return path


# What a path leads to is found out when it is opened; here it is only for shells to complete.
FILE = _InputFile(readable=False, allow_dash=True)
OUTPUT = click.Path(readable=False, allow_dash=True)


def files_argument(command: F) -> F:
    """Add ``[FILE]...``: the files that are named, else `DEFAULT_FILE`."""
    return click.argument(
        "files",
        metavar="[FILE]...",
        nargs=-1,
        type=FILE,
        callback=lambda _, __, files: files or (DEFAULT_FILE,),
    )(command)


def named_files_argument(command: F) -> F:
    """Add ``[FILE]...``: only the files that are named."""
    return click.argument("files", metavar="[FILE]...", nargs=-1, type=FILE)(command)


def file_option(command: F) -> F:
    """Add ``-f``: the one file that the verb is about."""
    return click.option(
        "-f",
        "--file",
        metavar="FILE",
        default=DEFAULT_FILE,
        type=FILE,
        show_default=True,
        help="The file; - is standard input.",
    )(command)


def output_option(text: str) -> Callable[[F], F]:
    """Add ``-o``: a new file to write, or standard output; *text* is its help."""
    return click.option("-o", "--output", metavar="FILE", type=OUTPUT, help=text)


def quiet(command: F) -> F:
    """Add ``-q``: say nothing of what went well."""
    return click.option(
        "-q",
        "--quiet",
        is_flag=True,
        expose_value=False,
        callback=_hush,
        help="Print only warnings and errors.",
    )(command)


def as_json(command: F) -> F:
    """Add ``--json``: the report as one JSON object on standard output, for programs."""
    return click.option("--json", "as_json", is_flag=True, help="Report as JSON.")(command)


def _hush(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.with_resource(quietly())
