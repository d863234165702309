"""Replace a file as a whole or not at all, and never over a change that the writer has not seen.

The steps: lock the folder, read the file, write a temporary file beside it, fsync, compare the original once more,
rename the temporary file over it, fsync the folder. A writer deletes the temporary files of writers that were killed.
"""

import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from encenv.errors import ConflictError, FileError
from encenv.files.disk import StrPath, attempt, printable

try:
    import fcntl
except ImportError:  # Windows: there only the comparison just before the replacement protects the file
    fcntl = None  # type: ignore[assignment]

PRIVATE = 0o600
# NONBLOCK: opening a FIFO that took the file's place must not wait for its other end. Windows has neither flag.
_REGULAR_ONLY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
# A change takes milliseconds, or up to writer.UNWRAP_SECONDS (20) if it must unwrap a data key first.
LOCK_SECONDS = 30.0
_TEMPORARY = re.compile(r"\.encenv-[0-9a-f]{16}\.tmp")
_NO_HARD_LINKS = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


class _State(NamedTuple):
    """The content and permissions of a file when it was read; it is not replaced if one of them has changed since."""

    data: bytes
    mode: int
    uid: int
    gid: int
    attributes: tuple[tuple[str, bytes], ...]  # Linux keeps access lists there


class FileEdit:
    """A file under lock, to be replaced; *data* is its whole content."""

    def __init__(self, path: Path, state: _State) -> None:
        self._path = path
        self._state = state
        self.data = state.data

    def replace(self, data: bytes) -> None:
        """Make *data* the content of the file; keep its mode, and its owner where that is permitted.

        If *data* is the present content, the file is not touched.

        Raises:
            ConflictError: If a program that does not use the lock has changed the file since it was read.
            FileError: If it cannot be written. It is then unchanged.
        """
        if data == self._state.data:
            return
        temporary = _temporary_beside(self._path)
        try:
            attempt("write", self._path, lambda: _write(temporary, data, PRIVATE, like=self._state))
            state, _ = attempt("read", temporary, lambda: _read_state(temporary))
            if not self._is_unchanged():
                raise ConflictError(
                    f"{printable(self._path)} was changed by another program at the same time",
                    hint="run the command again; the file holds only the other program's change",
                )
            attempt("write", self._path, lambda: temporary.replace(self._path))
        finally:
            _remove(temporary)
        self._state, self.data = state, data
        _sync_folder(self._path.parent)

    def _is_unchanged(self) -> bool:
        try:
            return _read_regular(self._path) == self._state
        except FileError:
            return False  # it is gone, or no longer a regular file


@contextmanager
def edit_file(path: StrPath) -> Iterator[FileEdit]:
    """Read the file *path* to change it, and keep other encenv writers out of its folder until the block ends.

    Must not be nested for two files of one folder: the inner block would wait for the outer one.

    Raises:
        ConflictError: If another writer holds the lock for more than `LOCK_SECONDS`.
        FileError: If it cannot be read, or is not a regular file with one name.
    """
    path = Path(path)
    with _lock(path.parent):
        yield FileEdit(path, _read_regular(path))


def create(path: StrPath, data: bytes, mode: int = PRIVATE) -> None:
    """Create the file *path* with *data* in it; nobody sees it before it is whole. The umask applies to *mode*.

    Raises:
        ConflictError: If something exists there, even a broken symbolic link, or another writer holds the lock.
        FileError: If it cannot be written. Then there is no such file.
    """
    path = Path(path)
    temporary = _temporary_beside(path)
    with _lock(path.parent):
        if not attempt("write", path, lambda: _create_nameless(path, data, mode)):
            try:
                attempt("write", path, lambda: _write(temporary, data, mode))
                attempt("write", path, lambda: _rename_to_new(temporary, path))
            finally:
                _remove(temporary)
        _sync_folder(path.parent)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Keep other encenv writers out of *folder* until the block ends.

    The folder itself is locked: a lock on the file would go with the file that is replaced, and a lock file would
    stay behind.
    """
    if fcntl is None:
        yield
        return
    holder = os.getpid()
    descriptor = attempt("read", folder, lambda: os.open(folder, os.O_RDONLY | os.O_DIRECTORY), "folder")
    try:
        if _wait_for_lock(descriptor, folder):
            for path in folder.iterdir():
                if _TEMPORARY.fullmatch(path.name):  # no other writer is at work: this one's was killed
                    _remove(path)
        yield
    finally:
        # A child forked meanwhile shares the lock: it must not keep it from others, nor release it for us.
        if os.getpid() == holder:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _wait_for_lock(descriptor: int, folder: Path) -> bool:
    """Wait for the lock; return False on a file system without locks, such as some network ones."""
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
                f"another encenv has been changing a file in {printable(folder)} for more than {LOCK_SECONDS:g} seconds",
                hint="wait for it to end, or stop it, and run the command again",
            )
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def _temporary_beside(path: Path) -> Path:
    """Return a new name in the folder of *path* for a file that the next writer may delete."""
    return path.parent / f".encenv-{os.urandom(8).hex()}.tmp"


def _remove(path: Path) -> None:
    """Delete the file *path*, if it is there."""
    with suppress(OSError):  # it may have its final name by now, or was never created
        path.unlink()


def _read_regular(path: Path) -> _State:
    status = attempt("read", path, path.lstat)
    name = printable(path)
    if stat.S_ISLNK(status.st_mode):
        target = printable(os.path.realpath(path))
        hint = f"give {target} instead, if that is the file to change"
        raise FileError(f"{name} is a symbolic link to {target}", hint=hint)
    if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):  # reading a folder fails
        state, status = attempt("read", path, lambda: _read_state(path))
    if not stat.S_ISREG(status.st_mode):
        hint = "write its content into a regular file and give that"
        raise FileError(f"{name} is a pipe or a device, not a file that can be replaced", hint=hint)
    if status.st_nlink > 1:
        raise FileError(
            f"{name} has another name too (a hard link), which would keep the old content",
            hint=f"see find . -samefile {name}; remove the other names, or work on a copy of the file",
        )
    return state


def _read_state(path: Path) -> tuple[_State, os.stat_result]:
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _REGULAR_ONLY)) as file:
        status = os.fstat(file.fileno())
        attributes: list[tuple[str, bytes]] = []
        with suppress(AttributeError, OSError):  # only Linux has them, and not on every file system
            names = os.listxattr(file.fileno())
            attributes.extend((name, os.getxattr(file.fileno(), name)) for name in names)
        data = file.read()
    mode = stat.S_IMODE(status.st_mode)
    return _State(data, mode, status.st_uid, status.st_gid, tuple(attributes)), status


def _write(path: Path, data: bytes, mode: int, like: _State | None = None) -> None:
    """Create *path* with *data*, synced to disk; first with *mode*, then with owner and permissions of *like*."""
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(data)
        file.flush()
        if like is not None:
            _copy_permissions(file.fileno(), path, like)
        os.fsync(file.fileno())


def _copy_permissions(descriptor: int, path: Path, like: _State) -> None:
    mode = like.mode
    if hasattr(os, "fchown"):
        with suppress(PermissionError):
            os.fchown(descriptor, like.uid, -1)
        try:
            os.fchown(descriptor, -1, like.gid)
        except PermissionError:
            # The group permissions were not meant for our own group: it gets what everyone gets.
            mode = mode & ~stat.S_IRWXG | (mode & stat.S_IRWXO) << 3
    path.chmod(mode)
    for name, value in like.attributes:
        with suppress(OSError):  # the system itself sets those that only it may set
            os.setxattr(descriptor, name, value)


def _create_nameless(path: Path, data: bytes, mode: int) -> bool:
    """Create *path* from a file that has no name until it is whole; return False if the system cannot.

    The content may be plaintext: if this process is killed, nothing of a nameless file is left.
    """
    try:
        descriptor = os.open(path.parent, os.O_WRONLY | os.O_TMPFILE, mode)
    except (AttributeError, OSError):  # only Linux has them, and not on every file system
        return False
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
        try:
            # open(2), O_TMPFILE. Python calls linkat(2) only if src_dir_fd is given, and link(2) does not follow.
            os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor)
        except FileExistsError:
            raise
        except OSError:  # no /proc, or no links
            return False
    return True


def _rename_to_new(temporary: Path, path: Path) -> None:
    """Give *temporary* the name *path* if that is free; a plain rename would replace an existing file."""
    try:
        path.hardlink_to(temporary)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
    else:
        return
    # A file system without hard links: an empty file reserves the name, then the whole file replaces it.
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE))
    try:
        temporary.replace(path)
    except BaseException:
        _remove(path)
        raise


def _sync_folder(folder: Path) -> None:
    # The new file has its name already; without this sync, a crash of the machine could still undo the rename.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
