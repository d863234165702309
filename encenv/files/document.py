"""Parse the text of a .env file into bindings, and write changed ones with every other byte unchanged.

python-dotenv decides what a line means: its parser reads every text, and reads each changed text again before it is
returned. Nothing is returned that python-dotenv would read differently.
"""

import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from encenv.errors import FileError
from encenv.files.disk import printable
from encenv.files.dotenv_names import Reader, Statement, parse_key, parse_stream, parse_value

# The text before the name, between name and value, and after "=": the parser has no public names for these.
# If a later version had another grammar, the proof in `with_value` would fail and nothing would be written.
_BEFORE_NAME = re.compile(r"\s*(?:export[^\S\r\n]+)?")
_EQUALS = re.compile(r"[^\S\r\n]*=")
_SPACE = re.compile(r"[^\S\r\n]*")
_NEWLINE = re.compile(r"\r\n|\r|\n")
PARSE_HINT = "write it as NAME=value, with quotes around values that need them, or as a # comment"
_BOM = "\ufeff"
# Characters that neither python-dotenv nor a shell, docker or systemd gives a meaning. ${NAME} stays bare, because
# the programs that expand it would not do so inside single quotes.
_PLAIN = re.compile(r"(?:[\w.:/@%+,=-]|\$\{[\w.:/-]*\})*")
# Put after each form before it is parsed: if a quote is still open, the parser reads on into this comment.
_OPEN_QUOTE_TRAP = "\n#'\""


class Binding(NamedTuple):
    """One statement of a .env file.

    The value is what python-dotenv reads before expansion: unquoted, unescaped, newlines as a text-mode read gives them.
    """

    name: str | None  # None for blank lines, comments and what cannot be parsed
    value: str | None  # None if the line has no "="
    text: str  # the exact source, which may begin with blank lines
    line: int  # from 1, where the statement itself begins
    error: bool  # whether python-dotenv cannot parse it

    def __repr__(self) -> str:  # value and text may be a secret
        return f"Binding(name={self.name!r}, line={self.line}, error={self.error})"


class EnvFile(NamedTuple):
    """A .env file as statements; ``str()`` gives its text back exactly.

    Each method returns a new file, parsed from the changed text. It raises `FileError` if other lines would read
    differently, or if a new name cannot be a name.
    """

    bindings: tuple[Binding, ...]
    head: str = ""  # the byte order mark, or nothing

    def __str__(self) -> str:
        return self.head + "".join(binding.text for binding in self.bindings)

    def replace(self, changes: Mapping[int, Binding]) -> "EnvFile":
        """Replace the binding at each index in *changes* by the one given there."""
        bindings = [changes.get(index, binding) for index, binding in enumerate(self.bindings)]
        return self._parse_as((binding.text for binding in bindings), bindings)

    def insert_above(self, index: int, name: str, value: str) -> "EnvFile":
        """Add the line ``name=value`` directly above the statement at *index*, below the blank lines before it."""
        new = self._new(name, value)
        texts = [binding.text for binding in self.bindings]
        blank = blank_lines(texts[index])
        texts[index] = texts[index][:blank] + new.text + texts[index][blank:]
        return self._parse_as(texts, [*self.bindings[:index], new, *self.bindings[index:]])

    def append(self, name: str, value: str) -> "EnvFile":
        """Add the line ``name=value`` at the end."""
        new = self._new(name, value)
        texts = [binding.text for binding in self.bindings]
        if texts and not texts[-1].endswith(("\n", "\r")):
            texts.append(_newline_of(str(self)))
        return self._parse_as([*texts, new.text], [*self.bindings, new])

    def without(self, indexes: Collection[int]) -> "EnvFile":
        """Drop the statements at *indexes* with their newlines; the blank lines before them stay."""
        texts = (
            binding.text[: blank_lines(binding.text)] if index in indexes else binding.text
            for index, binding in enumerate(self.bindings)
        )
        return self._parse_as(texts, (b for index, b in enumerate(self.bindings) if index not in indexes))

    def _new(self, name: str, value: str) -> Binding:
        return Binding(name, value, _assignment(name, value, _newline_of(str(self))), line=0, error=False)

    def _parse_as(self, texts: Iterable[str], expected: Iterable[Binding]) -> "EnvFile":
        """Return the file of *texts*, if python-dotenv reads the *expected* names and values in it."""
        file = parse(self.head + "".join(texts))
        if _readings(file.bindings) == _readings(expected):
            return file
        where = next((f"line {binding.line}" for binding in self.bindings if binding.error), "the quotes")
        hint = f"fix {where} first, which python-dotenv cannot parse"
        raise FileError("the change would alter how python-dotenv reads other lines of the file", hint=hint)


def parse(text: str) -> EnvFile:
    """Parse the *text* of a whole file, read with its newlines unchanged (``open(newline="")``).

    Raises:
        FileError: If this version of python-dotenv does not account for every character.
    """
    statements = list(parse_stream(io.StringIO(text, newline=None)))
    texts: Iterable[str] = (statement.original.string for statement in statements)
    if "\r" in text:
        texts = _untranslated(text.removeprefix(_BOM), texts)
    return _file(text, zip(statements, texts, strict=True))


def parse_untranslated(text: str) -> EnvFile:
    """Parse *text* as `parse` does, but leave the newlines in values unchanged: a stream has translated them already."""
    statements = parse_stream(io.StringIO(text, newline=""))
    return _file(text, ((statement, statement.original.string) for statement in statements))


def parse_failure(binding: Binding, where: str) -> FileError:
    """Return the error that python-dotenv cannot parse *binding* of the file *where*."""
    return FileError(
        f"line {binding.line} of {where} cannot be parsed, and may hold a secret", hint=PARSE_HINT
    )


def with_value(binding: Binding, value: str) -> Binding:
    """Return *binding*, which has a name, with *value* written in the plainest form that its line allows.

    A line without "=" gets one.

    Raises:
        FileError: If there is no form that python-dotenv reads as *value*.
    """
    _, (start, end) = _spans(binding)
    before = binding.text[:start] + ("=" if binding.value is None else "")
    forms = _value_forms(value, _newline_of(binding.text), binding.text[start:end][:1])
    texts = (before + form + binding.text[end:] for form in forms)
    return binding._replace(value=value, text=_first_read_as(binding.name or "", value, texts))


def with_name(binding: Binding, name: str) -> Binding:
    """Return *binding* with another *name* and its value unchanged; FileError if *name* cannot be a name."""
    (start, end), _ = _spans(binding)
    texts = (binding.text[:start] + form + binding.text[end:] for form in _name_forms(name))
    return binding._replace(name=name, text=_first_read_as(name, binding.value, texts))


def after_value(binding: Binding) -> str:
    """Return what follows the value of *binding*, which has a name: white space, a comment, the newline."""
    return binding.text[_spans(binding)[1][1] :]


def quote(value: str) -> str:
    """Return the plainest text that python-dotenv reads as *value*, bare or in quotes; FileError if there is none."""
    return _assignment("NAME", value, "\n").removeprefix("NAME=").removesuffix("\n")


def blank_lines(text: str) -> int:
    """Return how many characters of *text* are blank lines before its statement."""
    # str.lstrip and the parser's \s agree on what is white space.
    space = text[: len(text) - len(text.lstrip())]
    return max(space.rfind("\n"), space.rfind("\r")) + 1


def _file(text: str, statements: Iterable[tuple[Statement, str]]) -> EnvFile:
    """Return the file *text* of the *statements* that python-dotenv found, each with its exact source."""
    bindings = []
    for statement, source in statements:
        line = statement.original.line
        if source[0].isspace():
            line += len(_NEWLINE.findall(source, 0, blank_lines(source)))
        bindings.append(Binding(statement.key, statement.value, source, line, statement.error))
    file = EnvFile(tuple(bindings), _BOM if text.startswith(_BOM) else "")
    if str(file) == text:
        return file
    hint = "install a version of python-dotenv that encenv supports"
    raise FileError("python-dotenv does not account for every character of the file", hint=hint)


def _untranslated(text: str, statements: Iterable[str]) -> Iterator[str]:
    """Cut *text* where its *statements*, with translated newlines, end; each ends with a line."""
    lines = iter(io.StringIO(text, newline=""))
    for statement in statements:
        count = statement.count("\n") + (not statement.endswith("\n"))
        yield "".join(next(lines) for _ in range(count))


def _spans(binding: Binding) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return start and end of the name and of the value in the text of *binding*, quotes included."""
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
    if text[start : start + 1] in ("'", '"'):
        parse_value(reader)
        return name, (start, reader.position.chars)
    if binding.value:
        return name, (start, start + len(binding.value))  # what follows a bare value is never part of it
    return name, (after_equals, after_equals)  # before any space, which may separate the value from a comment


def _readings(bindings: Iterable[Binding]) -> list[tuple[str | None, str | None]]:
    return [(b.name, b.value) for b in bindings if b.error or b.name is not None]


def _newline_of(text: str) -> str:
    match = _NEWLINE.search(text)
    return match[0] if match else "\n"


def _assignment(name: str, value: str, newline: str) -> str:
    """Return the plainest line that gives *value* to *name*."""
    texts = (f"{key}={form}{newline}" for key in _name_forms(name) for form in _value_forms(value, newline))
    return _first_read_as(name, value, texts)


def _name_forms(name: str) -> tuple[str, ...]:
    """Return the ways to write *name*, the plainest first."""
    return name, f"'{name}'"


def _value_forms(value: str, newline: str, quotes: str = "'") -> Iterator[str]:
    """Yield the ways to write *value*, the plainest first; the rest of the line decides which of them can be read.

    Inside single quotes, *newline* is what a newline becomes. *quotes* are preferred if both kinds need as many escapes.
    """
    if _PLAIN.fullmatch(value):
        yield value
    escaped = value.replace("\\", "\\\\")
    single = "'" + escaped.replace("'", "\\'").replace("\n", newline) + "'"
    double = '"' + escaped.replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r") + '"'
    yield from sorted((single, double), key=lambda form: (len(form), form[0] != quotes))
    yield value  # python-dotenv before 1.2.3 reads a backslash at the end in no other form


def _first_read_as(name: str, value: str | None, texts: Iterable[str]) -> str:
    """Return the first of *texts* that python-dotenv reads as just *name* with *value*; FileError if there is none."""
    for text in texts:
        # The newline in front keeps python-dotenv from taking a U+FEFF for the byte order mark of a file.
        stream = io.StringIO("\n" + text + _OPEN_QUOTE_TRAP, newline=None)
        statements = [(s.key, s.value) for s in parse_stream(stream) if s.error or s.key is not None]
        if statements == [(name, value)]:
            return text
    raise FileError(
        f"{printable(name)} cannot be written into a .env file so that python-dotenv reads it back unchanged",
        hint="choose a name of letters, digits and underscores; encode the value, for example as base64",
        variables=[name],
    )
