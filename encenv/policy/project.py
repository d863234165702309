"""What ``[tool.encenv]`` in pyproject.toml says: with which keys, in which files, what must be sealed.

It is taken from the nearest pyproject.toml with such a table, from the file's folder upwards, but never from
outside the git repository, and outside of one only from the folder itself: whoever writes it chooses the keys.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from encenv.errors import EncenvError, FileError, MalformedError, PolicyError, UserCodeError
from encenv.files.data_key_choice import Writer
from encenv.files.key_names import KeyName, Pairs, parse_context, parse_keys
from encenv.files.opening import Each
from encenv.files.read import read
from encenv.files.text import printable
from encenv.format.sealed import LOCAL_KEY_NAME
from encenv.policy.rules import Known, Policy

TABLE = "[tool.encenv]"
_NO_VALUES = ("!*.example", "!*.sample", "!*.template", "!*.dist")  # these hold names, to be copied
FILES = (".env", ".env.*", "*.env", *_NO_VALUES)
IMPORT_SECONDS = 60  # for the application's settings module
_SETTINGS = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")


@dataclass(frozen=True, slots=True)
class Project:
    """What a project says of its .env files.

    Attributes:
        path: The pyproject.toml; None if there is none with a table of encenv's.
        folder: Where the project is: the folder of that file, else that of the .env file.
        keys: Its wrapping keys.
        context: The encryption context for new data keys; None if it says nothing of it.
        files: Globs of its .env files; with ``!`` before it, of files that are none.
        settings: The settings class, ``module:Class``.
        must: Globs of variables that must be sealed.
        need_not: Globs of variables that need not.
    """

    path: Path | None = None
    folder: Path = field(default_factory=Path)
    keys: tuple[KeyName, ...] = ()
    context: Pairs | None = None
    files: tuple[str, ...] = FILES
    settings: str | None = None
    must: tuple[str, ...] = ()
    need_not: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """What to call the table in messages."""
        return f"{TABLE} of {printable(str(_relative(self.path or Path('pyproject.toml'))))}"

    def writer(
        self, keys: tuple[KeyName, ...] = (), context: Pairs | None = None, each: Each = iter
    ) -> Writer:
        """Return who encrypts here; *keys* and *context*, as options give them, win over the project's own."""
        context = self.context if context is None else context
        return Writer(keys or self.keys, context, each=each)

    def covers(self, path: str | os.PathLike[str]) -> bool:
        """Return whether the file *path* is one of the project's .env files.

        A glob without a slash is compared with the file's name, in whatever folder; one with a slash with the path
        from the project's folder. The last one that matches decides.
        """
        whole = Path(os.path.normpath(self.folder.absolute() / path))
        below = os.path.relpath(whole, self.folder.absolute()).replace(os.sep, "/")
        answer = False
        for glob in self.files:
            bare = glob.removeprefix("!")
            text = below if "/" in bare else whole.name
            if _pattern(bare.removeprefix("/")).fullmatch(text):
                answer = not glob.startswith("!")
        return answer

    def policy(self) -> Policy:
        """Return which variables must be sealed here.

        The settings class is imported in a process of its own, see `encenv.policy.settings_class`.

        Raises:
            EncenvError: If the settings class cannot be had.
        """
        known = None if self.settings is None else _known(self, self.settings)
        return Policy(known, self.must, self.need_not)


def project(start: str | os.PathLike[str] | None = None) -> Project:
    """Return the project that the folder *start* (the current one) belongs to.

    Raises:
        EncenvError: If its pyproject.toml cannot be read, or its table is not as it should be.
    """
    folder = Path(os.path.abspath(start or "."))  # noqa: PTH100 (links stay: the project is where the user is)
    for candidate in _upwards(folder):
        path = candidate / "pyproject.toml"
        if path.is_file():
            table = _table(path)
            if table is not None:
                return _parsed(path, table)
    return Project(folder=folder)


def project_of(file: str) -> Project:
    """Return the project that the .env file *file* belongs to; for ``-`` that of the current folder."""
    return project(None if file == "-" else Path(file).parent)


class Projects:
    """The projects of several files; each is found, and its settings class asked, once."""

    def __init__(self) -> None:
        self._by_folder: dict[Path, Project] = {}
        self._policies: dict[Path, Policy] = {}

    def of(self, file: str) -> Project:
        """Return the project of the .env file *file*, as `project_of` does; its folder need not exist any more."""
        folder = Path() if file == "-" else Path(file).parent
        if folder not in self._by_folder:
            self._by_folder[folder] = project(folder)
        return self._by_folder[folder]

    def policy(self, file: str) -> Policy:
        """Return which variables of the .env file *file* must be encrypted.

        Raises:
            EncenvError: If the settings class cannot be read.
        """
        of_file = self.of(file)
        if of_file.folder not in self._policies:
            self._policies[of_file.folder] = of_file.policy()
        return self._policies[of_file.folder]


def _upwards(folder: Path) -> list[Path]:
    folders = [folder, *folder.parents]
    tops = [index for index, one in enumerate(folders) if (one / ".git").exists()]
    return folders[: tops[0] + 1 if tops else 1]


def _table(path: Path) -> Mapping[str, Any] | None:
    try:
        tool = tomllib.loads(read(path).decode()).get("tool", {})
        table = tool.get("encenv") if isinstance(tool, dict) else None
    except ValueError:  # TOMLDecodeError and UnicodeDecodeError
        pass
    else:
        if table is None or isinstance(table, dict):
            return table
    raise FileError(
        f"{printable(str(_relative(path)))} is not TOML that can be read",
        hint="mend it as your other tools report it",
    )


def _parsed(path: Path, table: Mapping[str, Any]) -> Project:
    parsers: dict[str, tuple[str, Callable[[Any], Any], str]] = {
        "keys": ("keys", _keys, 'keys = ["local", "alias/staging"]'),
        "context": ("context", _pairs, 'context = { stage = "staging" }'),
        "files": ("files", _texts, 'files = [".env", ".env.*", "!.env.example"]'),
        "settings": ("settings", _settings, 'settings = "app.config:Settings"'),
        "seal": ("must", _texts, 'seal = ["*_KEY", "*_PASSWORD"]'),
        "plain": ("need_not", _texts, 'plain = ["DEBUG", "LOG_*"]'),
    }
    values: dict[str, Any] = {"path": path, "folder": path.parent}
    where = f"{TABLE} of {printable(str(_relative(path)))}"
    for key, value in table.items():
        if key not in parsers:
            raise PolicyError(
                f"{where} has {key!r}, which means nothing", hint=f"it may have: {', '.join(parsers)}"
            )
        name, parser, example = parsers[key]
        try:
            values[name] = parser(value)
        except MalformedError as error:
            fault = PolicyError(f"{where}: {key}: {error.message}", hint=error.hint)
            raise fault from None
        if values[name] is None:
            raise PolicyError(f"{where}: {key} is not what it should be", hint=f"write it as in: {example}")
    return Project(**values)


def _texts(value: Any) -> tuple[str, ...] | None:
    values = [value] if isinstance(value, str) else value
    good = isinstance(values, list) and all(isinstance(one, str) and one for one in values)
    return tuple(values) if good else None


def _keys(value: Any) -> tuple[KeyName, ...] | None:
    texts = _texts(value)
    return None if texts is None else parse_keys(texts)


def _pairs(value: Any) -> Pairs | None:
    good = isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
    return parse_context(value.items()) if good else None


def _settings(value: Any) -> str | None:
    return value if isinstance(value, str) and _SETTINGS.fullmatch(value) else None


@cache
def _pattern(glob: str) -> re.Pattern[str]:
    """Return *glob* as a pattern: ``*`` and ``?`` stay within a folder, ``**/`` is any folders.

    Case is ignored, as some file systems do: there ``.ENV`` is read for ``.env``.
    """
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", glob)
    means = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile(
        "".join(means.get(part) or re.escape(part) for part in parts), re.DOTALL | re.IGNORECASE
    )


def _relative(path: Path) -> Path:
    """Return *path* as a person in the current folder would write it."""
    try:
        return path.relative_to(Path.cwd())
    except (ValueError, OSError):
        return path


def _known(of: Project, settings: str) -> Known:
    """Return what the class *settings* says, asking it in a process of its own.

    So what the application's modules do when they are imported (read files, set variables, print) stays there.
    """
    failure: EncenvError | None = None
    for program in _interpreters(of.folder):
        answer = _ask(program, of, settings)
        if "names" in answer:
            return Known(answer["names"], answer["below"], answer["case_sensitive"])
        error = UserCodeError if answer.get("raised") else PolicyError
        failure = failure or error(f"{of.where}: settings: {answer['message']}", hint=answer["hint"])
        if not answer.get("missing"):
            break
    if failure is None:
        raise PolicyError(
            f"{of.where}: settings: no Python was found", hint="install encenv into the project"
        )
    raise failure


def _interpreters(folder: Path) -> Iterator[str]:
    """Yield this Python, then the project's own: encenv may be installed apart from the application."""
    if sys.executable:
        yield sys.executable
    for name in ("bin/python", "Scripts/python.exe"):
        path = folder / ".venv" / name
        if path.exists() and path.parent.parent.resolve() != Path(sys.prefix).resolve():
            yield str(path)


def _ask(program: str, of: Project, settings: str) -> dict[str, Any]:
    environ = {name: value for name, value in os.environ.items() if name != LOCAL_KEY_NAME}
    try:
        done = subprocess.run(  # noqa: S603 (what the project's owner configured)
            [program, "-P", "-m", "encenv.policy.settings_class", settings],
            cwd=of.folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=IMPORT_SECONDS,
            check=False,
        )
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return {
            "message": f"importing {settings} took longer than {IMPORT_SECONDS} seconds",
            "hint": "put the class into a module that does nothing when it is imported",
        }
    except (OSError, ValueError):
        return {
            "message": f"{settings} ended the process that imports it",
            "hint": "put the class into a module that does nothing when it is imported",
            "missing": True,
        }
    return answer if isinstance(answer, dict) else {"message": "no answer", "hint": "report this"}
