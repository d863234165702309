"""Inspect the text of a .env file without a key: its variables, its key entries, and its problems.

No result holds a value; a line is named by its number and its variable.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from encenv.errors import ConflictError, EncenvError, KeyEntryError, MalformedError
from encenv.files.document import PARSE_HINT, Binding, parse
from encenv.files.opening import entries_of, sealed_value
from encenv.files.plaintext_leaks import commented_values, may_be_secret, private_key_lines
from encenv.format.sealed import ENTRY_PREFIX, LOCAL_KEY_NAME, KeyEntry, entry_kid
from encenv.keys.entries import KeyEntries, check_agreement, merge

LAMBDA_BYTES = 4096  # AWS Lambda quotas: all environment variables of a function, as one JSON object
# sealed      a whole sealed value, with its key entry in the file
# unopenable  a whole sealed value whose key entry is missing or malformed, or contradicts another one
# damaged     not a sealed value, although it begins like one or holds one
# plain       any other value, even an empty one
# bare        a line without "=": it has no value
State = Literal["sealed", "unopenable", "damaged", "plain", "bare"]

_JSON = json.JSONEncoder(ensure_ascii=False)
_ENTRY_FAULTS: dict[type[EncenvError], str] = {
    KeyEntryError: "is missing",
    MalformedError: "is malformed",
    ConflictError: "contradicts another one",
}


@dataclass(frozen=True, slots=True)
class Variable:
    """One assignment of a file."""

    name: str
    line: int  # from 1
    index: int  # its place among the file's bindings
    state: State
    kid: str | None  # the data key that it names, if it is a sealed value
    problem: str | None  # why it cannot be decrypted
    size: int  # its bytes, as AWS Lambda counts them
    has_nul: bool  # then it cannot be encrypted


@dataclass(frozen=True, slots=True)
class Remark:
    """Something about a line of a file, and what to do about it."""

    line: int
    text: str
    hint: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """The facts about a file that need no key."""

    variables: tuple[Variable, ...]  # in order, without key entries; a name may occur several times
    entries: tuple[KeyEntry, ...]  # those that a load can use, one for each data key
    problems: tuple[Remark, ...]  # lines that cannot be parsed, bad or renamed key entries, a local key
    warnings: tuple[Remark, ...]  # about lines that are valid
    commented: tuple[tuple[str, int], ...]  # name and line of each plaintext value in a comment
    private_keys: tuple[int, ...]  # the lines on which the text of a private key begins
    size: int  # the bytes of all variables, key entries included, as AWS Lambda counts them

    @property
    def entries_in_use(self) -> tuple[KeyEntry, ...]:
        """The well-formed key entries of data keys that values name."""
        kids = {variable.kid for variable in self.variables}
        return tuple(entry for entry in self.entries if entry.kid in kids)


def inspect(text: str) -> Inspection:
    """Return the facts about the .env file *text*, newlines untranslated, that need no key; errors as for `parse`."""
    file = parse(text)
    bindings, entries = file.bindings, entries_of(file)
    variables = tuple(
        Variable(name, line, index, *_state(value, entries), _size(name, value), "\0" in (value or ""))
        for index, (name, value, _, line, _) in enumerate(bindings)
        if name is not None and entry_kid(name) is None
    )
    return Inspection(
        variables,
        tuple(_usable(entries)),
        tuple(_problems(bindings)),
        tuple(_same_but_case(variables)),
        tuple(commented_values(bindings, {variable.name for variable in variables})),
        tuple(private_key_lines(text)),
        measure((binding.name, binding.value) for binding in bindings if binding.name is not None),
    )


def measure(variables: Iterable[tuple[str, str | None]]) -> int:
    """Return the bytes of *variables* as AWS Lambda counts them: one JSON object with the last value of each name."""
    last = {name: value for name, value in variables if value is not None}
    return 1 + max(1, sum(_size(name, value) for name, value in last.items()))


def _size(name: str, value: str | None) -> int:
    """Return the bytes of ``"name":"value"`` and of the comma or brace after it."""
    text = "" if value is None else f"{_JSON.encode(name)}:{_JSON.encode(value)},"
    return len(text.encode("utf-8", "surrogateescape"))


def _state(value: str | None, entries: KeyEntries) -> tuple[State, str | None, str | None]:
    """Return the state of *value*, the data key that it names, and why it cannot be decrypted."""
    if value is None:
        return "bare", None, None
    try:
        sealed = sealed_value(value)
    except MalformedError as error:
        return "damaged", None, error.message
    if sealed is None:
        return "plain", None, None
    try:
        entries.of(sealed.kid)
    except EncenvError as error:
        problem = f"its key entry {ENTRY_PREFIX}{sealed.kid} {_ENTRY_FAULTS[type(error)]}"
        return "unopenable", sealed.kid, problem
    return "sealed", sealed.kid, None


def _usable(entries: KeyEntries) -> Iterator[KeyEntry]:
    for kid in entries.texts():
        try:
            agreeing = entries.of(kid)
        except EncenvError:
            continue
        yield merge(agreeing) or agreeing[-1]


def _problems(bindings: Iterable[Binding]) -> Iterator[Remark]:
    first: dict[str, KeyEntry] = {}  # the first key entry of each KID
    for binding in bindings:
        name = binding.name or ""
        kid = entry_kid(name)
        if kid is not None:
            try:
                entry = KeyEntry.parse(kid, binding.value or "")
                check_agreement([first.setdefault(kid, entry), entry])
            except (ConflictError, MalformedError) as error:
                yield Remark(binding.line, error.message, error.hint)
            continue
        if binding.error:
            text, hint = "the line cannot be parsed, and may hold a secret", PARSE_HINT
        elif entry_kid(name.upper()) is not None:
            text, hint = f"{name} must be in capitals to be a key entry", f"rename it to {name.upper()}"
        elif may_be_secret(name):
            text = "the name looks like a piece of a secret, and is not shown"
            hint = "put the whole value in quotes after NAME=, and encrypt it"
        elif name == LOCAL_KEY_NAME and binding.value:
            text = f"{LOCAL_KEY_NAME}: the local key is beside the values that it decrypts"
            hint = "move it to the local key file (see encenv keygen --help), delete the line, and rotate the file"
        else:
            continue
        yield Remark(binding.line, text, hint)


def _same_but_case(variables: Iterable[Variable]) -> Iterator[Remark]:
    """Warn of names that differ in case alone: a sealed value of one also decrypts as the other's."""
    seen: dict[str, Variable] = {}
    for variable in (one for one in variables if one.kid is not None):
        other = seen.setdefault(variable.name.upper(), variable)
        if other.name != variable.name:
            yield Remark(
                variable.line,
                f"{variable.name} and {other.name} (line {other.line}) are both encrypted, and differ only in case",
                "keep one of them: encryption cannot tell if their values are swapped",
            )
