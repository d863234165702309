"""``encenv decrypt``: show a .env file with its values decrypted."""

import os
import sys

import click

from encenv.errors import EncenvError, combine
from encenv.files.atomic import read
from encenv.files.envfile import parse, with_value
from encenv.format.sealed import claims, entry_kid
from encenv.load.envfiles import decode
from encenv.load.environ import Load


@click.command()
@click.argument("file", metavar="[FILE]", default=".env", type=click.Path())
def command(file: str) -> None:
    """Write FILE (.env) with its values decrypted to standard output.

    Comments, order and all else stay; the key entries are left out. FILE itself stays as it is, and nothing is
    written to disk.

    \b
    Example:
      encenv decrypt .env | grep DATABASE_URL
    """
    data = sys.stdin.buffer.read() if file == "-" else read(file)
    sys.stdout.buffer.write(_decrypted(decode(data, "standard input" if file == "-" else file)).encode())
    sys.stdout.buffer.flush()


def _decrypted(text: str) -> str:
    file = parse(text)
    variables = [(binding.name or "", binding.value) for binding in file.bindings]
    load = Load({}, os.environ)
    load.add_entries(variables)
    load.add_entries(os.environ.items())
    load.prepare(value for _, value in variables if value is not None)
    changes = {}
    failures: list[EncenvError] = []
    for index, (name, value) in enumerate(variables):
        if value is None or not claims(value) or entry_kid(name) is not None:
            continue
        plain = load.decrypt(name, value)
        if plain is not None:
            try:
                changes[index] = with_value(file.bindings[index], plain)
            except EncenvError as error:
                failures.append(error.of(name))
    failure = load.finish()
    if failures or failure is not None:
        raise failure or combine(failures)
    entries = {
        i for i, binding in enumerate(file.bindings) if binding.name and entry_kid(binding.name) is not None
    }
    return str(file.replace(changes).without(entries))
