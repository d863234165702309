"""Bytes of a file to text, and text to what may be shown on a screen."""

import io
import os
import stat

from encenv.errors import FileError
from encenv.files.atomic import read

StrPath = str | os.PathLike[str]


def read_text(path: StrPath, encoding: str | None = "utf-8") -> str:
    """Return the text of the file *path*, newlines untranslated. A FIFO is read to its end.

    Raises:
        FileError: If it cannot be read, or is not in *encoding*.
    """
    return decode(read(path), os.fspath(path), encoding)


def decode(data: bytes, where: str, encoding: str | None = "utf-8") -> str:
    """Return the text of *data*, the content of the file called *where*, newlines untranslated.

    Raises:
        FileError: If it is not in *encoding* (None: the locale's).
    """
    try:
        return io.TextIOWrapper(io.BytesIO(data), encoding=encoding, newline="").read()
    except UnicodeDecodeError as error:  # its `object` is the whole file
        line = data.count(b"\n", 0, error.start) + 1
        what = f"{where} is not {(encoding or error.encoding).upper()}: see line {line}"
    except LookupError:
        what = f"there is no encoding {encoding!r}"
    del data  # the exception keeps this frame, and the frame would keep the file
    raise FileError(what, hint="save the file as UTF-8; a loader can also be given another encoding")


def is_file_or_fifo(path: StrPath) -> bool:
    """Return whether *path* is a regular file or a FIFO, as process substitution and some secret managers give."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 (of any path)
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)


def printable(text: str) -> str:
    """Return *text*, a path or a name that somebody else chose, as one line without control characters."""
    return text if text.isprintable() else ascii(text)
