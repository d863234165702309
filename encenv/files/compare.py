"""Compare two .env texts by variable, without a key, or more exactly with the plaintexts.

If both values are under one data key, another text means another value. Under different data keys the texts always
differ: the variable was re-encrypted, and its value may have changed as well.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from encenv.errors import MalformedError
from encenv.files.document import EnvFile, parse
from encenv.files.opening import entries_of
from encenv.format.sealed import LOCAL_KEY_NAME, KeyEntry, claims, entry_kid, kid_shown

# added, removed   the variable is in one of the files only
# changed          its value is different
# encrypted        it was plaintext, and is sealed
# decrypted        it was sealed, and is plaintext
# re-encrypted     it is sealed under another data key; only a key can tell whether its value is different too
# re-wrapped       its value is the same, and its data key is under other wrapping keys or another context
Change = Literal["added", "removed", "changed", "encrypted", "decrypted", "re-encrypted", "re-wrapped"]
Form = Literal["sealed", "plain", "bare"]
_Place = tuple[str, int]  # a name, and which of the assignments to that name


@dataclass(frozen=True, slots=True)
class Assignment:
    """One line that assigns a variable."""

    name: str
    index: int  # its place among the file's bindings
    text: str | None = field(repr=False)  # its value as written; None for a line without "="

    @property
    def form(self) -> Form:
        """Whether it is sealed, as its first characters say."""
        if self.text is None:
            return "bare"
        return "sealed" if claims(self.text) else "plain"

    @property
    def kid(self) -> str | None:
        """The data key that it names."""
        return kid_shown(self.text) if self.text is not None and claims(self.text) else None


@dataclass(frozen=True, slots=True)
class Difference:
    """A variable that differs; None in place of a file's assignment if the file has none."""

    name: str
    change: Change
    before: Assignment | None
    after: Assignment | None


def compare(before: str, after: str) -> tuple[list[Difference], dict[str, list[str]]]:
    """Return the differences from the .env text *before* to *after*, and those of the key entries that both have.

    The differences are in the order of *after*; removed variables follow what they followed. For key entries, by KID:
    the wrapping keys and context pairs that were added ("+ …") and removed ("- …").
    """
    old_file, new_file = parse(before), parse(after)
    old, new = _assignments(old_file), _assignments(new_file)
    rewrapped = _changed_entries(old_file, new_file)
    differences = []
    for place in _in_order(old, new):
        change = _change(old.get(place), new.get(place), rewrapped)
        if change is not None:
            differences.append(Difference(place[0], change, old.get(place), new.get(place)))
    return differences, rewrapped


def compare_plaintexts(one: Difference, before: Mapping[int, str], after: Mapping[int, str]) -> Difference:
    """Return *one* difference; if its value was sealed before and after, the plaintexts decide whether it changed.

    *before* and *after* are the plaintexts of the two files, by the index of the assignment.
    """
    old, new = one.before, one.after
    if old and new and old.form == new.form == "sealed" and one.change != "re-wrapped":
        is_same = before[old.index] == after[new.index]
        return replace(one, change="re-encrypted" if is_same else "changed")
    return one


def _assignments(file: EnvFile) -> dict[_Place, Assignment]:
    assignments: dict[_Place, Assignment] = {}
    counts: dict[str, int] = {}
    for index, binding in enumerate(file.bindings):
        name = binding.name
        if name and entry_kid(name) is None and name != LOCAL_KEY_NAME:
            counts[name] = counts.get(name, 0) + 1
            assignments[name, counts[name]] = Assignment(name, index, binding.value)
    return assignments


def _in_order(old: Iterable[_Place], new: Mapping[_Place, object]) -> list[_Place]:
    """Return all places in the order of *new*; one that is only in *old* comes after the same place as in *old*."""
    places = list(new)
    end = 0
    for place in old:
        if place in new:
            end = places.index(place)
        else:
            places.insert(end, place)
        end += 1
    return places


def _change(old: Assignment | None, new: Assignment | None, rewrapped: Mapping[str, object]) -> Change | None:
    if old is None or new is None:
        return "removed" if new is None else "added"
    if old.text == new.text:
        return "re-wrapped" if new.kid in rewrapped else None
    if old.form == new.form == "sealed":
        return "changed" if old.kid == new.kid else "re-encrypted"
    if new.form == "sealed" and old.form == "plain":
        return "encrypted"
    return "decrypted" if old.form == "sealed" else "changed"


def _changed_entries(before: EnvFile, after: EnvFile) -> dict[str, list[str]]:
    """Return the parts that were removed from and added to each key entry that both files have, by KID."""
    rewrapped: dict[str, list[str]] = {}
    old_texts, new_texts = entries_of(before).texts(), entries_of(after).texts()
    for kid, texts in new_texts.items():
        if kid in old_texts and {*texts} != {*old_texts[kid]}:
            old, new = _parts(kid, old_texts[kid]), _parts(kid, texts)
            parts = [f"- {part}" for part in sorted(old - new)] + [f"+ {part}" for part in sorted(new - old)]
            rewrapped[kid] = parts or ["the wrapped keys were refreshed"]
    return rewrapped


def _parts(kid: str, texts: Iterable[str]) -> set[str]:
    """Return the context pairs and the wrapping keys of the key entries *texts* of *kid*."""
    parts: set[str] = set()
    for text in texts:
        try:
            entry = KeyEntry.parse(kid, text)
        except MalformedError:
            parts.add("a malformed key entry")
        else:
            parts.update(f"context {key}={value}" for key, value in entry.context)
            parts.update(item.wrapping_key for item in entry.items)
    return parts
