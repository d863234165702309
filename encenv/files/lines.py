"""The lines of a .env file judged, its sealed values opened, others sealed, and the result proved in memory.

What every rewrite of a file is made of. Nothing is returned that would not read back as it was meant.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from encenv.errors import EncenvError, FileError, KeyEntryError, combine
from encenv.files.data_key_choice import FileKey, Writer, data_key_for
from encenv.files.document import Binding, EnvFile, parse, with_value
from encenv.files.opening import Each, entries_of, open_values
from encenv.format.sealed import LOCAL_KEY_NAME, KeyEntry, SealedValue, claims, embeds, entry_kid
from encenv.keys.entries import KeyEntries, embedded_value, local_key_beside_values

if TYPE_CHECKING:
    from encenv.format.envelope import DataKey


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The outcome of a rewrite.

    Attributes:
        text: The file's new text.
        names: The variables that were encrypted, in order.
        kept: How many were sealed already.
        entry: The key entry that they were encrypted under; None if there was nothing to encrypt.
        is_new: Whether that entry was added.
    """

    text: str
    names: tuple[str, ...]
    kept: int
    entry: KeyEntry | None
    is_new: bool


@dataclass(frozen=True, slots=True)
class Judged:
    """A file whose every line is understood.

    Attributes:
        file: The file.
        plain: By index the values that are not sealed.
        sealed: By index name and value of those that are.
        keys: By KID the data keys of these, as far as the file has their key entries.
        entries: The key entries of the file.
        where: What to call the file in messages.
    """

    file: EnvFile
    plain: dict[int, str]
    sealed: dict[int, tuple[str, SealedValue]]
    keys: dict[str, FileKey]
    entries: KeyEntries
    where: str

    def data_key(self, writer: Writer) -> "tuple[DataKey, KeyEntry, bool]":
        """Return the data key that *writer* encrypts under, its key entry, and whether that is new to the file."""
        return data_key_for(writer, [*self.keys.values()], writer.session(self.entries), self.where)

    def open(self, writer: Writer, indexes: Collection[int] | None = None) -> dict[int, str]:
        """Return by index the plaintexts of the sealed values: of all, or of those at *indexes*.

        Raises:
            EncenvError: If one does not open; all of them are named together.
        """
        wanted = self.sealed if indexes is None else {index: self.sealed[index] for index in indexes}
        return open_values(wanted, writer.session(self.entries), writer.each)


def judge(file: EnvFile, where: str, replaced: Collection[int] = ()) -> Judged:
    """Sort the lines of *file*.

    Args:
        file: The file.
        where: What to call it in messages.
        replaced: Indexes of values that are about to go: what is wrong with them hinders nothing, and they prove
            nothing about a data key, unless there is no other value under it.

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
    keys = _keys(entries, sealed, failures)
    if failures:
        raise combine(failures, whole="the file", done="encrypted")
    keys = {kid: _less(key, replaced) for kid, key in keys.items()}
    return Judged(file, plain, sealed, keys, entries, where)


def _less(key: FileKey, replaced: Collection[int]) -> FileKey:
    others = {index: value for index, value in key.values.items() if index not in replaced}
    return replace(key, values=others) if others else key


def _value(binding: Binding, where: str) -> SealedValue | str | None:
    """Return what *binding* has for a value, parsed if it is sealed; None if there is nothing to seal."""
    name, value = binding.name or "", binding.value
    if binding.error:
        raise FileError(
            f"line {binding.line} of {where} cannot be parsed, and may hold a secret",
            hint="write it as NAME=value, with quotes round values that need them, or as a # comment",
        )
    if value is None or entry_kid(name) is not None or (name == LOCAL_KEY_NAME and not value):
        return None
    if name == LOCAL_KEY_NAME:
        raise local_key_beside_values(where)
    if claims(value):
        return SealedValue.parse(value)
    if embeds(value):
        raise embedded_value()
    return value


def _keys(
    entries: KeyEntries, sealed: Mapping[int, tuple[str, SealedValue]], failures: list[EncenvError]
) -> dict[str, FileKey]:
    """Return by KID the data keys of *sealed* that have key entries; add what is wrong with these to *failures*."""
    values: dict[str, dict[int, tuple[str, SealedValue]]] = {}
    for index, (name, value) in sealed.items():
        values.setdefault(value.kid, {})[index] = name, value
    keys: dict[str, FileKey] = {}
    for kid, under in values.items():
        try:
            keys[kid] = FileKey(entries.of(kid), under)
        except KeyEntryError:  # there is none: only who opens the value needs one
            pass
        except EncenvError as error:
            failures.append(error.of())
    return keys


def seal(
    file: EnvFile, plain: Mapping[int, str], data_key: "DataKey", entry: KeyEntry | None, each: Each = iter
) -> str:
    """Return the text of *file* with the values *plain* sealed, and with *entry*, if there is one, above the first.

    Raises:
        EncenvError: If a value cannot be sealed, or the result, opened in memory, does not give the same values: no
            file is lost to a mistake here.
    """
    changes: dict[int, Binding] = {}
    failures: list[EncenvError] = []
    for index, text in each(plain.items()):
        binding = file.bindings[index]
        name = binding.name or ""
        try:
            changes[index] = with_value(binding, data_key.encrypt(name, text))
        except EncenvError as error:
            failures.append(error.of(name))
    if failures:
        raise combine(failures, whole="the file", done="encrypted")
    changed = file.replace(changes)
    if entry is not None:
        changed = changed.insert_above(min(plain), entry.name, str(entry))
    if _opens(changed, file, plain, data_key, entry):
        return str(changed)
    raise FileError(
        "the encrypted file would not give the same values back", hint="report this; the file is as it was"
    )


def _opens(
    changed: EnvFile, file: EnvFile, plain: Mapping[int, str], data_key: "DataKey", entry: KeyEntry | None
) -> bool:
    """Return whether *changed*, as it was parsed anew, says what *file* does, with *plain* under *data_key*."""
    again = [(b.name, b.value) for b in changed.bindings if b.name]
    if entry is not None:
        again.remove((entry.name, str(entry)))
    lines = [(index, b) for index, b in enumerate(file.bindings) if b.name]
    return len(again) == len(lines) and all(
        name == old.name
        and (
            value == old.value
            if index not in plain
            else data_key.decrypt(old.name or "", SealedValue.parse(value or "")) == plain[index]
        )
        for (name, value), (index, old) in zip(again, lines, strict=True)
    )


def names_of(file: EnvFile, indexes: Collection[int]) -> tuple[str, ...]:
    """Return the names of the variables at *indexes*, in order."""
    return tuple(file.bindings[index].name or "" for index in sorted(indexes))


def without_unused(text: str, kids: Collection[str]) -> str:
    """Return *text* without the key entries of those *kids* that stand nowhere else in it, not even in a comment."""
    file = parse(text)
    entries = {index: entry_kid(binding.name or "") for index, binding in enumerate(file.bindings)}
    rest = "".join(b.text for index, b in enumerate(file.bindings) if entries[index] is None)
    gone = {index for index, kid in entries.items() if kid in kids and f":{kid}:" not in rest}
    return str(file.without(gone)) if gone else text
