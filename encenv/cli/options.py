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
FILE = click.Path(
    readable=False, allow_dash=True
)  # what it is, is found out when it is opened; shells complete it


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
