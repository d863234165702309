"""Show a .env file to anyone, for ``git diff``: a line for each statement, with names but without any plaintext.

The mark at a line's end changes when the statement does. The mark of an encrypted value is a digest. That of a
plaintext is a digest under a key of this clone, for the plain digest of a short text can be guessed.
"""

import hashlib
import re
from collections.abc import Iterator

from encenv.errors import EncenvError
from encenv.files.document import Binding, blank_lines, parse
from encenv.files.plaintext_leaks import may_be_secret
from encenv.format.sealed import KeyEntry, SealedValue, claims, entry_kid

MARK_CHARACTERS = 8  # 32 bits: one change in 4 billion is missed
TEXT_MAX = 4 * 1024 * 1024  # characters; a longer text is not a .env file, and git waits for each of them
# A comment is for people, unless it looks like an assignment, the header of a key, holds a word as long as a token, or
# is a single word with a digit in it.
_SUSPECT = re.compile(r"[\w.-]+\s*[=:]|-----|[^\s#]{20}|#\s*\S*\d\S*\Z")
# A line of a pasted key or JSON text may parse as an assignment. Its name is shown only if it is an ordinary one, and
# has a value that is more than base64 padding, or is in capitals and has an empty value.
_NAME = re.compile(r"[^\W\d][\w.-]*")
_CAPITALS = re.compile(r"[A-Z_][A-Z0-9_.]*")
_COMMENT = re.compile(r"\s#.*")


def mask(text: str, key: bytes) -> str:
    """Return a line for each statement of the .env file *text*, newlines untranslated, with names instead of values.

    The *key* is at least 16 bytes that only this clone has, or none: then the marks of plaintexts are left out.
    """
    try:
        bindings = parse(text).bindings if len(text) <= TEXT_MAX and "\0" not in text else None
    except EncenvError:
        bindings = None
    if bindings is None:
        return f"not a .env file{_plaintext_mark(text, key)}\n"
    return "".join(f"{_printable(line)}\n" for binding in bindings for line in _lines(binding, key))


def _lines(binding: Binding, key: bytes) -> Iterator[str]:
    statement = binding.text.lstrip().rstrip("\r\n")
    name, value = binding.name, binding.value or ""
    yield from [""] * len(re.findall(r"\r\n|\r|\n", binding.text[: blank_lines(binding.text)]))
    kid = entry_kid(name or "")
    if kid is not None:
        yield from _key(kid, value, key)
    elif binding.error:
        yield f"a line that cannot be parsed, not shown{_plaintext_mark(statement, key)}"
    elif name is None:
        if statement:
            yield _comment(statement, key)
    elif may_be_secret(name) or not _is_name(name, binding.value):
        yield f"a line that may be part of a value, not shown{_plaintext_mark(statement, key)}"
    elif value and not claims(value):
        yield f"{name}: plaintext, not shown{_plaintext_mark(statement, key)}"
    else:
        comment = _COMMENT.search(statement)  # neither of these values has a # itself
        beside = f"  {_comment(comment[0].strip(), key)}" if comment else ""
        yield f"{name}: {_encrypted(value) if value else 'empty'}{beside}"


def _is_name(name: str, value: str | None) -> bool:
    if value == "":
        return _CAPITALS.fullmatch(name) is not None
    return bool(value and value.strip("=") and _NAME.fullmatch(name))


def _encrypted(value: str) -> str:
    try:
        what = f"encrypted under {SealedValue.parse(value).kid}"
    except EncenvError:
        what = "a damaged encrypted value"
    return f"{what}{_mark(value)}"


def _key(kid: str, value: str, key: bytes) -> Iterator[str]:
    """Yield the lines of a key entry: the data key, and the wrapping keys that open it."""
    try:
        entry = KeyEntry.parse(kid, value)
    except EncenvError:
        yield f"data key {kid}: damaged{_plaintext_mark(value, key)}"
        return
    context = ", ".join(f"{name}={text}" for name, text in entry.context)
    yield f"data key {kid}{', context ' if context else ''}{context}"
    for item in entry.items:
        yield f"  for {item.wrapping_key}{_mark(str(item))}"


def _comment(text: str, key: bytes) -> str:
    return f"# not shown{_plaintext_mark(text, key)}" if _SUSPECT.search(text) else text


def _mark(text: str) -> str:
    return f" ({hashlib.sha256(text.encode()).hexdigest()[:MARK_CHARACTERS]})"


def _plaintext_mark(text: str, key: bytes) -> str:
    if not key:
        return ""
    data = text.encode("utf-8", "surrogateescape")
    return f" ({hashlib.blake2b(data, key=key[:64]).hexdigest()[:MARK_CHARACTERS]})"


def _printable(line: str) -> str:
    """Return *line* without control characters, for a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
