"""What a person or a pipe gets to see. Plain standard library: it has to work when nothing else does.

Texts may hold paths and names that somebody else chose, so what is said never reaches a terminal unescaped.
"""

import os
import sys
from contextlib import suppress
from typing import TextIO

from encenv.errors import FileError


def say(text: str) -> None:
    """Write *text* to standard error; that nobody can read it is no failure of what was done."""
    _put(_printable(text))


def fail(message: str, hint: str, code: int = 1) -> int:
    """Say what happened and what to do; return the exit code."""
    _put(f"{_styled('encenv: error:', '1;31')} {_printable(message)}")
    _put(f"{_styled('encenv: hint:', '1')} {_printable(hint)}")
    return code


def write(data: bytes) -> None:
    """Write *data* to standard output.

    Raises:
        FileError: If there is none.
        OSError: If it cannot be written.
    """
    if sys.stdout is None:
        raise FileError("there is no standard output", hint="send it to a file or a pipe")
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def read() -> bytes:
    """Return all of standard input.

    Raises:
        FileError: If there is none.
    """
    if sys.stdin is None:
        raise FileError("there is no standard input", hint="give the path of a file")
    return sys.stdin.buffer.read()


def give_up_output() -> None:
    """Send what is still to be written nowhere, so that the interpreter does not fail over it again at exit."""
    _give_up(sys.stdout)


def shown(path: str) -> str:
    """Return *path* as one line without control characters."""
    return path if path.isprintable() else ascii(path)


def _put(text: str) -> None:
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):  # closed, full, or there is none
        _give_up(sys.stderr)


def _give_up(stream: TextIO | None) -> None:
    if stream is not None:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def _styled(text: str, style: str) -> str:
    plain = "NO_COLOR" in os.environ or sys.stderr is None or not sys.stderr.isatty()  # https://no-color.org
    return text if plain else f"\033[{style}m{text}\033[0m"
