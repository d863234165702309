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
from encenv.files.opening import open_possible, reading_session, values_of
from encenv.files.text import printable
from encenv.format.sealed import SealedValue, claims, entry_kid


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
    session = reading_session(file, os.environ)
    values = values_of(file, chosen)  # plain ones, too: an encrypted value inside of one is an error
    changes = {}
    for index, plain in open_possible(values, session, through_values).items():
        if claims(file.bindings[index].value or ""):
            try:
                changes[index] = with_value(file.bindings[index], plain)
            except EncenvError as error:
                session.fail(file.bindings[index].name or "", error)
    failure = session.failure(whole="the file", done="decrypted")
    if failure is not None:
        raise failure
    # What stays encrypted keeps its key entry.
    kept = {
        SealedValue.parse(value).kid
        for index, (_, value) in values_of(file).items()
        if index not in values and claims(value)
    }
    kids = {index: entry_kid(binding.name or "") for index, binding in enumerate(file.bindings)}
    return file.replace(changes).without({index for index, kid in kids.items() if kid and kid not in kept})
