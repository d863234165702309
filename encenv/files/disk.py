"""Read a file and its text, and turn a failed system call on a path into our error: what happened, what to do."""

import errno
import io
import os
import shlex
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from encenv.errors import ConflictError, FileError

StrPath = str | os.PathLike[str]
T = TypeVar("T")
Doing = Literal["read", "write"]
NOT_UTF8_HINT = "save the file as UTF-8, or give the loader its encoding"

_NO_SPACE = (
    "no space is left to write {name}",
    "free some space and run the command again; nothing was changed",
)
_NO_WRITING = (
    "no permission to write into the folder {folder}",
    "run as a user who may: {name} is replaced as a whole, so its folder must be writable",
)
_TEXTS = {  # message and hint
    errno.EEXIST: ("{name} exists already", "give another path, or move that file away first"),
    errno.EISDIR: ("{name} is a folder, not a file", "give the path of a file in it"),
    errno.ENOENT: ("the {what} {name} does not exist", "check the path and the current folder"),
    errno.ENOTDIR: ("a part of the path {name} is not a folder", "check the path"),
    errno.ENAMETOOLONG: ("the path {name} is too long", "check the path"),
    errno.EROFS: ("{folder} is on a read-only file system", "work on a copy in a writable folder"),
    errno.ENOSPC: _NO_SPACE,
    errno.EDQUOT: _NO_SPACE,
    errno.EACCES: _NO_WRITING,
    errno.EPERM: _NO_WRITING,
}
_NO_READING = (
    "no permission to read the {what} {name}",
    "run as a user who may read it, or have its owner change the permissions",
)
_READ_TEXTS = _TEXTS | {errno.EACCES: _NO_READING, errno.EPERM: _NO_READING}
_OTHER = "cannot {doing} the {what} {name}: {reason}", "fix what the system reports and run the command again"


def read(path: StrPath, what: str = "file") -> bytes:
    """Return the content of the file or FIFO *path*, following links; a FileError calls it a *what*."""
    path = Path(path)
    return attempt("read", path, path.read_bytes, what)


def read_text(path: StrPath, encoding: str | None = "utf-8") -> str:
    """Return the text of the file *path*, with newlines unchanged; errors as for `read` and `decode`."""
    return decode(read(path), os.fspath(path), encoding)


def decode(data: bytes, where: str, encoding: str | None = "utf-8", *, hint: str = NOT_UTF8_HINT) -> str:
    """Return the text of *data*, the content of the file called *where*, with newlines unchanged.

    Raises:
        FileError: If it is not in *encoding* (None: the locale's); *hint* says what to do then.
    """
    try:
        return io.TextIOWrapper(io.BytesIO(data), encoding=encoding, newline="").read()
    except UnicodeDecodeError as error:  # its `object` is the whole file
        line = data.count(b"\n", 0, error.start) + 1
        what = f"{where} is not {(encoding or error.encoding).upper()}: see line {line}"
    except LookupError:
        what = f"there is no encoding {encoding!r}"
    del data  # the exception keeps this frame, and the frame would keep the file
    raise FileError(what, hint=hint)


def is_file_or_fifo(path: StrPath) -> bool:
    """Return whether *path* is a regular file or a FIFO, as process substitution and some secret managers give."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 (not every path is a valid Path)
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)


def attempt(doing: Doing, path: Path, act: Callable[[], T], what: str = "file") -> T:
    """Return what the system call *act* on *path* returns; the error calls *path* a *what*.

    Raises:
        ConflictError: If *act* creates a file and *path* exists.
        FileError: For all other errors of the system.
    """
    try:
        return act()
    except OSError as error:
        code, reason = error.errno, (error.strerror or type(error).__name__).lower()
    # Raised outside the except block: frames of the system call may hold the content.
    message, hint = (_READ_TEXTS if doing == "read" else _TEXTS).get(code or 0, _OTHER)
    names = {"name": printable(path), "folder": printable(path.parent)}
    kind = ConflictError if code == errno.EEXIST else FileError
    raise kind(message.format(**names, doing=doing, what=what, reason=reason), hint=hint.format(**names))


def printable(text: StrPath) -> str:
    """Return *text*, a path or a name that somebody else chose, as one line without control characters."""
    text = os.fspath(text)
    return text if text.isprintable() else ascii(text)


def shell_argument(where: str) -> str:
    """Return the file called *where* in messages as the argument of a command to paste."""
    # Without ./ the command would take the file -x for an option.
    return "-" if where == "standard input" else shlex.quote(f"./{where}" if where.startswith("-") else where)


def shell_option(where: str) -> str:
    """Return the option ``-f`` for a command to paste, after a space; empty for ``.env``, which is its default."""
    return "" if where == ".env" else f" -f {shell_argument(where)}"
