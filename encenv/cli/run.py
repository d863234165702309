"""``encenv run``: start a program with decrypted variables."""

import os
from typing import NoReturn

import click

from encenv.errors import EncenvError, FileError
from encenv.format.sealed import entry_kid
from encenv.load.envfiles import LOCAL_KEY, LoadedFile, is_file_or_fifo, read_text
from encenv.load.environ import Load


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("-f", "--file", "files", metavar="FILE", multiple=True, help="A .env file; later ones win.")
@click.option("--override", is_flag=True, help="Let FILE win over variables that are set already.")
@click.argument("program", metavar="-- COMMAND [ARG]...", nargs=-1, required=True, type=click.UNPROCESSED)
def command(files: tuple[str, ...], override: bool, program: tuple[str, ...]) -> NoReturn:
    """Run COMMAND with the decrypted variables of FILE (.env, if there is one) and of this environment.

    The plaintext is in COMMAND's environment and nowhere else; COMMAND gets neither key entries nor the local
    key. encenv is replaced by COMMAND: signals and the exit code are its own.

    \b
    Example:
      encenv run -- python manage.py runserver
      encenv run -f .env -f .env.test -- pytest
    """
    environ = _environment(files or ((".env",) if is_file_or_fifo(".env") else ()), override=override)
    try:
        os.execvpe(program[0], list(program), environ)  # noqa: S606 (no shell is the point)
    except OSError as error:
        # Not the exception itself: its frames hold the environment.
        failure: EncenvError = FileError(
            f"{program[0]} cannot be started: {error.strerror}", hint="check the command's name and PATH"
        )
    except ValueError:
        failure = FileError(
            "a variable or argument holds a NUL or has no name",
            hint="check the names in the file and the arguments",
        )
    del environ
    raise failure


def _environment(files: tuple[str, ...], *, override: bool) -> dict[str, str]:
    """Return the child's whole environment.

    Raises:
        EncenvError: If a value that the child would get cannot be decrypted; all of them are reported together.
    """
    process = {
        name: value for name, value in os.environ.items() if entry_kid(name) is None and name != LOCAL_KEY
    }
    load = Load({}, os.environ)
    load.add_entries(os.environ.items())
    texts = [LoadedFile(load, read_text(path), path, override=override) for path in reversed(files)]
    chosen: dict[str, LoadedFile] = {}
    for file in texts:
        chosen |= {
            name: file for name in file.last if name not in chosen and (override or name not in process)
        }
    kept = [name for name in process if name not in chosen]
    load.prepare(
        [
            *(process[name] for name in kept),
            *(t for name, f in chosen.items() for t in f.sealed_texts([name])),
        ]
    )
    environ = {name: load.decrypt(name, process[name]) for name in kept}
    environ |= {name: file.value(name) for name, file in chosen.items()}
    failure = load.finish()
    if failure is not None:
        raise failure
    return {name: value for name, value in environ.items() if value is not None}
