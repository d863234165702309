"""``encenv decrypt``: show a .env file with its values decrypted."""

import os
from collections.abc import Callable

import click

from encenv.cli.files import for_each_file, parsed, place, read_text, write_text
from encenv.cli.name_options import chooser, name_options
from encenv.cli.options import STANDARD_OUTPUT, files_argument, output_option, quiet
from encenv.cli.terminal import say, through_values
from encenv.errors import EncenvError
from encenv.files.document import EnvFile, with_value
from encenv.files.opening import open_possible, reading_session, values_of
from encenv.files.text import printable
from encenv.format.sealed import SealedValue, claims, entry_kid


@click.command()
@files_argument
@output_option("Write there instead, readable only by you; - is standard output.")
@name_options
@quiet
def command(
    files: tuple[str, ...], output: str | None, only: tuple[str, ...], excepted: tuple[str, ...]
) -> None:
    """Print FILE (.env) with its values decrypted; - is standard input.

    Comments and order stay. Key entries are left out, except those of values that --only or --except leave
    encrypted. FILE does not change, and nothing is written to disk without -o. Several FILEs are printed one after
    the other.

    \b
    Example:
      encenv decrypt .env | grep DATABASE_URL
      encenv decrypt --only 'DATABASE_*' -o plain.env .env
    """
    output = STANDARD_OUTPUT if output is None else output
    if output != STANDARD_OUTPUT and len(files) > 1:
        raise click.UsageError("-o takes one FILE")
    chosen = chooser(only, excepted)
    texts: list[str] = []

    def decrypt_file(path: str) -> None:
        if texts and texts[-1] and not texts[-1].endswith(("\n", "\r")):
            texts.append("\n")
        texts.append(str(_decrypted(parsed(read_text(path), place(path)), chosen)))

    for_each_file(files, "decrypting", decrypt_file)
    write_text(output, "".join(texts))
    if output != STANDARD_OUTPUT:
        say(
            f"{printable(output)}: holds plaintext; do not commit it, and delete it when you no longer need it"
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
