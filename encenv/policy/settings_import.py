"""Import the settings class that [tool.encenv] names, in a process of its own.

So the application's modules, which may read files, set variables and print, change nothing in this process.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from encenv.errors import EncenvError, PolicyError, UserCodeError
from encenv.format.sealed import LOCAL_KEY_NAME
from encenv.policy.rules import FieldSecrecy

IMPORT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The reason why a settings class cannot be imported, and what to do."""

    message: str
    hint: str
    reason: Literal["missing", "raised", ""] = ""  # another Python may have it; the module raised an error


def import_settings(settings: str, folder: Path, where: str) -> FieldSecrecy:
    """Return which fields of the class *settings*, ``module:Class``, hold secrets; it is imported in *folder*.

    If there is no such class, or no Python to import it with, that is a `PolicyError`; if its module raises before the
    class is defined, a `UserCodeError`.
    """
    failure: EncenvError | None = None
    for program in _interpreters(folder):
        answer = _run(program, settings, folder)
        if isinstance(answer, FieldSecrecy):
            return answer
        error = UserCodeError if answer.reason == "raised" else PolicyError
        failure = failure or error(f"{where}: {answer.message}", hint=answer.hint)
        if answer.reason != "missing":
            break
    raise failure or PolicyError(f"{where}: no Python was found", hint="install encenv into the project")


def _interpreters(folder: Path) -> Iterator[str]:
    """Yield this Python, then the project's own: encenv may be installed apart from the application."""
    if sys.executable:
        yield sys.executable
    for name in ("bin/python", "Scripts/python.exe"):
        path = folder / ".venv" / name
        if path.exists() and path.parent.parent.resolve() != Path(sys.prefix).resolve():
            yield str(path)


def _run(program: str, settings: str, folder: Path) -> FieldSecrecy | NoAnswer:
    hint = "move the class into a module that does nothing else when it is imported"
    try:
        process = subprocess.run(  # noqa: S603 (what the project's owner configured)
            [program, "-P", "-m", "encenv.policy.settings_class", settings],
            cwd=folder,
            env={name: value for name, value in os.environ.items() if name != LOCAL_KEY_NAME},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=IMPORT_SECONDS,
            check=False,
        )
        answer = json.loads(process.stdout)
        return FieldSecrecy(**answer) if "names" in answer else NoAnswer(**answer)
    except subprocess.TimeoutExpired:
        return NoAnswer(f"importing {settings} took longer than {IMPORT_SECONDS} seconds", hint)
    except (OSError, ValueError, TypeError):
        return NoAnswer(f"{settings} ended the process that imports it", hint, "missing")
