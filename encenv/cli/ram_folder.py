"""A folder for plaintext that a person has asked to see: private, in memory where there is such a place, and wiped.

It is wiped at the end of the block, on SIGTERM and SIGHUP, and by a process of its own when this one is killed.
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
# Waits until the one who started it is gone, then removes the folder. -I -S: nothing of the user's is imported.
_WATCH = "import shutil, sys; sys.stdin.read(); shutil.rmtree(sys.argv[1], ignore_errors=True)"


@contextmanager
def private_folder(environ: Mapping[str, str]) -> Iterator[tuple[Path, bool]]:
    """Make a folder that only this user can enter, and wipe it at the end.

    Yields:
        The folder, and whether it is in memory: else what is written there reaches a disk.
    """
    place = next((one for one in _places(environ) if _is_usable(one)), None)
    with _signals_raise():
        folder = Path(tempfile.mkdtemp(prefix="encenv-", dir=place))  # 0700
        watcher: subprocess.Popen[bytes] | None = None
        try:
            watcher = _watched(folder)
            yield folder, place is not None
        finally:
            _wipe(folder)
            if watcher is not None and watcher.stdin is not None:
                watcher.stdin.close()
                watcher.wait()


def _places(environ: Mapping[str, str]) -> Iterator[Path]:
    if environ.get("XDG_RUNTIME_DIR"):
        yield Path(environ["XDG_RUNTIME_DIR"])
    yield Path("/dev/shm")  # noqa: S108 (the folder made there is private)


def _is_usable(place: Path) -> bool:
    return (
        place.is_absolute()
        and place.is_dir()
        and os.access(place, os.W_OK | os.X_OK)
        and _is_in_memory(place)
    )


def _is_in_memory(place: Path) -> bool:
    try:
        lines = [line.split(" ") for line in _MOUNTS.read_text("utf-8", "surrogateescape").splitlines()]
    except OSError:
        return False
    whole = place.resolve()
    kinds = {Path(line[1]): line[2] for line in lines if len(line) > 2}
    return next((kinds[one] for one in (whole, *whole.parents) if one in kinds), "") in _IN_MEMORY


def _watched(folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 (this very Python)
        [sys.executable, "-I", "-S", "-c", _WATCH, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Let the signals that end a process end it as Ctrl-C does, so that what is to be wiped is."""

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
                with path.open("r+b", buffering=0) as file:  # on a disk, a part of it may stay all the same
                    file.write(bytes(path.stat().st_size))
                    os.fsync(file.fileno())
    shutil.rmtree(folder, ignore_errors=True)
