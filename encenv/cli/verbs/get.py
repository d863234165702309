"""``encenv get``: print one decrypted value of a .env file."""

import os
import sys

import click

from encenv.cli.files import place, read_text, write_text
from encenv.cli.options import STANDARD_OUTPUT, file_option, name_argument
from encenv.cli.terminal import is_terminal
from encenv.files.edit import get_value


@click.command()
@name_argument
@file_option
def command(name: str, file: str) -> None:
    """Print the decrypted value of the variable NAME of the file (.env).

    Nothing is added to it, except a newline on a terminal. ${OTHER} in it is not replaced. Only the key of this
    value is needed.

    \b
    Example:
      encenv get DATABASE_URL
      psql "$(encenv get DATABASE_URL -f .env.staging)"
    """
    value = get_value(read_text(file), name, place(file), os.environ)
    write_text(STANDARD_OUTPUT, value + "\n" if is_terminal(sys.stdout) else value)
