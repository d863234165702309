"""The text of a .env file to bindings and back, every other byte kept. No disk, no keys.

What a line means is python-dotenv's to say: its parser reads every text, also each one written here, before it is
handed on. Nothing is returned that python-dotenv would read in another way than intended.
"""

import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from dotenv.parser import Reader, parse_key, parse_stream, parse_value

from encenv.errors import FileError

# What may stand before the name, between name and value, and after "=": the parser has no public name for these.
# If its grammar moved on, the proof in `with_value` would fail and nothing would be written.
_BEFORE_NAME = re.compile(r"\s*(?:export[^\S\r\n]+)?")
_EQUALS = re.compile(r"[^\S\r\n]*=")
_SPACE = re.compile(r"[^\S\r\n]*")
_NEWLINE = re.compile(r"\r\n|\r|\n")
# Characters that neither python-dotenv nor a shell, docker or systemd gives a meaning; ${NAME} stays bare because
# all of them that expand it would not inside single quotes.
_PLAIN = re.compile(r"(?:[\w.:/@%+,=-]|\$\{[\w.:/-]*\})*")
RANDOM_MIN = 12  # characters without a separator, in both cases and with digits: no such word is a name
_BOM = "\ufeff"
_DROPS_BOM = not Reader(io.StringIO(_BOM)).has_next()  # python-dotenv does since 1.2.4
# Put after a text that is tried: if one of its quotes were still open, the parser would run on into this comment.
_OPEN_QUOTE_TRAP = "\n#'\""


class Binding(NamedTuple):
    """One statement of a .env file.

    Attributes:
        name: The variable; None for blank lines, comments and what cannot be parsed.
        value: As python-dotenv reads it before expansion: unquoted, unescaped, newlines as a text-mode read gives
            them. None if the line has no "=".
        text: The exact source of the statement. May begin with blank lines.
        line: The line, from 1, on which the statement itself begins.
        error: Whether python-dotenv cannot parse it.
    """

    name: str | None
    value: str | None
    text: str
    line: int
    error: bool

    def __repr__(self) -> str:  # value and text may be a secret
        return f"Binding(name={self.name!r}, line={self.line}, error={self.error})"


class EnvFile(NamedTuple):
    """A .env file, parsed; ``str()`` gives its text back exactly.

    Each method returns a new one, parsed anew from the changed text, and has seen that all other lines still read
    as they did.

    Attributes:
        bindings: The statements in their order.
        head: The byte order mark, or nothing.
    """

    bindings: tuple[Binding, ...]
    head: str = ""

    def __str__(self) -> str:
        return self.head + "".join(binding.text for binding in self.bindings)

    def replace(self, changes: Mapping[int, Binding]) -> "EnvFile":
        """Put another binding in the place of each index in *changes*.

        Raises:
            FileError: If other lines would read differently.
        """
        after = [changes.get(index, binding) for index, binding in enumerate(self.bindings)]
        return self._proven((binding.text for binding in after), after)

    def insert_above(self, index: int, name: str, value: str) -> "EnvFile":
        """Add the line ``name=value`` directly above the statement at *index*, below the blank lines before it.

        Raises:
            FileError: If *name* cannot be a name, or other lines would read differently.
        """
        added = self._line(name, value)
        texts = [binding.text for binding in self.bindings]
        blank = blank_lines(texts[index])
        texts[index] = texts[index][:blank] + added.text + texts[index][blank:]
        return self._proven(texts, [*self.bindings[:index], added, *self.bindings[index:]])

    def append(self, name: str, value: str) -> "EnvFile":
        """Add the line ``name=value`` at the end.

        Raises:
            FileError: If *name* cannot be a name, or other lines would read differently.
        """
        added = self._line(name, value)
        texts = [binding.text for binding in self.bindings]
        if texts and not texts[-1].endswith(("\n", "\r")):
            texts.append(_newline_of(str(self)))
        return self._proven([*texts, added.text], [*self.bindings, added])

    def without(self, indexes: Collection[int]) -> "EnvFile":
        """Drop the statements at *indexes* with their newlines; the blank lines before them stay.

        Raises:
            FileError: If other lines would read differently.
        """
        gone = set(indexes)
        texts = (
            binding.text[: blank_lines(binding.text)] if index in gone else binding.text
            for index, binding in enumerate(self.bindings)
        )
        return self._proven(texts, (kept for index, kept in enumerate(self.bindings) if index not in gone))

    def _line(self, name: str, value: str) -> Binding:
        newline = _newline_of(str(self))
        forms = (f"{key}={form}{newline}" for key in _names(name) for form in _forms(value, newline))
        return Binding(name, value, _first_read_as(name, value, forms), line=0, error=False)

    def _proven(self, texts: Iterable[str], expected: Iterable[Binding]) -> "EnvFile":
        changed = parse(self.head + "".join(texts))
        if _readings(changed.bindings) == _readings(expected):
            return changed
        broken = next(
            (f"line {binding.line}" for binding in self.bindings if binding.error), "the quotes in it"
        )
        raise FileError(
            "the change would alter how python-dotenv reads other lines of the file",
            hint=f"mend {broken} first, which python-dotenv cannot parse as it stands",
        )


def parse(text: str, *, translate: bool = True) -> EnvFile:
    """Parse *text*, in which newlines are as they stand in the file (``open(newline="")``).

    Args:
        text: The whole file.
        translate: Whether values have newlines as a text-mode read gives them; if not, as they stand.

    Raises:
        FileError: If this version of python-dotenv does not account for every character.
    """
    head = _BOM if _DROPS_BOM and text.startswith(_BOM) else ""
    # None: translated, as a text-mode read does.
    statements = list(parse_stream(io.StringIO(text, newline=None if translate else "")))
    texts: Iterable[str] = (statement.original.string for statement in statements)
    if translate and "\r" in text:
        texts = _untranslated(text.removeprefix(head), texts)
    bindings = []
    for statement, source in zip(statements, texts, strict=True):
        line = statement.original.line
        if source[0].isspace():
            line += len(_NEWLINE.findall(source, 0, blank_lines(source)))
        bindings.append(Binding(statement.key, statement.value, source, line, statement.error))
    file = EnvFile(tuple(bindings), head)
    if str(file) == text:
        return file
    raise FileError(
        "python-dotenv does not account for every character of the file",
        hint="install a version of python-dotenv that encenv supports",
    )


def with_value(binding: Binding, value: str) -> Binding:
    """Return *binding* with its value replaced by *value*, written in the plainest form that its line allows.

    Args:
        binding: One with a name; a line without "=" gets one.
        value: Any text that the file's encoding can hold.

    Raises:
        FileError: If there is no form that python-dotenv reads as *value*.
    """
    _, (start, end) = _spans(binding)
    before = binding.text[:start] + ("=" if binding.value is None else "")
    after = binding.text[end:]
    forms = _forms(value, _newline_of(binding.text), binding.text[start:end][:1])
    texts = (before + form + after for form in forms)
    return binding._replace(value=value, text=_first_read_as(binding.name or "", value, texts))


def with_name(binding: Binding, name: str) -> Binding:
    """Return *binding* under another *name*, its value as it stands.

    Raises:
        FileError: If *name* cannot be a name.
    """
    (start, end), _ = _spans(binding)
    forms = (binding.text[:start] + form + binding.text[end:] for form in _names(name))
    return binding._replace(name=name, text=_first_read_as(name, binding.value, forms))


def behind(binding: Binding) -> str:
    """Return what follows the value of *binding*: white space, a comment, the newline.

    Args:
        binding: One with a name.
    """
    return binding.text[_spans(binding)[1][1] :]


def may_be_secret(name: str) -> bool:
    """Return whether *name* reads like a piece of a secret: the lines of one that lost its quotes become names."""
    return "://" in name or "@" in name or any(_is_random(part) for part in re.split(r"[._-]", name))


def _is_random(text: str) -> bool:
    if len(text) < RANDOM_MIN:
        return False
    digits = sum(c.isdigit() for c in text)
    is_one_case = text.isupper() or text.islower()
    return digits > 1 and (not is_one_case or digits * 5 > len(text))


def name_shown(name: str) -> str:
    """Return what to call the variable *name* in front of others."""
    return "(masked)" if may_be_secret(name) else name


def quote(value: str) -> str:
    """Return the plainest text that python-dotenv reads as *value*: bare if that is safe, else in quotes.

    Raises:
        FileError: If there is none.
    """
    forms = ("NAME=" + form for form in _forms(value, "\n"))
    return _first_read_as("NAME", value, forms).removeprefix("NAME=")


def _untranslated(text: str, statements: Iterable[str]) -> Iterator[str]:
    """Cut *text* where its translated *statements* end; each ends with a line."""
    lines = iter(io.StringIO(text, newline=""))
    for statement in statements:
        count = statement.count("\n") + (not statement.endswith("\n"))
        yield "".join(next(lines) for _ in range(count))


def _spans(binding: Binding) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return where the name and the value stand in the text of *binding*, quotes included."""
    if binding.name is None:
        raise ValueError("blank lines, comments and what cannot be parsed have no name and no value")
    text = binding.text
    reader = Reader(io.StringIO())
    reader.string = text  # not through the stream: U+FEFF is a byte order mark only at the start of the file
    reader.read_regex(_BEFORE_NAME)
    name_start = reader.position.chars
    parse_key(reader)
    name = (name_start, reader.position.chars)
    if binding.value is None:
        return name, (name[1], name[1])
    reader.read_regex(_EQUALS)
    after_equals = reader.position.chars
    reader.read_regex(_SPACE)
    start = reader.position.chars
    quoted = text[start : start + 1] in ("'", '"')
    if quoted:
        parse_value(reader)
        return name, (start, reader.position.chars)
    if binding.value:
        return name, (start, start + len(binding.value))  # what follows a bare value is never part of it
    return name, (after_equals, after_equals)  # before any space, which may part the value from a comment


def _first_read_as(name: str, value: str | None, texts: Iterable[str]) -> str:
    for text in texts:
        # The newline in front keeps a U+FEFF from being taken for the byte order mark of a file.
        stream = io.StringIO("\n" + text + _OPEN_QUOTE_TRAP, newline=None)
        if [(s.key, s.value) for s in parse_stream(stream) if s.error or s.key is not None] == [
            (name, value)
        ]:
            return text
    raise FileError(
        f"{name if name.isprintable() else ascii(name)} cannot be written into a .env file in a way that python-dotenv reads back unchanged",
        hint="choose a name of letters, digits and underscores; encode the value, for example as base64",
        variables=[name],
    )


def _names(name: str) -> tuple[str, ...]:
    return name, f"'{name}'"


def _forms(value: str, newline: str, quotes: str = "'") -> Iterator[str]:
    """Yield the ways to write *value*, the plainest first; which of them can be read depends on the line."""
    if _PLAIN.fullmatch(value):
        yield value
    escaped = value.replace("\\", "\\\\")
    single = "'" + escaped.replace("'", "\\'").replace("\n", newline) + "'"
    double = '"' + escaped.replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r") + '"'
    # The one with fewer escapes, else with the quotes that stand there already.
    yield from sorted((single, double), key=lambda form: (len(form), form[0] != quotes))
    yield value  # python-dotenv before 1.2.3 reads a backslash at the end in no other form


def _readings(bindings: Iterable[Binding]) -> list[tuple[str | None, str | None]]:
    return [
        (binding.name, binding.value) for binding in bindings if binding.error or binding.name is not None
    ]


def blank_lines(text: str) -> int:
    """Return how many characters of *text* are blank lines before its statement."""
    space = text[
        : len(text) - len(text.lstrip())
    ]  # str.lstrip and the parser's \s agree on what is white space
    return max(space.rfind("\n"), space.rfind("\r")) + 1


def _newline_of(text: str) -> str:
    found = _NEWLINE.search(text)
    return found[0] if found else "\n"
