"""Options that name variables: globs of those that a verb is about, and how shells complete a name."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from encenv.cli.options import DEFAULT_FILE
from encenv.errors import EncenvError
from encenv.files.disk import read
from encenv.files.document import parse
from encenv.format.sealed import LOCAL_KEY_NAME, entry_kid
from encenv.policy.rules import matches

F = TypeVar("F", bound=Callable[..., Any])


def complete_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a variable of the file that the command line names, else of .env."""
    named = ctx.params.get("file") or ctx.params.get("files") or DEFAULT_FILE
    names: dict[str, None] = {}
    for path in (named,) if isinstance(named, str) else named:
        try:
            bindings = parse(read(path).decode("utf-8", "surrogateescape")).bindings
        except EncenvError:
            continue
        names.update((binding.name, None) for binding in bindings if binding.name)
    own = (name for name in names if entry_kid(name) is None and name != LOCAL_KEY_NAME)
    return [name for name in own if name.upper().startswith(incomplete.upper())]


def name_options(command: F) -> F:
    """Add ``--only`` and ``--except``: globs of the variables that the verb is about, for `chooser`."""
    command = click.option(
        "--except",
        "excepted",
        metavar="GLOB",
        multiple=True,
        shell_complete=complete_names,
        help="Skip variables that match GLOB.",
    )(command)
    return click.option(
        "--only",
        metavar="GLOB",
        multiple=True,
        shell_complete=complete_names,
        help="Only variables that match GLOB; repeat it for several.",
    )(command)


def chooser(
    only: tuple[str, ...], excepted: tuple[str, ...], otherwise: Callable[[str], bool] = lambda _: True
) -> Callable[[str], bool]:
    """Return whether a variable is chosen: by ``--only``, else by *otherwise*, and not by ``--except``."""
    return lambda name: (matches(name, only) if only else otherwise(name)) and not matches(name, excepted)
