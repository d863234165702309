"""What a person or a pipe gets to see. Plain standard library: it has to work when nothing else does.

Texts may hold paths and names that somebody else chose, so what is said never reaches a terminal unescaped.
"""

import os
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import TextIO, TypeVar

from encenv.errors import FileError

PROGRESS_AFTER = 0.5  # seconds; what takes less needs no bar
PROGRESS_EVERY = 0.1  # seconds
BAR = 24  # characters
GREEN, YELLOW, RED, DIM, BOLD = "32", "33", "31", "2", "1"  # ECMA-48, SGR

T = TypeVar("T")
_is_quiet = False
_bar_stands = False


def say(text: str) -> None:
    """Write *text* to standard error; that nobody can read it is no failure of what was done."""
    if not _is_quiet:
        _put(_printable(text))


def warn(text: str) -> None:
    """Write a warning to standard error: nothing failed, but somebody should know."""
    _put(f"{_styled('encenv: warning:', YELLOW)} {_printable(text)}")


def hush(*, is_quiet: bool) -> None:
    """Say nothing from now on (-q), or speak again; warnings and errors are always said."""
    global _is_quiet  # noqa: PLW0603 (one process has one standard error)
    _is_quiet = is_quiet


def progress(items: Collection[T], doing: str) -> Iterator[T]:
    """Yield *items*; if that takes long and a person is looking, draw a bar on standard error."""
    is_seen = (
        not _is_quiet
        and sys.stderr is not None
        and sys.stderr.isatty()
        and os.environ.get("TERM", "") != "dumb"
    )
    drawn = time.monotonic() + PROGRESS_AFTER - PROGRESS_EVERY
    try:
        for done, item in enumerate(items):
            if is_seen and time.monotonic() - drawn >= PROGRESS_EVERY:
                drawn = time.monotonic()
                bar = ("#" * (BAR * done // len(items))).ljust(BAR, ".")
                _draw(f"{doing} {bar} {done:,} of {len(items):,}")
            yield item
    finally:
        _clear()


def through_values(values: Collection[T]) -> Iterator[T]:
    """Yield the *values* of one file, as `progress` does."""
    return progress(values, "values")


def fail(message: str, hint: str, code: int = 1) -> int:
    """Say what happened and what to do; return the exit code."""
    _put(f"{_styled('encenv: error:', '1;31')} {_printable(message)}")
    _put(f"{_styled('encenv: hint:', BOLD)} {_printable(hint)}")
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
    rest = memoryview(data)
    while (
        rest
    ):  # with PYTHONUNBUFFERED a write may take a part of it only, for example the last space of a disk
        rest = rest[sys.stdout.buffer.write(rest) or 0 :]
    sys.stdout.buffer.flush()


def read() -> bytes:
    """Return all of standard input.

    Raises:
        FileError: If there is none.
    """
    if sys.stdin is None:
        raise FileError("there is no standard input", hint="give the path of a file")
    return sys.stdin.buffer.read()


def can_ask() -> bool:
    """Return whether a person can be asked: standard input is a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


def give_up_output() -> None:
    """Send what is still to be written nowhere, so that the interpreter does not fail over it again at exit."""
    _give_up(sys.stdout)


def painted(text: str, style: str) -> str:
    """Return *text* for standard output in a *style* (the numbers of an SGR sequence) if that is a terminal."""
    return _in_style(text, style, sys.stdout)


def _draw(text: str) -> None:
    global _bar_stands  # noqa: PLW0603 (one process has one standard error)
    with suppress(AttributeError, OSError, ValueError):
        sys.stderr.write(f"\r\033[K{_printable(text)}")
        sys.stderr.flush()
        _bar_stands = True


def _clear() -> None:
    global _bar_stands  # noqa: PLW0603 (one process has one standard error)
    if _bar_stands:
        _bar_stands = False
        with suppress(AttributeError, OSError, ValueError):
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def _put(text: str) -> None:
    _clear()
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
    return _in_style(text, style, sys.stderr)


def _in_style(text: str, style: str, stream: TextIO | None) -> str:
    # https://no-color.org
    plain = not style or "NO_COLOR" in os.environ or stream is None or not stream.isatty()
    return text if plain else f"\033[{style}m{text}\033[0m"
