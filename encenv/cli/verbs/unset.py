"""``encenv unset``: remove variables from a .env file."""

import click

from encenv.cli.files import place, report, rewrite
from encenv.cli.options import complete_names, file_option, quiet
from encenv.files.disk import printable
from encenv.files.edit import unset


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_names)
@file_option
@quiet
def command(names: tuple[str, ...], file: str) -> None:
    """Remove the variables NAME from the file (.env); no key is needed.

    A key entry is removed with the last value that needs it. Comments stay.

    \b
    Example:
      encenv unset OLD_TOKEN
    """
    outcome = rewrite(file, lambda text: unset(text, names, place(file)))
    report(file, f"removed {', '.join(map(printable, outcome.names))}", outcome)
