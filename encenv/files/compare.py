"""Two .env texts compared by variable, as far as no key is needed; with the plaintexts, as far as they tell.

A sealed value whose text differs under one data key was changed. Under another data key nobody can tell by its text:
it was encrypted anew, and perhaps changed as well.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from encenv.errors import EncenvError
from encenv.files.document import parse
from encenv.files.opening import entries_of
from encenv.format.sealed import LOCAL_KEY_NAME, KeyEntry, claims, entry_kid

# added, removed   the variable is in one of the files only
# changed          its value is another
# encrypted        it was plaintext, and is sealed
# decrypted        it was sealed, and is plaintext
# re-encrypted     it is sealed under another data key; whether its value is another as well, only a key tells
# re-wrapped       it is as it was, and its data key is under other wrapping keys or another context
Change = Literal["added", "removed", "changed", "encrypted", "decrypted", "re-encrypted", "re-wrapped"]
Form = Literal["sealed", "plain", "bare"]


@dataclass(frozen=True, slots=True)
class Value:
    """One assignment.

    Attributes:
        name: The variable.
        index: Its place among the file's bindings.
        text: Its value as it stands; None for a line without "=".
    """

    name: str
    index: int
    text: str | None = field(repr=False)

    @property
    def form(self) -> Form:
        """What it is, judged by its beginning."""
        return "bare" if self.text is None else "sealed" if claims(self.text) else "plain"

    @property
    def kid(self) -> str | None:
        """The data key that it names."""
        return (
            self.text.split(":")[2]
            if self.text is not None and self.text.count(":") > 2 and claims(self.text)
            else None
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """What became of one variable.

    Attributes:
        name: The variable.
        change: What became of it.
        before: The assignment in the first file; None if there is none.
        after: That in the second.
    """

    name: str
    change: Change
    before: Value | None
    after: Value | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs.

    Attributes:
        differences: By variable, in the order of the second file, removed ones at the place where they stood.
        rewrapped: By KID what became of key entries that both files have: wrapping keys and context pairs that were
            added (``+``) and removed (``-``).
    """

    differences: tuple[Difference, ...]
    rewrapped: Mapping[str, tuple[str, ...]]


def compare(before: str, after: str) -> Comparison:
    """Return what differs from the .env text *before* to *after*."""
    olds, news = _values(before), _values(after)
    rewrapped = _rewrapped(_entries(before), _entries(after))
    differences = {}
    for key in _merged(olds, news):
        found = _difference(olds.get(key), news.get(key), rewrapped)
        if found is not None:
            differences[key] = found
    return Comparison(tuple(differences.values()), rewrapped)


def opened(
    comparison: Comparison, before: Mapping[int, str], after: Mapping[int, str]
) -> tuple[Difference, ...]:
    """Return the differences as the plaintexts tell them.

    Args:
        comparison: The comparison of the texts.
        before: The plaintexts in the first file, by the index of the assignment.
        after: Those in the second.
    """
    differences = []
    for one in comparison.differences:
        if one.change == "re-encrypted" and one.before and one.after:
            is_same = before[one.before.index] == after[one.after.index]
            differences.append(one if is_same else Difference(one.name, "changed", one.before, one.after))
        elif (
            one.change == "changed"
            and one.before
            and one.after
            and one.before.form == one.after.form == "sealed"
        ):
            is_same = before[one.before.index] == after[one.after.index]
            differences.append(
                Difference(one.name, "re-encrypted", one.before, one.after) if is_same else one
            )
        else:
            differences.append(one)
    return tuple(differences)


def _values(text: str) -> dict[tuple[str, int], Value]:
    """Return the assignments by name and by which of that name it is."""
    found: dict[tuple[str, int], Value] = {}
    count: dict[str, int] = {}
    for index, binding in enumerate(parse(text).bindings):
        name = binding.name
        if name and entry_kid(name) is None and name != LOCAL_KEY_NAME:
            count[name] = count.get(name, 0) + 1
            found[name, count[name]] = Value(name, index, binding.value)
    return found


def _entries(text: str) -> dict[str, set[KeyEntry | str]]:
    """Return the key entries by KID, as texts where they are malformed or name different data keys."""
    entries = entries_of(parse(text))
    found: dict[str, set[KeyEntry | str]] = {}
    for kid, texts in entries.texts().items():
        try:
            found[kid] = {*entries.of(kid)}
        except EncenvError:
            found[kid] = {*texts}
    return found


def _rewrapped(
    olds: Mapping[str, set[KeyEntry | str]], news: Mapping[str, set[KeyEntry | str]]
) -> dict[str, tuple[str, ...]]:
    found = {}
    for kid, new in news.items():
        old = olds.get(kid)
        if old is not None and old != new:
            was, now = _parts(old), _parts(new)
            gone = [f"- {part}" for part in sorted(was - now)]
            come = [f"+ {part}" for part in sorted(now - was)]
            found[kid] = (*gone, *come) or ("the wrapped copies were renewed",)
    return found


def _parts(entries: Iterable[KeyEntry | str]) -> set[str]:
    parts: set[str] = set()
    for entry in entries:
        if isinstance(entry, str):
            parts.add("a malformed key entry")
        else:
            parts.update(f"context {key}={value}" for key, value in entry.context)
            parts.update(f"{item.provider}:{item.reference}" for item in entry.items)
    return parts


def _merged(olds: Iterable[tuple[str, int]], news: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return all keys in the order of *news*; those that are gone stand behind the one that they stood behind."""
    order = list(news)
    known = set(order)
    behind: dict[tuple[str, int] | None, list[tuple[str, int]]] = {}
    last: tuple[str, int] | None = None
    for key in olds:
        if key in known:
            last = key
        else:
            behind.setdefault(last, []).append(key)
    merged = behind.get(None, [])[:]
    for key in order:
        merged += [key, *behind.get(key, [])]
    return merged


def _difference(old: Value | None, new: Value | None, rewrapped: Mapping[str, object]) -> Difference | None:
    if old is None or new is None:
        one = old or new
        return Difference(one.name, "removed" if new is None else "added", old, new) if one else None
    change: Change | None = None
    if old.text == new.text:
        change = "re-wrapped" if new.kid in rewrapped else None
    elif old.form == new.form == "sealed":
        change = "changed" if old.kid == new.kid else "re-encrypted"
    elif new.form == "sealed":
        change = "encrypted" if old.form == "plain" else "changed"
    elif old.form == "sealed":
        change = "decrypted"
    else:
        change = "changed"
    return None if change is None else Difference(new.name, change, old, new)
