"""``encenv run``: start a program with decrypted variables."""

import errno
import os
import signal
from typing import NoReturn

import click

from encenv.cli.files import place, read_every_line
from encenv.cli.options import DEFAULT_FILE, files_option
from encenv.errors import EncenvError, FileError, combine
from encenv.files.disk import is_file_or_fifo, printable
from encenv.load.child_environ import child_environ

_HINTS = {
    errno.E2BIG: "keep long values in files; a variable may have 128 KiB on Linux, all of them together a few MiB",
    errno.EACCES: "check that it is a program, and that you may execute it",
    errno.ENOENT: "check its name and PATH, and for a script the interpreter in its first line",
    errno.ENOEXEC: "begin the script with a line such as #!/bin/sh",
}


@click.command(context_settings={"allow_interspersed_args": False})
@files_option
@click.option("--override", is_flag=True, help="Let FILE win over variables that this environment sets.")
@click.argument("program", metavar="-- COMMAND [ARG]...", nargs=-1, type=click.UNPROCESSED)
def command(files: tuple[str, ...], override: bool, program: tuple[str, ...]) -> NoReturn:
    """Run COMMAND with the decrypted variables of FILE (.env, if it exists) and of this environment.

    The plaintext is in COMMAND's environment and nowhere else. COMMAND gets neither key entries nor the local key.
    It replaces encenv, so signals and the exit code are its own. ${NAME} in a FILE refers to a line above it or to
    this environment, not to another FILE.

    \b
    Example:
      encenv run -- python manage.py runserver
      encenv run -f .env -f .env.test -- pytest
    """
    if not program or not program[0]:
        raise click.UsageError("there is no COMMAND to run")
    files = files or ((DEFAULT_FILE,) if is_file_or_fifo(DEFAULT_FILE) else ())
    # Every line is read: a service is not started if one of them cannot be parsed.
    texts = [(str(read_every_line(path)), place(path)) for path in files]
    environ = child_environ(texts, os.environ, override=override)
    # Python ignores these at its start. COMMAND would ignore them too, and yes | head -1 in it would fail.
    for name in ("SIGPIPE", "SIGXFSZ"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.execvpe(program[0], list(program), environ)  # noqa: S606 (no shell is the point)
    except OSError as error:
        # The exception itself is not raised: its frames hold the environment.
        failure: EncenvError = FileError(
            f"{printable(program[0])} cannot be started: {(error.strerror or '').lower()}",
            hint=_hint(program, error.errno or 0),
        )
    except ValueError:
        unfit = [name for name, value in environ.items() if not name or "=" in name or "\0" in name + value]
        what = "a process cannot have a variable with a NUL, without a name, or with = in its name"
        hint = "encode the value, for example as base64, or choose another name"
        failure = FileError(what if unfit else "an argument holds a NUL", hint=hint, variables=unfit)
        failure = combine([failure])
    del environ
    raise failure


def _hint(program: tuple[str, ...], number: int) -> str:
    """Return what to do when *program* cannot be started; first the mistakes that the habits of similar tools cause."""
    if program[1:2] == ("--",) and is_file_or_fifo(program[0]):
        return "give the file with -f: encenv run -f FILE -- COMMAND"
    if number == errno.ENOENT and len(program) == 1 and " " in program[0]:
        return "write COMMAND without quotes, or give a line of shell to a shell: sh -c 'LINE'"
    return _HINTS.get(number, "check the command's name and PATH")
