"""Protect a clone: hooks that check what is staged, drivers that show and merge .env files, and .gitattributes."""

from pathlib import Path

from encenv.errors import FileError
from encenv.git.attributes import FILE_NAME, add_attributes, has_attributes
from encenv.git.drivers import has_drivers, install_drivers, remove_drivers
from encenv.git.hooks import HOOKS, install_hooks, is_protected, remove_hooks
from encenv.git.repository import top_level
from encenv.policy.project import Project


def install(project: Project) -> list[str]:
    """Protect this clone; return what was done, in sentences, none if it was protected already.

    Raises:
        EncenvError: If this is not a work tree, or something cannot be written.
    """
    top = _top()
    folder = _attributes_folder(project, top)
    return [*install_hooks(top), *install_drivers(), *add_attributes(folder, project.files)]


def remove() -> list[str]:
    """Remove the hooks and the drivers from this clone; return what was done. The lines in .gitattributes stay.

    Raises:
        EncenvError: If this is not a work tree, or something cannot be written.
    """
    return [*remove_hooks(_top()), *remove_drivers()]


def status(project: Project) -> dict[str, bool]:
    """Return what protects a clone, and whether each is in place here.

    Raises:
        EncenvError: If this is not a work tree, or something cannot be read.
    """
    top = _top()
    return {
        **{f"the {name} hook": is_protected(top, name) for name in HOOKS},
        "the diff and merge drivers": has_drivers(),
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
