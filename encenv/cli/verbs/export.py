"""``encenv export``: the variables of a .env file for another place."""

import os
from collections.abc import Callable
from pathlib import Path

import click

from encenv.cli.files import parsed, place, read_text
from encenv.cli.options import FILE, OUTPUT, chooser, chosen_names, quiet
from encenv.cli.terminal import say, through_values, warn, write
from encenv.errors import EncenvError, FileError, PolicyError
from encenv.export.final_values import (
    Portable,
    plain_variables,
    sealed_variables,
    unopened_variables,
    without_key,
)
from encenv.export.formats import FORMATS, TITLED, Variables, Written
from encenv.export.formats import write as formatted
from encenv.files.atomic import create
from encenv.files.text import printable
from encenv.policy.project import project_of

SEALED_MODE, PLAIN_MODE = 0o644, 0o600  # less the umask
NAMES_SHOWN = 8  # a message stays readable
GITHUB_FILE = "GITHUB_ENV"  # GitHub's "Workflow commands": the file that a step appends variables to


@click.command()
@click.argument("file", metavar="[FILE]", default=".env", type=FILE)
@click.option(
    "--format",
    "form",
    metavar="FORMAT",
    type=click.Choice(list(FORMATS)),
    required=True,
    help=", ".join(FORMATS) + ".",
)
@click.option("--plaintext", is_flag=True, help="Export plaintext, without the key entries.")
@click.option("--as-is", is_flag=True, help="Do not look into sealed values, and need no key.")
@click.option(
    "--name", "title", metavar="NAME", default="", help="The function, the Terraform variable or the object."
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=OUTPUT,
    help="Write there; for github, append there.",
)
@chosen_names
@quiet
def command(  # noqa: PLR0913, PLR0917 (one for each option)
    file: str,
    form: str,
    plaintext: bool,
    as_is: bool,
    title: str,
    output: str | None,
    only: tuple[str, ...],
    excepted: tuple[str, ...],
) -> None:
    """Write the variables of FILE (.env) in the FORMAT of another place: sealed ones sealed, with their key entries.

    What runs there opens them at its start, as it would those of FILE. Nothing there expands ${NAME}: a sealed value
    that refers to others is expanded and encrypted anew, so the key is needed here; with --as-is it is not, and
    such a value arrives with its ${NAME}. Values that need not be sealed go along as they are.

    \b
    json       {"NAME": "value"}
    shell      export NAME=value, for: . FILE
    docker     for docker --env-file
    lambda     for aws lambda update-function-configuration --cli-input-json file://FILE
    terraform  a map in a .tfvars file; --name is the variable, environment by default
    github     for GITHUB_ENV, which it is appended to; masks for plaintext go to standard output
    systemd    for EnvironmentFile=
    k8s        a ConfigMap, with --plaintext a Secret; --name is the object

    \b
    Example:
      encenv export --format lambda --name shop .env.prod > shop.json
      encenv export --format k8s --name shop .env.prod | kubectl apply -f -
    """
    if plaintext and as_is:
        raise click.UsageError("--plaintext and --as-is exclude each other")
    if title and form not in TITLED:
        raise click.UsageError(f"--name means nothing to {form}")
    to = _github_file() if form == "github" and output is None else output
    text = read_text(file)
    where = place(file)
    parsed(text, where)
    found = _variables(file, text, plaintext=plaintext, as_is=as_is, wanted=chooser(only, excepted))
    done = formatted(form, Variables(found.values, found.secret if plaintext else frozenset(), title))
    _report(where, found, done)
    data = done.text.encode("utf-8", "surrogateescape")
    if done.masks and to == "-":
        # Sent to GITHUB_ENV, the masks would be variables, or be shown in an error, and mask nothing.
        raise PolicyError(
            "the masks for plaintext need standard output for themselves",
            hint="run it in a step without -o, or give the file to append to: -o FILE",
        )
    if form == "github" and to is not None and to != "-":
        write(done.masks.encode())  # first, so that nothing is logged before it is masked
        _append(Path(to), data, PLAIN_MODE if found.secret else SEALED_MODE)
    elif to is None or to == "-":
        write(data)
    else:
        create(to, data, PLAIN_MODE if found.secret else SEALED_MODE)


def _variables(
    file: str, text: str, *, plaintext: bool, as_is: bool, wanted: Callable[[str], bool]
) -> Portable:
    where = place(file)
    project = project_of(file)
    requires = project.policy().requires
    writer = project.writer(each=through_values)
    if plaintext:
        return plain_variables(text, where, writer.environ, wanted, requires)
    if as_is:
        return unopened_variables(text, where, writer.environ, wanted, requires)
    try:
        return sealed_variables(text, where, writer, wanted, requires)
    except EncenvError as error:
        failure = error
    if without_key(failure):
        hint = f"{failure.hint}; or, if no value refers to others by ${{NAME}}: --as-is"
        failure = type(failure)(failure.message, hint=hint, variables=failure.variables)
    raise failure.with_traceback(None)


def _report(where: str, found: Portable, done: Written) -> None:
    for warning in done.warnings:
        warn(f"{where}: {warning}")
    if found.renewed:
        say(f"{where}: expanded and encrypted anew: {_names(found.renewed)}")
    if found.unexpanded:
        warn(
            f"{where}: refers to sealed values, and arrives with its ${{NAME}} as it stands: {_names(found.unexpanded)}"
        )
    if found.unopened:
        warn(
            f"{where}: not looked into: {_names(found.unopened)}; one that refers to others arrives with its"
            " ${NAME} as it stands"
        )


def _names(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(map(printable, names[:NAMES_SHOWN])) + more


def _github_file() -> str:
    path = os.environ.get(GITHUB_FILE)
    if not path:
        raise PolicyError(
            f"{GITHUB_FILE} is not set: this is no step of a GitHub workflow",
            hint="run it in a step, or give the file to append to: -o FILE",
        )
    return path


def _append(path: Path, data: bytes, mode: int) -> None:
    try:
        # Path.open has no opener, and a file that is not there yet is to get *mode*.
        with open(path, "ab+", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            if file.tell():  # what another program wrote last may have no newline
                file.seek(-1, os.SEEK_END)
                data = data if file.read(1) == b"\n" else b"\n" + data
            file.write(data)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
    else:
        return
    raise FileError(
        f"cannot append to {printable(str(path))}: {reason}", hint="check the path and its permissions"
    )
