"""``encenv keygen``: make a local key."""

import os
from pathlib import Path

import click

from encenv.errors import ConflictError, FileError
from encenv.files.atomic import create
from encenv.keys.local import FILE_VARIABLE, default_path, generate_key_text, parse_keys

FOLDER_MODE = 0o700


@click.command()
@click.option("-o", "--output", metavar="FILE", help="Where to write it; - is standard output.")
def command(output: str | None) -> None:
    """Make a local key: a wrapping key in a file, for a laptop or for CI.

    It is written to the file that ENCENV_LOCAL_KEY_FILE names, else to encenv's folder in your configuration
    folder, for you alone to read. A file that exists is never overwritten. Who shall read the same values needs
    the same key: hand its text over as you would a password.

    \b
    Example:
      encenv keygen
      encenv encrypt --key local .env
    """
    text = generate_key_text()
    if output == "-":
        click.echo(text)
        return
    path = Path(output or os.environ.get(FILE_VARIABLE) or default_path(os.environ)).expanduser()
    try:
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    except OSError as error:
        failure: FileError | ConflictError = FileError(
            f"the folder {path.parent} cannot be made: {error.strerror}",
            hint="give another place: encenv keygen -o FILE",
        )
    else:
        if not path.exists():
            create(path, f"{text}\n".encode())
            (key_id,) = parse_keys(text, str(path))
            click.echo(f"made local key {key_id} in {path}", err=True)
            click.echo("keep a copy where you keep passwords: without it, what it encrypts is lost", err=True)
            return
        failure = ConflictError(
            f"there is a local key already: {path}",
            hint="use it, or make another one elsewhere: encenv keygen -o FILE",
        )
    raise failure
