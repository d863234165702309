"""``encenv run``: start a program with decrypted variables."""

import errno
import os
import signal
from pathlib import Path
from typing import NoReturn

import click

from encenv.cli.files import parsed, place, read_text
from encenv.cli.options import FILE
from encenv.errors import EncenvError, FileError, combine
from encenv.files.read import is_file_or_fifo
from encenv.files.text import printable
from encenv.format.sealed import LOCAL_KEY_NAME, entry_kid
from encenv.keys.entries import KeyEntries
from encenv.keys.session import Session
from encenv.load.dotenv import LoadedFile

_HINTS = {
    errno.E2BIG: "keep long values in files; a variable may have 128 KiB on Linux, all of them together a few MiB",
    errno.EACCES: "check that it is a program, and that you may execute it",
    errno.ENOENT: "check its name and PATH, and for a script the interpreter in its first line",
    errno.ENOEXEC: "begin the script with a line such as #!/bin/sh",
}


@click.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "-f", "--file", "files", metavar="FILE", multiple=True, type=FILE, help="A .env file; later ones win."
)
@click.option("--override", is_flag=True, help="Let FILE win over variables that are set already.")
@click.argument("program", metavar="-- COMMAND [ARG]...", nargs=-1, type=click.UNPROCESSED)
def command(files: tuple[str, ...], override: bool, program: tuple[str, ...]) -> NoReturn:
    """Run COMMAND with the decrypted variables of FILE (.env, if there is one) and of this environment.

    The plaintext is in COMMAND's environment and nowhere else; COMMAND gets neither key entries nor the local
    key. encenv is replaced by COMMAND: signals and the exit code are its own. ${NAME} in a FILE means a line
    above it or a variable of this environment, not a line of another FILE.

    \b
    Example:
      encenv run -- python manage.py runserver
      encenv run -f .env -f .env.test -- pytest
    """
    if not program or not program[0]:
        raise click.UsageError("there is no COMMAND to run")
    environ = _environment(files or ((".env",) if is_file_or_fifo(".env") else ()), override=override)
    _restore_signals()
    try:
        os.execvpe(program[0], list(program), environ)  # noqa: S606 (no shell is the point)
    except OSError as error:
        # Not the exception itself: its frames hold the environment.
        failure: EncenvError = FileError(
            f"{printable(program[0])} cannot be started: {(error.strerror or '').lower()}",
            hint=_hint(program, error.errno or 0),
        )
    except ValueError:
        unfit = [name for name, value in environ.items() if not name or "=" in name or "\0" in name + value]
        what = "a variable of a process cannot hold a NUL, nor be without a name or have = in it"
        failure = combine(
            [
                FileError(
                    what if unfit else "an argument holds a NUL",
                    hint="encode the value, for example as base64, or choose another name",
                    variables=unfit,
                )
            ]
        )
    del environ
    raise failure


def _hint(program: tuple[str, ...], number: int) -> str:
    """Return what to do when *program* cannot be started: first what the habits of similar tools lead to."""
    if program[1:2] == ("--",) and is_file_or_fifo(program[0]):
        return "give the file with -f: encenv run -f FILE -- COMMAND"
    if number == errno.ENOENT and len(program) == 1 and " " in program[0]:
        return "write COMMAND without quotes, or give a line of shell to a shell: sh -c 'LINE'"
    return _HINTS.get(number, "check the command's name and PATH")


def _restore_signals() -> None:
    """Undo what Python sets at its start; COMMAND would inherit it, and ``yes | head -1`` in it never end well."""
    for name in ("SIGPIPE", "SIGXFSZ"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


def _is_pythons_locale() -> bool:
    """Return whether LC_CTYPE is there because Python set it for itself at its start, as it does in the C locale.

    PEP 538. Where the system does not tell what a process was started with, it stays.
    """
    if "LC_CTYPE" not in os.environ:
        return False
    try:
        started_with = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return not any(variable.startswith(b"LC_CTYPE=") for variable in started_with)


def _environment(files: tuple[str, ...], *, override: bool) -> dict[str, str]:
    """Return the child's whole environment.

    Raises:
        EncenvError: If a value that the child would get cannot be decrypted; all of them are reported together.
    """
    process = {name: value for name, value in os.environ.items() if _is_passed_on(name)}
    if _is_pythons_locale():
        del process["LC_CTYPE"]
    session = Session(os.environ, entries=KeyEntries(os.environ.items()))
    chosen: dict[str, LoadedFile] = {}
    for path in reversed(files):
        text = read_text(path)
        parsed(text, place(path))  # what a service is started with has no line that nobody understands
        file = LoadedFile(session, text, place(path), override=override)
        for name in file.last:
            is_free = name not in chosen and (override or name not in process)
            if is_free and _is_passed_on(name) and file.raw(name) is not None:
                chosen[name] = file
    kept = [name for name in process if name not in chosen]
    needed = [text for name, file in chosen.items() for text in file.sealed_texts([name])]
    session.prepare([*(process[name] for name in kept), *needed])
    environ: dict[str, str | None] = {}
    for name in kept:
        plain = session.decrypt(name, process[name])
        environ[name] = plain if plain == process[name] else _as_utf8(plain)
    for name, file in chosen.items():
        environ[_as_utf8(name) or ""] = _as_utf8(file.value(name))
    failure = session.failure()
    if failure is not None:
        raise failure
    return {name: value for name, value in environ.items() if value is not None}


def _is_passed_on(name: str) -> bool:
    return entry_kid(name) is None and name != LOCAL_KEY_NAME


def _as_utf8(text: str | None) -> str | None:
    """Return *text* so that the child gets it as UTF-8, as it stands in the file, in whatever locale this runs."""
    return None if text is None else os.fsdecode(text.encode("utf-8", "surrogateescape"))
