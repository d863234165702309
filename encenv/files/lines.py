"""Classify the lines of a .env file: its plain values, its sealed values, and the data keys of these."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from encenv.errors import EncenvError, KeyEntryError, combine
from encenv.files.document import EnvFile, parse_failure
from encenv.files.key_names import KeyName, Pairs
from encenv.files.opening import Values, entries_of, open_values, sealed_value, values_of
from encenv.files.writer import Writer
from encenv.format.sealed import ADDED_BY_WRITER, LOCAL_KEY_NAME, KeyEntry, kid_shown
from encenv.keys.entries import KeyEntries, is_contributed, local_key_beside_values

NameTest = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class FileKey:
    """A data key that encrypts values of a file."""

    entries: tuple[KeyEntry, ...]  # its key entries in the file, at least one; several of them add up
    values: Values  # the values under it

    @property
    def wrapping_keys(self) -> tuple[KeyName, ...]:
        """The wrapping keys that it is wrapped under."""
        return tuple(dict.fromkeys(KeyName.of(item) for entry in self.entries for item in entry.items))

    @property
    def contexts(self) -> set[Pairs]:
        """The encryption contexts that it is wrapped with, without a contributor's mark."""
        return {tuple(sorted({*entry.context} - {ADDED_BY_WRITER})) for entry in self.entries}

    def is_only_under(self, keys: Sequence[KeyName]) -> bool:
        """Return whether *keys* cover every wrapping key that it is wrapped under."""
        return all(own.is_among(keys) for own in self.wrapping_keys)


@dataclass(frozen=True, slots=True)
class FileLines:
    """The lines of a file by what they are, each with its index."""

    file: EnvFile
    plain: dict[int, str] = field(repr=False)
    sealed: Values
    keys: tuple[FileKey, ...]  # the data keys of the sealed values, if the file has their key entries
    entries: KeyEntries
    where: str  # what messages call the file

    @property
    def trusted_keys(self) -> list[FileKey]:
        """The data keys except contributors': someone who can only add values must not choose the key."""
        return [key for key in self.keys if not is_contributed(key.entries)]

    def plain_values(self, must_encrypt: NameTest) -> dict[int, str]:
        """Return the plain values of variables that *must_encrypt* selects, by index."""
        return {i: value for i, value in self.plain.items() if must_encrypt(self.file.bindings[i].name or "")}

    def decrypt(self, writer: Writer, indexes: Collection[int] | None = None) -> dict[int, str]:
        """Return the plaintexts of all sealed values, or of those at *indexes*, by index; errors as for `open_values`."""
        values = self.sealed if indexes is None else {index: self.sealed[index] for index in indexes}
        return open_values(values, writer.session(self.entries), writer.progress)


def classify(file: EnvFile, where: str, to_replace: Collection[int] = ()) -> FileLines:
    """Sort the lines of *file*, which messages call *where*, into plain values, sealed values and data keys.

    Values at the indexes *to_replace* may be broken. They do not count as proof of a data key, unless there is no other
    value under it.

    Raises:
        EncenvError: If a value is neither plain nor sealed, or a key entry is malformed; all are reported together.
    """
    plain: dict[int, str] = {}
    sealed: dict[int, tuple[str, str]] = {}
    failures: list[EncenvError] = [parse_failure(one, where) for one in file.bindings if one.error]
    for index, (name, text) in values_of(file).items():
        if name == LOCAL_KEY_NAME:
            if text:
                failures.append(local_key_beside_values(where).of(name))
            continue
        try:
            if sealed_value(text) is None:
                plain[index] = text
            else:
                sealed[index] = name, text
        except EncenvError as error:
            if index not in to_replace:
                failures.append(error.of(name))
    entries = entries_of(file, where)
    keys = _file_keys(entries, sealed, to_replace, failures)
    if failures:
        raise combine(failures, whole="the file", done="encrypted")
    return FileLines(file, plain, sealed, keys, entries, where)


def _file_keys(
    entries: KeyEntries, sealed: Values, to_replace: Collection[int], failures: list[EncenvError]
) -> tuple[FileKey, ...]:
    """Return the data keys of *sealed* that have key entries; add broken entries to *failures*."""
    by_kid: dict[str, dict[int, tuple[str, str]]] = {}
    for index, value in sealed.items():
        by_kid.setdefault(kid_shown(value[1]), {})[index] = value
    keys = []
    for kid, values in by_kid.items():
        proof = {index: value for index, value in values.items() if index not in to_replace}
        try:
            keys.append(FileKey(entries.of(kid), proof or values))
        except KeyEntryError:  # there is none: an error only if somebody decrypts the value
            pass
        except EncenvError as error:
            failures.append(error.of())
    return tuple(keys)
