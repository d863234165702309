"""What makes a clone armed: the hooks that check what is staged, and the drivers that show and merge .env files.

Nothing of anybody else's is overwritten: a hook that is there is kept beside ours, and is called by it first.
"""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from encenv.errors import ConflictError, FileError
from encenv.files.atomic import create, edit_file
from encenv.files.read import read
from encenv.files.text import printable
from encenv.git.repository import GitError, git, top_level

HOOKS = ("pre-commit", "pre-merge-commit")  # git calls the second for a merge that it commits by itself
ARMED = (
    "encenv.hook"  # in the configuration of the clone: a folder of hooks may serve other repositories as well
)
KEPT = ".before-encenv"
LEGACY = ".legacy"  # behind the name of a hook that pre-commit found, kept, and calls first
PRE_COMMIT = "pre-commit.com"  # stands in each hook of its own
ATTRIBUTES = "diff=encenv merge=encenv"
_MARK = "# encenv hook"
_MODE = 0o777  # less the umask

_HOOK = f"""\
#!/bin/sh
{_MARK}: nobody commits a plaintext secret. Made by encenv hook install, removed by encenv hook uninstall.
kept="${{0%{LEGACY}}}{KEPT}"
# Kept and called by each other, pre-commit's hook and this one would never end.
if test -n "$PRE_COMMIT_RUNNING_LEGACY" && grep -q {PRE_COMMIT} "$kept" 2>/dev/null; then kept=; fi
if test -x "$kept"; then "$kept" "$@" || exit $?; fi
test "$(git config --bool {ARMED})" = true || exit 0
if @PYTHON@ -P -c 'import encenv' 2>/dev/null; then exec @PYTHON@ -P -m encenv check --staged --quiet; fi
if command -v encenv >/dev/null 2>&1; then exec encenv check --staged --quiet; fi
echo "encenv: error: encenv is not found, so what is staged is not checked" >&2
echo "encenv: hint: activate the environment that it is installed in, and run: encenv hook install" >&2
exit 1
"""
# git runs a driver by the shell and puts the arguments behind it. Where encenv is gone, a diff shows no content at
# all. A merge that did not end well and left no markers was none, whatever the reason: our side stands there, as if
# theirs had said nothing. Then it is git's own.
_FIND = (
    "f() { if @PYTHON@ -P -c 'import encenv' 2>/dev/null; then @PYTHON@ -P -m encenv hook VERB -- \"$@\";"
    ' elif command -v encenv >/dev/null 2>&1; then encenv hook VERB -- "$@"; else ELSE; fiTHEN; }; f'
)
_TEXTCONV = (
    _FIND.replace("VERB", "textconv")
    .replace("ELSE", 'echo "masked: encenv is not found ($(git hash-object --no-filters -- "$1"))"')
    .replace("THEN", "")
)
_MERGE = (
    _FIND.replace("VERB", "merge")
    .replace("ELSE", "false")
    .replace(
        "THEN",
        ' && return 0; if grep -q "^<<<<" "$2"; then return 1; fi;'
        ' git merge-file -L ours -L base -L theirs --marker-size="$4" "$2" "$1" "$3"',
    )
    + " %O %A %B %L %P"
)


def arm(globs: tuple[str, ...]) -> list[str]:
    """Arm this clone; return what was done, in sentences, none if all was armed already.

    Args:
        globs: Of the project's .env files, as in ``[tool.encenv] files``.

    Raises:
        EncenvError: If this is no work tree, or something cannot be written.
    """
    top = _top()
    done: list[str] = []
    for name in HOOKS:
        done += _install(hooks_folder(top) / name, top)
    changed = [key for key, value in _settings() if _config(key) != value]
    for key, value in _settings():
        if key in changed:
            git("config", "--local", key, value)
    if changed:
        done.append("git diff shows .env files masked, git merge merges them by variable: set for this clone")
    done += _attributes(top, globs)
    return done


def disarm() -> list[str]:
    """Take the hooks and the drivers from this clone; return what was done. The lines in .gitattributes stay.

    Raises:
        EncenvError: If this is no work tree, or something cannot be written.
    """
    top = _top()
    done = []
    for name in HOOKS:
        path = _placed(hooks_folder(top) / name)
        if not _is_ours(path):
            continue
        kept = path.with_name(name + KEPT)
        try:
            if path.suffix == LEGACY and _is_of_pre_commit(kept):  # which stands in its place already
                kept.unlink()
            if os.path.lexists(kept):
                kept.replace(path)
                done.append(f"{_shown(path, top)}: the hook that was there before is back")
            else:
                path.unlink()
                done.append(f"{_shown(path, top)}: removed")
        except OSError as error:
            reason = (error.strerror or "").lower()
        else:
            continue
        raise FileError(f"{_shown(path, top)} cannot be removed: {reason}", hint="remove it yourself")
    for section in ("encenv", "diff.encenv", "merge.encenv"):
        with suppress(GitError):  # it is not there
            git("config", "--local", "--remove-section", section)
            done.append(f"git config: the section {section} is removed")
    return done


def installed(globs: tuple[str, ...]) -> dict[str, bool]:
    """Return the parts of the installation, and whether each is in place; arguments and errors as for `arm`."""
    top = _top()
    parts = {}
    for name in HOOKS:
        path = _placed(hooks_folder(top) / name)
        is_ours = _is_ours(path) and os.access(path, os.X_OK) and _config(ARMED) == "true"
        parts[f"the {name} hook"] = is_ours or _by_pre_commit(path, top)
    drivers = [key for key, _ in _settings() if key != ARMED]
    parts["the diff and merge drivers"] = all(_config(key) for key in drivers)
    parts[".gitattributes"] = not _missing(_attributes_text(top), globs)
    return parts


def hooks_folder(top: Path) -> Path:
    """Return where git looks for the hooks of the work tree *top*: ``core.hooksPath``, and for all linked ones one."""
    path = os.fsdecode(git("rev-parse", "--git-path", "hooks", cwd=top).removesuffix(b"\n"))
    return top / path


def _top() -> Path:
    top = top_level()
    if top is None:
        raise FileError(
            "this folder is not in a git work tree", hint="run it inside of one, or begin one: git init"
        )
    return top


def _settings() -> list[tuple[str, str]]:
    return [
        (ARMED, "true"),
        ("diff.encenv.textconv", _with_python(_TEXTCONV)),
        ("merge.encenv.name", "merge .env files by variable"),
        ("merge.encenv.driver", _with_python(_MERGE)),
        # Of two branches that merged each other, the ancestor is a merge itself, by git alone. What was in conflict
        # there stays as it was before; with markers in it, one side's choice would pass for no change at all.
        ("merge.encenv.recursive", "binary"),
    ]


def _with_python(text: str) -> str:
    # -P: the folder that git runs it in, a repository of who knows whom, is no place to import from.
    return text.replace("@PYTHON@", shlex.quote(Path(sys.executable).as_posix()))


def _config(key: str) -> str | None:
    try:
        return os.fsdecode(git("config", "--local", "--get", key).removesuffix(b"\n"))
    except GitError:
        return None


def _install(path: Path, top: Path) -> Iterator[str]:
    text = _with_python(_HOOK).encode()
    path = _placed(path)
    label = _shown(path, top)
    if _is_ours(path):
        if path.read_bytes() != text:
            with edit_file(path) as file:
                file.replace(text)
            yield f"{label}: brought up to date"
        return
    kept = path.with_name(path.name + KEPT)
    was_there = os.path.lexists(path)
    if was_there and os.path.lexists(kept):
        raise ConflictError(
            f"{label} is not encenv's, and a hook is kept in {_shown(kept, top)} already",
            hint="put both into one file, remove the other, and run the command again",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if was_there:
            path.rename(kept)  # as it is: perhaps a link, which would mean something else as a copy
    except OSError as error:
        reason = (error.strerror or "").lower()
    else:
        reason = ""
    if reason:
        raise FileError(f"{label} cannot be written: {reason}", hint="make its folder writable for you")
    placed = False
    try:
        create(path, text, _MODE)
        placed = True
    finally:
        if was_there and not placed:
            kept.rename(path)
    yield f"{label}: checks what is staged" + (
        f", after the hook that was there, now {kept.name}" if was_there else ""
    )


def _placed(path: Path) -> Path:
    """Return where our hook stands in the place of the hook *path*: pre-commit may have kept it beside its own."""
    legacy = path.with_name(path.name + LEGACY)
    return legacy if _is_ours(legacy) and _is_of_pre_commit(path) else path


def _is_of_pre_commit(path: Path) -> bool:
    try:
        return PRE_COMMIT.encode() in path.read_bytes()
    except OSError:
        return False


def _is_ours(path: Path) -> bool:
    try:
        return _MARK.encode() in path.read_bytes()[:200]
    except OSError:
        return False


def _by_pre_commit(path: Path, top: Path) -> bool:
    """Return whether pre-commit runs the check: its own hook stands there, and its configuration names ours."""
    try:
        return _is_of_pre_commit(path) and b"encenv-check" in (top / ".pre-commit-config.yaml").read_bytes()
    except OSError:
        return False


def _attributes(top: Path, globs: tuple[str, ...]) -> Iterator[str]:
    path = top / ".gitattributes"
    text = _attributes_text(top)
    missing = _missing(text, globs)
    if not missing:
        return
    newline = "\r\n" if "\r\n" in text else "\n"
    added = "".join(line + newline for line in missing)
    if not os.path.lexists(path):
        create(path, added.encode(), 0o666)
    else:
        with edit_file(path) as file:
            gap = b"" if not file.data or file.data.endswith(b"\n") else newline.encode()
            file.replace(file.data + gap + added.encode())
    yield f".gitattributes: {', '.join(line.split(' ')[0] for line in missing)} (commit it: it serves all clones)"


def _attributes_text(top: Path) -> str:
    path = top / ".gitattributes"
    return read(path).decode("utf-8", "surrogateescape") if os.path.lexists(path) else ""


def _missing(text: str, globs: tuple[str, ...]) -> list[str]:
    """Return the lines that .gitattributes lacks; one that has the pattern and our drivers in other words is enough."""
    there = [line.split() for line in text.splitlines()]
    lines = []
    for glob in globs:
        words = ["!diff", "!merge"] if glob.startswith("!") else ATTRIBUTES.split(" ")
        pattern = glob.removeprefix("!")
        if " " in pattern:
            pattern = f'"{pattern}"'
        if not any(line[:1] == [pattern] and set(words) <= set(line) for line in there):
            lines.append(" ".join([pattern, *words]))
    return lines


def _shown(path: Path, top: Path) -> str:
    return printable(str(path.relative_to(top) if path.is_relative_to(top) else path))
