"""The editor that a person has chosen, run on a file."""

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from encenv.errors import FileError
from encenv.files.text import printable

EDITORS = ("editor", "nano", "vi")  # the first that is installed, if none is configured
# Vim writes swap and backup files, undo histories and, in .viminfo, deleted text. These options stop it, also where
# it is called vi or editor.
_VIM = re.compile(r"(?:[gnr]?vim|vimx)(?:\.\w+)?")
_NO_COPIES = ("-n", "-i", "NONE", "-c", "set noundofile nobackup nowritebackup")


def run_editor(path: Path, environ: Mapping[str, str]) -> None:
    """Let the person edit *path*; the terminal's signals go to the editor.

    Raises:
        FileError: If there is no editor, or it fails.
    """
    editor = environ.get("VISUAL") or environ.get("EDITOR")
    editor = editor or next((name for name in EDITORS if shutil.which(name)), "vi")
    program = _program(editor)
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
            f"the editor {printable(program.name)} ended with exit code {code}; nothing was changed",
            hint="set EDITOR to an editor that is installed and waits, for example: export EDITOR=nano",
        )


def _program(editor: str) -> Path:
    try:
        words = shlex.split(editor)
    except ValueError:  # the shell will complain about it, too
        words = editor.split()
    return Path(words[0] if words else "")
