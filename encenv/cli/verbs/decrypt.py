"""``encenv decrypt``: print .env files with their values decrypted."""

import os

import click

from encenv.cli import options
from encenv.cli.files import for_each_file, read_every_line, write_text
from encenv.cli.terminal import progress, say
from encenv.files.disk import printable
from encenv.files.encrypt import decrypt


@click.command()
@options.files_argument
@options.output_option(help="Write to FILE instead, which only you can read; - is standard output.")
@options.only_option
@options.except_option
@options.quiet
def command(
    files: tuple[str, ...], output: str | None, only: tuple[str, ...], exclude: tuple[str, ...]
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
    output = options.STANDARD_OUTPUT if output is None else output
    if output != options.STANDARD_OUTPUT and len(files) > 1:
        raise click.UsageError("-o takes one FILE")
    selects = options.chooser(only, exclude)
    texts: list[str] = []

    def decrypt_file(path: str) -> None:
        if texts and texts[-1] and not texts[-1].endswith(("\n", "\r")):
            texts.append("\n")
        texts.append(str(decrypt(read_every_line(path), os.environ, selects, progress)))

    for_each_file(files, "decrypting", decrypt_file)
    write_text(output, "".join(texts))
    if output != options.STANDARD_OUTPUT:
        say(f"{printable(output)} holds plaintext: do not commit it, and delete it when you are done")
