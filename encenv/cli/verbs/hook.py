"""``encenv hook``: arm a clone, for those who have no pre-commit, and what git calls then."""

import os
from contextlib import suppress
from pathlib import Path

import click

from encenv.cli.options import quiet
from encenv.cli.terminal import say, write
from encenv.errors import ConflictError, EncenvError, FileError
from encenv.files.atomic import create
from encenv.files.read import read
from encenv.files.text import printable
from encenv.git import install as arming
from encenv.git.merge import MARKER_SIZE, merge
from encenv.git.repository import GitError, git
from encenv.git.textconv import masked
from encenv.policy.project import project

MASK_KEY = "encenv-mask.key"  # in the git folder, of this clone alone
MASK_KEY_BYTES = 32
DRIVER_FAILED = 129  # gitattributes(5): a status above 128 is no conflict but a failure


@click.group(no_args_is_help=False)
def command() -> None:
    """Let git check what is staged, show .env files masked, and merge them by variable.

    \b
    Example:
      encenv hook install
      git diff
    """


@command.command(short_help="Arm this clone.")
@quiet
def install() -> None:
    """Arm this clone: hooks, diff and merge drivers, .gitattributes. Run it once in each clone.

    A commit is refused if a plaintext that must be sealed is staged (encenv check --staged). A hook that is there
    already is kept and called first; core.hooksPath and linked work trees are honoured. git diff then shows names
    and which key each value is sealed under, never a plaintext; git merge, rebase and cherry-pick merge .env files
    by variable.

    \b
    Example:
      encenv hook install
    """
    for line in arming.arm(project().files) or ["this clone is armed already"]:
        say(line)


@command.command(short_help="Disarm this clone.")
@quiet
def uninstall() -> None:
    """Take the hooks and the drivers from this clone; a hook that was there before comes back.

    \b
    Example:
      encenv hook uninstall
    """
    for line in arming.disarm() or ["this clone is not armed"]:
        say(line)


@command.command(hidden=True)
@click.argument("file")
def textconv(file: str) -> None:
    """Write FILE masked; git calls it for a diff, and without its output there would be none."""
    text = read(file).decode("utf-8", "surrogateescape")
    write(masked(text, _mask_key()).encode("utf-8", "backslashreplace"))


@command.command("merge", hidden=True)
@click.argument("texts", metavar="BASE OURS THEIRS", nargs=3)
@click.argument("marker_size", type=int, default=MARKER_SIZE)
@click.argument("path", default=".env")
@click.pass_context
def merge_driver(ctx: click.Context, texts: tuple[str, str, str], marker_size: int, path: str) -> None:
    """Merge THEIRS into OURS, which git reads then; exit 1 tells it of a conflict."""
    base, ours, theirs = texts
    try:
        merged = merge(*(read(file).decode() for file in texts), marker_size=marker_size)
        # git's own temporary file, and git reads it as it stands: nothing to lock, nobody to lose it.
        Path(ours).write_bytes(merged.text.encode())
    except Exception:  # noqa: BLE001 (whatever it is, their side must not get lost over it)
        merged = None
    if merged is None:
        say(f"{printable(path)}: merged as text, for it cannot be read variable by variable")
        ctx.exit(_as_text(ours, base, theirs, marker_size))
    if merged.conflicts:
        say(f"{printable(path)}: changed on both sides: {', '.join(map(printable, merged.conflicts))}")
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
        folder = os.fsdecode(git("rev-parse", "--git-common-dir").removesuffix(b"\n"))
        path = Path(folder, MASK_KEY)
        if not path.exists():
            with suppress(ConflictError):  # made by another at this moment
                create(path, os.urandom(MASK_KEY_BYTES))
        key = read(path)
        return key if len(key) == MASK_KEY_BYTES else b""
    return b""
