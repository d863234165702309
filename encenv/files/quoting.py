"""The ways to write a name or a value into a .env file, and the proof that python-dotenv reads it back."""

import io
import re
from collections.abc import Iterable, Iterator

from encenv.errors import FileError
from encenv.files.disk import printable
from encenv.files.dotenv_names import parse_stream

# Characters that neither python-dotenv nor a shell, docker or systemd gives a meaning. ${NAME} stays bare, because
# the programs that expand it would not do so inside single quotes.
_PLAIN = re.compile(r"(?:[\w.:/@%+,=-]|\$\{[\w.:/-]*\})*")
# Put after a text on trial: if one of its quotes is still open, the parser reads on into this comment.
_OPEN_QUOTE_TRAP = "\n#'\""


def quote(value: str) -> str:
    """Return the plainest text for *value*, bare if that is safe, else in quotes; errors as for `first_read_as`."""
    return assignment("NAME", value, "\n").removeprefix("NAME=").removesuffix("\n")


def assignment(name: str, value: str, newline: str) -> str:
    """Return the plainest line that gives *value* to *name*; errors as for `first_read_as`."""
    texts = (f"{key}={form}{newline}" for key in name_forms(name) for form in value_forms(value, newline))
    return first_read_as(name, value, texts)


def name_forms(name: str) -> tuple[str, ...]:
    """Return the ways to write *name*, the plainest first."""
    return name, f"'{name}'"


def value_forms(value: str, newline: str, quotes: str = "'") -> Iterator[str]:
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


def first_read_as(name: str, value: str | None, texts: Iterable[str]) -> str:
    """Return the first of *texts* that python-dotenv reads as just *name* with *value*.

    Raises:
        FileError: If there is none.
    """
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
