"""Install and remove the hooks that check what is staged.

Another hook of the same name is never overwritten: it is kept beside ours, which runs it first. An `EncenvError` is
raised if there are two such hooks already, or if a hook cannot be written or removed.
"""

import os
import shlex
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from encenv.errors import ConflictError
from encenv.files.atomic import create, edit_file
from encenv.files.disk import attempt, printable
from encenv.git.repository import config, git, git_line, remove_config

HOOKS = ("pre-commit", "pre-merge-commit")  # git calls the second for a merge that it commits by itself
ENABLED = "encenv.hook"  # set in each clone, for a folder of hooks may serve other repositories as well
PREVIOUS = ".before-encenv"  # added to the name of a hook that was there before
LEGACY = ".legacy"  # added by pre-commit to the name of a hook that was there before; it calls that first
_PRE_COMMIT = b"pre-commit.com"  # is in each hook that pre-commit writes
_MARK = b"# encenv hook"
_MODE = 0o777  # before the umask


def read_script(name: str) -> str:
    """Return the text of the shell program *name*, a file beside this one, with this Python written into it."""
    text = resources.files(__package__).joinpath(name).read_text("utf-8")
    return text.replace("@PYTHON@", shlex.quote(Path(sys.executable).as_posix()))


def install_hooks(top: Path) -> Iterator[str]:
    """Install the hooks into the work tree *top*; yield what was done, nothing if they were installed."""
    for name in HOOKS:
        yield from _install(_folder(top) / name, top)
    if config(ENABLED) != "true":
        git("config", "--local", ENABLED, "true")


def remove_hooks(top: Path) -> Iterator[str]:
    """Remove the hooks from the work tree *top*, and put back those that they replaced; yield what was done."""
    for name in HOOKS:
        path = _our_path(_folder(top) / name)
        if not _is_ours(path):
            continue
        previous = path.with_name(name + PREVIOUS)
        if path.suffix == LEGACY and _PRE_COMMIT in _read(previous):  # it is at that hook's own path, too
            attempt("write", previous, previous.unlink, "hook")
        if os.path.lexists(previous):
            attempt("write", path, lambda: previous.replace(path), "hook")  # noqa: B023 (called at once)
            yield f"{_label(path, top)}: the earlier hook is back"
        else:
            attempt("write", path, path.unlink, "hook")
            yield f"{_label(path, top)}: removed"
    yield from remove_config("encenv")


def is_protected(top: Path, name: str) -> bool:
    """Return whether git calls the check from the hook *name* in *top*: ours, or one that pre-commit runs."""
    path = _folder(top) / name
    ours = _our_path(path)
    if _is_ours(ours) and os.access(ours, os.X_OK) and config(ENABLED) == "true":
        return True
    return _PRE_COMMIT in _read(path) and b"encenv-check" in _read(top / ".pre-commit-config.yaml")


def _folder(top: Path) -> Path:
    """Return where git looks for hooks: core.hooksPath, or one folder for a work tree and all that are linked to it."""
    return top / git_line("rev-parse", "--git-path", "hooks", cwd=top)


def _install(path: Path, top: Path) -> Iterator[str]:
    text = read_script("hook.sh").encode()
    path = _our_path(path)
    label = _label(path, top)
    previous = path.with_name(path.name + PREVIOUS)
    if _is_ours(path):
        if _read(path) != text:
            with edit_file(path) as file:
                file.replace(text)
            yield f"{label}: updated"
    elif not os.path.lexists(path):
        attempt("write", path, lambda: path.parent.mkdir(parents=True, exist_ok=True), "hook")
        create(path, text, _MODE)
        yield f"{label}: checks what is staged"
    elif os.path.lexists(previous):
        raise ConflictError(
            f"{label} is not encenv's, and {_label(previous, top)} holds an earlier hook already",
            hint="put both into one file, remove the other, and run the command again",
        )
    else:
        # Moved, not copied: it may be a link, whose copy would mean another file.
        attempt("write", previous, lambda: path.rename(previous), "hook")
        try:
            create(path, text, _MODE)
        except BaseException:
            previous.rename(path)
            raise
        yield f"{label}: checks what is staged, after the hook that was there, now {previous.name}"


def _our_path(path: Path) -> Path:
    """Return where our hook is for the hook *path*: pre-commit may have moved it aside for its own."""
    legacy = path.with_name(path.name + LEGACY)
    return legacy if _is_ours(legacy) and _PRE_COMMIT in _read(path) else path


def _is_ours(path: Path) -> bool:
    return _MARK in _read(path)[:200]


def _read(path: Path) -> bytes:
    """Return the content of *path*; nothing if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _label(path: Path, top: Path) -> str:
    return printable(path.relative_to(top) if path.is_relative_to(top) else path)
