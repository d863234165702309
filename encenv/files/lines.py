"""The lines of a .env file judged, its sealed values opened, others sealed, and the result proved in memory.

What every rewrite of a file is made of. Nothing is returned that would not read back as it was meant.
"""

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from encenv.errors import (
    ConflictError,
    EncenvError,
    FileError,
    KeyEntryError,
    MalformedError,
    PolicyError,
    combine,
)
from encenv.files.data_key_choice import Each, FileKey, Writer
from encenv.files.document import Binding, EnvFile, parse, with_value
from encenv.format.sealed import (
    ENTRY_PREFIX,
    LOCAL_KEY_NAME,
    KeyEntry,
    SealedValue,
    claims,
    embeds,
    entry_kid,
)

if TYPE_CHECKING:
    from encenv.format.envelope import DataKey

P = ParamSpec("P")
R = TypeVar("R")


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
    """

    file: EnvFile
    plain: dict[int, str]
    sealed: dict[int, tuple[str, SealedValue]]
    keys: dict[str, FileKey]


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
    keys = _keys(file, sealed, failures)
    if failures:
        raise combine(failures, whole="the file", done="encrypted")
    return Judged(file, plain, sealed, {kid: _less(key, replaced) for kid, key in keys.items()})


def _less(key: FileKey, replaced: Collection[int]) -> FileKey:
    others = {index: value for index, value in key.values.items() if index not in replaced}
    return replace(key, values=others) if others else key


def open_values(
    judged: Judged, writer: Writer, where: str, indexes: Collection[int] | None = None
) -> dict[int, str]:
    """Return by index the sealed values of *judged* decrypted: all of them, or those at *indexes*.

    Raises:
        EncenvError: If one does not open; all of them are named together.
    """
    wanted = judged.sealed if indexes is None else {index: judged.sealed[index] for index in indexes}
    lost = [
        KeyEntryError(
            f"there is no key entry {ENTRY_PREFIX}{value.kid} in {where}",
            hint="add its line as well: it stands where the value was copied from",
            variables=[name],
        )
        for name, value in wanted.values()
        if value.kid not in judged.keys
    ]
    if lost:
        raise combine(lost, whole="the file", done="decrypted")
    opened: dict[int, str] = {}
    for kid in dict.fromkeys(value.kid for _, value in wanted.values()):
        under = {index: value for index, value in wanted.items() if value[1].kid == kid}
        opened |= replace(judged.keys[kid], values=under).open(writer)[1]
    return opened


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


def frameless(function: Callable[P, R]) -> Callable[P, R]:
    """Let what *function* raises keep none of its frames: their locals hold values and keys."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except EncenvError as error:
            raised = error.with_traceback(None)
            raised.__cause__ = raised.__context__ = None
        args, kwargs = (), {}  # type: ignore[assignment]  # the text of the file is among them
        raise raised

    return call
