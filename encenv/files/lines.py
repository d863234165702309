"""Classify the lines of a .env file: its plain values, its sealed values, and the data keys of these."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from encenv.errors import EncenvError, KeyEntryError, combine
from encenv.files.document import Binding, EnvFile, unparsed
from encenv.files.key_names import KeyName, Pairs
from encenv.files.opening import entries_of, open_values
from encenv.files.writer import Writer
from encenv.format.sealed import (
    ADDED_BY_WRITER,
    LOCAL_KEY_NAME,
    KeyEntry,
    SealedValue,
    claims,
    embeds,
    entry_kid,
)
from encenv.keys.entries import KeyEntries, embedded_value, is_contributed, local_key_beside_values

NameTest = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class FileKey:
    """A data key that encrypts values of a file."""

    entries: tuple[KeyEntry, ...]  # its key entries in the file, at least one; several of them add up
    values: Mapping[int, tuple[str, SealedValue]]  # name and value of each line under it, by index

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
        return all(any(key.covers(own) for key in keys) for own in self.wrapping_keys)


@dataclass(frozen=True, slots=True)
class FileLines:
    """The lines of a file by what they are, each with its index."""

    file: EnvFile
    plain: dict[int, str] = field(repr=False)
    sealed: dict[int, tuple[str, SealedValue]]  # name and value
    keys: tuple[FileKey, ...]  # the data keys of the sealed values, if the file has their key entries
    entries: KeyEntries
    where: str  # what messages call the file

    @property
    def trusted_keys(self) -> list[FileKey]:
        """The data keys without contributors': someone who can only add values does not choose our key."""
        return [key for key in self.keys if not is_contributed(key.entries)]

    def plain_values(self, must_encrypt: NameTest) -> dict[int, str]:
        """Return the plain values of variables that *must_encrypt* selects, by index."""
        return {i: value for i, value in self.plain.items() if must_encrypt(self.file.bindings[i].name or "")}

    def decrypt(self, writer: Writer, indexes: Collection[int] | None = None) -> dict[int, str]:
        """Return the plaintexts of all sealed values, or of those at *indexes*, by index; errors as for `open_values`."""
        values = self.sealed if indexes is None else {index: self.sealed[index] for index in indexes}
        return open_values(values, writer.session(self.entries), writer.progress)


def classify(file: EnvFile, where: str, replaced: Collection[int] = ()) -> FileLines:
    """Sort the lines of *file*, which messages call *where*, into plain values, sealed values and data keys.

    Values at the indexes *replaced* may be broken. They do not count as proof of a data key, unless there is no other
    value under it.

    Raises:
        EncenvError: If a value is neither plain nor sealed, or a key entry is malformed; all are reported together.
    """
    plain: dict[int, str] = {}
    sealed: dict[int, tuple[str, SealedValue]] = {}
    failures: list[EncenvError] = []
    for index, binding in enumerate(file.bindings):
        name = binding.name or ""
        try:
            value = _value(binding, where)
        except EncenvError as error:
            if index not in replaced:
                failures.append(error.of(*[name] if name else ()))
        else:
            if isinstance(value, SealedValue):
                sealed[index] = name, value
            elif value is not None:
                plain[index] = value
    entries = entries_of(file, where)
    keys = _file_keys(entries, sealed, replaced, failures)
    if failures:
        raise combine(failures, whole="the file", done="encrypted")
    return FileLines(file, plain, sealed, keys, entries, where)


def _value(binding: Binding, where: str) -> SealedValue | str | None:
    """Return the value of *binding*, parsed if it is sealed; None if there is nothing to encrypt."""
    name, value = binding.name or "", binding.value
    if binding.error:
        raise unparsed(binding, where)
    if value is None or entry_kid(name) is not None or (name == LOCAL_KEY_NAME and not value):
        return None
    if name == LOCAL_KEY_NAME:
        raise local_key_beside_values(where)
    if claims(value):
        return SealedValue.parse(value)
    if embeds(value):
        raise embedded_value()
    return value


def _file_keys(
    entries: KeyEntries,
    sealed: Mapping[int, tuple[str, SealedValue]],
    replaced: Collection[int],
    failures: list[EncenvError],
) -> tuple[FileKey, ...]:
    """Return the data keys of *sealed* that have key entries; add broken entries to *failures*."""
    by_kid: dict[str, dict[int, tuple[str, SealedValue]]] = {}
    for index, value in sealed.items():
        by_kid.setdefault(value[1].kid, {})[index] = value
    keys = []
    for kid, values in by_kid.items():
        proof = {index: value for index, value in values.items() if index not in replaced}
        try:
            keys.append(FileKey(entries.of(kid), proof or values))
        except KeyEntryError:  # there is none: an error only if somebody decrypts the value
            pass
        except EncenvError as error:
            failures.append(error.of())
    return tuple(keys)
