"""``encenv set``: encrypt one value into a .env file."""

import sys
from pathlib import Path

import click

from encenv.cli.files import place
from encenv.cli.key_options import file_option, key_options, report, rewrite
from encenv.cli.options import FILE, STANDARD_INPUT, Misuse, complete_names, quiet, use_standard_input
from encenv.cli.terminal import read as read_standard_input
from encenv.cli.terminal import say, through_values, warn
from encenv.errors import FileError, PolicyError
from encenv.files.edit import set_value
from encenv.files.encrypt import Rewritten
from encenv.files.key_names import KeyName, Pairs
from encenv.files.read import read
from encenv.files.text import printable
from encenv.policy.project import project_of

LINE_MAX = 4095  # characters that a terminal takes in one line: termios(3), "Canonical and noncanonical mode"


def _note_stdin(context: click.Context, _: click.Parameter, is_used: bool) -> bool:
    if is_used:
        use_standard_input(context, "--stdin")
    return is_used


@click.command()
@click.argument("name", metavar="NAME", shell_complete=complete_names)
@click.argument("values", metavar="", nargs=-1)  # taken, so that click does not repeat it in its refusal
@file_option
@click.option(
    "--stdin", "from_stdin", is_flag=True, callback=_note_stdin, help="Read the value from standard input."
)
@click.option(
    "--from-file", metavar="FILE", type=FILE, help="Read the value from a file, such as a certificate."
)
@key_options
@quiet
def command(  # noqa: PLR0913, PLR0917 (its options)
    name: str,
    values: tuple[str, ...],
    file: str,
    from_stdin: bool,
    from_file: str | None,
    keys: tuple[KeyName, ...],
    context: Pairs | None,
) -> None:
    """Encrypt a value as the variable NAME of the file (.env), without decrypting any other.

    The value is asked for, unseen; it is never an argument, where other programs and the shell's history would
    see it. One newline at its end is dropped. A variable that is there keeps its line, a new one comes last, and all
    else stays as it is. ${OTHER} in a value is replaced when it is loaded, as in any .env file.

    Who may not decrypt can still set: the value then comes under a data key of its own. A file that does not exist
    is made if a wrapping key is named.

    \b
    Example:
      encenv set API_KEY
      pass show api-key | encenv set API_KEY --stdin
      encenv set TLS_KEY --from-file server.pem -f .env.staging
    """
    if values or "=" in name:  # told without the value
        raise Misuse(
            "a value is never an argument",
            "give the name alone and enter the value when asked; it is in your shell's history now, so change it",
        )
    if from_stdin and from_file is not None:
        raise click.UsageError("give --stdin or --from-file, not both")
    if not from_stdin and from_file is None:
        use_standard_input(click.get_current_context(), "the value that you type")
    writer = project_of(file).writer(keys, context, through_values)
    if file != STANDARD_INPUT and not writer.keys and not Path(file).exists():
        raise FileError(
            f"the file {printable(file)} does not exist",
            hint=f"check the path; or, to make it, name a wrapping key: encenv set {printable(name)} --key local",
        )
    value = _value(name, from_file, from_stdin=from_stdin)

    def change(text: str) -> tuple[str, Rewritten]:
        outcome = set_value(text, name, value, writer, place(file))
        return outcome.text, outcome

    outcome = rewrite(file, change, make=True)
    if not outcome.names:
        say(f"{place(file)}: {printable(name)} has that value already")
        return
    report(file, f"set {printable(name)}", outcome)
    if "${" in value:
        warn(f"{printable(name)} holds ${{…}}, which is replaced by another variable when it is loaded")


def _value(name: str, from_file: str | None, *, from_stdin: bool) -> str:
    if from_stdin:
        return _text(read_standard_input(), "standard input")
    if from_file is not None:
        if from_file == STANDARD_INPUT:
            return _text(read_standard_input(), "standard input")
        return _text(read(from_file), printable(from_file))
    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask for the value: give --stdin or --from-file FILE")
    value: str = click.prompt(f"{printable(name)} (unseen)", hide_input=True, err=True)
    if value.startswith("-----BEGIN ") or len(value) >= LINE_MAX:
        raise PolicyError(
            "a terminal takes one line of at most 4095 characters, so a part of the value is missing",
            hint="give it as a file: --from-file FILE, or through a pipe: --stdin",
        )
    return value


def _text(data: bytes, where: str) -> str:
    """Return *data* as a value, without one newline at its end."""
    line = 0
    try:
        text = data.decode()
    except UnicodeDecodeError as error:  # its `object` is the value
        line = data.count(b"\n", 0, error.start) + 1
    else:
        return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
    del data
    raise FileError(
        f"{where} is not UTF-8: see line {line}",
        hint="encode it, for example as base64, and decode it where it is used",
    )
