"""What a failed system call on a path means, as our errors: what happened, and what to do."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from encenv.errors import ConflictError, FileError
from encenv.files.text import printable

T = TypeVar("T")
Doing = Literal["read", "write"]


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
    raise _error(doing, path, what, code, reason)


def folder_error(path: Path) -> FileError:
    """Return the error that *path* is a folder."""
    return FileError(f"{printable(path)} is a folder, not a file", hint="give the path of a file in it")


def _error(doing: Doing, path: Path, what: str, code: int | None, reason: str) -> FileError | ConflictError:
    name, folder = printable(path), printable(path.parent)
    if code == errno.EEXIST:
        return ConflictError(f"{name} exists already", hint="give another path, or move that file away first")
    if code == errno.EISDIR:
        return folder_error(path)
    texts = {
        errno.ENOENT: (f"the {what} {name} does not exist", "check the path and the current folder"),
        errno.ENOTDIR: (f"a part of the path {name} is not a folder", "check the path"),
        errno.ENAMETOOLONG: (f"the path {name} is too long", "check the path"),
        errno.EROFS: (f"{folder} is on a read-only file system", "work on a copy in a writable folder"),
        errno.ENOSPC: (
            f"no space is left to write {name}",
            "free some space and run the command again; nothing was changed",
        ),
    }
    texts[errno.EDQUOT] = texts[errno.ENOSPC]
    if doing == "read":
        texts[errno.EACCES] = (
            f"no permission to read the {what} {name}",
            "run as a user who may read it, or have its owner change the permissions",
        )
    else:
        texts[errno.EACCES] = texts[errno.EPERM] = (
            f"no permission to write into the folder {folder}",
            f"run as a user who may: {name} is replaced as a whole, so its folder must be writable",
        )
    message, hint = texts.get(
        code or 0,
        (
            f"cannot {doing} the {what} {name}: {reason}",
            "fix what the system reports and run the command again",
        ),
    )
    return FileError(message, hint=hint)
