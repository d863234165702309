"""The environment of a program that is started with decrypted variables."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from encenv.errors import frameless
from encenv.format.sealed import LOCAL_KEY_NAME, entry_kid
from encenv.keys.entries import KeyEntries
from encenv.keys.session import Session
from encenv.load.dotenv import LoadedFile


@frameless
def child_environ(
    files: Sequence[tuple[str, str]], environ: Mapping[str, str], *, override: bool
) -> dict[str, str]:
    """Return the process variables *environ* and those of *files*, decrypted, without key entries and the local key.

    Each .env file is its text and its name for messages. A later file wins over an earlier one; with *override*, files
    win over the process. One error reports all values of the child that cannot be decrypted.
    """
    process = {name: value for name, value in environ.items() if _is_passed_on(name)}
    if _is_pythons_locale(environ):
        del process["LC_CTYPE"]
    session = Session(environ, entries=KeyEntries(environ.items()))
    sources: dict[str, LoadedFile] = {}  # by variable
    for text, where in reversed(files):
        file = LoadedFile(session, text, where, override=override)
        for name in file.last:
            is_free = name not in sources and (override or name not in process)
            if is_free and _is_passed_on(name) and file.raw(name) is not None:
                sources[name] = file
    rest = {name: value for name, value in process.items() if name not in sources}
    texts = [text for name, file in sources.items() for text in file.sealed_texts([name])]
    session.prepare([*rest.values(), *texts])
    child: dict[str, str | None] = {}
    for name, value in rest.items():
        plain = session.decrypt(name, value)
        child[name] = plain if plain == value else _as_utf8(plain)
    for name, file in sources.items():
        child[_as_utf8(name) or ""] = _as_utf8(file.value(name))
    session.raise_failures()
    return {name: value for name, value in child.items() if value is not None}


def _is_passed_on(name: str) -> bool:
    return entry_kid(name) is None and name != LOCAL_KEY_NAME


def _as_utf8(text: str | None) -> str | None:
    """Return *text* so that the child gets it in UTF-8, as it is in the file, whatever the locale of this process."""
    return None if text is None else os.fsdecode(text.encode("utf-8", "surrogateescape"))


def _is_pythons_locale(environ: Mapping[str, str]) -> bool:
    """Return whether Python itself has set LC_CTYPE, as it does at its start in the C locale (PEP 538).

    If the system does not tell the variables that the process was started with, LC_CTYPE stays.
    """
    if "LC_CTYPE" not in environ:
        return False
    try:
        variables = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return not any(variable.startswith(b"LC_CTYPE=") for variable in variables)
