"""Compare two .env texts by variable, without a key, or more exactly with the plaintexts.

If both values are under one data key, another text means another value. Under different data keys the texts always
differ: the variable was re-encrypted, and its value may have changed as well.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from encenv.errors import EncenvError
from encenv.files.document import EnvFile, parse
from encenv.files.opening import entries_of
from encenv.format.sealed import LOCAL_KEY_NAME, KeyEntry, claims, entry_kid

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
    """One line that assigns a variable.

    Attributes:
        name: The variable.
        index: Its place among the file's bindings.
        text: Its value as written; None for a line without "=".
    """

    name: str
    index: int
    text: str | None = field(repr=False)

    @property
    def form(self) -> Form:
        """Whether it is sealed, as its first characters say."""
        return "bare" if self.text is None else "sealed" if claims(self.text) else "plain"

    @property
    def kid(self) -> str | None:
        """The data key that it names."""
        parts = (self.text or "").split(":")
        return parts[2] if self.form == "sealed" and len(parts) > 3 else None


@dataclass(frozen=True, slots=True)
class Difference:
    """A variable that differs.

    Attributes:
        name: The variable.
        change: What happened to it.
        before: The assignment in the first file; None if there is none.
        after: The assignment in the second file; None if there is none.
    """

    name: str
    change: Change
    before: Assignment | None
    after: Assignment | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All differences of two files.

    Attributes:
        differences: By variable, in the order of the second file; removed ones follow what they followed.
        rewrapped: For key entries that both files have, by KID: the wrapping keys and context pairs that were added
            (``+``) and removed (``-``).
    """

    differences: tuple[Difference, ...]
    rewrapped: Mapping[str, tuple[str, ...]]


def compare(before: str, after: str) -> Comparison:
    """Return the differences from the .env text *before* to *after*."""
    old_file, new_file = parse(before), parse(after)
    old, new = _assignments(old_file), _assignments(new_file)
    rewrapped = _rewrapped(old_file, new_file)
    changes = ((place, _change(old.get(place), new.get(place), rewrapped)) for place in _merged(old, new))
    return Comparison(
        tuple(
            Difference(place[0], change, old.get(place), new.get(place))
            for place, change in changes
            if change
        ),
        rewrapped,
    )


def compare_plaintexts(
    differences: Iterable[Difference], before: Mapping[int, str], after: Mapping[int, str]
) -> tuple[Difference, ...]:
    """Return *differences* with values that were sealed before and after compared by their plaintexts.

    Args:
        differences: The differences of the texts.
        before: The plaintexts in the first file, by the index of the assignment.
        after: The plaintexts in the second file.
    """
    return tuple(_with_plaintexts(one, before, after) for one in differences)


def _with_plaintexts(one: Difference, before: Mapping[int, str], after: Mapping[int, str]) -> Difference:
    if not (one.before and one.after and one.before.form == one.after.form == "sealed"):
        return one
    if one.change == "re-wrapped":
        return one
    is_same = before[one.before.index] == after[one.after.index]
    return replace(one, change="re-encrypted" if is_same else "changed")


def _assignments(file: EnvFile) -> dict[_Place, Assignment]:
    assignments: dict[_Place, Assignment] = {}
    counts: dict[str, int] = {}
    for index, binding in enumerate(file.bindings):
        name = binding.name
        if name and entry_kid(name) is None and name != LOCAL_KEY_NAME:
            counts[name] = counts.get(name, 0) + 1
            assignments[name, counts[name]] = Assignment(name, index, binding.value)
    return assignments


def _merged(old: Iterable[_Place], new: Mapping[_Place, object]) -> list[_Place]:
    """Return all places in the order of *new*; each that is only in *old* follows the one that it followed there."""
    followers: dict[_Place | None, list[_Place]] = {}
    last: _Place | None = None
    for place in old:
        if place in new:
            last = place
        else:
            followers.setdefault(last, []).append(place)
    merged = followers.get(None, [])
    for place in new:
        merged += [place, *followers.get(place, ())]
    return merged


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


def _rewrapped(before: EnvFile, after: EnvFile) -> dict[str, tuple[str, ...]]:
    rewrapped = {}
    old_entries, new_entries = _entries(before), _entries(after)
    for kid in new_entries:
        if kid in old_entries and old_entries[kid] != new_entries[kid]:
            old, new = _parts(old_entries[kid]), _parts(new_entries[kid])
            parts = [
                *(f"- {part}" for part in sorted(old - new)),
                *(f"+ {part}" for part in sorted(new - old)),
            ]
            rewrapped[kid] = tuple(parts) or ("the wrapped keys were refreshed",)
    return rewrapped


def _entries(file: EnvFile) -> dict[str, set[KeyEntry | str]]:
    """Return the key entries by KID; as texts if they are malformed or name different data keys."""
    entries = entries_of(file)
    by_kid: dict[str, set[KeyEntry | str]] = {}
    for kid, texts in entries.texts().items():
        try:
            by_kid[kid] = {*entries.of(kid)}
        except EncenvError:
            by_kid[kid] = {*texts}
    return by_kid


def _parts(entries: Iterable[KeyEntry | str]) -> set[str]:
    parts: set[str] = set()
    for entry in entries:
        if isinstance(entry, str):
            parts.add("a malformed key entry")
        else:
            parts.update(f"context {key}={value}" for key, value in entry.context)
            parts.update(f"{item.provider}:{item.reference}" for item in entry.items)
    return parts
