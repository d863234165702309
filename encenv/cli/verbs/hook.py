"""``encenv hook``: protect a clone without pre-commit. The hidden commands are those that git calls there."""

import os
from contextlib import suppress
from pathlib import Path

import click

from encenv.cli.options import quiet
from encenv.cli.terminal import say, write
from encenv.errors import ConflictError, EncenvError, FileError
from encenv.files.atomic import create
from encenv.files.disk import printable, read
from encenv.git.install import install as protect_clone
from encenv.git.install import remove
from encenv.git.merge import MARKER_SIZE, merge
from encenv.git.repository import GitError, git, git_line
from encenv.git.textconv import mask
from encenv.policy.project import project

MASK_KEY = "encenv-mask.key"  # in the git folder, of this clone alone
MASK_KEY_BYTES = 32
DRIVER_FAILED = 129  # gitattributes(5): a status above 128 is a failure, not a conflict


@click.group(no_args_is_help=False)
def command() -> None:
    """Install or remove what protects a clone: git hooks that check each commit, and drivers for git diff and merge.

    \b
    Example:
      encenv hook install
      git diff
    """


@command.command(short_help="Protect this clone.")
@quiet
def install() -> None:
    """Protect this clone: install the hooks, the diff and merge drivers, and the lines of .gitattributes.

    Run it once in each clone. Git then refuses a commit with plaintext that must be encrypted (encenv check
    --staged). A hook that is there already is kept and runs first; core.hooksPath and linked work trees work as well.
    git diff shows names and the key of each value, never a plaintext; git merge, rebase and cherry-pick merge .env
    files by variable.
    """
    for line in protect_clone(project()) or ["this clone is protected already"]:
        say(line)


@command.command(short_help="Remove the hook and the drivers.")
@quiet
def uninstall() -> None:
    """Remove the hooks and the drivers from this clone; a hook that was there before comes back."""
    for line in remove() or ["this clone is not protected"]:
        say(line)


@command.command(hidden=True)
@click.argument("file")
def textconv(file: str) -> None:
    """Write FILE with names instead of values; git calls this for a diff, and fails without its output."""
    text = read(file).decode("utf-8", "surrogateescape")
    write(mask(text, _mask_key()).encode("utf-8", "backslashreplace"))


@command.command("merge", hidden=True)
@click.argument("texts", metavar="BASE OURS THEIRS", nargs=3)
@click.argument("marker_size", type=int, default=MARKER_SIZE)
@click.argument("path", default=".env")
@click.pass_context
def merge_driver(ctx: click.Context, texts: tuple[str, str, str], marker_size: int, path: str) -> None:
    """Merge THEIRS into OURS, which git then reads; exit code 1 means a conflict."""
    base, ours, theirs = texts
    try:
        result = merge(*(read(file).decode() for file in texts), marker_size=marker_size)
        # git's own temporary file, which git reads next: it needs no lock and no safe replacement.
        Path(ours).write_bytes(result.text.encode())
    except Exception:  # noqa: BLE001 (whatever it is, their changes must not be lost)
        say(f"{printable(path)}: merged as text, because it cannot be read variable by variable")
        ctx.exit(_as_text(ours, base, theirs, marker_size))
    if result.conflicts:
        say(f"{printable(path)}: changed on both sides: {', '.join(map(printable, result.conflicts))}")
        ctx.exit(1)


def _as_text(ours: str, base: str, theirs: str, marker_size: int) -> int:
    """Merge as git itself does; return how many conflicts there are, or more than 128 if that failed."""
    labels = ("-L", "ours", "-L", "base", "-L", "theirs", f"--marker-size={marker_size}")
    try:
        git("merge-file", *labels, ours, base, theirs)
    except GitError as error:
        return error.code
    except FileError:
        return DRIVER_FAILED
    return 0


def _mask_key() -> bytes:
    """Return the key of this clone for the marks of plaintexts, made at its first use; empty if there can be none."""
    with suppress(EncenvError, OSError):
        path = Path(git_line("rev-parse", "--git-common-dir"), MASK_KEY)
        if not path.exists():
            with suppress(ConflictError):  # made by another at this moment
                create(path, os.urandom(MASK_KEY_BYTES))
        key = read(path)
        return key if len(key) == MASK_KEY_BYTES else b""
    return b""
