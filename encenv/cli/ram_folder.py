"""A private folder for plaintext that a person asks to see: in memory where the system has such a place, and wiped.

It is wiped at the end of the block and on SIGTERM, SIGHUP and SIGQUIT. If this process is killed, another one does it.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

_IN_MEMORY = ("tmpfs", "ramfs")
_MOUNTS = Path("/proc/self/mounts")  # proc(5): device, folder, kind, …
# Waits until the process that started it is gone, then removes the folder. With -I -S, no code of the user's is imported.
_WATCHER = "import shutil, sys; sys.stdin.read(); shutil.rmtree(sys.argv[1], ignore_errors=True)"


@contextmanager
def private_folder(environ: Mapping[str, str]) -> Iterator[tuple[Path, bool]]:
    """Make a folder that only this user can enter, and wipe it at the end.

    Yields:
        The folder, and whether it is in memory: if not, what is written there reaches a disk.
    """
    parent = next((folder for folder in _memory_folders(environ) if _is_usable(folder)), None)
    with _raise_on_signals():
        folder = Path(tempfile.mkdtemp(prefix="encenv-", dir=parent))  # mode 0700
        watcher: subprocess.Popen[bytes] | None = None
        try:
            watcher = _watch(folder)
            yield folder, parent is not None
        finally:
            _wipe(folder)
            if watcher is not None and watcher.stdin is not None:
                watcher.stdin.close()
                watcher.wait()


def _memory_folders(environ: Mapping[str, str]) -> Iterator[Path]:
    if environ.get("XDG_RUNTIME_DIR"):
        yield Path(environ["XDG_RUNTIME_DIR"])
    yield Path("/dev/shm")  # noqa: S108 (the folder made there is private)


def _is_usable(folder: Path) -> bool:
    is_writable = folder.is_absolute() and folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    return is_writable and _is_in_memory(folder)


def _is_in_memory(folder: Path) -> bool:
    try:
        lines = [line.split(" ") for line in _MOUNTS.read_text("utf-8", "surrogateescape").splitlines()]
    except OSError:
        return False
    folder = folder.resolve()
    kinds = {Path(line[1]): line[2] for line in lines if len(line) > 2}
    return next((kinds[path] for path in (folder, *folder.parents) if path in kinds), "") in _IN_MEMORY


def _watch(folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 (this very Python)
        [sys.executable, "-I", "-S", "-c", _WATCHER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )


@contextmanager
def _raise_on_signals() -> Iterator[None]:
    """Let the signals that end a process raise an exception, as Ctrl-C does, so that the folder is wiped."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    names = ("SIGTERM", "SIGHUP", "SIGQUIT")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wipe(folder: Path) -> None:
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file() and not path.is_symlink():
                with path.open("r+b", buffering=0) as file:  # a disk may keep a copy in spite of this
                    file.write(bytes(path.stat().st_size))
                    os.fsync(file.fileno())
    shutil.rmtree(folder, ignore_errors=True)
