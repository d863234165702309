"""``encenv get``: decrypt one value of a .env file."""

import os
import sys

import click

from encenv.cli.files import place, read_text
from encenv.cli.name_options import complete_names
from encenv.cli.options import file_option
from encenv.cli.terminal import write
from encenv.errors import FileError
from encenv.files.document import parse
from encenv.files.edit import missing
from encenv.files.opening import open_values, reading_session


@click.command()
@click.argument("name", metavar="NAME", shell_complete=complete_names)
@file_option
def command(name: str, file: str) -> None:
    """Write the decrypted value of the variable NAME of the file (.env) to standard output.

    Nothing is added to it, except a newline on a terminal; ${OTHER} in it stays as it is. Only the data key of
    this value is unwrapped.

    \b
    Example:
      encenv get DATABASE_URL
      psql "$(encenv get DATABASE_URL -f .env.staging)"
    """
    value = _value(read_text(file), name, place(file))
    ending = "\n" if sys.stdout is not None and sys.stdout.isatty() else ""
    write((value + ending).encode("utf-8", "surrogateescape"))


def _value(text: str, name: str, where: str) -> str:
    file = parse(text)
    found = [index for index, binding in enumerate(file.bindings) if binding.name == name]
    if not found:
        raise missing(name, (binding.name for binding in file.bindings), where)
    index = found[-1]  # as a reader does
    value = file.bindings[index].value
    if value is None:
        raise FileError(f"{name} has no value in {where}", hint=f"give it one: encenv set {name}")
    return open_values({index: (name, value)}, reading_session(file, os.environ))[index]
