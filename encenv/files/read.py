"""Read a whole file from disk."""

import os
import stat
from pathlib import Path

from encenv.files.os_errors import attempt
from encenv.files.text import StrPath, decode


def read(path: StrPath, what: str = "file") -> bytes:
    """Return the content of the file *path*, following links.

    Args:
        path: A file, or a FIFO, which is read to its end.
        what: What an error calls it.

    Raises:
        FileError: If it cannot be read.
    """
    path = Path(path)
    return attempt("read", path, path.read_bytes, what)


def read_text(path: StrPath, encoding: str | None = "utf-8") -> str:
    """Return the text of the file *path*, with newlines unchanged.

    Raises:
        FileError: If it cannot be read, or is not in *encoding* (None: the locale's).
    """
    return decode(read(path), os.fspath(path), encoding)


def is_file_or_fifo(path: StrPath) -> bool:
    """Return whether *path* is a regular file or a FIFO, as process substitution and some secret managers give."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 (not every path is a valid Path)
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)
