"""``encenv edit``: edit a .env file as plaintext, and encrypt what changed."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

import click

from encenv.cli.editor import private_folder, run_editor
from encenv.cli.files import check_creatable, exists, place, report, rewrite
from encenv.cli.options import DEFAULT_FILE, STANDARD_INPUT, file_argument, key_options, quiet
from encenv.cli.terminal import count, fail, is_terminal, progress, say, warn
from encenv.errors import ConflictError, EncenvError
from encenv.files.atomic import PRIVATE, create, edit_file
from encenv.files.disk import attempt, decode, printable, read, shell_argument
from encenv.files.editor_session import UNSAVED, EditorSession, encrypt_draft, finish_edit, start_edit
from encenv.files.encrypt import EncryptResult
from encenv.files.key_names import KeyName, Pairs
from encenv.files.writer import Writer
from encenv.git.merge import merge
from encenv.git.repository import hint_with_key_owner
from encenv.policy.project import project_of


@click.command()
@file_argument
@key_options
@quiet
def command(file: str, keys: tuple[KeyName, ...], context: Pairs | None) -> None:
    """Open FILE (.env) decrypted in your editor ($VISUAL, else $EDITOR), and encrypt what you change.

    Unchanged values keep their bytes. A changed or new value is encrypted if it was, or if it must be: see encenv
    check --help. The plaintext is in a folder that only you can enter, in memory if possible, and is wiped when the
    editor ends. If the text cannot be saved, you can edit it again; if you do not, it is kept, encrypted, in
    FILE.unsaved. Vim is told to leave no copies. Other editors may keep a history of the text, as VS Code does, unless
    you switch that off.

    \b
    Example:
      encenv edit .env.staging
      EDITOR=nano encenv edit
    """
    if file == STANDARD_INPUT:
        raise click.UsageError("only a file can be edited, not -")
    project = project_of(file)
    writer = project.writer(keys, context, progress)
    must_encrypt = project.policy().requires
    check_creatable(file, writer, f"encenv edit {shell_argument(place(file))}")
    may_create = not exists(file)
    session = start_edit(_text(file), writer, place(file))

    def save(edited: str) -> EncryptResult:
        outcome = finish_edit(session, edited, writer, must_encrypt)
        if outcome.text != session.text:
            merged = partial(_merge, file, session.text, outcome.text)
            rewrite(file, lambda text: replace(outcome, text=merged(text)), may_create=may_create)
        return outcome

    with private_folder() as (folder, in_memory):
        if not in_memory:
            warn(f"there is no folder in memory here: until the editor ends, the plaintext is in {folder}")
        path = folder / (Path(file).name or DEFAULT_FILE)
        path.touch(PRIVATE)
        path.write_bytes(session.draft.encode("utf-8"))
        try:
            outcome = _edit_until_saved(path, file, save)
        except BaseException:  # also Ctrl-C, and the signals that end a process
            _keep(file, path, session, writer)
            raise
    if outcome.text == session.text:
        say(f"{printable(file)}: no change")
        return
    report(file, f"changed {count(len(outcome.names), 'variable')}" if outcome.names else "changed", outcome)


def _text(file: str) -> str:
    """Return the text of *file*, "" if there is none; refuse one that could not be saved, before it is edited."""
    folder = Path(file).parent
    attempt("read", folder, lambda: os.scandir(folder).close(), "folder")
    attempt("write", Path(file), lambda: TemporaryFile(dir=folder).close())
    if not exists(file):
        return ""
    with edit_file(file) as now:
        return decode(now.data, place(file))


def _edit_until_saved(path: Path, file: str, save: Callable[[str], EncryptResult]) -> EncryptResult:
    """Let the person edit *path* until *save* accepts its text or they give up."""
    while True:
        run_editor(path)
        try:
            return save(decode(read(path), place(file)))
        except EncenvError as error:
            failure = error.of()
        if not is_terminal(sys.stdin):
            raise failure
        fail(failure.message, hint_with_key_owner(failure))
        if not click.confirm("Edit it again? (No: your text is kept, encrypted)", default=True, err=True):
            raise ConflictError(f"{printable(file)} was not changed", hint="run encenv edit to start again")


def _keep(file: str, path: Path, session: EditorSession, writer: Writer) -> None:
    """Keep the text that the editor has saved in *path*, if it is new, encrypted in a file beside *file*."""
    try:
        edited = read(path).decode("utf-8", "surrogateescape")
        if session.is_unedited(edited):
            return
        text = encrypt_draft(session, edited, writer)
        names = (f"{file}.unsaved", *(f"{file}.unsaved-{number}" for number in range(2, 1000)))
        beside = next(name for name in names if not os.path.lexists(name))
        create(beside, text.encode())
    except EncenvError as error:
        warn(f"your text could not be kept: {error.message}; {error.hint}")
    else:
        warn(f"your text is kept, encrypted; to see it: encenv get {UNSAVED} -f {shell_argument(beside)}")


def _merge(file: str, before: str, after: str, now: str) -> str:
    """Return *after*, merged with what another program changed in *file* since it held *before*."""
    if now == before:
        return after
    result = merge(before, after, now)
    if result.conflicts:
        names = ", ".join(map(printable, result.conflicts))
        raise ConflictError(
            f"you and another program changed the same variables of {printable(file)}: {names}",
            hint="look at the file in another window; to keep its values, leave those lines unchanged",
        )
    say(f"{printable(file)}: merged with what another program changed in the meantime")
    return result.text
