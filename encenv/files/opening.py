"""Read and open the values of a .env file: one way for readers and for writers of the file."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from encenv.files.document import EnvFile
from encenv.format.sealed import SealedValue, claims, embeds, entry_kid
from encenv.keys.entries import KeyEntries, embedded_value
from encenv.keys.session import Session

Values = Mapping[int, tuple[str, str]]  # name and value as in the file, by index
# Yields the items, as `iter` does, and may show the progress.
Progress = Callable[[Collection[Any]], Iterable[Any]]


def entry_kids(file: EnvFile) -> dict[int, str]:
    """Return the KID of each key entry of *file*, by index."""
    names = enumerate(binding.name or "" for binding in file.bindings)
    return {index: kid for index, name in names if (kid := entry_kid(name)) is not None}


def entries_of(file: EnvFile, where: str = "") -> KeyEntries:
    """Return the key entries of *file*; messages call it *where*."""
    return KeyEntries(((binding.name, binding.value) for binding in file.bindings if binding.name), where)


def reading_session(file: EnvFile, environ: Mapping[str, str]) -> Session:
    """Return a session that tries the key entries of *file* first, then those of *environ*."""
    entries = entries_of(file)
    entries.add(environ.items())
    return Session(environ, entries=entries)


def values_of(file: EnvFile, selects: Callable[[str], bool] = lambda _: True) -> dict[int, tuple[str, str]]:
    """Return the values of *file* whose names *selects* accepts; not key entries, nor lines without a value."""
    return {
        index: (name, value)
        for index, (name, value, *_) in enumerate(file.bindings)
        if name and value is not None and entry_kid(name) is None and selects(name)
    }


def sealed_value(text: str) -> SealedValue | None:
    """Return *text* parsed if it is a sealed value, None if it is plaintext; MalformedError if only a part is sealed."""
    if claims(text):
        return SealedValue.parse(text)
    if embeds(text):
        raise embedded_value()
    return None


def open_values(values: Values, session: Session, progress: Progress = iter) -> dict[int, str]:
    """Return the plaintexts of *values*, by index; one EncenvError reports all that cannot be opened."""
    plaintexts = open_possible(values, session, progress)
    session.raise_failures(whole="the file", done="decrypted")
    return plaintexts


def open_possible(values: Values, session: Session, progress: Progress = iter) -> dict[int, str]:
    """Return the plaintexts of the *values* that can be opened; `session.failures` says why others cannot."""
    session.prepare(text for _, text in values.values())
    results = ((index, session.decrypt(*values[index])) for index in progress(values))
    return {index: plain for index, plain in results if plain is not None}
