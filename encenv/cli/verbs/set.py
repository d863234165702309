"""``encenv set``: encrypt one value into a .env file."""

import sys

import click

from encenv.cli import options
from encenv.cli.files import check_creatable, place, read_text, report, rewrite
from encenv.cli.terminal import is_terminal, progress, say, warn
from encenv.errors import PolicyError
from encenv.files.disk import printable, shell_option
from encenv.files.edit import set_value
from encenv.files.key_names import KeyName, Pairs
from encenv.policy.project import project_of

LINE_MAX = 4095  # characters that a terminal takes in one line: termios(3), "Canonical and noncanonical mode"


@click.command()
@options.name_argument
@click.argument("values", metavar="", nargs=-1)  # taken, so that click does not repeat it in its refusal
@options.file_option
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the value from standard input.")
@click.option("--from-file", metavar="FILE", type=options.FILE, help="Read the value from a file.")
@options.key_options
@options.quiet
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

    You are asked for the value, which is not shown. It is never an argument, because other programs and the shell's
    history would see it. One newline at its end is dropped. A variable that exists keeps its line, a new one is added
    at the end, and nothing else changes. ${OTHER} in a value is replaced when it is loaded, as in any .env file.

    Without permission to decrypt you can still set a value: you then add it as a contributor. A file that does not
    exist is created if you give a KEY, or if pyproject.toml names one.

    \b
    Example:
      encenv set API_KEY
      pass show api-key | encenv set API_KEY --stdin
      encenv set TLS_KEY --from-file server.pem -f .env.staging
    """
    if values or "=" in name:  # the message does not repeat the value
        raise options.Misuse(
            "a value is never an argument",
            "give the name alone and enter the value when asked; this one is in your shell's history, so change it",
        )
    if from_stdin and from_file is not None:
        raise click.UsageError("--stdin and --from-file exclude each other")
    if from_file is None:
        user = "--stdin" if from_stdin else "the value that you type"
        options.use_standard_input(click.get_current_context(), user)
    writer = project_of(file).writer(keys, context, progress)
    check_creatable(file, writer, f"encenv set {printable(name)}{shell_option(place(file))}")
    path = options.STANDARD_INPUT if from_stdin else from_file
    value = _ask(name) if path is None else _read(path)
    outcome = rewrite(file, lambda text: set_value(text, name, value, writer, place(file)), may_create=True)
    if not outcome.names:
        say(f"{place(file)}: {printable(name)} has that value already")
        return
    report(file, f"set {printable(name)}", outcome)
    if "${" in value:
        warn(f"{printable(name)} holds ${{…}}, which is replaced by another variable when it is loaded")


def _ask(name: str) -> str:
    if not is_terminal(sys.stdin):
        raise click.UsageError("there is no terminal to ask for the value: give --stdin or --from-file FILE")
    value: str = click.prompt(f"{printable(name)} (not shown)", hide_input=True, err=True)
    if value.startswith("-----BEGIN ") or len(value) >= LINE_MAX:
        raise PolicyError(
            f"a terminal takes one line of at most {LINE_MAX} characters, so a part of the value is missing",
            hint="give it as a file: --from-file FILE, or through a pipe: --stdin",
        )
    return value


def _read(path: str) -> str:
    """Return the value that the file *path* holds, without one newline at its end."""
    text = read_text(path, "encode it, for example as base64, and decode it where it is used")
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
