"""Encrypt the values of a .env file, those in plaintext or all of them under a new data key; or decrypt them.

Every other byte stays unchanged.
"""

from collections.abc import Mapping

from encenv.errors import EncenvError, PolicyError, frameless
from encenv.files.data_key_choice import DataKeyChoice, wrapping_of_new_key
from encenv.files.document import EnvFile, parse, with_value
from encenv.files.lines import EncryptResult, NameTest, classify, encrypt_values, names_at
from encenv.files.opening import Progress, entry_kids, open_possible, reading_session, values_of
from encenv.files.writer import Writer
from encenv.format.sealed import ADDED_BY_WRITER, SealedValue, claims


@frameless
def encrypt(
    text: str, writer: Writer, where: str = ".env", must_encrypt: NameTest = lambda _: True
) -> EncryptResult:
    """Encrypt every plaintext value of the .env file *text*.

    Args:
        text: The file's text, newlines untranslated.
        writer: Who encrypts.
        where: What messages call the file.
        must_encrypt: Which variables, by name.

    Raises:
        EncenvError: If the file cannot be parsed, there is no data key to use, or a value under it does not decrypt.
            The result is proven by decrypting it in memory before it is returned.
    """
    lines = classify(parse(text), where)
    plain = lines.plain_values(must_encrypt)
    if not plain:
        return EncryptResult(text, (), len(lines.sealed), None, is_new=False)
    choice = lines.choose_data_key(writer)
    after = encrypt_values(lines.file, plain, choice, writer.progress)
    return EncryptResult(
        after, names_at(lines.file, plain), len(lines.sealed), choice.entry, is_new=choice.is_new
    )


@frameless
def reencrypt(
    text: str, writer: Writer, where: str = ".env", must_encrypt: NameTest = lambda _: True
) -> EncryptResult:
    """Encrypt every value of the .env file *text*, encrypted or not, under a new data key.

    For a copy of the file: each file has its own data key. *must_encrypt* selects among the plain values; other
    arguments and errors as for `encrypt`.
    """
    return _under_new_key(text, writer, where, must_encrypt)


@frameless
def rotate(text: str, writer: Writer, where: str = ".env") -> EncryptResult:
    """Re-encrypt every encrypted value of the .env file *text* under a new data key, and drop all other key entries.

    This merges what contributors added. Plain values stay plain. Arguments and errors as for `encrypt`.

    Raises:
        PolicyError: If the new data key could only be made as a contributor's.
    """
    result = _under_new_key(text, writer, where, lambda _: False)
    if result.entry is not None and ADDED_BY_WRITER in result.entry.context:
        raise PolicyError(
            "only a contributor's data key can be made here, and rotate needs another",
            hint="allow kms:GenerateDataKey without encenv-add=1 for the role that rotates",
        )
    return result


def _under_new_key(text: str, writer: Writer, where: str, must_encrypt: NameTest) -> EncryptResult:
    lines = classify(parse(text), where)
    bindings = lines.file.bindings
    plain = lines.plain_values(must_encrypt)
    if not plain and not lines.sealed:
        return EncryptResult(text, (), 0, None, is_new=False)
    wrapping = wrapping_of_new_key(writer, lines.keys, where)
    values = plain | lines.decrypt(writer)
    choice = DataKeyChoice(*writer.new_key(*wrapping), is_new=True)
    entries = entry_kids(lines.file)
    bare = lines.file.without(entries)
    # Without the old entries, blank lines and comments may be split differently; the variables keep their order.
    before = [index for index, binding in enumerate(bindings) if binding.name and index not in entries]
    after = [index for index, binding in enumerate(bare.bindings) if binding.name]
    values = {to: values[index] for index, to in zip(before, after, strict=True) if index in values}
    result = encrypt_values(bare, values, choice, writer.progress)
    return EncryptResult(result, names_at(bare, values), 0, choice.entry, is_new=True)


@frameless
def decrypt(
    file: EnvFile, environ: Mapping[str, str], selects: NameTest, progress: Progress = iter
) -> EnvFile:
    """Return *file* with the values of the names that *selects* accepts decrypted.

    Key entries are left out, except those of values that stay encrypted.

    Args:
        file: The file.
        environ: The process environment: further key entries, and what the key providers need.
        selects: Which variables to decrypt, by name.
        progress: Iterates over the values.

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
    failure = session.failure(whole="the file", done="decrypted")
    if failure is not None:
        raise failure
    used = {
        SealedValue.parse(value).kid
        for index, (_, value) in values_of(file).items()
        if index not in values and claims(value)
    }
    unused = {index for index, kid in entry_kids(file).items() if kid not in used}
    return file.replace(changes).without(unused)
