"""``encenv decrypt``: show a .env file with its values decrypted."""

import os

import click

from encenv.cli.inputs import parsed, place, read_text
from encenv.cli.terminal import write
from encenv.errors import EncenvError
from encenv.files.envfile import EnvFile, with_value
from encenv.format.sealed import claims, entry_kid
from encenv.load.environ import Load


@click.command(short_help="Show a .env file with its values decrypted.")
@click.argument("file", metavar="[FILE]", default=".env")
def command(file: str) -> None:
    """Write FILE (.env) with its values decrypted to standard output; - is standard input.

    Comments, order and all else stay; the key entries are left out. FILE itself stays as it is, and nothing is
    written to disk.

    \b
    Example:
      encenv decrypt .env | grep DATABASE_URL
    """
    write(str(_decrypted(parsed(read_text(file), place(file)))).encode())


def _decrypted(file: EnvFile) -> EnvFile:
    variables = [(binding.name or "", binding.value) for binding in file.bindings]
    load = Load({}, os.environ)
    load.add_entries(variables)
    load.add_entries(os.environ.items())
    entries = {index for index, (name, _) in enumerate(variables) if entry_kid(name) is not None}
    values = {
        index: value
        for index, (_, value) in enumerate(variables)
        if value is not None and index not in entries
    }
    load.prepare(values.values())
    changes = {}
    for index, value in values.items():
        name = variables[index][0]
        plain = load.decrypt(name, value)  # a plain one, too: sealed text inside it is an error
        if plain is not None and claims(value):
            try:
                changes[index] = with_value(file.bindings[index], plain)
            except EncenvError as error:
                load.fail(name, error)
    failure = load.finish()
    if failure is not None:
        raise failure
    return file.replace(changes).without(entries)
