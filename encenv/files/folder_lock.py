"""One encenv writer at a time in a folder, and no temporary files left by writers that were killed."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from encenv.errors import ConflictError
from encenv.files.disk import attempt
from encenv.files.text import printable

try:
    import fcntl
except ImportError:  # Windows: there only the comparison just before the replacement protects the file
    fcntl = None  # type: ignore[assignment]

# A change takes milliseconds, or up to writer.UNWRAP_SECONDS (20) if it must unwrap a data key first.
LOCK_SECONDS = 30.0
_TEMPORARY = re.compile(r"\.encenv-[0-9a-f]{16}\.tmp")


def temporary_beside(path: Path) -> Path:
    """Return a new name in the folder of *path* for a file that the next writer may delete."""
    return path.parent / f".encenv-{os.urandom(8).hex()}.tmp"


def remove(path: Path) -> None:
    """Delete the file *path*, if it is there."""
    with suppress(OSError):  # it may have its final name by now, or was never created
        path.unlink()


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keep other encenv writers out of *folder* until the block ends.

    The folder itself is locked: a lock on the file would go with the file that is replaced, and a lock file would
    stay behind.

    Raises:
        ConflictError: If another writer keeps the folder for more than `LOCK_SECONDS`.
        FileError: If there is no such folder.
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
                    remove(path)
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
