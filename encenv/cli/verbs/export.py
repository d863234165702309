"""``encenv export``: print the variables of a .env file for another place."""

import os
from pathlib import Path

import click

from encenv.cli import options
from encenv.cli.files import place, read_every_line, write_text
from encenv.cli.terminal import progress, say, warn, write
from encenv.errors import EncenvError, FileError, PolicyError, listed
from encenv.export.final_values import FinalValues, Form, final_values, needs_a_key
from encenv.export.formats import FORMATS, Variables
from encenv.files.disk import printable
from encenv.policy.project import project_of

ENCRYPTED_MODE, PLAINTEXT_MODE = 0o644, 0o600  # before the umask
GITHUB_FILE = "GITHUB_ENV"  # GitHub's "Workflow commands": the file that a step appends variables to


@click.command()
@options.file_argument
@click.option(
    "--format", "form", metavar="FORMAT", type=click.Choice([*FORMATS]), required=True, help="See above."
)
@click.option("--plaintext", is_flag=True, help="Export plaintext, without the key entries.")
@click.option("--as-is", is_flag=True, help="Don't decrypt anything; needs no key.")
@click.option("--name", metavar="NAME", default="", help="The name of the function, variable or object.")
@options.output_option(help="Write there; for github, append there.")
@options.only_option
@options.except_option
@options.quiet
def command(  # noqa: PLR0913, PLR0917 (one for each option)
    file: str,
    form: str,
    plaintext: bool,
    as_is: bool,
    name: str,
    output: str | None,
    only: tuple[str, ...],
    exclude: tuple[str, ...],
) -> None:
    """Print the variables of FILE (.env) in the FORMAT of another place, encrypted values with their key entries.

    The service decrypts them when it starts, as it would those of FILE. No other place expands ${NAME}. So a value
    that refers to encrypted ones is expanded and encrypted again, which needs the key; with --as-is it keeps its
    ${NAME}, which needs no key. Values that may be plaintext stay plaintext.

    \b
    json       {"NAME": "value"}
    shell      export NAME=value, for: . FILE
    docker     for docker --env-file
    lambda     for aws lambda update-function-configuration --cli-input-json file://FILE
    terraform  a map in a .tfvars file; --name is the variable, environment by default
    github     appended to GITHUB_ENV; commands that mask plaintext in the log go to standard output
    systemd    for EnvironmentFile=
    k8s        a ConfigMap, with --plaintext a Secret; --name is the object

    \b
    Example:
      encenv export --format lambda --name shop .env.prod > shop.json
      encenv export --format k8s --name shop .env.prod | kubectl apply -f -
    """
    if plaintext and as_is:
        raise click.UsageError("--plaintext and --as-is exclude each other")
    if name and not FORMATS[form].has_title:
        raise click.UsageError(f"{form} has no use for --name")
    to = output or (os.environ.get(GITHUB_FILE) if form == "github" else options.STANDARD_OUTPUT)
    if not to:
        hint = "run it in a step, or give the file to append to: -o FILE"
        raise PolicyError(f"{GITHUB_FILE} is not set: this is not a step of a GitHub workflow", hint=hint)
    text, where = str(read_every_line(file)), place(file)
    project = project_of(file)
    writer, selects = project.writer(progress=progress), options.chooser(only, exclude)
    values_form: Form = "plaintext" if plaintext else "as-is" if as_is else "encrypted"
    try:
        final = final_values(text, where, writer, selects, project.policy().requires, values_form)
    except EncenvError as error:
        if values_form == "encrypted" and needs_a_key(error):
            error.hint += "; or, if no value refers to others by ${NAME}: --as-is"
        raise
    formatted = FORMATS[form].write(Variables(final.values, final.secret, name))
    for warning in formatted.warnings:
        warn(f"{where}: {warning}")
    _report(where, final)
    mode = PLAINTEXT_MODE if final.secret else ENCRYPTED_MODE
    if formatted.masks and to == options.STANDARD_OUTPUT:
        # Sent to GITHUB_ENV, the masks would be variables, or be shown in an error, and mask nothing.
        raise PolicyError(
            "standard output cannot take the variables and the commands that mask plaintext",
            hint="run it in a step without -o, or give the file to append to: -o FILE",
        )
    if form == "github" and to != options.STANDARD_OUTPUT:
        write(formatted.masks.encode())  # first, so that nothing is logged before it is masked
        _append(Path(to), formatted.text.encode(), mode)
    else:
        write_text(to, formatted.text, mode)


def _report(where: str, final: FinalValues) -> None:
    if final.encrypted_again:
        say(f"{where}: expanded and encrypted again: {listed(final.encrypted_again)}")
    if final.unexpanded:
        names = listed(final.unexpanded)
        warn(f"{where}: exported with ${{NAME}}, which refers to encrypted values: {names}")
    if final.undecrypted:
        names = listed(final.undecrypted)
        warn(f"{where}: not decrypted: {names}; if they refer to others, their ${{NAME}} is exported")


def _append(path: Path, data: bytes, mode: int) -> None:
    try:
        # Path.open has no opener, which gives a new file its *mode*.
        with open(path, "ab+", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            if file.tell():  # another program may have left its last line without a newline
                file.seek(-1, os.SEEK_END)
                data = data if file.read(1) == b"\n" else b"\n" + data
            file.write(data)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        hint = "check the path and its permissions"
        raise FileError(f"cannot append to {printable(path)}: {reason}", hint=hint) from None
