"""Decrypt the values of a .env file, or one of them."""

from collections.abc import Mapping

from encenv.errors import EncenvError, FileError, frameless
from encenv.files.document import EnvFile, parse, with_value
from encenv.files.edit import no_such_variable
from encenv.files.lines import NameTest
from encenv.files.opening import Progress, entry_kids, open_possible, open_values, reading_session, values_of
from encenv.format.sealed import SealedValue, claims


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


@frameless
def get_value(text: str, name: str, where: str, environ: Mapping[str, str]) -> str:
    """Return the value of the variable *name* of the .env file *text*; only its data key is unwrapped.

    Args:
        text: The file's text, with newlines unchanged.
        name: The variable. Of several lines the last counts, as for a reader.
        where: What messages call the file.
        environ: The process environment, as for `decrypt`.

    Raises:
        EncenvError: If there is no such value, or it cannot be decrypted.
    """
    file = parse(text)
    index = max((i for i, binding in enumerate(file.bindings) if binding.name == name), default=None)
    if index is None:
        raise no_such_variable(name, (binding.name for binding in file.bindings), where)
    value = file.bindings[index].value
    if value is None:
        raise FileError(f"{name} has no value in {where}", hint=f"give it one: encenv set {name}")
    return open_values({index: (name, value)}, reading_session(file, environ))[index]
