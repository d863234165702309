"""Bytes of a file to text, and text to what a screen may show."""

import io
import os

from encenv.errors import FileError

NOT_UTF8_HINT = "save the file as UTF-8; a loader can also be given another encoding"
StrPath = str | os.PathLike[str]


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


def printable(text: StrPath) -> str:
    """Return *text*, a path or a name that somebody else chose, as one line without control characters."""
    text = os.fspath(text)
    return text if text.isprintable() else ascii(text)
