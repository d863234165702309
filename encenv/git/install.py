"""Protect a clone: hooks that check what is staged, drivers that show and merge .env files, and .gitattributes."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from encenv.errors import FileError
from encenv.git.attributes import FILE_NAME, add_attributes, has_attributes
from encenv.git.hooks import HOOKS, install_hooks, is_protected, read_script, remove_hooks
from encenv.git.repository import config, git, remove_config, top_level
from encenv.policy.project import Project


def install(project: Project) -> list[str]:
    """Protect this clone; return what was done, in sentences, none if it was protected already.

    Raises:
        EncenvError: If this is not a work tree, or something cannot be written.
    """
    top = _top()
    folder = _attributes_folder(project, top)
    return [*install_hooks(top), *_install_drivers(), *add_attributes(folder, project.files)]


def remove() -> list[str]:
    """Remove the hooks and the drivers from this clone; return what was done. The lines in .gitattributes stay.

    Raises:
        EncenvError: If this is not a work tree, or something cannot be written.
    """
    return [*remove_hooks(_top()), *_remove_drivers()]


def status(project: Project) -> dict[str, bool]:
    """Return what protects a clone, and whether each is in place here.

    Raises:
        EncenvError: If this is not a work tree, or something cannot be read.
    """
    top = _top()
    return {
        **{f"the {name} hook": is_protected(top, name) for name in HOOKS},
        "the diff and merge drivers": _has_drivers(),
        FILE_NAME: has_attributes(_attributes_folder(project, top), project.files),
    }


def _top() -> Path:
    top = top_level()
    if top is None:
        raise FileError(
            "this folder is not in a git work tree", hint="go to one, or make a repository here: git init"
        )
    return top


def _attributes_folder(project: Project, top: Path) -> Path:
    """Return the folder that the project's globs are relative to; without a pyproject.toml, all of the repository."""
    return project.folder if project.path else top


def _install_drivers() -> Iterator[str]:
    """Write the drivers into the configuration of this clone; yield what was done, nothing if they were there."""
    changed = {key: value for key, value in _driver_settings().items() if config(key) != value}
    for key, value in changed.items():
        git("config", "--local", key, value)
    if changed:
        yield "git diff shows .env files masked, git merge merges them by variable: set for this clone"


def _remove_drivers() -> Iterator[str]:
    """Remove the drivers from the configuration of this clone; yield what was done."""
    for section in ("diff.encenv", "merge.encenv"):
        yield from remove_config(section)


def _has_drivers() -> bool:
    """Return whether this clone has drivers, of whichever version of encenv."""
    return all(config(key) for key in _driver_settings())


def _driver_settings() -> dict[str, str]:
    driver = f"sh -c {shlex.quote(read_script('driver.sh'))} driver.sh"
    escaped = driver.replace("%", "%%")  # in a merge driver, git expands %O and the like
    return {
        "diff.encenv.textconv": f"{driver} textconv",
        "merge.encenv.name": "merge .env files by variable",
        "merge.encenv.driver": f"{escaped} merge %O %A %B %L %P",
        # Where two branches have merged each other, git first makes one ancestor of two. With conflict markers in that,
        # one side's choice would pass for no change at all; binary keeps what was there before.
        "merge.encenv.recursive": "binary",
    }
