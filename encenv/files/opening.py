"""The values of a .env file, opened: one way for who reads the file and for who writes it."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol, TypeVar

from encenv.files.document import EnvFile
from encenv.format.sealed import SealedValue, entry_kid
from encenv.keys.entries import KeyEntries
from encenv.keys.session import Session

Values = Mapping[int, tuple[str, str | SealedValue]]  # by index: the name, and the value as it is in the file
Opened = dict[int, str]  # by index: the plaintext
T = TypeVar("T")


class Each(Protocol):
    """Goes through items one by one, as `iter` does; it may show how far it is."""

    def __call__(self, items: Collection[T], /) -> Iterable[T]:
        """Yield each of *items*."""


def entries_of(file: EnvFile, where: str = "") -> KeyEntries:
    """Return the key entries of *file*, which messages call *where*."""
    return KeyEntries(((binding.name, binding.value) for binding in file.bindings if binding.name), where)


def reading_session(file: EnvFile, environ: Mapping[str, str]) -> Session:
    """Return a session in which the key entries of *file* are tried first, then those of *environ*."""
    entries = entries_of(file)
    entries.add(environ.items())
    return Session(environ, entries=entries)


def values_of(file: EnvFile, chosen: Callable[[str], bool] = lambda _: True) -> dict[int, tuple[str, str]]:
    """Return the values of *file* whose names are *chosen*, without key entries and lines that have no value."""
    return {
        index: (binding.name, binding.value)
        for index, binding in enumerate(file.bindings)
        if binding.name
        and binding.value is not None
        and entry_kid(binding.name) is None
        and chosen(binding.name)
    }


def open_values(values: Values, session: Session, each: Each = iter) -> Opened:
    """Return the plaintexts of *values*; plain ones are what they are.

    Raises:
        EncenvError: If one cannot be opened; all of them are reported together.
    """
    opened = open_possible(values, session, each)
    failure = session.failure(whole="the file", done="decrypted")
    if failure is not None:
        raise failure
    return opened


def open_possible(values: Values, session: Session, each: Each = iter) -> Opened:
    """Return the plaintexts of those of *values* that can be opened; `session.failures` has why others cannot."""
    session.prepare(value for _, value in values.values() if isinstance(value, str))
    session.unwrap(value.kid for _, value in values.values() if isinstance(value, SealedValue))
    opened: Opened = {}
    for index in each(values):
        name, value = values[index]
        plain = (
            session.open_value(name, value)
            if isinstance(value, SealedValue)
            else session.decrypt(name, value)
        )
        if plain is not None:
            opened[index] = plain
    return opened
