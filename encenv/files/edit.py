"""Get, set, remove or rename variables of a .env file; after a change, a diff shows nothing else.

Arguments are as in `encenv.files.encrypt`. If a name has several lines, the last one counts, as for a reader.
"""

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches

from encenv.errors import AuthenticationError, ConflictError, FileError, MalformedError, frameless
from encenv.files.data_key_choice import choose_data_key
from encenv.files.disk import shell_argument, shell_option
from encenv.files.document import EnvFile, parse, with_name
from encenv.files.encrypt import EncryptResult, drop_unused_entries, encrypt_values
from encenv.files.lines import classify
from encenv.files.opening import open_values, reading_session
from encenv.files.writer import Writer
from encenv.format.sealed import LOCAL_KEY_NAME, claims, entry_kid, kid_shown

# New names are limited to those that a shell, docker and systemd can use; an existing name may be any.
_NAME = re.compile(r"[^\W\d][\w.-]*")


@frameless
def get_value(text: str, name: str, where: str, environ: Mapping[str, str]) -> str:
    """Return the value of the variable *name* of the .env file *text*; only its data key is unwrapped.

    Raises:
        EncenvError: If there is no such value, or it cannot be decrypted.
    """
    file = parse(text)
    index = _existing(file, name, where)[-1]
    value = file.bindings[index].value
    if value is None:
        hint = f"give it one: encenv set {name}{shell_option(where)}"
        raise FileError(f"{name} has no value in {where}", hint=hint)
    return open_values({index: (name, value)}, reading_session(file, environ))[index]


@frameless
def set_value(text: str, name: str, value: str, writer: Writer, where: str = ".env") -> EncryptResult:
    """Encrypt *value* as the variable *name* of the .env file *text*: in its line, or in a new one at the end.

    If it has this value already, the text is unchanged and the result has no names.

    Raises:
        EncenvError: If the name or the value is invalid, the file cannot be parsed, there is no data key to use, or
            another value under it does not decrypt.
    """
    file = parse(text)
    index = max(_indexes(file, name), default=None)
    if index is None or _is_key(name):
        _check_name(name)
    if index is None:
        file = file.append(name, "")
        index = len(file.bindings) - 1
    lines = classify(file, where, {index})
    key = choose_data_key(lines, writer)
    before = lines.sealed.get(index)
    if before is not None and not key.is_new:
        with suppress(AuthenticationError):  # it is damaged, or under another data key
            if key.data_key.decrypt_text(*before) == value:
                return EncryptResult(text, entry=key.entry)
    return encrypt_values(file, {index: value}, key, old_kids={kid_shown(before[1])} if before else ())


@frameless
def unset(text: str, names: Collection[str], where: str = ".env") -> EncryptResult:
    """Remove the variables *names* from the .env file *text*, and key entries that only they used.

    No key is needed.

    Raises:
        FileError: If there is no such variable.
        ConflictError: If one is the key entry of values that stay.
    """
    file = parse(text)
    indexes = {index for name in names for index in _existing(file, name, where)}
    rest = file.without(indexes)
    other_text = "".join(binding.text for binding in rest.bindings if not entry_kid(binding.name or ""))
    for name in names:
        kid = entry_kid(name)
        if kid is not None and f":{kid}:" in other_text:
            raise ConflictError(
                f"{name} is the key entry of values in {where}: without it they are lost",
                hint="unset those values; the key entry is removed with the last of them",
            )
    values = (file.bindings[index].value or "" for index in indexes)
    after = drop_unused_entries(str(rest), {kid_shown(value) for value in values if claims(value)})
    return EncryptResult(after, tuple(dict.fromkeys(names)))


@frameless
def rename(text: str, old: str, new: str, writer: Writer, where: str = ".env") -> EncryptResult:
    """Rename the variable *old* of the .env file *text* to *new*, and re-encrypt a sealed value for the new name.

    A sealed value is bound to its name without regard to the case of A to Z, so renaming ``foo`` to ``FOO`` needs no
    key. Other errors as for `set_value`.

    Raises:
        FileError: If there is no such variable.
        ConflictError: If a variable *new* exists.
    """
    file = parse(text)
    indexes = _existing(file, old, where)
    for name in (old, new):
        if name != old or _is_key(name):
            _check_name(name)
    if old != new and _indexes(file, new):
        hint = f"choose another name, or remove that one first: encenv unset {new}{shell_option(where)}"
        raise ConflictError(f"{where} has a variable {new} already", hint=hint)
    new_file = file.replace({index: with_name(file.bindings[index], new) for index in indexes})
    sealed = [index for index in indexes if claims(file.bindings[index].value or "")]
    if not sealed or _bound_name(old) == _bound_name(new):
        return EncryptResult(str(new_file), (new,))
    lines = classify(file, where)
    values = lines.decrypt(writer, sealed)
    kids = {kid_shown(lines.sealed[index][1]) for index in sealed}
    result = encrypt_values(new_file, values, choose_data_key(lines, writer), old_kids=kids)
    return replace(result, names=(new,))


def _check_name(name: str) -> None:
    """Check that a new variable may be called *name*; the error does not show a wrong name, which may be a value."""
    if _NAME.fullmatch(name) is None:
        hint = "choose a name of letters, digits and underscores"
        raise MalformedError("a variable cannot have this name", hint=hint)
    if _is_key(name):
        raise ConflictError(f"{name} holds a key, and only encenv sets it", hint="choose another name")


def _is_key(name: str) -> bool:
    return name == LOCAL_KEY_NAME or entry_kid(name) is not None


def _indexes(file: EnvFile, name: str) -> list[int]:
    return [index for index, binding in enumerate(file.bindings) if binding.name == name]


def _existing(file: EnvFile, name: str, where: str) -> list[int]:
    """Return the indexes of the lines of the variable *name*; if there are none, the error suggests similar names."""
    indexes = _indexes(file, name)
    if indexes:
        return indexes
    names = {b.name for b in file.bindings if b.name and not entry_kid(b.name)}
    hint = f"see its variables: encenv status {shell_argument(where)}"
    if close := get_close_matches(name, sorted(names)):
        hint = f"did you mean {' or '.join(close)}?"
    raise FileError(f"there is no variable {name!a} in {where}".replace("'", ""), hint=hint)


def _bound_name(name: str) -> bytes:
    """Return *name* as a value is bound to it: a to z in upper case, everything else unchanged."""
    return name.encode("utf-8", "surrogateescape").upper()
