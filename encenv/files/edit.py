"""One variable of a .env file set, removed or renamed, or a whole file edited by hand: a diff shows just that."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from encenv.errors import (
    AuthenticationError,
    ConflictError,
    FileError,
    MalformedError,
    combine,
    frameless,
)
from encenv.files.data_key_choice import Writer, agreed_keys
from encenv.files.document import Binding, EnvFile, blank_lines, parse, with_name, with_value
from encenv.files.encrypt import Wanted, every
from encenv.files.lines import Rewritten, judge, names_of, seal, without_unused
from encenv.format.envelope import DataKey
from encenv.format.sealed import ENTRY_PREFIX, LOCAL_KEY_NAME, SealedValue, claims, entry_kid

EDITED = "EDITED"  # the variable that holds an edit that was kept
# A new name is one that a shell, docker and systemd can do something with. One that is there may be any.
_NAME = re.compile(r"[^\W\d][\w.-]*")
_KID_OF = re.compile(r"encenv:1:([A-Z2-7]{8}):")


@frameless
def set_value(text: str, name: str, value: str, writer: Writer, where: str = ".env") -> Rewritten:
    """Seal *value* as the variable *name* of the .env file *text*: in its line, or in a new one at the end.

    Where the name stands more than once, the last line counts, as it does for a reader. A value that it has already
    leaves the text as it is; then the result has no names.

    Args:
        text: The file's text, newlines untranslated.
        name: The variable.
        value: Its new value.
        writer: Who encrypts.
        where: What to call the file in messages.

    Raises:
        EncenvError: If the name or the value is none, the file cannot be parsed, no key can be had, or another value
            under its data key does not open.
    """
    file = parse(text)
    index = max(_lines_of(file, name), default=None)
    if index is None:
        check_name(name)
        file = file.append(name, "")
        index = len(file.bindings) - 1
    elif entry_kid(name) is not None or name == LOCAL_KEY_NAME:
        check_name(name)
    judged = judge(file, where, {index})
    data_key, entry, is_new = judged.data_key(writer)
    before = judged.sealed.get(index)
    if before and before[1].kid == data_key.kid and not is_new and _is(data_key, before, value):
        return Rewritten(text, (), len(judged.sealed), entry, is_new=False)
    sealed = seal(file, {index: value}, data_key, entry if is_new else None)
    kept = len({*judged.sealed} - {index})
    sealed = without_unused(sealed, {before[1].kid} if before else ())
    return Rewritten(sealed, (name,), kept, entry, is_new)


@frameless
def unset(text: str, names: Collection[str], where: str = ".env") -> Rewritten:
    """Return the .env file *text* without the variables *names*, and without key entries that only they used.

    No key is needed.

    Raises:
        FileError: If there is no such variable.
        ConflictError: If it is the key entry of values that stay.
    """
    file = parse(text)
    gone: set[int] = set()
    for name in names:
        lines = _lines_of(file, name)
        if not lines:
            raise missing(name, (binding.name for binding in file.bindings), where)
        gone.update(lines)
    rest = file.without(gone)
    for name in names:
        kid = entry_kid(name)
        if kid is not None and f":{kid}:" in "".join(
            b.text for b in rest.bindings if not entry_kid(b.name or "")
        ):
            raise ConflictError(
                f"{name} is the key entry of values in {where}: without it they are lost",
                hint="unset those values; the key entry goes with the last of them",
            )
    done = without_unused(str(rest), _kids(file.bindings[index].value for index in gone))
    return Rewritten(done, tuple(dict.fromkeys(names)), 0, None, is_new=False)


@frameless
def rename(text: str, old: str, new: str, writer: Writer, where: str = ".env") -> Rewritten:
    """Give the variable *old* of the .env file *text* the name *new*; a sealed value is encrypted anew for it.

    The binding of a value to its name does not see the case of A to Z, so ``foo`` becomes ``FOO`` without a key.
    Arguments and errors otherwise as for `set_value`.

    Raises:
        FileError: If there is no such variable.
        ConflictError: If there is one called *new* already.
    """
    file = parse(text)
    lines = _lines_of(file, old)
    if not lines:
        raise missing(old, (binding.name for binding in file.bindings), where)
    for name in (old, new):
        if name != old or entry_kid(name) is not None or name == LOCAL_KEY_NAME:
            check_name(name)
    if old != new and _lines_of(file, new):
        raise ConflictError(
            f"{where} has a variable {new} already",
            hint=f"choose another name, or remove that one first: encenv unset {new}",
        )
    renamed = file.replace({index: with_name(file.bindings[index], new) for index in lines})
    sealed = [index for index in lines if claims(file.bindings[index].value or "")]
    if not sealed or _bound(old) == _bound(new):
        return Rewritten(str(renamed), (new,), 0, None, is_new=False)
    judged = judge(file, where)
    values = judged.open(writer, sealed)
    data_key, entry, is_new = judged.data_key(writer)
    done = seal(renamed, values, data_key, entry if is_new else None)
    done = without_unused(done, {judged.sealed[index][1].kid for index in sealed})
    return Rewritten(done, (new,), len(judged.sealed) - len(sealed), entry, is_new)


@dataclass(frozen=True, slots=True)
class Opened:
    """A .env file opened to be edited by hand.

    Attributes:
        text: The file as it stands.
        shown: What a person edits: the values decrypted, a comment in the place of each key entry.
        values: By index the values that are sealed in the file.
        marks: By its comment the index of each key entry.
    """

    text: str
    shown: str = field(repr=False)
    values: Mapping[int, str] = field(repr=False)
    marks: Mapping[str, int]


@frameless
def open_to_edit(text: str, writer: Writer, where: str = ".env") -> Opened:
    """Return the .env file *text* with its values decrypted, to be given to `close_edited` afterwards.

    Raises:
        EncenvError: If a value does not open, or it is not clear under which key a new one would be sealed.
    """
    judged = judge(parse(text), where)
    if not writer.keys:  # said before somebody has written something that cannot be sealed
        known = [*judged.keys.values()]
        agreed_keys([one for one in known if not one.is_contributed], where, has_entries=bool(known))
    values = judged.open(writer)
    bindings = judged.file.bindings
    changes = {index: with_value(bindings[index], value) for index, value in values.items()}
    marks: dict[str, int] = {}
    for index, binding in enumerate(bindings):
        kid = entry_kid(binding.name or "")
        if kid is not None:
            mark = f"# {binding.name}: leave this line, the key entry stands here"
            marks[mark if mark not in marks else f"{mark} too ({index})"] = index
    for mark, index in marks.items():
        before, _, end = _parts(bindings[index].text)
        changes[index] = bindings[index]._replace(name=None, value=None, text=before + mark + end)
    shown = "".join((changes.get(index) or binding).text for index, binding in enumerate(bindings))
    again = parse(judged.file.head + shown)
    if len(again.bindings) != len(bindings):
        raise FileError(
            f"{where} cannot be shown decrypted without changing how it reads",
            hint="change it with encenv set",
        )
    return Opened(text, str(again), values, marks)


@frameless
def close_edited(
    opened: Opened, edited: str, writer: Writer, where: str = ".env", wanted: Wanted = every
) -> Rewritten:
    """Return the file of *opened* with what was *edited* in it; what was not has the bytes that it had.

    A value that is new or changed is sealed if the one before it was, or if it is *wanted*.

    Args:
        opened: What `open_to_edit` gave.
        edited: The edited text.
        writer: Who encrypts.
        where: What to call the file in messages.
        wanted: Which variables are to be sealed, by name.

    Raises:
        EncenvError: If the text cannot be parsed, or a value cannot be sealed. Nothing of it is lost: the caller
            has it.
    """
    if edited in (opened.shown, opened.shown + "\n"):  # many editors end the last line
        return Rewritten(opened.text, (), len(opened.values), None, is_new=False)
    original, judged = judge(parse(opened.text), where), judge(parse(edited), where)
    if judged.sealed:
        names = names_of(judged.file, judged.sealed)
        pasted = ConflictError("the value is sealed already", hint="write the value itself", variables=names)
        raise combine([pasted], whole="the file", done="encrypted")
    changes, plain, gone = _compare(opened, original.file, judged.file, wanted)
    base = judged.file.replace(changes)
    entry, is_new = None, False
    text = str(base)
    if plain:
        data_key, entry, is_new = original.data_key(writer)
        text = seal(base, plain, data_key, entry if is_new else None)
    for kid, key in original.keys.items():
        file = parse(text)
        users = [i for i, b in enumerate(file.bindings) if (b.value or "").startswith(f"encenv:1:{kid}:")]
        if users and not _lines_of(file, ENTRY_PREFIX + kid):
            for one in key.entries:
                file = file.insert_above(users[0], one.name, str(one))
            text = str(file)
    text = without_unused(text, original.keys)
    kept = sum(claims(binding.value or "") for binding in parse(text).bindings) - len(plain)
    changed = (*names_of(base, plain), *gone)
    return Rewritten(text, changed, kept, entry, is_new)


@frameless
def keep_edited(opened: Opened, edited: str, writer: Writer, where: str = ".env") -> str:
    """Return a .env file that holds *edited* whole, as it is, as one sealed variable: for a text that is no such file.

    Arguments and errors as for `close_edited`.
    """
    data_key, entry, _ = judge(parse(opened.text), where).data_key(writer)  # unwrapped already
    return f"{entry.name}={entry}\n{EDITED}={data_key.encrypt(EDITED, edited)}\n"


def _compare(
    opened: Opened, original: EnvFile, file: EnvFile, wanted: Wanted
) -> tuple[dict[int, Binding], dict[int, str], tuple[str, ...]]:
    """Return by index of the edited *file* which lines get old bytes again and which values are sealed; what is gone."""
    shown, old = parse(opened.shown).bindings, original.bindings
    unused: dict[str, list[int]] = {}
    for index, binding in enumerate(shown):
        if binding.name is not None:
            unused.setdefault(binding.name, []).append(index)
    was_sealed = {old[index].name for index in opened.values}
    changes: dict[int, Binding] = {}
    marks = dict(opened.marks)
    plain: dict[int, str] = {}
    for index, binding in enumerate(file.bindings):
        before, statement, end = _parts(binding.text)
        if binding.name is None:
            entry = marks.pop(statement.strip(), None)
            if entry is not None:
                changes[index] = old[entry]._replace(text=before + _parts(old[entry].text)[1] + end)
            continue
        same = next((i for i in unused.get(binding.name, ()) if shown[i].value == binding.value), None)
        if same is not None:
            unused[binding.name].remove(same)
            if same in opened.values:
                as_shown = statement == _parts(shown[same].text)[1]
                changes[index] = (
                    old[same]._replace(text=before + _parts(old[same].text)[1] + end)
                    if as_shown
                    else with_value(binding, old[same].value or "")
                )
        elif binding.value is not None and (binding.name in was_sealed or wanted(binding.name)):
            plain[index] = binding.value
    names = {binding.name for binding in file.bindings}
    return changes, plain, tuple(name for name in unused if name not in names)


def check_name(name: str) -> None:
    """Check that a new variable may be called *name*.

    Raises:
        MalformedError: If it is not a name, or that of a key. What it says does not hold it: it may hold a value.
    """
    if _NAME.fullmatch(name) is None:
        raise MalformedError(
            "that is not the name of a variable", hint="choose a name of letters, digits and underscores"
        )
    if name == LOCAL_KEY_NAME or entry_kid(name) is not None:
        raise ConflictError(f"{name} holds a key and is encenv's own", hint="choose another name")


def missing(name: str, others: Iterable[str | None], where: str) -> FileError:
    """Return the error that there is no variable *name*, with the names that were perhaps meant."""
    close = get_close_matches(name, sorted({other for other in others if other and not entry_kid(other)}))
    hint = f"perhaps it is {' or '.join(close)}" if close else f"see which there are: encenv status {where}"
    return FileError(f"there is no variable {name!a} in {where}".replace("'", ""), hint=hint)


def _lines_of(file: EnvFile, name: str) -> list[int]:
    return [index for index, binding in enumerate(file.bindings) if binding.name == name]


def _is(data_key: DataKey, sealed: tuple[str, SealedValue], value: str) -> bool:
    try:
        return data_key.decrypt(*sealed) == value
    except AuthenticationError:
        return False


def _kids(values: Iterable[str | None]) -> set[str]:
    return {found[1] for value in values if value and (found := _KID_OF.match(value))}


def _bound(name: str) -> bytes:
    """Return what a value is bound to: the name, a to z as A to Z and nothing else."""
    return name.encode("utf-8", "surrogateescape").upper()


def _parts(text: str) -> tuple[str, str, str]:
    """Return the blank lines before a statement, the statement, and the newline after it."""
    statement = text[blank_lines(text) :]
    body = statement.rstrip("\r\n")
    return text[: blank_lines(text)], body, statement[len(body) :]
