"""Three texts of one .env file into one, by variable: what either side changed is applied, whatever stands beside it.

Only a variable that both sides changed, and differently, is a conflict. Nothing is decrypted; key entries follow
the values that need them. Pure: texts in, text out.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from typing import Literal

from encenv.errors import EncenvError, FileError
from encenv.files.document import Binding, EnvFile, parse
from encenv.format.sealed import ENTRY_PREFIX, SealedValue, claims, entry_kid
from encenv.git.merge_entry import merged_entry

MARKER_SIZE = 7  # git's own, where no attribute says otherwise
_NEWLINES = ("\r\n", "\n", "\r")
_BLANK_LINE = re.compile(
    r"[^\r\n]*(?:\r\n|\r|\n)"
)  # not splitlines(), which knows more ends than python-dotenv

Side = Literal["ours", "theirs"]
Key = tuple[str, str, int]  # a variable by its name and which of that name it is; any other line by its text


@dataclass(frozen=True, slots=True)
class Merged:
    """The outcome of a merge.

    Attributes:
        text: The file's text, with markers round what is in conflict.
        conflicts: The variables in conflict, in order; none if the merge is clean.
    """

    text: str
    conflicts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Line:
    """A statement without its newline, or a blank line; of a value over several lines it has them all."""

    name: str | None
    value: str | None = field(repr=False)
    body: str = field(repr=False)
    newline: str
    error: bool


@dataclass(slots=True)
class _Part:
    """One piece of the result: a line that is clear, or what each side would have in its place."""

    ours: list[_Line]
    theirs: list[_Line]
    conflict: str | None = None
    side: Side | None = None  # who added it, if one did


@dataclass(frozen=True, slots=True)
class _Moves:
    """How one side's lines relate to those of the base.

    Attributes:
        kept: By its index in the base, the index of each line that stands in the same order on the side.
        added: By the index in the base that they stand before, the side's indexes of all other lines.
    """

    kept: Mapping[int, int]
    added: Mapping[int, Sequence[int]]


def merge(
    base: str,
    ours: str,
    theirs: str,
    *,
    labels: tuple[str, str] = ("ours", "theirs"),
    marker_size: int = MARKER_SIZE,
) -> Merged:
    """Merge *ours* and *theirs*, which both come from *base*.

    Lines keep the order of the base; what a side added or moved stands where that side has it, ours before theirs.

    Args:
        base: The common ancestor's text, newlines untranslated; empty if both sides added the file.
        ours: Our side's text.
        theirs: Their side's text.
        labels: What to call the sides behind the markers.
        marker_size: How many characters a marker has.

    Raises:
        FileError: If the file cannot be merged by variable: python-dotenv would read the result otherwise than the
            parts it is made of, as it may be where quotes are left open.
    """
    if theirs in (ours, base):
        return Merged(ours, ())
    if ours == base:
        return Merged(theirs, ())
    files = parse(base), parse(ours), parse(theirs)
    parts = _Merge(*(_lines(file) for file in files)).parts()
    _settle_entries(parts, [line for file in (files[1], files[2], files[0]) for line in _lines(file)])
    head = files[2].head if files[1].head == files[0].head else files[1].head
    newline = next((line.newline for file in files[1:] for line in _lines(file) if line.newline), "\n")
    _prove([line for part in parts for line in part.ours], head, newline)
    _prove([line for part in parts for line in part.theirs], head, newline)
    marks = tuple(sign * marker_size for sign in "<=>")
    text = head + "".join(
        _rendered(parts, (f"{marks[0]} {labels[0]}", marks[1], f"{marks[2]} {labels[1]}"), newline)
    )
    return Merged(text, tuple(dict.fromkeys(part.conflict for part in parts if part.conflict is not None)))


class _Merge:
    """The lines of the three, and what becomes of each."""

    def __init__(self, base: list[_Line], ours: list[_Line], theirs: list[_Line]) -> None:
        self._base, self._ours, self._theirs = base, ours, theirs
        self._keys = [_keys(lines) for lines in (base, ours, theirs)]
        self._at = [{key: index for index, key in enumerate(keys)} for keys in self._keys]
        self._placed: set[Key] = set()

    def parts(self) -> list[_Part]:
        ours = _moves(self._keys[0], self._keys[1])
        theirs = _moves(self._keys[0], self._keys[2])
        # A variable that a side has moved stands where that side has it, and not where the base has.
        moved = {self._keys[1][index] for added in ours.added.values() for index in added}
        moved |= {self._keys[2][index] for added in theirs.added.values() for index in added}
        parts: list[_Part] = []
        for index in range(len(self._base) + 1):
            parts += self._added(ours.added.get(index, ()), theirs.added.get(index, ()))
            if index == len(self._base):
                break
            key = self._keys[0][index]
            if key[0] == "variable":
                if key not in moved:
                    parts += self._variable(key)
            elif index in ours.kept and index in theirs.kept:
                line = _choose(
                    self._base[index], self._ours[ours.kept[index]], self._theirs[theirs.kept[index]]
                )
                parts += [] if line is None else [_Part([line], [line])]
        return parts

    def _added(self, ours: Sequence[int], theirs: Sequence[int]) -> Iterator[_Part]:
        """Yield what the sides have put in one place; what both have put there in the same words comes once."""
        left = [(self._keys[1][index], self._ours[index]) for index in ours]
        right = [(self._keys[2][index], self._theirs[index]) for index in theirs]
        for mine, others, both in _common([key for key, _ in left], [key for key, _ in right]):
            first, second = left[mine], right[others]
            if both and not any(line.body for _, line in (*first, *second)):
                # Blank lines that both put before the same thing are the same blank lines.
                yield from self._one_by_one(first if len(first) > len(second) else second, "ours")
                continue
            yield from self._one_by_one(first, "ours")
            yield from self._one_by_one(second, "theirs")

    def _one_by_one(self, lines: Iterable[tuple[Key, _Line]], side: Side) -> Iterator[_Part]:
        for key, line in lines:
            if key[0] == "variable":
                yield from self._variable(key, side)
            else:
                yield _Part([line], [line], side=side)

    def _variable(self, key: Key, side: Side | None = None) -> Iterator[_Part]:
        """Yield the variable *key*, unless it stands somewhere already, or has been deleted."""
        if key in self._placed:
            return
        self._placed.add(key)
        lines = (self._base, self._ours, self._theirs)
        base, ours, theirs = (
            lines[which][at[key]] if key in at else None for which, at in enumerate(self._at)
        )
        is_new = side if base is None and None in (ours, theirs) else None
        if _body(ours) == _body(theirs) or _body(theirs) == _body(base) or _body(ours) == _body(base):
            line = _choose(base, ours, theirs)
            if line is not None:
                yield _Part([line], [line], side=is_new)
            return
        kid = entry_kid(key[1])
        if kid is not None:
            line = _merged_entry(kid, base, ours, theirs)
            if line is not None or ours is None or theirs is None:
                # What still needs an entry that one side deleted, gets it back at the end.
                if line is not None:
                    yield _Part([line], [line])
                return
        yield _Part([ours] if ours else [], [theirs] if theirs else [], key[1])


def _choose(base: _Line | None, ours: _Line | None, theirs: _Line | None) -> _Line | None:
    """Return the line that was changed, of three of which at most one side changed its text."""
    chosen = theirs if _body(ours) == _body(base) else ours
    if base is None or ours is None or theirs is None or chosen is None:
        return chosen
    return replace(chosen, newline=theirs.newline if ours.newline == base.newline else ours.newline)


def _body(line: _Line | None) -> str | None:
    return None if line is None else line.body


def _lines(file: EnvFile) -> list[_Line]:
    return [line for binding in file.bindings for line in _split(binding)]


def _split(binding: Binding) -> Iterator[_Line]:
    """Yield the blank lines that the text of *binding* begins with, then its statement."""
    text = binding.text
    blank = text[: len(text) - len(text.lstrip())]
    end = max(blank.rfind("\n"), blank.rfind("\r")) + 1
    for line in _BLANK_LINE.findall(text, 0, end):
        body, newline = _cut(line)
        yield _Line(None, None, body, newline, error=False)
    if text[end:]:
        body, newline = _cut(text[end:])
        yield _Line(binding.name, binding.value, body, newline, binding.error)


def _cut(line: str) -> tuple[str, str]:
    newline = next((newline for newline in _NEWLINES if line.endswith(newline)), "")
    return line.removesuffix(newline), newline


def _keys(lines: Sequence[_Line]) -> list[Key]:
    counts: dict[str, int] = {}
    keys: list[Key] = []
    for line in lines:
        if line.name is None:
            keys.append(("text", line.body, 0))
        else:
            keys.append(("variable", line.name, counts.get(line.name, 0)))
            counts[line.name] = counts.get(line.name, 0) + 1
    return keys


def _moves(base: Sequence[Key], side: Sequence[Key]) -> _Moves:
    at = {key: index for index, key in enumerate(side) if key[0] == "variable"}
    common = [(index, at[key]) for index, key in enumerate(base) if key[0] == "variable" and key in at]
    anchors = [*_longest_rising(common), (len(base), len(side))]
    kept: dict[int, int] = {}
    before = (-1, -1)
    for anchor in anchors:  # between two variables that stand still, other lines are compared as texts
        here, there = range(before[0] + 1, anchor[0]), range(before[1] + 1, anchor[1])
        texts = [base[i] if base[i][0] == "text" else ("", "", i) for i in here]
        others = [side[i] if side[i][0] == "text" else ("", "", -1 - i) for i in there]
        for block in SequenceMatcher(None, texts, others, autojunk=False).get_matching_blocks():
            kept |= {here[block.a + n]: there[block.b + n] for n in range(block.size)}
        if anchor[0] < len(base):
            kept[anchor[0]] = anchor[1]
        before = anchor
    added: dict[int, list[int]] = {}
    following = {there: here for here, there in kept.items()}
    place = 0
    for index in range(len(side)):
        if index in following:
            place = following[index] + 1
        else:
            added.setdefault(place, []).append(index)
    return _Moves(kept, added)


def _longest_rising(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return a longest selection of *pairs*, which rise in their first number, that rises in its second too."""
    ends: list[int] = []  # the smallest second number in which a selection of each length ends
    last: list[int] = []  # the index of that pair
    previous: list[int] = []
    for index, (_, value) in enumerate(pairs):
        length = bisect_left(ends, value)
        previous.append(last[length - 1] if length else -1)
        ends[length : length + 1] = [value]
        last[length : length + 1] = [index]
    chosen: list[tuple[int, int]] = []
    index = last[-1] if last else -1
    while index >= 0:
        chosen.append(pairs[index])
        index = previous[index]
    return chosen[::-1]


def _common(left: Sequence[Key], right: Sequence[Key]) -> Iterator[tuple[slice, slice, bool]]:
    """Yield pairs of what differs and what is common in two lists of added lines; of the common the left one only.

    Blank lines alone have nothing in common: each side's own keep its lines apart.
    """
    ours: list[Key] = [("", "", n) if key == ("text", "", 0) else key for n, key in enumerate(left)]
    theirs: list[Key] = [("", "", -1 - n) if key == ("text", "", 0) else key for n, key in enumerate(right)]
    if left == right:
        theirs = ours
    mine = others = 0
    for block in SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks():
        yield slice(mine, block.a), slice(others, block.b), block.size > 0
        yield slice(block.a, block.a + block.size), slice(0, 0), False
        mine, others = block.a + block.size, block.b + block.size


# Key entries


def _merged_entry(kid: str, base: _Line | None, ours: _Line | None, theirs: _Line | None) -> _Line | None:
    """Return the line of a key entry that both sides have changed; None if what they did does not add up."""
    if ours is None or theirs is None or not ours.value or ours.body.count(ours.value) != 1:
        return None
    text = merged_entry(kid, (base and base.value) or None, ours.value, theirs.value or "")
    return None if text is None else replace(ours, value=text, body=ours.body.replace(ours.value, text))


def _settle_entries(parts: list[_Part], known: Sequence[_Line]) -> None:
    """Give each value its key entry again, if a side has deleted it; put an entry into the conflict that it is for."""
    present = {line.name for part in parts for line in (*part.ours, *part.theirs)}
    entries: dict[str, _Line] = {}
    for line in known:
        if entry_kid(line.name or "") is not None:
            entries.setdefault(line.name or "", line)
    index = 0
    while index < len(parts):
        for name in dict.fromkeys(_entry_names([*parts[index].ours, *parts[index].theirs])):
            if name not in present and name in entries:
                line = entries[name]
                parts.insert(index, _Part([line], [line]))
                present.add(name)
                index += 1
        index += 1
    for part in [part for part in parts if part.side and part.conflict is None]:
        (line,) = part.ours
        name = line.name or ""
        if entry_kid(name) is None:
            continue
        users = [one for one in parts if name in _entry_names([*one.ours, *one.theirs])]
        if users and all(one.conflict is not None for one in users):
            own = users[0].ours if part.side == "ours" else users[0].theirs
            own.insert(0, line)
            parts[:] = [one for one in parts if one is not part]


def _entry_names(lines: Iterable[_Line]) -> Iterator[str]:
    """Yield the names of the key entries that the values of *lines* need."""
    for line in lines:
        if line.name is not None and line.value is not None and claims(line.value):
            try:
                yield ENTRY_PREFIX + SealedValue.parse(line.value).kid
            except EncenvError:  # damaged on its way here: what it needs cannot be said
                continue


# The result


def _prove(lines: Sequence[_Line], head: str, newline: str) -> None:
    """See that *lines*, put together, read as each of them did."""
    again = parse(head + "".join(_joined(lines, newline, last=True)))
    expected = [(line.name, line.value) for line in lines if line.name is not None or line.error]
    if expected != [(one.name, one.value) for one in again.bindings if one.name is not None or one.error]:
        raise FileError(
            "the file cannot be merged by variable: a quote in it is left open",
            hint="merge it as text, and fix the line that python-dotenv cannot parse",
        )


def _rendered(parts: Sequence[_Part], marks: tuple[str, str, str], newline: str) -> Iterator[str]:
    index = 0
    while index < len(parts):
        group = [parts[index]]
        while group[0].conflict is not None and index + len(group) < len(parts):
            if parts[index + len(group)].conflict is None:
                break
            group.append(parts[index + len(group)])
        index += len(group)
        ours = [line for part in group for line in part.ours]
        if group[0].conflict is None:
            yield from _joined(ours, newline, last=index == len(parts))
            continue
        theirs = [line for part in group for line in part.theirs]
        yield marks[0] + newline
        yield from _joined(ours, newline, last=False)
        yield marks[1] + newline
        yield from _joined(theirs, newline, last=False)
        yield marks[2] + newline


def _joined(lines: Sequence[_Line], newline: str, *, last: bool) -> Iterator[str]:
    """Yield the texts of *lines*; each but the file's last has to end in a newline."""
    for number, line in enumerate(lines, start=1):
        yield line.body + (line.newline or ("" if last and number == len(lines) else newline))
