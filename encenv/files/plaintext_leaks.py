"""Plaintext secrets outside of values: in the names of variables, in comments, and in the text of private keys."""

import re
from collections.abc import Collection, Iterable, Iterator

from encenv.files.document import Binding, after_value
from encenv.format.sealed import entry_kid

RANDOM_MIN = 12  # characters; a word of that length with digits and both cases is not a name

# An assignment in a comment: directly after the #, maybe in a list or a quotation, or in a sentence. Repetitions are
# bounded, so that a long line does not take long.
_ASSIGNMENT = re.compile(
    r"""(#(?:[#\s;*`'"(\[>|]|//|-\s){0,40}+(?:export\s{1,9})?)?"""
    r"""(?<![\w.?&-])(?<!\w/)([^\W\d][\w.-]*)['"`]?[^\S\r\n]*=(?!=)"""
)
# A text that stands for a value: to be filled in, taken from elsewhere, or left out.
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
_PRIVATE_KEY_PARTS = ("PRIVATE KEY", "LS0tLS1CRUdJTi", "AGE-SECRET-KEY-1", "PuTTY-User", "encenv-local-key:")
_NEWLINE = re.compile(r"\r\n|\r|\n")


def may_be_secret(name: str) -> bool:
    """Return whether *name* looks like a piece of a secret, as the lines of one that lost its quotes do."""
    return "://" in name or "@" in name or any(_looks_random(part) for part in re.split(r"[._-]", name))


def mask_name(name: str) -> str:
    """Return what to call the variable *name* in output that others may read."""
    return "(not shown)" if may_be_secret(name) else name


def _looks_random(text: str) -> bool:
    if len(text) < RANDOM_MIN:
        return False
    digits = sum(c.isdigit() for c in text)
    is_one_case = text.isupper() or text.islower()
    return digits > 1 and (not is_one_case or digits * 5 > len(text))


def commented_values(bindings: Iterable[Binding], names: Collection[str]) -> Iterator[tuple[str, int]]:
    """Yield name and line of each assignment in a comment that has a plaintext value.

    In a sentence only *names* count: other names are examples.
    """
    for binding in bindings:
        if "#" not in binding.text or binding.error:
            continue
        comment = binding.text if binding.name is None else after_value(binding)
        for match in _ASSIGNMENT.finditer(comment, max(comment.find("#"), 0)):
            is_line, name, rest = match[1] is not None, match[2], comment[match.end() :].rstrip("\r\n")
            blank = _NO_VALUE.fullmatch(rest) if is_line else _NO_VALUE_IN_A_SENTENCE.match(rest)
            if (is_line or name in names) and not (blank or _SEALED.match(rest) or entry_kid(name)):
                yield name, binding.line


def private_key_lines(text: str) -> Iterator[int]:
    """Yield the lines of *text* on which a private key begins."""
    if not any(part in text for part in _PRIVATE_KEY_PARTS):
        return
    line, at = 1, 0
    for match in _PRIVATE_KEY.finditer(text):
        line += len(_NEWLINE.findall(text, at, match.start()))
        at = match.start()
        yield line
