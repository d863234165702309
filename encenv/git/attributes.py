"""The lines of .gitattributes that give a project's .env files our drivers. They are committed, for all clones."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from encenv.files.atomic import create, edit_file
from encenv.files.disk import read
from encenv.policy.file_globs import attribute_pattern

FILE_NAME = ".gitattributes"
_USE = ("diff=encenv", "merge=encenv")
_USE_NOT = ("!diff", "!merge")
_MODE = 0o666  # before the umask


def add_attributes(folder: Path, globs: Sequence[str]) -> Iterator[str]:
    """Add the lines for *globs* to the .gitattributes of *folder*, which they are relative to; yield what was done."""
    path = folder / FILE_NAME
    text = _read(path)
    missing = _missing(text, globs)
    if not missing:
        return
    newline = "\r\n" if "\r\n" in text else "\n"
    added = "".join(line + newline for line in missing).encode()
    if not os.path.lexists(path):
        create(path, added, _MODE)
    else:
        with edit_file(path) as file:
            gap = b"" if not file.data or file.data.endswith(b"\n") else newline.encode()
            file.replace(file.data + gap + added)
    patterns = ", ".join(line.split(" ")[0] for line in missing)
    yield f"{FILE_NAME}: {patterns} (commit it: it serves all clones)"


def has_attributes(folder: Path, globs: Sequence[str]) -> bool:
    """Return whether the .gitattributes of *folder* has the lines for *globs*."""
    return not _missing(_read(folder / FILE_NAME), globs)


def _read(path: Path) -> str:
    return read(path).decode("utf-8", "surrogateescape") if os.path.lexists(path) else ""


def _missing(text: str, globs: Sequence[str]) -> list[str]:
    """Return the lines that *text* lacks.

    Of all lines that match a path git takes the last, so lines in another order than *globs* do not count: from the
    first glob without a line behind those of the globs before it, all lines are returned.
    """
    lines = [line.rstrip("\r") for line in text.split("\n")]
    globs = [glob for glob in globs if glob != "!"]  # it excludes nothing, and git warns of an empty pattern
    for number, glob in enumerate(globs):
        pattern, words = attribute_pattern(glob), _words(glob)
        found = next((at for at, line in enumerate(lines) if _gives(line, pattern, words)), None)
        if found is None:
            return [" ".join([attribute_pattern(one), *_words(one)]) for one in globs[number:]]
        del lines[: found + 1]
    return []


def _words(glob: str) -> tuple[str, ...]:
    return _USE_NOT if glob.startswith("!") else _USE


def _gives(line: str, pattern: str, words: Sequence[str]) -> bool:
    """Return whether *line* gives *pattern* the attributes *words*, alone or among others."""
    return line.startswith((f"{pattern} ", f"{pattern}\t")) and {*words} <= {*line[len(pattern) :].split()}
