"""``encenv unset``: remove variables from a .env file."""

import click

from encenv.cli.files import place
from encenv.cli.key_options import file_option, rewrite
from encenv.cli.options import complete_names, quiet
from encenv.cli.terminal import say
from encenv.files.edit import unset
from encenv.files.text import printable


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_names)
@file_option
@quiet
def command(names: tuple[str, ...], file: str) -> None:
    """Remove the lines of the variables NAME from the file (.env); no key is needed.

    A key entry goes with the last value that is under it. Comments stay.

    \b
    Example:
      encenv unset OLD_TOKEN
    """
    rewrite(file, lambda text: (unset(text, names, place(file)), None))
    say(f"{place(file)}: removed {', '.join(printable(name) for name in dict.fromkeys(names))}")
