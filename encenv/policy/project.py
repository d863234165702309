"""Read and write ``[tool.encenv]`` of pyproject.toml: which files are encrypted, with which keys, and which variables.

The table is that of the nearest pyproject.toml that has one, from the file's folder up to the top of its git
repository; without a repository, only the folder itself counts. Other folders do not: the table chooses the keys.
"""

import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from encenv.errors import FileError, MalformedError, PolicyError
from encenv.files.atomic import create, edit_file
from encenv.files.disk import StrPath, printable, read
from encenv.files.key_names import KeyName, Pairs, parse_context, parse_keys
from encenv.files.opening import Progress
from encenv.files.writer import Writer
from encenv.policy.file_globs import covers
from encenv.policy.rules import Policy
from encenv.policy.settings_import import import_settings

TABLE = "[tool.encenv]"
_HEADER = re.compile(r"^[ \t]*\[[ \t]*tool[ \t]*\.[ \t]*encenv[ \t]*\][^\r\n]*(?:\r\n|\n|\Z)", re.MULTILINE)
_NO_VALUES = ("!*.example", "!*.sample", "!*.template", "!*.dist")  # these hold names, to be copied
FILES = (".env", ".env.*", "*.env", *_NO_VALUES)
_SETTINGS = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")


@dataclass(frozen=True, slots=True)
class Project:
    """The settings of a project."""

    path: Path | None = None  # the pyproject.toml; None if there is none with such a table
    folder: Path = field(default_factory=Path)  # of that file, else of the .env file
    keys: tuple[KeyName, ...] = ()  # the wrapping keys
    context: Pairs | None = None  # the encryption context for new data keys; None if it is not set
    files: tuple[str, ...] = FILES  # globs of the .env files; one that begins with "!" excludes files
    settings: str | None = None  # the settings class, "module:Class"
    seal: tuple[str, ...] = ()  # globs of variables that must be encrypted
    plain: tuple[str, ...] = ()  # globs of variables that may stay plaintext

    @property
    def where(self) -> str:
        """What to call the table in messages."""
        return f"{TABLE} of {_path_text(self.path or Path('pyproject.toml'))}"

    def writer(
        self, keys: tuple[KeyName, ...] = (), context: Pairs | None = None, progress: Progress = iter
    ) -> Writer:
        """Return the writer that encrypts with *keys* and *context*, or else with those of the project."""
        context = self.context if context is None else context
        return Writer(keys or self.keys, context, progress=progress)

    def covers(self, path: StrPath) -> bool:
        """Return whether the file *path* is one of the project's .env files."""
        folder = self.folder.absolute()
        return covers(self.files, os.path.relpath(folder / path, folder).replace(os.sep, "/"))

    def policy(self) -> Policy:
        """Return which variables must be encrypted; it is an error if the settings class cannot be imported."""
        fields = None
        if self.settings is not None:
            fields = import_settings(self.settings, self.folder, f"{self.where}: settings")
        return Policy(fields, self.seal, self.plain)


def project(start: StrPath | None = None) -> Project:
    """Return the project of the folder *start* (the current one); it is an error if its settings cannot be read."""
    paths = pyproject_paths(start)
    for path in paths:
        if path.is_file():
            table = _table(path)
            if table is not None:
                return _read_table(path, table)
    return Project(folder=paths[0].parent)


def pyproject_paths(start: StrPath | None = None) -> list[Path]:
    """Return where a pyproject.toml may be: from the folder *start* (the current one) to the top of its repository."""
    folder = Path(os.path.abspath(start or "."))  # noqa: PTH100 (links stay: the project is where the user is)
    folders = [folder, *folder.parents]
    top = next((index for index, one in enumerate(folders) if (one / ".git").exists()), 0)
    return [one / "pyproject.toml" for one in folders[: top + 1]]


def project_of(file: str) -> Project:
    """Return the project that the .env file *file* belongs to; for ``-`` that of the current folder."""
    return project(_folder_of(file))


class Projects:
    """The projects of several files; each is found, and its settings class imported, once."""

    def __init__(self) -> None:
        self._project = cache(project)
        self._policy = cache(Project.policy)

    def of(self, file: str) -> Project:
        """Return the project of the .env file *file*, as `project_of` does; its folder need not exist any more."""
        return self._project(_folder_of(file))

    def policy(self, file: str) -> Policy:
        """Return which variables of the .env file *file* must be encrypted; errors as for `Project.policy`."""
        return self._policy(self.of(file))


def write_keys(path: Path, keys: Sequence[str], context: Pairs, comment: str) -> None:
    """Add *keys* and *context* to the table, which has neither; make the table, and the file, where there is none.

    An empty context is left out; a *comment* is written behind the keys. A FileError is raised if anything else in the
    file would change.
    """
    settings: dict[str, object] = {"keys": [*keys]}
    lines = [f"keys = {json.dumps([*keys])}" + (f"  # {comment}" if comment else "")]
    if context:
        settings["context"] = dict(context)
        pairs = (f"{json.dumps(key)} = {json.dumps(value)}" for key, value in context)
        lines.append(f"context = {{ {', '.join(pairs)} }}")
    if not path.exists():
        create(path, "\n".join([TABLE, *lines, ""]).encode(), 0o666)
        return
    with edit_file(path) as file:
        try:
            text = file.data.decode()
            new = _with_lines(text, lines)
            tool = tomllib.loads(text).get("tool", {})
            table = tool.get("encenv", {}) | settings
            expected = tomllib.loads(text) | {"tool": tool | {"encenv": table}}
            is_safe = tomllib.loads(new) == expected
        except (ValueError, TypeError, AttributeError):  # TOML's and UTF-8's errors; tool is not a table
            is_safe = False
        if not is_safe:
            raise FileError(
                f"{printable(os.path.relpath(path))} cannot be changed without a change of its other settings",
                hint=f"add this yourself: {TABLE} with {'; '.join(lines)}",
            )
        file.replace(new.encode())


def _folder_of(file: str) -> Path:
    return Path() if file == "-" else Path(file).parent


def _table(path: Path) -> Mapping[str, Any] | None:
    with suppress(ValueError):  # TOMLDecodeError and UnicodeDecodeError
        tool = tomllib.loads(read(path).decode()).get("tool", {})
        table = tool.get("encenv") if isinstance(tool, dict) else None
        if table is None or isinstance(table, dict):
            return table
    hint = "fix its syntax: other tools that read it name the line"
    raise FileError(f"{_path_text(path)} is not valid TOML", hint=hint)


def _read_table(path: Path, table: Mapping[str, Any]) -> Project:
    settings: dict[str, Any] = {}
    where = Project(path).where
    for name, value in table.items():
        if name not in _READERS:
            hint = f"use one of: {', '.join(_READERS)}"
            raise PolicyError(f"{where} has the unknown setting {name!r}", hint=hint)
        reader, example = _READERS[name]
        try:
            settings[name] = reader(value)
        except MalformedError as error:
            raise PolicyError(f"{where}: {name}: {error.message}", hint=error.hint) from None
        except TypeError:
            hint = f"write it as in: {example}"
            raise PolicyError(f"{where}: {name} has a wrong value", hint=hint) from None
    return Project(path, path.parent, **settings)


def _texts(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if isinstance(texts, list) and all(isinstance(text, str) and text for text in texts):
        return tuple(texts)
    raise TypeError


def _context(value: Any) -> Pairs:
    if isinstance(value, dict) and all(isinstance(text, str) for text in value.values()):
        return parse_context(value.items())
    raise TypeError


def _settings(value: Any) -> str:
    if isinstance(value, str) and _SETTINGS.fullmatch(value):
        return value
    raise TypeError


# How each setting is read, and an example of it.
_READERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "keys": (lambda value: parse_keys(_texts(value)), 'keys = ["local", "alias/staging"]'),
    "context": (_context, 'context = { stage = "staging" }'),
    "files": (_texts, 'files = [".env", ".env.*", "!.env.example"]'),
    "settings": (_settings, 'settings = "app.config:Settings"'),
    "seal": (_texts, 'seal = ["*_KEY", "*_PASSWORD"]'),
    "plain": (_texts, 'plain = ["DEBUG", "LOG_*"]'),
}


def _with_lines(text: str, lines: Sequence[str]) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    new_lines = "".join(line + newline for line in lines)
    header = _HEADER.search(text)
    if header is not None:
        gap = "" if header[0].endswith("\n") else newline
        return text[: header.end()] + gap + new_lines + text[header.end() :]
    gap = "" if not text or text.endswith("\n") else newline
    return f"{text}{gap}{newline if text else ''}{TABLE}{newline}{new_lines}"


def _path_text(path: Path) -> str:
    """Return *path* as a person in the current folder would write it."""
    with suppress(ValueError, OSError):
        path = path.relative_to(Path.cwd())
    return printable(path)
