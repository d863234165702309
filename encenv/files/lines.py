"""Classify the lines of a .env file, and encrypt values in them with a proof in memory.

Every writer of files is made of these two steps. Nothing is returned that would not read back as intended.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from encenv.errors import EncenvError, FileError, KeyEntryError, combine
from encenv.files.data_key_choice import DataKeyChoice, FileKey, choose_data_key
from encenv.files.document import UNPARSED_HINT, Binding, EnvFile, parse, with_value
from encenv.files.opening import Progress, entries_of, entry_kids, open_values
from encenv.files.writer import Writer
from encenv.format.sealed import LOCAL_KEY_NAME, KeyEntry, SealedValue, claims, embeds, entry_kid
from encenv.keys.entries import KeyEntries, embedded_value, local_key_beside_values

NameTest = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class EncryptResult:
    """The outcome of a change that encrypts.

    Attributes:
        text: The file's new text.
        names: The variables that were encrypted, in order.
        unchanged: How many values were encrypted before and stay.
        entry: The key entry that the variables were encrypted under; None if there was nothing to encrypt.
        is_new: Whether that entry was added.
    """

    text: str = field(repr=False)  # plain values are in it
    names: tuple[str, ...]
    unchanged: int
    entry: KeyEntry | None
    is_new: bool


@dataclass(frozen=True, slots=True)
class FileLines:
    """The lines of a file by what they are.

    Attributes:
        file: The file.
        plain: The values that are not sealed, by index.
        sealed: Name and value of those that are, by index.
        keys: The data keys of these, if the file has their key entries.
        entries: The key entries of the file.
        where: What messages call the file.
    """

    file: EnvFile
    plain: dict[int, str] = field(repr=False)
    sealed: dict[int, tuple[str, SealedValue]]
    keys: tuple[FileKey, ...]
    entries: KeyEntries
    where: str

    def plain_values(self, must_encrypt: NameTest) -> dict[int, str]:
        """Return the plain values of variables that *must_encrypt* selects, by index."""
        return {i: value for i, value in self.plain.items() if must_encrypt(self.file.bindings[i].name or "")}

    def choose_data_key(self, writer: Writer) -> DataKeyChoice:
        """Return the data key that *writer* encrypts under."""
        return choose_data_key(writer, self.keys, writer.session(self.entries), self.where)

    def decrypt(self, writer: Writer, indexes: Collection[int] | None = None) -> dict[int, str]:
        """Return the plaintexts of all sealed values, or of those at *indexes*, by index.

        Raises:
            EncenvError: If values do not decrypt; all of them are named together.
        """
        values = self.sealed if indexes is None else {index: self.sealed[index] for index in indexes}
        return open_values(values, writer.session(self.entries), writer.progress)


def classify(file: EnvFile, where: str, replaced: Collection[int] = ()) -> FileLines:
    """Sort the lines of *file* into plain values, sealed values and data keys.

    Args:
        file: The file.
        where: What messages call it.
        replaced: Indexes of values that the caller replaces. They may be broken, and they do not count as proof of a
            data key, unless there is no other value under it.

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
        raise FileError(
            f"line {binding.line} of {where} cannot be parsed, and may hold a secret",
            hint=UNPARSED_HINT,
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


def encrypt_values(
    file: EnvFile, values: Mapping[int, str], choice: DataKeyChoice, progress: Progress = iter
) -> str:
    """Return the text of *file* with *values* encrypted, and with the key entry above the first if it is new.

    Args:
        file: The file.
        values: The plaintexts by the index of their lines, at least one.
        choice: The data key to encrypt under.
        progress: Iterates over the values.

    Raises:
        EncenvError: If a value cannot be encrypted, or the result, decrypted in memory, does not give the same
            values: a mistake here costs no file.
    """
    changes: dict[int, Binding] = {}
    failures: list[EncenvError] = []
    for index, text in progress(values.items()):
        binding = file.bindings[index]
        name = binding.name or ""
        try:
            changes[index] = with_value(binding, choice.data_key.encrypt(name, text))
        except EncenvError as error:
            failures.append(error.of(name))
    if failures:
        raise combine(failures, whole="the file", done="encrypted")
    changed = file.replace(changes)
    if choice.is_new:
        changed = changed.insert_above(min(values), choice.entry.name, str(choice.entry))
    if _is_same(changed, file, values, choice):
        return str(changed)
    raise FileError(
        "the encrypted file would not give the same values back",
        hint="report this bug; the file is unchanged",
    )


def _is_same(changed: EnvFile, file: EnvFile, values: Mapping[int, str], choice: DataKeyChoice) -> bool:
    """Return whether *changed*, parsed from its text, gives what *file* gives, with *values* encrypted."""
    after = [(binding.name, binding.value) for binding in changed.bindings if binding.name]
    if choice.is_new:
        after.remove((choice.entry.name, str(choice.entry)))
    before = [(index, binding) for index, binding in enumerate(file.bindings) if binding.name]
    return len(after) == len(before) and all(
        name == old.name
        and (
            value == old.value
            if index not in values
            else choice.data_key.decrypt(old.name or "", SealedValue.parse(value or "")) == values[index]
        )
        for (name, value), (index, old) in zip(after, before, strict=True)
    )


def names_at(file: EnvFile, indexes: Collection[int]) -> tuple[str, ...]:
    """Return the names of the variables at *indexes*, in the order of their lines."""
    return tuple(file.bindings[index].name or "" for index in sorted(indexes))


def drop_unused_entries(text: str, kids: Collection[str]) -> str:
    """Return *text* without the key entries of those *kids* that no value in it uses, not even a commented-out one."""
    file = parse(text)
    entries = entry_kids(file)
    rest = "".join(binding.text for index, binding in enumerate(file.bindings) if index not in entries)
    unused = {index for index, kid in entries.items() if kid in kids and f":{kid}:" not in rest}
    return str(file.without(unused)) if unused else text
