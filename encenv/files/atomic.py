"""A file is replaced as a whole or not at all, by one writer at a time, and never by one who has not seen it.

The steps: lock the folder, read the file, write a temporary one beside it, fsync, compare the original once more,
put the one in the place of the other, fsync the folder.
"""

import errno
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from encenv.errors import ConflictError, FileError

try:
    import fcntl
except ImportError:  # Windows: there the comparison just before the replacement has to do
    fcntl = None  # type: ignore[assignment]

LOCK_SECONDS = 30.0  # a rewrite takes milliseconds; one that unwraps its data key first, up to UNWRAP_SECONDS in writer.py
PRIVATE = 0o600
_TEMPORARY = re.compile(r"\.encenv-[0-9a-f]{16}\.tmp")
# NONBLOCK: to open a FIFO that came to stand there must not wait for its other end. Windows has neither flag.
_NOTHING_ELSE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_NO_HARD_LINKS = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)

T = TypeVar("T")
StrPath = str | os.PathLike[str]


class _State(NamedTuple):
    """All of a file that a rewrite keeps, and must not overwrite if another has changed it."""

    data: bytes
    mode: int
    uid: int
    gid: int
    attributes: tuple[tuple[str, bytes], ...]  # Linux keeps access lists there


class Rewriting:
    """A file under lock."""

    def __init__(self, path: Path, state: _State) -> None:
        self._path = path
        self._state = state

    @property
    def data(self) -> bytes:
        """The whole content."""
        return self._state.data

    def replace(self, data: bytes) -> None:
        """Make *data* the content of the file; its mode stays, and its owner where that is permitted.

        The content that it has already leaves the file untouched.

        Raises:
            ConflictError: If the file was changed since it was read, by someone who asks no lock.
            FileError: If it cannot be written. It is then as it was.
        """
        if data == self._state.data:
            return
        temporary = _temporary_beside(self._path)
        try:
            _tried("write", self._path, lambda: _write(temporary, data, PRIVATE, like=self._state))
            written, _ = _tried("read", temporary, lambda: _read_state(temporary))
            if not self._is_unchanged():
                raise ConflictError(
                    f"{_shown(self._path)} was changed by another program while it was being rewritten",
                    hint="run the command again; the file holds the other change and nothing of this one",
                )
            _tried("write", self._path, lambda: temporary.replace(self._path))
        finally:
            _remove(temporary)
        self._state = written
        _sync_folder(self._path.parent)

    def _is_unchanged(self) -> bool:
        try:
            return _read_regular(self._path) == self._state
        except FileError:
            return False  # it is gone, or something else stands there


@contextmanager
def rewriting(path: StrPath) -> Iterator[Rewriting]:
    """Read the file at *path* to rewrite it, and keep other encenv writers out of its folder until the block ends.

    Not to be nested for two files of one folder: the inner would wait for the outer.

    Raises:
        ConflictError: If another writer keeps the folder for longer than 10 seconds.
        FileError: If it cannot be read, or is not a regular file that has just this name.
    """
    path = Path(path)
    with _locked(path.parent):
        yield Rewriting(path, _read_regular(path))


def create(path: StrPath, data: bytes, mode: int = PRIVATE) -> None:
    """Create the file *path* with *data* in it, whole from the moment it can be seen.

    Args:
        path: Where nothing is yet.
        data: The content.
        mode: The permissions, less what the umask takes away.

    Raises:
        ConflictError: If something is there already, be it a broken symbolic link; or as for `rewriting`.
        FileError: If it cannot be written. Nothing is there then.
    """
    path = Path(path)
    temporary = _temporary_beside(path)
    with _locked(path.parent):
        if not _tried("write", path, lambda: _write_nameless(path, data, mode)):
            try:
                _tried("write", path, lambda: _write(temporary, data, mode))
                _tried("write", path, lambda: _put(temporary, path))
            finally:
                _remove(temporary)
        _sync_folder(path.parent)


def read(path: StrPath, what: str = "file") -> bytes:
    """Return the content of the file *path*, also through a link; *what* is what an error calls it.

    Raises:
        FileError: If it cannot be read.
    """
    path = Path(path)
    return _tried("read", path, path.read_bytes, what)


def _read_regular(path: Path) -> _State:
    found = _tried("read", path, path.lstat)
    if stat.S_ISLNK(found.st_mode):
        target = _shown(os.path.realpath(path))
        raise FileError(
            f"{_shown(path)} is a symbolic link to {target}",
            hint=f"give {target} instead, if that is the file to rewrite",
        )
    if stat.S_ISREG(found.st_mode):
        state, found = _tried("read", path, lambda: _read_state(path))
    if stat.S_ISDIR(found.st_mode):
        raise _is_folder(path)
    if not stat.S_ISREG(found.st_mode):
        raise FileError(
            f"{_shown(path)} is a pipe or a device, not a file that can be replaced",
            hint="write its content into a regular file and give that",
        )
    if found.st_nlink > 1:
        raise FileError(
            f"{_shown(path)} has another name too (a hard link), under which the old content would stay",
            hint=f"see find . -samefile {_shown(path)}; remove the other names, or work on a copy of the file",
        )
    return state


def _read_state(path: Path) -> tuple[_State, os.stat_result]:
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _NOTHING_ELSE)) as file:
        found = os.fstat(file.fileno())
        attributes: list[tuple[str, bytes]] = []
        if hasattr(os, "listxattr"):
            with suppress(OSError):  # not every file system has them
                attributes.extend(
                    (name, os.getxattr(file.fileno(), name)) for name in os.listxattr(file.fileno())
                )
        data = file.read()
    return _State(data, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, tuple(attributes)), found


def _write(path: Path, data: bytes, mode: int, like: _State | None = None) -> None:
    """Create *path* with *data*, safely on the disk; first with *mode*, then with the permissions of *like*."""
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(data)
        file.flush()
        if like is not None:
            _liken(file.fileno(), path, like)
        os.fsync(file.fileno())


def _liken(descriptor: int, path: Path, like: _State) -> None:
    mode = like.mode
    if hasattr(os, "fchown"):
        with suppress(PermissionError):
            os.fchown(descriptor, like.uid, -1)
        try:
            os.fchown(descriptor, -1, like.gid)
        except PermissionError:
            # The permissions were not meant for our own group: it gets what everyone gets.
            mode = mode & ~stat.S_IRWXG | (mode & stat.S_IRWXO) << 3
    path.chmod(mode)
    for name, value in like.attributes:
        with suppress(OSError):  # what only the system may set, it sets by itself
            os.setxattr(descriptor, name, value)


def _write_nameless(path: Path, data: bytes, mode: int) -> bool:
    """Create *path* from a file that has no name before it is whole; return False where there is no such thing.

    What is created may be plaintext: of a nameless file nothing is left if this process is killed.
    """
    try:
        descriptor = os.open(path.parent, os.O_WRONLY | os.O_TMPFILE, mode)
    except (AttributeError, OSError):  # only Linux has them, and not for every file system
        return False
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
        try:
            # open(2), O_TMPFILE. With src_dir_fd, for Python calls linkat(2) only then, and link(2) does not follow.
            os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor)
        except FileExistsError:
            raise
        except OSError:  # no /proc, or no links
            return False
    return True


def _put(temporary: Path, path: Path) -> None:
    """Give *temporary* the name *path*, unless that is taken; a rename would take it from another."""
    try:
        path.hardlink_to(temporary)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
    else:
        return
    # A file system without hard links: an empty file takes the name, then the whole one takes its place.
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE))
    placed = False
    try:
        temporary.replace(path)
        placed = True
    finally:
        if not placed:
            _remove(path)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other encenv writers out of *folder*.

    The folder itself is locked: a lock on the file would go with the file that is replaced, and a lock file would
    be left behind.
    """
    if fcntl is None:
        yield
        return
    holder = os.getpid()
    descriptor = _tried("read", folder, lambda: os.open(folder, os.O_RDONLY | os.O_DIRECTORY), "folder")
    try:
        if _lock(descriptor, folder):
            for left in folder.iterdir():
                if _TEMPORARY.fullmatch(
                    left.name
                ):  # by a writer that was killed, for no other is at work here
                    _remove(left)
        yield
    finally:
        # A child that was forked meanwhile shares the lock: it must neither keep it from others nor give it up for us.
        if os.getpid() == holder:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> bool:
    """Wait for the lock; return False where the file system has none, as some network ones."""
    deadline = time.monotonic() + LOCK_SECONDS
    pause = 0.001
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        except OSError:
            return False
        else:
            return True
        if time.monotonic() >= deadline:
            raise ConflictError(
                f"another encenv has been rewriting a file in {_shown(folder)} for more than {LOCK_SECONDS:g} seconds",
                hint="wait for it to end, or end it, and run the command again",
            )
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def _temporary_beside(path: Path) -> Path:
    return path.parent / f".encenv-{os.urandom(8).hex()}.tmp"


def _remove(path: Path) -> None:
    with suppress(OSError):  # it may have got its final name, or never have come to be
        path.unlink()


def _sync_folder(folder: Path) -> None:
    # The new file is in its place already. Where a folder cannot be synced, it only is less sure to outlive a crash.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _tried(doing: str, path: Path, act: Callable[[], T], what: str = "file") -> T:
    """Return what *act* returns, or raise what went wrong in our words.

    Raised outside the except block: frames of the system call may hold the content.
    """
    try:
        return act()
    except OSError as error:
        code, reason = error.errno, (error.strerror or type(error).__name__).lower()
    raise _explained(doing, path, what, code, reason)


def _explained(doing: str, path: Path, what: str, code: int | None, reason: str) -> FileError | ConflictError:
    shown, folder = _shown(path), _shown(path.parent)
    if code == errno.EEXIST:
        return ConflictError(
            f"{shown} exists already", hint="give another path, or move that file away first"
        )
    if code == errno.EISDIR:
        return _is_folder(path)
    known = {
        errno.ENOENT: (f"the {what} {shown} does not exist", "check the path, and in which folder you are"),
        errno.ENOTDIR: (f"a part of the path {shown} is not a folder", "check the path"),
        errno.ENAMETOOLONG: (f"the path {shown} is too long", "check the path"),
        errno.EROFS: (
            f"{folder} is on a read-only file system",
            "work on a copy in a folder that can be written",
        ),
        errno.ENOSPC: (
            f"no space is left to write {shown}",
            "free some and run the command again; nothing was changed",
        ),
    }
    known[errno.EDQUOT] = known[errno.ENOSPC]
    if doing == "read":
        known[errno.EACCES] = (
            f"no permission to read the {what} {shown}",
            "run as a user who may read it, or have its owner change the permissions",
        )
    else:
        known[errno.EACCES] = known[errno.EPERM] = (
            f"no permission to write into the folder {folder}",
            f"run as a user who may; {shown} is replaced as a whole, so its folder has to be writable",
        )
    message, hint = known.get(
        code or 0,
        (
            f"cannot {doing} the {what} {shown}: {reason}",
            "mend what the system reports and run the command again",
        ),
    )
    return FileError(message, hint=hint)


def _is_folder(path: Path) -> FileError:
    return FileError(f"{_shown(path)} is a folder, not a file", hint="give the path of the file in it")


def _shown(path: StrPath) -> str:
    text = os.fspath(path)
    return text if text.isprintable() else ascii(text)
