"""Check the law: an encrypted environment behaves exactly as its plaintext did.

Each case is loaded over `BaseSettings` from plain values, then over `EncryptedSettings` from the same values sealed:
all of them, each one alone beside plain others, and, where the model asks for them by name, as ``ENC_NAME``.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, SettingsError

from encenv import EncryptedSettings, LocalKeys, UserCodeError, WrappedKey, clear_cache
from encenv.files.document import parse, with_name, with_value
from encenv.format.envelope import DataKey
from encenv.format.sealed import KeyEntry, encryption_context
from encenv.keys.local import generate_key_text

KEY_TEXT = generate_key_text()
KEYS = LocalKeys({"ENCENV_LOCAL_KEY": KEY_TEXT})
MASK = "**********"
Load = Callable[[type[BaseSettings]], Any]


class Environment:
    """A data key with its key entry, wrapped under the tests' local key, and what it seals."""

    def __init__(self, context: Mapping[str, str] | None = None) -> None:
        self.key = DataKey.generate()
        pairs = tuple(sorted((context or {}).items()))
        wrapped = KEYS.wrap(self.key.expose_key(), "", encryption_context(pairs))
        self.entry = KeyEntry(self.key.commitment, pairs, (wrapped,))

    @property
    def entry_variable(self) -> dict[str, str]:
        """The key entry as a variable."""
        return {self.entry.name: str(self.entry)}

    def seal(self, **values: str) -> dict[str, str]:
        """Return *values* sealed, without the key entry."""
        return {name: self.key.encrypt(name, value) for name, value in values.items()}

    def sealed(self, **values: str) -> dict[str, str]:
        """Return *values* sealed, with the key entry."""
        return self.entry_variable | self.seal(**values)


class CountingKeys:
    """The tests' local key as a provider that counts how often it is asked."""

    name = "local"

    def __init__(self) -> None:
        self.unwraps = 0

    def generate(self, key: str, context: Mapping[str, str]) -> tuple[bytes, WrappedKey]:
        """Return a fresh data key."""
        return KEYS.generate(key, context)

    def wrap(self, data_key: bytes, key: str, context: Mapping[str, str]) -> WrappedKey:
        """Wrap a data key."""
        return KEYS.wrap(data_key, key, context)

    def unwrap(self, item: WrappedKey, context: Mapping[str, str], timeout: float) -> bytes:
        """Unwrap a data key."""
        self.unwraps += 1
        return KEYS.unwrap(item, context, timeout)


@dataclass
class Case:
    """One environment: process variables, ``.env`` files and folders of secret files, by name."""

    load: Load
    environ: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    encodings: Mapping[str, str] = field(default_factory=dict)

    def places(self) -> list[tuple[str, str, int]]:
        """Return where a value stands: the kind of place, its name and, in a file, the number of the statement."""
        lines = [
            ("files", name, number)
            for name, text in self.files.items()
            for number, binding in enumerate(parse(text).bindings)
            if binding.name is not None and not binding.error and binding.value is not None
        ]
        others = [("environ", name, 0) for name in self.environ] + [
            ("secrets", name, 0) for name in self.secrets
        ]
        return lines + others


def assert_equivalent(
    root: Path,
    case: Case,
    *,
    by_prefix: bool = False,
    singly: bool = True,
    unless: type[Exception] | None = None,
) -> Any:
    """Load *case* plain and sealed and compare; return what it gives.

    Args:
        root: An empty folder.
        case: What is loaded.
        by_prefix: Whether it also holds with each value as ``ENC_NAME``.
        unless: A class of errors of the plain load for which the sealed one need not give the same.
        singly: Whether it is also loaded with each value sealed alone.
    """
    places = case.places()
    expected = outcome(root / "plain", case, BaseSettings, set(), "")
    if isinstance(expected, tuple) and expected[0] is unless:
        return expected
    ways = [("nothing sealed", set(), ""), ("all sealed", set(places), "")]
    ways += [(f"{place} sealed", {place}, "") for place in places if singly and len(places) > 1]
    ways += [("all with prefix", set(places), "ENC_")] if by_prefix else []
    for number, (way, chosen, prefix) in enumerate(ways):
        found = outcome(root / str(number), case, EncryptedSettings, chosen, prefix)
        assert is_same(found, expected), f"{way}: {found} instead of {expected}"
    return expected


def raised(call: Callable[[], object]) -> Exception:
    """Return what *call* raises."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 (the test looks at it)
        return error
    raise AssertionError("nothing was raised")


@contextmanager
def process(*environments: Mapping[str, str], **variables: str) -> Iterator[None]:
    """Run with exactly these process variables and the local key, and nothing unwrapped yet."""
    merged = {name: value for one in (*environments, variables) for name, value in one.items()}
    clear_cache()
    with patch.dict(os.environ, {"ENCENV_LOCAL_KEY": KEY_TEXT, **merged}, clear=True):
        yield
    clear_cache()


def outcome(
    folder: Path, case: Case, base: type[BaseSettings], chosen: set[tuple[str, str, int]], prefix: str
) -> Any:
    """Return what *case* gives, written to *folder*, with the *chosen* places encrypted."""
    folder.mkdir()
    for name, text in case.files.items():
        lines = {number for kind, where, number in chosen if (kind, where) == ("files", name)}
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_sealed_file(text, lines, prefix).encode(case.encodings.get(name, "utf-8")))
    keys: dict[str, Environment] = {}
    for name, text in case.secrets.items():
        top, *parents, own = Path(name).parts
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if ("secrets", name, 0) not in chosen:
            path.write_text(text)
            continue
        key = keys.setdefault(top, Environment())
        path.with_name(prefix + own).write_text(key.key.encrypt("/".join([*parents, prefix + own]), text))
        (folder / top / key.entry.name).write_text(str(key.entry))
    key = Environment()
    environ: dict[str, str] = {}
    for name, value in case.environ.items():
        sealed = ("environ", name, 0) in chosen
        environ |= key.sealed(**{prefix + name: value}) if sealed else {name: value}
    before = Path.cwd()
    with process(environ):
        os.chdir(folder)
        try:
            return _comparable(case.load(base))
        except (Exception, SystemExit) as error:  # noqa: BLE001 (compared)
            return _comparable(error)
        finally:
            os.chdir(before)


def _sealed_file(text: str, lines: set[int], prefix: str) -> str:
    file, key, done = parse(text), Environment(), ""
    for number, binding in enumerate(file.bindings):
        if number not in lines:
            done += binding.text
            continue
        name = prefix + (binding.name or "")
        renamed = with_name(binding, name) if prefix else binding
        done += with_value(renamed, key.key.encrypt(name, binding.value or "")).text
    return f"{file.head}{key.entry.name}={key.entry}\n{done}" if lines else text


def _comparable(outcome: Any) -> Any:
    if isinstance(outcome, BaseModel):
        return type(outcome).__name__, outcome.model_dump(), outcome.model_fields_set
    if isinstance(outcome, ValidationError):
        lines = [(line["type"], line["loc"]) for line in outcome.errors()]
        return ValidationError, outcome.title, lines
    if isinstance(outcome, BaseException):
        return type(outcome), str(outcome)
    return outcome


def is_same(found: Any, expected: Any) -> bool:
    """Return whether two results of `outcome` are the same, as far as that of an encrypted load is not masked."""
    kinds = tuple(one[0] if isinstance(one, tuple) and one else None for one in (found, expected))
    if kinds[0] is UserCodeError:  # it stands for every exception that is not pydantic's own
        return isinstance(kinds[1], type) and not issubclass(kinds[1], (ValidationError, SettingsError))
    if kinds != (ValidationError, ValidationError):
        return bool(found == expected)
    left = list(expected[2])  # in any order: what is given and sealed comes later than its plain twin would
    for kind, loc in found[2]:
        match = next((line for line in left if line[0] == kind and _same_loc(loc, line[1])), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def _same_loc(found: tuple[Any, ...], expected: tuple[Any, ...]) -> bool:
    """Return whether two places are the same, as far as that of the encrypted load is not masked."""
    shown = found[: found.index(MASK)] if MASK in found else found
    return shown == expected[: len(shown)] and (MASK in found or len(found) == len(expected))


def debug_texts(records: list[logging.LogRecord]) -> str:
    """Return all texts of *records*."""
    return "\n".join(record.getMessage() for record in records)
