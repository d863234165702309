"""What a .env file's text tells without a key: its variables, its key entries, and what should not stand in it.

Pure: text in, facts out. No fact holds a value; a line is named by its number and its variable.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from encenv.errors import ConflictError, MalformedError
from encenv.files.document import Binding, after_value, parse
from encenv.files.secret_names import may_be_secret
from encenv.format.sealed import (
    ENTRY_PREFIX,
    LOCAL_KEY_NAME,
    KeyEntry,
    SealedValue,
    claims,
    embeds,
    entry_kid,
)
from encenv.keys.entries import check_agreement, embedded_value, merge

LAMBDA_BYTES = 4096  # AWS Lambda quotas: all environment variables of a function, as one JSON object
# sealed      a whole sealed value, with its key entry in the file
# unopenable  a whole sealed value whose key entry is missing or malformed
# damaged     the text claims to be, or holds, a sealed value and is none
# plain       any other value, also an empty one
# bare        a line without "=": it has no value
State = Literal["sealed", "unopenable", "damaged", "plain", "bare"]

# In a comment: an assignment, directly behind the # (as a list or a quotation may have it), or in a sentence.
# What repeats is bounded: a line may be long, and none may take long.
_ASSIGNMENT = re.compile(
    r"""(#(?:[#\s;*`'"(\[>|]|//|-\s){0,40}+(?:export\s{1,9})?)?"""
    r"""(?<![\w.?&-])(?<!\w/)([^\W\d][\w.-]*)['"`]?[^\S\r\n]*=(?!=)"""
)
# What is no value, but to be filled in, taken from elsewhere, or left out.
_BLANK = r"""[^\S\r\n]*(['"]?)(?:<[^>]{0,99}>|\.{3}|…|\*+|[xX]{3,}|\$\{[^}]{0,99}\}|)\1"""
_NO_VALUE = re.compile(rf"{_BLANK}(?:\s+#.*|\s*)")
_NO_VALUE_IN_A_SENTENCE = re.compile(rf"{_BLANK}(?=[\s`).,;]|$)")
_SEALED = re.compile(r"""[^\S\r\n]*['"]?encenv:[0-9]+:[A-Z2-7]{8}:[\w-]*(?=[\s'"`]|$)""", re.ASCII)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"  # RFC 7468, RFC 4716, RFC 9580
    r"|LS0tLS1CRUdJTi(?:BQUklWQVRF|BSU0EgUFJJVkFU|BEU0EgUFJJVkFU|BQR1AgUFJJVkFU|BFQyBQUklWQVRF|BPUEVOU1NIIFBSSVZBVE|BFTkNSWVBURUQgUFJJVkFU)"  # in base64
    r"|AGE-SECRET-KEY-1"
    r"|PuTTY-User-Key-File-[0-9]"
    r"|encenv-local-key:[0-9]"
)
_PRIVATE_KEY_HINTS = ("PRIVATE KEY", "LS0tLS1CRUdJTi", "AGE-SECRET-KEY-1", "PuTTY-User", "encenv-local-key:")
_JSON = json.JSONEncoder(ensure_ascii=False)
_NEWLINE = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Variable:
    """One assignment of a file.

    Attributes:
        name: The variable.
        line: Its line, from 1.
        index: Its place among the file's bindings.
        state: What its value is.
        kid: The data key that it names, if it is a sealed value.
        size: Its bytes, as AWS Lambda counts them.
        problem: What is wrong with it, or None.
    """

    name: str
    line: int
    index: int
    state: State
    kid: str | None
    size: int
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Remark:
    """Something about a line of a file, and what to do about it."""

    line: int
    text: str
    hint: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What a file's text tells without a key.

    Attributes:
        variables: Its assignments in their order, those of the same name as well; key entries are not among them.
        entries: Its well-formed key entries.
        problems: Lines that cannot be parsed, bad or renamed key entries, a local key.
        warnings: What is no failure, and worth knowing.
        commented: Assignments in comments that have a value which is not sealed: name and line.
        private_keys: The lines with a private key's text.
        size: The bytes of the environment that the file makes, with its key entries, as AWS Lambda counts them.
    """

    variables: tuple[Variable, ...]
    entries: tuple[KeyEntry, ...]
    problems: tuple[Remark, ...]
    warnings: tuple[Remark, ...]
    commented: tuple[tuple[str, int], ...]
    private_keys: tuple[int, ...]
    size: int

    @property
    def left(self) -> int:
        """How many of Lambda's bytes are left; below 0 if there are too many."""
        return LAMBDA_BYTES - self.size


def survey(text: str) -> Survey:
    """Return what the .env file *text* tells without a key.

    Args:
        text: The whole file, newlines untranslated.

    Raises:
        FileError: If this version of python-dotenv does not account for every character.
    """
    bindings = parse(text).bindings
    problems = [
        Remark(
            binding.line,
            "the line cannot be parsed, and may hold a secret",
            "write it as NAME=value, with quotes round values that need them, or as a # comment",
        )
        for binding in bindings
        if binding.error
    ]
    entries = _entries(bindings, problems)
    variables = tuple(
        _variable(index, binding, entries)
        for index, binding in enumerate(bindings)
        if binding.name is not None and entry_kid(binding.name) is None
    )
    problems += _strays(bindings)
    return Survey(
        variables,
        tuple(entry for entry in entries.values() if entry is not None),
        tuple(sorted(problems, key=lambda problem: problem.line)),
        tuple(_alike(variables)),
        tuple(_commented(bindings, {variable.name for variable in variables})),
        tuple(_private_keys(text)),
        measure((binding.name, binding.value) for binding in bindings if binding.name is not None),
    )


def measure(variables: Iterable[tuple[str, str | None]]) -> int:
    """Return the bytes of *variables* as AWS Lambda counts them: as one JSON object, the last of each name."""
    last = {name: value for name, value in variables if value is not None}
    return 1 + max(1, sum(_size(name, value) for name, value in last.items()))


def _size(name: str, value: str | None) -> int:
    """Return the bytes of ``"name":"value"`` and of the comma or brace after it."""
    if value is None:
        return 0
    text = f"{_JSON.encode(name)}:{_JSON.encode(value)},"
    return len(text.encode("utf-8", "surrogateescape"))


def _variable(index: int, binding: Binding, entries: dict[str, KeyEntry | None]) -> Variable:
    name, value = binding.name or "", binding.value
    state: State = "plain"
    kid, problem = None, None
    if value is None:
        state = "bare"
    elif claims(value):
        try:
            kid = SealedValue.parse(value).kid
        except MalformedError as error:
            state, problem = "damaged", error.message
        else:
            state = "sealed"
            if entries.get(kid) is None:
                state = "unopenable"
                what = "is malformed" if kid in entries else "is missing"
                problem = f"its key entry {ENTRY_PREFIX}{kid} {what}"
    elif embeds(value):
        state = "damaged"
        problem = embedded_value().message
    return Variable(name, binding.line, index, state, kid, _size(name, value), problem)


def _entries(bindings: Sequence[Binding], problems: list[Remark]) -> dict[str, KeyEntry | None]:
    """Return the key entries by KID, None for a malformed one; add what is wrong with them to *problems*."""
    entries: dict[str, KeyEntry | None] = {}
    for binding in bindings:
        kid = entry_kid(binding.name or "")
        if kid is None:
            continue
        try:
            entry = KeyEntry.parse(kid, binding.value or "")
        except MalformedError as error:
            problems.append(Remark(binding.line, error.message, error.hint))
            entries.setdefault(kid, None)
            continue
        other = entries.get(kid)
        if other is not None:
            try:
                check_agreement([other, entry])
            except ConflictError as error:
                problems.append(Remark(binding.line, error.message, error.hint))
            else:
                entry = merge([other, entry]) or entry
        entries[kid] = entry
    return entries


def _strays(bindings: Iterable[Binding]) -> Iterator[Remark]:
    for binding in bindings:
        name = binding.name or ""
        if may_be_secret(name) and entry_kid(name.upper()) is None:
            yield Remark(
                binding.line,
                "the name reads like a piece of a secret, and is not shown",
                "put the whole value in quotes behind NAME=, and encrypt it",
            )
        elif name == LOCAL_KEY_NAME and binding.value:
            yield Remark(
                binding.line,
                f"{LOCAL_KEY_NAME}: the local key stands beside what it opens",
                "move it to the local key file (see encenv keygen --help), delete the line, and rotate the file",
            )
        elif entry_kid(name) is None and entry_kid(name.upper()) is not None:
            yield Remark(
                binding.line,
                f"{name} is a key entry whose name was changed in case",
                f"name it {name.upper()} again",
            )


def _alike(variables: Iterable[Variable]) -> Iterator[Remark]:
    """Warn of names that differ in case alone: a sealed value of one would open as the other's."""
    seen: dict[str, Variable] = {}
    for variable in variables:
        if variable.kid is None:
            continue
        other = seen.setdefault(variable.name.upper(), variable)
        if other.name != variable.name:
            yield Remark(
                variable.line,
                f"{variable.name} and {other.name} (line {other.line}) are both sealed, and are one name to the encryption",
                "keep one of them; if they were swapped, nobody would notice",
            )


def _commented(bindings: Iterable[Binding], names: Collection[str]) -> Iterator[tuple[str, int]]:
    """Yield what comments assign. In a sentence only one of *names* counts: an example is of another variable."""
    for binding in bindings:
        if "#" not in binding.text or binding.error:
            continue
        comment = binding.text if binding.name is None else after_value(binding)
        for found in _ASSIGNMENT.finditer(comment, max(comment.find("#"), 0)):
            is_line, name, rest = found[1] is not None, found[2], comment[found.end() :].rstrip("\r\n")
            blank = _NO_VALUE.fullmatch(rest) if is_line else _NO_VALUE_IN_A_SENTENCE.match(rest)
            if (is_line or name in names) and not (blank or _SEALED.match(rest) or entry_kid(name)):
                yield name, binding.line


def _private_keys(text: str) -> Iterator[int]:
    if not any(hint in text for hint in _PRIVATE_KEY_HINTS):
        return
    line, at = 1, 0
    for found in _PRIVATE_KEY.finditer(text):
        line += len(_NEWLINE.findall(text, at, found.start()))
        at = found.start()
        yield line
