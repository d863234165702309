"""Merge three texts of a .env file by variable: every change of either side is applied, whatever the lines beside it.

Our text is patched with their changes. Only a variable that both sides changed, and differently, is a conflict.
Nothing is decrypted; each encrypted value keeps the key entry that it needs. Pure: texts in, text out.
"""

import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from itertools import groupby

from encenv.errors import EncenvError, FileError
from encenv.files.document import EnvFile, blank_lines, parse
from encenv.format.sealed import ENTRY_PREFIX, KeyEntry, SealedValue, claims, entry_kid

MARKER_SIZE = 7  # git's own, where no attribute sets another


@dataclass(frozen=True, slots=True)
class MergeResult:
    """The outcome of a merge."""

    text: str  # of the file, with markers around conflicts
    conflicts: tuple[str, ...]  # the variables in conflict, in order; none if the merge is clean


@dataclass(frozen=True, slots=True)
class _Line:
    """A statement, or a blank line. A value over several lines is in one of these.

    The line is recognized by its key in the three texts. The key of a variable is its name and how many of that name
    are above it; of a blank line, the line that follows and how many blank ones are between; of any other line, its
    text.
    """

    key: tuple[object, ...] = field(repr=False)
    name: str | None  # of the variable; None for other lines
    value: str | None = field(repr=False)
    body: str = field(repr=False)  # the text without the newline behind it
    newline: str
    error: bool  # whether python-dotenv cannot parse it


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of the result: the same line for both sides, or different lines if a variable is in conflict."""

    ours: Sequence[_Line]
    theirs: Sequence[_Line]
    conflict: str | None = None  # the name of that variable


def merge(base: str, ours: str, theirs: str, *, marker_size: int = MARKER_SIZE) -> MergeResult:
    """Merge *ours* and *theirs*, which both come from *base*, or from nothing if that is empty.

    Lines keep our order, but a line that only their side moved goes where their side has it. What both sides added in
    one place is put one after the other, ours first. The newlines of the texts are untranslated.

    A quote that is left open is a `FileError`: python-dotenv would read the result differently from its parts.
    """
    if theirs in (ours, base):
        return MergeResult(ours, ())
    if ours == base:
        return MergeResult(theirs, ())
    files = [parse(text) for text in (base, ours, theirs)]
    sides = [_lines(file) for file in files]
    parts = _with_entries([*_Patch(*sides).parts()], *sides)
    head = files[2].head if files[1].head == files[0].head else files[1].head
    newline = next((line.newline for side in sides[1:] for line in side if line.newline), "\n")
    _prove([line for part in parts for line in part.ours], head, newline)
    _prove([line for part in parts for line in part.theirs], head, newline)
    text = head
    for is_conflict, group in groupby(parts, key=lambda part: part.conflict is not None):
        together = [*group]
        mine = _text((line for part in together for line in part.ours), newline)
        others = _text((line for part in together for line in part.theirs), newline)
        if is_conflict:
            left, middle, right = (sign * marker_size for sign in "<=>")
            text += f"{left} ours{newline}{mine}{middle}{newline}{others}{right} theirs{newline}"
        else:
            text += mine
    if parts and parts[-1].conflict is None and not parts[-1].ours[-1].newline:
        text = text.removesuffix(newline)  # the last line of a file keeps what it has
    conflicts = dict.fromkeys(part.conflict for part in parts if part.conflict is not None)
    return MergeResult(text, tuple(conflicts))


class _Patch:
    """Our lines, to be patched with what their side changed in the base."""

    def __init__(self, base: Sequence[_Line], ours: Sequence[_Line], theirs: Sequence[_Line]) -> None:
        self._base, self._ours, self._theirs = base, ours, theirs
        sides = (base, ours, theirs)
        self._variables = [{line.key: line for line in side if line.name is not None} for side in sides]
        self._in_ours, self._in_theirs = _common(base, ours), _common(base, theirs)
        # Variables that their side has moved, and we have not.
        only_ours = self._in_ours.keys() - self._in_theirs.keys()
        self._moves = {base[index].key for index in only_ours} & self._variables[2].keys()

    def parts(self) -> Iterator[_Part]:
        """Yield what becomes of each line."""
        insertions = self._insertions()
        origins = {index: origin for origin, index in self._in_ours.items()}
        count = Counter(line.key for lines in (self._ours, *insertions.values()) for line in lines)
        count.subtract(line.key for line in self._theirs)
        for index, line in enumerate(self._ours):
            yield from self._merge_lines(insertions[index])
            origin = origins.get(index)
            if line.key in self._moves:
                continue
            if line.name is not None or origin is None:
                yield from self._merge_lines([line])
            elif origin in self._in_theirs:
                yield from _clear(_choose(self._base[origin], line, self._theirs[self._in_theirs[origin]]))
            elif count[line.key] > 0:  # their side has removed it
                count[line.key] -= 1
            else:  # their side has removed another of several equal lines, and so have we: both kept one
                yield from _clear(line)
        yield from self._merge_lines(insertions[len(self._ours)])

    def _insertions(self) -> defaultdict[int, list[_Line]]:
        """Return the lines of their side that we do not have, by the index of our line that they go before."""
        end = len(self._ours)
        # For each line of the base, the index of our line that an addition above it goes before.
        place = [end] * (len(self._base) + 1)
        for origin in reversed(range(len(self._base))):
            place[origin] = self._in_ours.get(origin, place[origin + 1])
        own: Counter[object] = Counter()  # what we added there, by place and key
        in_base = {*self._in_ours.values()}
        for index in reversed(range(len(self._ours))):
            if index in in_base:
                end = index
            else:
                own[end, self._ours[index].key] += 1
        origins = {index: origin for origin, index in self._in_theirs.items()}
        insertions: defaultdict[int, list[_Line]] = defaultdict(list)
        here = place[0]
        for index, line in enumerate(self._theirs):
            if index in origins:
                here = place[origins[index] + 1]
            if line.name is not None:
                if line.key in self._moves or line.key not in self._variables[1]:
                    insertions[here].append(line)
            elif index not in origins:
                if own[here, line.key] > 0:  # both sides have added it, as a cherry-pick does
                    own[here, line.key] -= 1
                else:
                    insertions[here].append(line)
        return insertions

    def _merge_lines(self, lines: Iterable[_Line]) -> Iterator[_Part]:
        """Yield what becomes of *lines* of one side; a variable is compared with the other two texts."""
        for line in lines:
            if line.name is None:
                yield from _clear(line)
                continue
            base, ours, theirs = (variables.get(line.key) for variables in self._variables)
            if _body(ours) == _body(theirs) or _body(base) in (_body(ours), _body(theirs)):
                yield from _clear(_choose(base, ours, theirs))
                continue
            kid = entry_kid(line.name)
            entry = None if kid is None else _merge_entry(kid, base, ours, theirs)
            if entry is not None:
                yield from _clear(entry)
            elif kid is None or (ours is not None and theirs is not None):
                # A key entry that one side deleted comes back if it is needed.
                yield _Part([ours] if ours else [], [theirs] if theirs else [], line.name)


def _clear(line: _Line | None) -> Iterator[_Part]:
    if line is not None:
        yield _Part([line], [line])


def _choose(base: _Line | None, ours: _Line | None, theirs: _Line | None) -> _Line | None:
    """Return the line of the side that changed it; at most one side changed its text."""
    line = theirs if _body(ours) == _body(base) else ours
    if base is None or ours is None or theirs is None or line is None:
        return line
    return replace(line, newline=theirs.newline if ours.newline == base.newline else ours.newline)


def _body(line: _Line | None) -> str | None:
    return None if line is None else line.body


def _common(base: Sequence[_Line], side: Sequence[_Line]) -> dict[int, int]:
    """Return the lines that *side* has in the same order as *base*, as indexes of the two."""
    matcher = SequenceMatcher(None, [line.key for line in base], [line.key for line in side])
    return {a + n: b + n for a, b, size in matcher.get_matching_blocks() for n in range(size)}


def _lines(file: EnvFile) -> list[_Line]:
    lines: list[_Line] = []
    above: Counter[str] = Counter()
    for binding in file.bindings:
        end = blank_lines(binding.text)
        # Not splitlines(), which knows more newlines than python-dotenv.
        lines += (_line(text) for text in io.StringIO(binding.text[:end], newline=""))
        if binding.text[end:]:
            line = _line(binding.text[end:])
            if binding.name is not None:
                line = replace(line, key=("variable", binding.name, above[binding.name]))
                above[binding.name] += 1
            lines.append(replace(line, name=binding.name, value=binding.value, error=binding.error))
    following: tuple[object, ...] = ()
    distance = 0
    for index, line in reversed([*enumerate(lines)]):
        if line.body.strip():
            following, distance = line.key, 0
        else:
            distance += 1
            lines[index] = replace(line, key=("blank", *following, distance))
    return lines


def _line(text: str) -> _Line:
    body = text.rstrip("\r\n")
    return _Line(("text", body), None, None, body, text[len(body) :], error=False)


def _merge_entry(kid: str, base: _Line | None, ours: _Line | None, theirs: _Line | None) -> _Line | None:
    """Return the line of a key entry with the wrapped copies that either side added or removed.

    None if they cannot be merged: another data key, another context, no wrapped copy left or too many, no key entry.
    """
    if ours is None or theirs is None or not ours.value or ours.body.count(ours.value) != 1:
        return None
    try:
        entry, other = (KeyEntry.parse(kid, line.value or "") for line in (ours, theirs))
        ancestor = KeyEntry.parse(kid, base.value).items if base and base.value else ()
        if (entry.commitment, {*entry.context}) != (other.commitment, {*other.context}):
            return None
        before, mine, others = (
            {(item.provider, item.reference): item for item in items}
            for items in (ancestor, entry.items, other.items)
        )
        keys = [key for key in {**mine, **others} if key not in before or (key in mine and key in others)]
        # One that was refreshed on both sides opens to the same data key, whichever is taken.
        items = [
            others[key] if key in others and mine.get(key) == before.get(key) else mine[key] for key in keys
        ]
        text = str(KeyEntry.parse(kid, str(entry._replace(items=tuple(items)))))
    except EncenvError:
        return None
    return replace(ours, value=text, body=ours.body.replace(ours.value, text))


def _with_entries(
    parts: list[_Part], base: Sequence[_Line], ours: Sequence[_Line], theirs: Sequence[_Line]
) -> list[_Part]:
    """Return *parts* in which each encrypted value has its key entry: one that a side deleted comes back.

    An entry that one side added goes into the conflict if all values that need it are in conflict.
    """
    entries = {line.name: line for line in (*base, *theirs, *ours)}
    present = {line.name for part in parts for line in (*part.ours, *part.theirs)}
    users: defaultdict[str, list[_Part]] = defaultdict(list)
    for part in parts:
        for name in _needed_entries(part):
            users[name].append(part)
    in_conflict = {name for name in users if all(part.conflict is not None for part in users[name])}
    of_base, of_ours, of_theirs = ({line.name for line in side} for side in (base, ours, theirs))
    only_ours = in_conflict & (of_ours - of_base - of_theirs)
    only_theirs = in_conflict & (of_theirs - of_base - of_ours)
    result: list[_Part] = []
    for part in parts:
        if part.conflict is None and part.ours[0].name in only_ours | only_theirs:
            continue
        # Above the first value that needs it.
        names = [name for name in _needed_entries(part) if users[name][0] is part and name in entries]
        result += [_Part([entries[name]], [entries[name]]) for name in names if name not in present]
        mine = [entries[name] for name in names if name in only_ours]
        others = [entries[name] for name in names if name in only_theirs]
        result.append(replace(part, ours=[*mine, *part.ours], theirs=[*others, *part.theirs]))
    return result


def _needed_entries(part: _Part) -> Iterable[str]:
    """Return the names of the key entries that the values of *part* need, each once."""
    names: dict[str, None] = {}
    for line in (*part.ours, *part.theirs):
        if line.value is not None and claims(line.value):
            with suppress(EncenvError):  # a damaged value: what it needs is unknown
                names[ENTRY_PREFIX + SealedValue.parse(line.value).kid] = None
    return names


def _prove(lines: Sequence[_Line], head: str, newline: str) -> None:
    """Check that python-dotenv reads *lines*, one after the other, as it read each of them."""
    bindings = parse(head + _text(lines, newline)).bindings
    expected = [(line.name, line.value) for line in lines if line.name is not None or line.error]
    if expected != [(one.name, one.value) for one in bindings if one.name is not None or one.error]:
        hint = "merge it as text, and fix the line that python-dotenv cannot parse"
        raise FileError("the file cannot be merged by variable: a quote in it is left open", hint=hint)


def _text(lines: Iterable[_Line], newline: str) -> str:
    """Return the text of *lines*, each with a newline."""
    return "".join(line.body + (line.newline or newline) for line in lines)
