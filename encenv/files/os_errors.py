"""What a failed system call on a path means, as our errors: what happened, and what to do."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from encenv.errors import ConflictError, EncenvError, FileError
from encenv.files.text import printable

T = TypeVar("T")
Doing = Literal["read", "write"]

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


def attempt(doing: Doing, path: Path, act: Callable[[], T], what: str = "file") -> T:
    """Return what *act* returns, or raise our error for the `OSError` that it raises.

    Args:
        doing: What *act* does.
        path: The file or folder that it works on.
        act: The system call.
        what: What the error calls *path*.

    Raises:
        ConflictError: If *act* creates a file and *path* exists.
        FileError: For all other errors of the system.
    """
    try:
        return act()
    except OSError as error:
        code, reason = error.errno, (error.strerror or type(error).__name__).lower()
    # Raised outside the except block: frames of the system call may hold the content.
    raise _error(doing, path, what, code or 0, reason)


def folder_error(path: Path) -> EncenvError:
    """Return the error that *path* is a folder."""
    return _error("read", path, "file", errno.EISDIR)


def _error(doing: Doing, path: Path, what: str, code: int, reason: str = "") -> EncenvError:
    message, hint = (_READ_TEXTS if doing == "read" else _TEXTS).get(code, _OTHER)
    names = {"name": printable(path), "folder": printable(path.parent)}
    kind = ConflictError if code == errno.EEXIST else FileError
    return kind(message.format(**names, doing=doing, what=what, reason=reason), hint=hint.format(**names))
