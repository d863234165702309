"""A .env file's text with its values encrypted: what is sealed already, and every other byte, stays as it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from encenv.errors import (
    ConflictError,
    EncenvError,
    FileError,
    KeyEntryError,
    MalformedError,
    PolicyError,
    combine,
)
from encenv.files.envfile import Binding, EnvFile, parse, with_value
from encenv.files.writer import FileKey, KeyName, Writer, agreed_context, agreed_keys, data_key_for
from encenv.format.envelope import DataKey
from encenv.format.sealed import (
    ENTRY_PREFIX,
    LOCAL_KEY_NAME,
    KeyEntry,
    SealedValue,
    claims,
    embeds,
    entry_kid,
)

__all__ = ["KeyName", "Rewritten", "Writer", "encrypt", "reencrypt"]


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


def encrypt(text: str, writer: Writer, where: str = ".env") -> Rewritten:
    """Encrypt every value of the .env file *text* that is not sealed yet.

    Args:
        text: The file's text, newlines untranslated.
        writer: Who encrypts.
        where: What to call the file in messages.

    Raises:
        EncenvError: If the file cannot be parsed, no key can be had, or a value in it does not open. The result is
            proved by decrypting it in memory before it is returned.
    """
    done = _tried(_encrypt, text, writer, where)
    if isinstance(done, EncenvError):
        del text
        raise done
    return done


def reencrypt(text: str, writer: Writer, where: str = ".env") -> Rewritten:
    """Encrypt every value of the .env file *text* under a new data key, those that are sealed already as well.

    For a copy of the file: each file has a data key of its own. Arguments and errors as for `encrypt`.
    """
    done = _tried(_reencrypt, text, writer, where)
    if isinstance(done, EncenvError):
        del text
        raise done
    return done


@dataclass(frozen=True, slots=True)
class _Judged:
    """A file whose every line is understood.

    Attributes:
        file: The file.
        plain: By index the values that are not sealed.
        sealed: By index name and value of those that are.
        keys: By KID the data keys of these, as far as the file has their key entries.
    """

    file: EnvFile
    plain: dict[int, str]
    sealed: dict[int, tuple[str, SealedValue]]
    keys: dict[str, FileKey]


def _encrypt(text: str, writer: Writer, where: str) -> Rewritten:
    judged = _judge(parse(text), where)
    if not judged.plain:
        return Rewritten(text, (), len(judged.sealed), None, is_new=False)
    data_key, entry, is_new = data_key_for(writer, [*judged.keys.values()], where)
    sealed = _seal(judged.file, judged.plain, data_key, entry if is_new else None)
    return Rewritten(sealed, _names(judged.file, judged.plain), len(judged.sealed), entry, is_new)


def _reencrypt(text: str, writer: Writer, where: str) -> Rewritten:
    judged = _judge(parse(text), where)
    if not judged.plain and not judged.sealed:
        return Rewritten(text, (), 0, None, is_new=False)
    lost = [
        KeyEntryError(
            f"there is no key entry {ENTRY_PREFIX}{value.kid} in {where}",
            hint="add its line as well: it stands where the value was copied from",
            variables=[name],
        )
        for name, value in judged.sealed.values()
        if value.kid not in judged.keys
    ]
    if lost:
        raise combine(lost, whole="the file", done="encrypted")
    known = [*judged.keys.values()]
    keys = writer.keys or agreed_keys(known, where)
    context = agreed_context(known, writer, where)
    plain = judged.plain | {index: value for one in known for index, value in one.open(writer)[1].items()}
    data_key, entry = writer.new_key(keys, context)
    bindings = judged.file.bindings
    entries = {index for index, binding in enumerate(bindings) if entry_kid(binding.name or "") is not None}
    bare = judged.file.without(entries)
    # Blank lines and comments may be split otherwise without the old entries; the variables' order is the same.
    before = [index for index, binding in enumerate(bindings) if binding.name and index not in entries]
    after = [index for index, binding in enumerate(bare.bindings) if binding.name]
    plain = {to: plain[index] for index, to in zip(before, after, strict=True) if index in plain}
    return Rewritten(_seal(bare, plain, data_key, entry), _names(bare, plain), 0, entry, is_new=True)


def _judge(file: EnvFile, where: str) -> _Judged:
    """Sort the lines of *file*.

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
            failures.append(error.of(*[name] if name else ()))
        else:
            if isinstance(value, SealedValue):
                sealed[index] = name, value
            elif value is not None:
                plain[index] = value
    keys = _keys(file, sealed, failures)
    if failures:
        raise combine(failures, whole="the file", done="encrypted")
    return _Judged(file, plain, sealed, keys)


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
        raise PolicyError(
            f"the local key would stand in {where} beside what it opens",
            hint=f"move it to the local key file (see encenv keygen --help) and delete the line from {where}",
        )
    if claims(value):
        return SealedValue.parse(value)
    if embeds(value):
        raise MalformedError(
            "a sealed value stands inside the text: in quotes, with white space, or pasted into it",
            hint="make the sealed value the whole value; to build one value from others, write ${NAME}",
        )
    return value


def _keys(
    file: EnvFile, sealed: Mapping[int, tuple[str, SealedValue]], failures: list[EncenvError]
) -> dict[str, FileKey]:
    """Return by KID the data keys of *sealed* that *file* has key entries of; add what is wrong with these."""
    values: dict[str, dict[int, tuple[str, SealedValue]]] = {}
    for index, (name, value) in sealed.items():
        values.setdefault(value.kid, {})[index] = name, value
    texts: dict[str, dict[str, None]] = {
        kid: {} for kid in values
    }  # an entry that nothing uses is not judged
    for binding in file.bindings:
        kid = entry_kid(binding.name or "")
        if kid in texts and binding.value is not None:
            texts[kid][binding.value] = None
    keys: dict[str, FileKey] = {}
    for kid, under in values.items():
        try:
            entries = tuple(KeyEntry.parse(kid, text) for text in texts[kid])
            if len({entry.commitment for entry in entries}) > 1:
                raise ConflictError(
                    f"two key entries {ENTRY_PREFIX}{kid} name different data keys",
                    hint="keep the entry that belongs to the values, as version control shows it",
                )
        except EncenvError as error:
            failures.append(error.of())
        else:
            if entries:
                keys[kid] = FileKey(entries, under)
    return keys


def _seal(file: EnvFile, plain: Mapping[int, str], data_key: DataKey, entry: KeyEntry | None) -> str:
    """Return the text of *file* with the values *plain* sealed, and with *entry*, if there is one, above the first.

    Raises:
        EncenvError: If a value cannot be sealed, or the result, opened in memory, does not give the same values: no
            file is lost to a mistake here.
    """
    changes: dict[int, Binding] = {}
    failures: list[EncenvError] = []
    for index, text in plain.items():
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
    changed: EnvFile, file: EnvFile, plain: Mapping[int, str], data_key: DataKey, entry: KeyEntry | None
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


def _names(file: EnvFile, indexes: Mapping[int, str]) -> tuple[str, ...]:
    return tuple(file.bindings[index].name or "" for index in sorted(indexes))


def _tried(
    rewrite: Callable[[str, Writer, str], Rewritten], text: str, writer: Writer, where: str
) -> Rewritten | EncenvError:
    """Return what *rewrite* returns, or its error without the frames: they hold values and keys."""
    try:
        return rewrite(text, writer, where)
    except EncenvError as error:
        return error.with_traceback(None)
