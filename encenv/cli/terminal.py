"""Write to the terminal and read from it. Only the standard library is used: this must work when nothing else does.

Texts can hold paths and names that somebody else chose, so messages are escaped before they reach a terminal.
"""

import os
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, TypeVar

from encenv.errors import FileError

PROGRESS_AFTER = 0.5  # seconds; what takes less needs no bar
PROGRESS_EVERY = 0.1  # seconds
BAR_CHARACTERS = 24
GREEN, YELLOW, RED, DIM, BOLD = "32", "33", "31", "2", "1"  # ECMA-48, SGR

T = TypeVar("T")
_is_quiet = False
_has_bar = False


def say(text: str) -> None:
    """Write *text* to standard error. If nobody can read it, the command has not failed."""
    if not _is_quiet:
        _write_line(_escaped(text))


def warn(text: str) -> None:
    """Write a warning to standard error: nothing failed, but a person should know."""
    _write_line(f"{painted('encenv: warning:', YELLOW, sys.stderr)} {_escaped(text)}")


def fail(message: str, hint: str, code: int = 1) -> int:
    """Write what happened and what to do to standard error; return the exit code."""
    _write_line(f"{painted('encenv: error:', f'{BOLD};{RED}', sys.stderr)} {_escaped(message)}")
    _write_line(f"{painted('encenv: hint:', BOLD, sys.stderr)} {_escaped(hint)}")
    return code


@contextmanager
def quietly() -> Iterator[None]:
    """Drop what `say` says and draw no bar; warnings and errors are still written."""
    global _is_quiet  # noqa: PLW0603 (one process has one standard error)
    _is_quiet = True
    try:
        yield
    finally:
        _is_quiet = False


def progress(items: Collection[T], doing: str = "values") -> Iterator[T]:
    """Yield *items*; if that takes long and a person is looking, draw a bar on standard error and wipe it at the end.

    `click.progressbar` draws at once, leaves its bar behind, hides the cursor meanwhile, writes its label where nobody
    is looking, and knows nothing of the messages between two steps.
    """
    is_seen = not _is_quiet and is_terminal(sys.stderr) and os.environ.get("TERM", "") != "dumb"
    drawn = time.monotonic() + PROGRESS_AFTER - PROGRESS_EVERY
    try:
        for done, item in enumerate(items):
            if is_seen and time.monotonic() - drawn >= PROGRESS_EVERY:
                drawn = time.monotonic()
                bar = ("#" * (BAR_CHARACTERS * done // len(items))).ljust(BAR_CHARACTERS, ".")
                _draw(f"{doing} {bar} {done:,} of {len(items):,}")
            yield item
    finally:
        _draw("")


def write(data: bytes) -> None:
    """Write *data* to standard output; FileError if there is none, OSError if it cannot be written."""
    if sys.stdout is None:
        raise FileError("there is no standard output", hint="send it to a file or a pipe")
    sys.stdout.flush()
    rest = memoryview(data)
    while rest:  # with PYTHONUNBUFFERED one write may take only a part, for example on a full disk
        rest = rest[sys.stdout.buffer.write(rest) or 0 :]
    sys.stdout.buffer.flush()


def read_standard_input() -> bytes:
    """Return all of standard input; FileError if there is none."""
    if sys.stdin is None:
        raise FileError("there is no standard input", hint="give the path of a file")
    return sys.stdin.buffer.read()


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether *stream* is a terminal: on standard input, a person can be asked."""
    return stream is not None and stream.isatty()


def give_up(stream: TextIO | None) -> None:
    """Drop what is still to be written to *stream*, so that the interpreter does not fail over it again at exit."""
    if stream is not None:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def count(number: int, noun: str) -> str:
    """Return *number* and *noun*, in the plural where there is not exactly one."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def painted(text: str, style: str, stream: TextIO | None = None) -> str:
    """Return *text* in *style*, if *stream* (None: standard output) is a terminal and NO_COLOR is not set (https://no-color.org)."""
    is_painted = "NO_COLOR" not in os.environ and is_terminal(stream or sys.stdout)
    return f"\033[{style}m{text}\033[0m" if is_painted else text


def _draw(bar: str) -> None:
    """Draw *bar* over the one on the screen; an empty *bar* only wipes that."""
    global _has_bar  # noqa: PLW0603 (one process has one standard error)
    if bar or _has_bar:
        _has_bar = False
        with suppress(AttributeError, OSError, ValueError):
            sys.stderr.write(f"\r\033[K{_escaped(bar)}")
            sys.stderr.flush()
            _has_bar = bool(bar)


def _write_line(text: str) -> None:
    _draw("")
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):  # standard error is closed, full or missing
        give_up(sys.stderr)


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
