"""``encenv edit``: edit a .env file as plaintext, and seal what changed."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from encenv.cli.files import place
from encenv.cli.key_options import FILE_MODE, count, key_options, report
from encenv.cli.options import FILE, STANDARD_INPUT, quiet
from encenv.cli.ram_folder import private_folder
from encenv.cli.terminal import fail, say, through_values, warn
from encenv.errors import ConflictError, EncenvError, FileError
from encenv.files.atomic import PRIVATE, create, edit_file
from encenv.files.edit import EDITED, Opened, close_edited, keep_edited, open_to_edit
from encenv.files.encrypt import Rewritten, Wanted, Writer
from encenv.files.key_names import KeyName, Pairs
from encenv.files.read import read
from encenv.files.text import decode, printable
from encenv.git.merge import merge
from encenv.policy.project import project_of

EDITORS = ("editor", "nano", "vi")  # the first that is there, if none is configured
# Vim writes swap and backup files, undo histories and, in .viminfo, what was deleted. Told to leave it, also where
# it is called vi or editor.
_VIM = re.compile(r"(?:[gnr]?vim|vimx)(?:\.\w+)?")
_QUIETLY = ("-n", "-i", "NONE", "-c", "set noundofile nobackup nowritebackup")


@click.command()
@click.argument("file", metavar="[FILE]", default=".env", type=FILE)
@key_options
@quiet
def command(file: str, keys: tuple[KeyName, ...], context: Pairs | None) -> None:
    """Open FILE (.env) decrypted in your editor ($VISUAL, else $EDITOR), and seal what you changed.

    Values that you leave alone keep their bytes. What is changed or new is sealed if it was, or if it must be: see
    encenv check --help. The plaintext is in a folder that only you can enter, in memory where the system has such a
    place, and is wiped when the editor ends. If the text cannot be saved, you can go on editing it; if you do not, it
    is kept, sealed, in FILE.unsaved. Vim is told to leave no copies; see to it that an editor that keeps a history
    elsewhere, as VS Code does, keeps none of this.

    \b
    Example:
      encenv edit .env.staging
      EDITOR=nano encenv edit
    """
    if file == STANDARD_INPUT:
        raise click.UsageError("FILE is a file; - cannot be edited")
    of = project_of(file)
    writer, wanted = of.writer(keys, context, through_values), of.policy().requires
    exists = Path(file).exists() or Path(file).is_symlink()
    if not exists and not writer.keys:
        raise FileError(
            f"the file {printable(file)} does not exist",
            hint="check the path; or, to make it, name a wrapping key: --key local",
        )
    _check_folder(Path(file).parent)
    text = None
    if exists:
        with edit_file(file) as now:  # what cannot be replaced is refused before it is edited
            text = decode(now.data, place(file))
    opened = open_to_edit(text or "", writer, place(file))
    with private_folder(os.environ) as (folder, in_memory):
        if not in_memory:
            warn(f"there is no folder in memory here: until the editor ends the plaintext is in {folder}")
        path = folder / (Path(file).name or ".env")
        path.touch(PRIVATE)
        path.write_bytes(opened.shown.encode("utf-8"))
        outcome = _edited(file, path, opened, writer, wanted, is_new=text is None)
    if outcome.text == opened.text:
        say(f"{printable(file)}: no change")
        return
    report(file, f"changed {count(len(outcome.names), 'variable')}" if outcome.names else "changed", outcome)


def _check_folder(folder: Path) -> None:
    """Refuse a *folder* in which nothing could be saved, before somebody has written it."""
    if not folder.is_dir():
        raise FileError(
            f"the folder {printable(str(folder))} does not exist",
            hint="check the path and the current folder",
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FileError(
            f"no permission to write into the folder {printable(str(folder))}",
            hint="run as a user who may, or work on a copy in a folder that can be written",
        )


def _edited(  # noqa: PLR0913 (what an edit is made of)
    file: str, path: Path, opened: Opened, writer: Writer, wanted: Wanted, *, is_new: bool
) -> Rewritten:
    """Have *path* edited until it can be saved as *file*; if it never is, keep what was written."""
    is_saved = False
    try:
        while True:
            _run_editor(path, os.environ)
            try:
                edited = decode(read(path), place(file))
                outcome = close_edited(opened, edited, writer, place(file), wanted)
                _save(file, opened, outcome, is_new=is_new)
            except EncenvError as error:
                failure = error.of()
            else:
                is_saved = True
                return outcome
            if sys.stdin is None or not sys.stdin.isatty():
                raise failure
            fail(failure.message, failure.hint)
            if not click.confirm("Edit it again? (No: your text is kept, sealed)", default=True, err=True):
                raise ConflictError(
                    f"{printable(file)} was left as it was", hint="run encenv edit again to begin anew"
                )
    finally:  # also for Ctrl-C, and for the signals that end a process
        if not is_saved:
            _keep(file, path, opened, writer)


def _keep(file: str, path: Path, opened: Opened, writer: Writer) -> None:
    """Keep what the editor has saved in *path*, if it is something new, sealed in a file beside *file*."""
    try:
        edited = read(path).decode("utf-8", "surrogateescape")
        if edited in (opened.shown, opened.shown + "\n"):
            return
        text = keep_edited(opened, edited, writer, place(file))
        beside = (f"{file}.unsaved", *(f"{file}.unsaved-{number}" for number in range(2, 1000)))
        kept = next(one for one in beside if not os.path.lexists(one))
        create(kept, text.encode())
    except EncenvError as error:
        warn(f"what you wrote could not be kept: {error.message}")
    else:
        warn(f"what you wrote is kept, sealed; to see it: encenv get {EDITED} -f {shlex.quote(kept)}")


def _save(file: str, opened: Opened, outcome: Rewritten, *, is_new: bool) -> None:
    if outcome.text == opened.text:
        return
    if is_new:
        create(file, outcome.text.encode(), FILE_MODE)
        return
    with edit_file(file) as now:
        text = decode(now.data, place(file))
        if text == opened.text:
            now.replace(outcome.text.encode())
            return
        # Somebody else changed it meanwhile: what differs in other variables goes together.
        merged = merge(opened.text, outcome.text, text)
        if merged.conflicts:
            names = ", ".join(printable(name) for name in merged.conflicts)
            raise ConflictError(
                f"{printable(file)} was changed by another program meanwhile, and so was what you changed: {names}",
                hint="look at it in another window; to keep its change, edit again and leave those lines as they were",
            )
        now.replace(merged.text.encode())
        say(f"{printable(file)}: put together with what another program changed meanwhile")


def _program(editor: str) -> Path:
    try:
        words = shlex.split(editor)
    except ValueError:  # what the shell will say, too
        words = editor.split()
    return Path(words[0] if words else "")


def _run_editor(path: Path, environ: Mapping[str, str]) -> None:
    """Let the person edit *path*; the signals of the terminal are the editor's."""
    editor = environ.get("VISUAL") or environ.get("EDITOR")
    editor = editor or next((name for name in EDITORS if shutil.which(name)), "vi")
    program = _program(editor)
    is_vim = any(_VIM.fullmatch(one.name) for one in (program, Path(shutil.which(program) or "").resolve()))
    arguments = [*(_QUIETLY if is_vim else ()), str(path)]
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
