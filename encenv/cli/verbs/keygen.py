"""``encenv keygen``: make a local key."""

import os
import shlex
from pathlib import Path

import click

from encenv.cli.files import write_text
from encenv.cli.options import STANDARD_OUTPUT, output_option
from encenv.cli.terminal import say
from encenv.errors import ConflictError
from encenv.files.disk import attempt, printable
from encenv.keys.local import FILE_VARIABLE, TEXT_VARIABLE, default_path, generate_key_text, parse_keys

FOLDER_MODE = 0o700


@click.command()
@output_option(help="Write it to FILE instead; - is standard output.")
def command(output: str | None) -> None:
    """Make a local key, which is a file, for a laptop or for CI.

    It is written to the file that ENCENV_LOCAL_KEY_FILE names, else to encenv's folder in your configuration
    folder. Only you can read it. A file that exists is never overwritten. Other people need the same key to read
    the same values: give them the text in the file, as you would a password.

    \b
    Example:
      encenv keygen
      encenv encrypt --key local .env
    """
    text = generate_key_text()
    if output == STANDARD_OUTPUT:
        write_text(output, f"{text}\n")
        return
    usual = Path(os.environ.get(FILE_VARIABLE) or default_path(os.environ)).expanduser()
    path = Path(output) if output else usual
    if path == usual and os.path.lexists(path):
        hint = "use it: encenv encrypt --key local .env   or make another one: encenv keygen -o FILE"
        raise ConflictError(f"there is a local key already: {printable(path)}", hint=hint)
    folder = path.parent
    attempt("write", folder, lambda: folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True), "folder")
    write_text(str(path), f"{text}\n")
    (key_id,) = parse_keys(text, str(path))
    say(f"made local key {key_id} in {printable(path)}")
    say("keep a copy where you keep passwords: without it, what it encrypts is lost")
    if path != usual:
        say(f"to use it: export {FILE_VARIABLE}={shlex.quote(printable(path.absolute()))}")
    if os.environ.get(TEXT_VARIABLE):
        say(f"{TEXT_VARIABLE} is set, so it is used instead of any file")
