"""``encenv decrypt``: show a .env file with its values decrypted."""

import os
from collections.abc import Callable

import click

from encenv.cli.files import parsed, place, read_text
from encenv.cli.options import FILE, OUTPUT, STANDARD_INPUT, chooser, chosen_names, quiet
from encenv.cli.terminal import progress, say, through_values, write
from encenv.errors import EncenvError
from encenv.files.atomic import create
from encenv.files.document import EnvFile, with_value
from encenv.files.text import printable
from encenv.format.sealed import SealedValue, claims, entry_kid
from encenv.load.environ import Load


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=FILE)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=OUTPUT,
    help="Write there instead, readable by you alone; - is stdout.",
)
@chosen_names
@quiet
def command(
    files: tuple[str, ...], output: str | None, only: tuple[str, ...], excepted: tuple[str, ...]
) -> None:
    """Write FILE (.env) with its values decrypted to standard output; - is standard input.

    Comments, order and all else stay; the key entries are left out, except for those of values that --only or
    --except leave sealed. FILE itself stays as it is, and nothing is written to disk without -o. Several FILEs come
    one behind the other.

    \b
    Example:
      encenv decrypt .env | grep DATABASE_URL
      encenv decrypt --only 'DATABASE_*' -o plain.env .env
    """
    files = files or (".env",)
    if output not in (None, STANDARD_INPUT) and len(files) > 1:
        raise click.UsageError("-o takes one FILE")
    chosen = chooser(only, excepted)
    texts = [
        str(_decrypted(parsed(read_text(path), place(path)), chosen))
        for path in progress(files, "decrypting")
    ]
    whole = "".join(
        text if text.endswith(("\n", "\r")) or not text else text + "\n" for text in texts[:-1]
    ) + "".join(texts[-1:])
    if output is None or output == STANDARD_INPUT:
        write(whole.encode())
    else:
        create(output, whole.encode())
        say(
            f"{printable(output)}: holds plaintext; keep it out of version control, and delete it when it is not needed"
        )


def _decrypted(file: EnvFile, chosen: Callable[[str], bool] = lambda _: True) -> EnvFile:
    variables = [(binding.name or "", binding.value) for binding in file.bindings]
    load = Load({}, os.environ)
    load.add_entries(variables)
    load.add_entries(os.environ.items())
    entries = {index for index, (name, _) in enumerate(variables) if entry_kid(name) is not None}
    values = {
        index: value
        for index, (_, value) in enumerate(variables)
        if value is not None and index not in entries and chosen(variables[index][0])
    }
    load.prepare(values.values())
    changes = {}
    for index, value in through_values(values.items()):
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
    # What stays sealed keeps its key entry.
    kept = {
        SealedValue.parse(value).kid
        for index, (_, value) in enumerate(variables)
        if value is not None and index not in entries and index not in values and claims(value)
    }
    gone = {index for index in entries if entry_kid(variables[index][0]) not in kept}
    return file.replace(changes).without(gone)
