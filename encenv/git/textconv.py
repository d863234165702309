"""A .env file as it may be shown to anyone: names, and what each value is, but no plaintext at all.

For ``git diff``: one line for each statement, and a mark in it that changes when the statement does. The mark of a
sealed value is a digest. That of a plaintext is one under a key of this clone's own, for a plain digest of a short
text can be guessed.
"""

import hashlib
import re
from collections.abc import Iterator

from encenv.errors import EncenvError
from encenv.files.document import Binding, parse
from encenv.files.secret_names import may_be_secret
from encenv.format.sealed import KeyEntry, SealedValue, claims, entry_kid

MARK_CHARACTERS = 8  # 32 bits: a change is missed once in four thousand million
SHOWN_MAX = 4 * 1024 * 1024  # characters; more is no .env file, and git waits for each of them
# A comment is for people, unless it looks like an assignment, a header of a key, holds a word as long as a token, or
# is a single word with a digit in it.
_SUSPECT = re.compile(r"[\w.-]+\s*[=:]|-----|[^\s#]{20}|#\s*\S*\d\S*\Z")
# A line of a pasted key or JSON text may read as a name: one that is none, or that has nothing or a base64 padding
# behind it, is not shown.
_NAME = re.compile(r"[^\W\d][\w.-]*")
_CAPITALS = re.compile(r"[A-Z_][A-Z0-9_.]*")
_COMMENT = re.compile(r"\s#.*")


def masked(text: str, key: bytes) -> str:
    """Return the .env file *text* with every value masked, a line for each statement.

    Args:
        text: The whole file, newlines untranslated.
        key: At least 16 bytes that only this clone has, or none: then the marks of plaintexts are left out.
    """
    if len(text) > SHOWN_MAX or "\0" in text:
        return f"not a .env file{_plain_mark(text, key)}\n"
    try:
        bindings = parse(text).bindings
    except EncenvError:  # not a character of it is understood
        return f"not a .env file{_plain_mark(text, key)}\n"
    return "".join(f"{_shown(line)}\n" for binding in bindings for line in _lines(binding, key))


def _lines(binding: Binding, key: bytes) -> Iterator[str]:
    statement = binding.text.lstrip().rstrip("\r\n")
    blank = binding.text[: len(binding.text) - len(binding.text.lstrip())]
    yield from [""] * len(re.findall(r"\r\n|\r|\n", blank))
    if not statement:
        return
    if binding.error:
        yield f"a line that cannot be parsed, masked{_plain_mark(statement, key)}"
    elif binding.name is None:
        yield _comment(statement, key)
    elif entry_kid(binding.name) is not None:
        yield from _entry(binding, key)
    elif may_be_secret(binding.name) or not _is_name(binding.name, binding.value):
        yield f"a line that may be part of a value, masked{_plain_mark(statement, key)}"
    elif not binding.value:
        yield f"{binding.name}: empty{_beside(statement, key)}"
    elif claims(binding.value):
        yield f"{binding.name}: {_sealed(binding.value)}{_mark(binding.value)}{_beside(statement, key)}"
    else:
        yield f"{binding.name}: plaintext, masked{_plain_mark(statement, key)}"


def _is_name(name: str, value: str | None) -> bool:
    if value == "":
        return _CAPITALS.fullmatch(name) is not None
    return bool(value and value.strip("=") and _NAME.fullmatch(name))


def _sealed(value: str) -> str:
    try:
        return f"sealed under {SealedValue.parse(value).kid}"
    except EncenvError:
        return "a damaged sealed value"


def _entry(binding: Binding, key: bytes) -> Iterator[str]:
    kid, value = entry_kid(binding.name or "") or "", binding.value or ""
    try:
        entry = KeyEntry.parse(kid, value)
    except EncenvError:
        yield f"key entry {kid}: damaged{_plain_mark(value, key)}"
        return
    context = ", ".join(f"{name}={text}" for name, text in entry.context)
    yield f"key entry {kid}{', context ' if context else ''}{context}"
    for item in entry.items:
        yield f"  wrapped by {item.provider}:{item.reference}{_mark(str(item))}"


def _beside(statement: str, key: bytes) -> str:
    """Return the comment behind a value that holds no # itself."""
    found = _COMMENT.search(statement)
    return f"  {_comment(found[0].strip(), key)}" if found else ""


def _comment(text: str, key: bytes) -> str:
    return f"# masked{_plain_mark(text, key)}" if _SUSPECT.search(text) else text


def _mark(text: str) -> str:
    return f" ({hashlib.sha256(text.encode()).hexdigest()[:MARK_CHARACTERS]})"


def _plain_mark(text: str, key: bytes) -> str:
    if not key:
        return ""
    data = text.encode("utf-8", "surrogateescape")
    return f" ({hashlib.blake2b(data, key=key[:64]).hexdigest()[:MARK_CHARACTERS]})"


def _shown(line: str) -> str:
    """Return *line* without control characters: a terminal shows it."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
