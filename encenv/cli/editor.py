"""Let a person edit decrypted text, in a private folder that is wiped and with the editor of their choice."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

from encenv.errors import FileError
from encenv.files.disk import printable

_IN_MEMORY = ("tmpfs", "ramfs")
_MOUNTS = Path("/proc/self/mounts")  # proc(5): device, folder, kind, …
_OCTAL = re.compile(r"\\([0-7]{3})")  # a space in a path is written \040 there
# Waits until the process that started it is gone, then removes the folder. With -I -S, no code of the user's is imported.
_WATCHER = "import shutil, sys; sys.stdin.read(); shutil.rmtree(sys.argv[1], ignore_errors=True)"

EDITORS = ("editor", "nano", "vi")  # the first that is installed, if none is configured
# Vim writes swap and backup files, undo histories and, in .viminfo, deleted text. These options stop it, also where
# it is called vi or editor.
_VIM = re.compile(r"(?:[gnr]?vim|vimx)(?:\.\w+)?")
_NO_COPIES = ("-n", "-i", "NONE", "-c", "set noundofile nobackup nowritebackup")


@contextmanager
def private_folder() -> Iterator[tuple[Path, bool]]:
    """Yield a folder that only this user can enter, and whether it is in memory: if not, its content reaches a disk.

    It is wiped at the end, and on SIGTERM, SIGHUP and SIGQUIT. If this process is killed, another one wipes it.
    """
    parent = _folder_in_memory(os.environ)
    with ExitStack() as stack:
        for name in ("SIGTERM", "SIGHUP", "SIGQUIT"):
            if number := getattr(signal, name, None):  # Windows lacks some
                before = signal.signal(number, _end)
                stack.callback(signal.signal, number, before)
        private = TemporaryDirectory(prefix="encenv-", dir=parent, ignore_cleanup_errors=True)  # mode 0700
        folder = Path(stack.enter_context(private))
        watcher = subprocess.Popen(  # noqa: S603 (this very Python)
            [sys.executable, "-I", "-S", "-c", _WATCHER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        stack.enter_context(watcher)
        stack.callback(_overwrite, folder)
        yield folder, parent is not None


def _end(number: int, _: FrameType | None) -> None:
    """Raise an exception on a signal that ends the process, as Ctrl-C does, so that the folder is wiped."""
    raise SystemExit(128 + number)


def _folder_in_memory(environ: Mapping[str, str]) -> Path | None:
    """Return a folder in memory in which this user can make another one; None if there is none."""
    for folder in (Path(environ.get("XDG_RUNTIME_DIR") or "/dev/shm"), Path("/dev/shm")):  # noqa: S108 (the folder made there is private)
        if folder.is_absolute() and os.access(folder, os.W_OK | os.X_OK) and _is_in_memory(folder):
            return folder
    return None


def _is_in_memory(folder: Path) -> bool:
    try:
        lines = [line.split(" ") for line in _MOUNTS.read_text("utf-8", "surrogateescape").splitlines()]
    except OSError:
        return False
    folder, kinds = folder.resolve(), {}
    for _, path, kind, *_ in (line for line in lines if len(line) > 2):
        kinds[Path(_OCTAL.sub(lambda match: chr(int(match[1], 8)), path))] = kind
    kind = next((kinds[path] for path in (folder, *folder.parents) if path in kinds), "")
    return kind in _IN_MEMORY


def _overwrite(folder: Path) -> None:
    """Overwrite the files in *folder* with zeros; a disk may keep a copy in spite of this."""
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file() and not path.is_symlink():
                with path.open("r+b", buffering=0) as file:
                    file.write(bytes(path.stat().st_size))
                    os.fsync(file.fileno())


def run_editor(path: Path) -> None:
    """Let the person edit *path*; the terminal's signals go to the editor. FileError if it fails, or there is none."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    editor = editor or next((name for name in EDITORS if shutil.which(name)), "vi")
    try:
        words = shlex.split(editor)
    except ValueError:  # the shell will complain about it, too
        words = editor.split()
    program = Path(words[0] if words else "")
    is_vim = any(_VIM.fullmatch(one.name) for one in (program, Path(shutil.which(program) or "").resolve()))
    arguments = [*(_NO_COPIES if is_vim else ()), str(path)]
    # As git does: the setting is a piece of shell, with options and quotes.
    line = [editor, *arguments] if os.name == "nt" else ["sh", "-c", f'{editor} "$@"', editor, *arguments]
    before = signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN, which the editor would inherit
    try:
        code = subprocess.call(line)  # noqa: S603 (the editor that the user chose)
    except OSError:
        code = 127
    finally:
        signal.signal(signal.SIGINT, before)
    if code:
        raise FileError(
            f'the editor "{printable(program.name)}" ended with exit code {code}; nothing was changed',
            hint="set EDITOR to an editor that is installed and waits, for example: export EDITOR=nano",
        )
