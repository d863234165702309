"""Encrypt the values of a .env file, those in plaintext or all of them under a new data key; or decrypt them.

Every other byte stays unchanged. In all functions *text* is the file's, with newlines untranslated, *writer* encrypts,
messages call the file *where*, and *environ* is the process environment: further key entries, and what the key
providers need.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from encenv.errors import EncenvError, FileError, PolicyError, combine, frameless
from encenv.files.data_key_choice import choose_data_key, wrapping_of_new_key
from encenv.files.document import Binding, EnvFile, parse, with_value
from encenv.files.lines import NameTest, classify
from encenv.files.opening import Progress, entry_kids, open_possible, reading_session, values_of
from encenv.files.writer import EncryptionKey, Writer
from encenv.format.sealed import ADDED_BY_WRITER, KeyEntry, claims, kid_shown


@dataclass(frozen=True, slots=True)
class EncryptResult:
    """The outcome of a change that encrypts."""

    text: str = field(repr=False)  # the file's new text; plain values are in it
    names: tuple[str, ...] = ()  # the variables that were changed, in order
    entry: KeyEntry | None = None  # the key entry they need; None if nothing was encrypted
    is_new: bool = False  # whether that entry was added
    unchanged: int = 0  # how many values `encrypt` found encrypted already


@frameless
def encrypt(
    text: str, writer: Writer, where: str = ".env", must_encrypt: NameTest = lambda _: True
) -> EncryptResult:
    """Encrypt every plaintext value of the .env file *text* whose name *must_encrypt* selects.

    Raises:
        EncenvError: If the file cannot be parsed, there is no data key to use, or a value under it does not decrypt.
    """
    lines = classify(parse(text), where)
    plain = lines.plain_values(must_encrypt)
    if not plain:
        return EncryptResult(text, unchanged=len(lines.sealed))
    result = encrypt_values(lines.file, plain, choose_data_key(lines, writer), progress=writer.progress)
    return replace(result, unchanged=len(lines.sealed))


@frameless
def reencrypt(
    text: str, writer: Writer, where: str = ".env", must_encrypt: NameTest = lambda _: True
) -> EncryptResult:
    """Encrypt every value of the .env file *text*, encrypted or not, under a new data key; drop all other key entries.

    For a copy of the file: each file has its own data key. *must_encrypt* selects among the plain values; errors as
    for `encrypt`.
    """
    lines = classify(parse(text), where)
    plain = lines.plain_values(must_encrypt)
    if not plain and not lines.sealed:
        return EncryptResult(text)
    wrapping = wrapping_of_new_key(lines, writer)
    values = plain | lines.decrypt(writer)
    key = writer.new_key(*wrapping)
    result = encrypt_values(lines.file, values, key, progress=writer.progress)
    file = parse(result.text)
    others = {index for index, kid in entry_kids(file).items() if kid != key.entry.kid}
    return replace(result, text=str(file.without(others)))


@frameless
def rotate(text: str, writer: Writer, where: str = ".env") -> EncryptResult:
    """Re-encrypt every encrypted value of the .env file *text* under a new data key, and drop all other key entries.

    This merges what contributors added. Plain values stay plain. Other errors as for `encrypt`.

    Raises:
        PolicyError: If the new data key could only be made as a contributor's.
    """
    result = reencrypt(text, writer, where, lambda _: False)
    if result.entry is not None and ADDED_BY_WRITER in result.entry.context:
        raise PolicyError(
            "you may add values only as a contributor, and that is not enough to rotate",
            hint="allow kms:GenerateDataKey without encenv-add=1 for the role that rotates",
        )
    return result


@frameless
def decrypt(
    file: EnvFile, environ: Mapping[str, str], selects: NameTest, progress: Progress = iter
) -> EnvFile:
    """Return *file* with the values of the names that *selects* accepts decrypted.

    Key entries are left out, except those of values that stay encrypted.

    Raises:
        EncenvError: If a value cannot be decrypted. All failures are reported together.
    """
    session = reading_session(file, environ)
    values = values_of(file, selects)  # plain ones too: one that holds an encrypted value is an error
    changes = {}
    for index, plain in open_possible(values, session, progress).items():
        name, value = values[index]
        if claims(value):
            try:
                changes[index] = with_value(file.bindings[index], plain)
            except EncenvError as error:
                session.fail(name, error)
    session.raise_failures(whole="the file", done="decrypted")
    others = [value for index, (_, value) in values_of(file).items() if index not in values]
    used = {kid_shown(value) for value in others if claims(value)}
    unused = {index for index, kid in entry_kids(file).items() if kid not in used}
    return file.replace(changes).without(unused)


def encrypt_values(
    file: EnvFile,
    values: Mapping[int, str],
    key: EncryptionKey,
    *,
    old_kids: Collection[str] = (),
    progress: Progress = iter,
) -> EncryptResult:
    """Encrypt *values*, at least one, in *file*, and prove the result in memory: a mistake here costs no file.

    The values are plaintexts by the index of their lines. A new key entry is written above the first of them. The key
    entries of *old_kids* are dropped if no value uses them any more.

    Raises:
        EncenvError: If a value cannot be encrypted, or the result does not give the same values back.
    """
    changes: dict[int, Binding] = {}
    plaintexts: dict[str, str] = {}  # the proof: what each new sealed value decrypts to
    failures: list[EncenvError] = []
    for index, text in progress(values.items()):
        binding = file.bindings[index]
        name = binding.name or ""
        try:
            sealed = key.data_key.encrypt(name, text)
            changes[index] = with_value(binding, sealed)
            plaintexts[sealed] = key.data_key.decrypt_text(name, sealed)
        except EncenvError as error:
            failures.append(error.of(name))
    if failures:
        raise combine(failures, whole="the file", done="encrypted")
    new_file = file.replace(changes)
    if key.is_new:
        new_file = new_file.insert_above(min(values), key.entry.name, str(key.entry))
    before = [(one.name, values.get(index, one.value)) for index, one in enumerate(file.bindings) if one.name]
    after = [(one.name, plaintexts.get(one.value or "", one.value)) for one in new_file.bindings if one.name]
    if key.is_new:
        after.remove((key.entry.name, str(key.entry)))
    if after != before:
        hint = "report this bug; the file is unchanged"
        raise FileError("the encrypted file would not give the same values back", hint=hint)
    text = drop_unused_entries(str(new_file), old_kids) if old_kids else str(new_file)
    names = tuple(file.bindings[index].name or "" for index in sorted(values))
    return EncryptResult(text, names, key.entry, is_new=key.is_new)


def drop_unused_entries(text: str, kids: Collection[str]) -> str:
    """Return *text* without the key entries of those *kids* that no value in it uses, not even a commented-out one."""
    file = parse(text)
    entries = entry_kids(file)
    rest = "".join(binding.text for index, binding in enumerate(file.bindings) if index not in entries)
    unused = {index for index, kid in entries.items() if kid in kids and f":{kid}:" not in rest}
    return str(file.without(unused)) if unused else text
