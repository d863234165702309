"""Protect a clone: hooks that check what is staged, drivers that show and merge .env files, and .gitattributes.

The lines of .gitattributes give the project's .env files the drivers. They are committed, for all clones; the hooks
and the drivers belong to one clone. Outside a work tree, or if something cannot be read or written, an `EncenvError`
is raised.
"""

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from encenv.files.atomic import create, edit_file
from encenv.files.disk import read
from encenv.git.hooks import HOOKS, install_hooks, is_protected, read_script, remove_hooks
from encenv.git.repository import config, git, remove_config, top_level
from encenv.policy.file_globs import attribute_pattern
from encenv.policy.project import Project

ATTRIBUTES = ".gitattributes"
_SET = ("diff=encenv", "merge=encenv")
_UNSET = ("!diff", "!merge")  # for a glob that excludes files
_MODE = 0o666  # before the umask


def install(project: Project) -> list[str]:
    """Protect this clone; return what was done, in sentences, none if it was protected already."""
    top = top_level()
    acts = [*install_hooks(top)]
    missing = {key: value for key, value in _drivers().items() if config(key) != value}
    for key, value in missing.items():
        git("config", "--local", key, value)
    if missing:
        acts.append("git config: git diff shows names instead of values, git merge works by variable")
    return [*acts, *add_attributes(_attributes_folder(project, top), project.files)]


def remove() -> list[str]:
    """Remove the hooks and the drivers from this clone; return what was done. The lines in .gitattributes stay."""
    return [*remove_hooks(top_level()), *remove_config("diff.encenv"), *remove_config("merge.encenv")]


def status(project: Project) -> dict[str, bool]:
    """Return what protects a clone, and whether each is in place here."""
    top = top_level()
    return {
        **{f"the {name} hook": is_protected(top, name) for name in HOOKS},
        "the diff and merge drivers": all(map(config, _drivers())),  # of any version of encenv
        ATTRIBUTES: has_attributes(_attributes_folder(project, top), project.files),
    }


def add_attributes(folder: Path, globs: Sequence[str]) -> Iterator[str]:
    """Add the lines for *globs* to the .gitattributes of *folder*, which they are relative to; yield what was done."""
    path = folder / ATTRIBUTES
    text = _read(path)
    missing = _missing(text, globs)
    if not missing:
        return
    newline = "\r\n" if "\r\n" in text else "\n"
    new_lines = "".join(line + newline for line in missing).encode()
    if not os.path.lexists(path):
        create(path, new_lines, _MODE)
    else:
        with edit_file(path) as file:
            gap = b"" if not file.data or file.data.endswith(b"\n") else newline.encode()
            file.replace(file.data + gap + new_lines)
    patterns = ", ".join(line.split(" ")[0] for line in missing)
    yield f"{ATTRIBUTES}: {patterns} (commit it: it serves all clones)"


def has_attributes(folder: Path, globs: Sequence[str]) -> bool:
    """Return whether the .gitattributes of *folder* has the lines for *globs*."""
    return not _missing(_read(folder / ATTRIBUTES), globs)


def _attributes_folder(project: Project, top: Path) -> Path:
    """Return the folder that the project's globs are relative to; without a pyproject.toml, the top folder."""
    return project.folder if project.path else top


def _drivers() -> dict[str, str]:
    """Return the settings of git that define the drivers."""
    driver = f"sh -c {shlex.quote(read_script('driver.sh'))} driver.sh"
    merge_driver = driver.replace("%", "%%")  # in a merge driver, git expands %O and the like
    return {
        "diff.encenv.textconv": f"{driver} textconv",
        "merge.encenv.name": "merge .env files by variable",
        "merge.encenv.driver": f"{merge_driver} merge %O %A %B %L %P",
        # Where two branches have merged each other, git first makes one ancestor of two. With conflict markers in that,
        # one side's choice would pass for no change at all; binary keeps what was there before.
        "merge.encenv.recursive": "binary",
    }


def _read(path: Path) -> str:
    return read(path).decode("utf-8", "surrogateescape") if os.path.lexists(path) else ""


def _missing(text: str, globs: Sequence[str]) -> list[str]:
    """Return the lines that *text* lacks.

    Git takes the last line that matches a path, so lines in another order than *globs* do not count: if the line of a
    glob is not below those of the globs before it, its line and those of all later globs are returned.
    """
    present = iter(text.split("\n"))
    globs = [glob for glob in globs if glob != "!"]  # it excludes nothing, and git warns of an empty pattern
    lines = [(attribute_pattern(glob), _UNSET if glob.startswith("!") else _SET) for glob in globs]
    for number, (pattern, words) in enumerate(lines):
        if not any(_gives(line, pattern, words) for line in present):  # consumes the lines up to that one
            return [" ".join([pattern, *words]) for pattern, words in lines[number:]]
    return []


def _gives(line: str, pattern: str, words: Sequence[str]) -> bool:
    """Return whether *line* gives *pattern* the attributes *words*, alone or among others."""
    return line.startswith((f"{pattern} ", f"{pattern}\t")) and {*words} <= {*line[len(pattern) :].split()}
