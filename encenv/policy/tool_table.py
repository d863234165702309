"""Write the keys of a project into [tool.encenv] of pyproject.toml. Every other byte of the file stays as it is."""

import json
import os
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

from encenv.errors import FileError
from encenv.files.atomic import create, edit_file
from encenv.files.key_names import Pairs
from encenv.files.text import printable

_HEADER = re.compile(r"^[ \t]*\[[ \t]*tool[ \t]*\.[ \t]*encenv[ \t]*\][^\r\n]*(?:\r\n|\n|\Z)", re.MULTILINE)


def write_keys(path: Path, keys: Sequence[str], context: Pairs, comment: str) -> None:
    """Add *keys* and *context* to the table, which has neither; make the table, and the file, where there is none.

    An empty context is left out; a *comment* is written behind the keys.

    Raises:
        FileError: If the file would then say anything but what it said before, and this.
    """
    settings: dict[str, object] = {"keys": [*keys]}
    lines = [f"keys = {json.dumps([*keys])}" + (f"  # {comment}" if comment else "")]
    if context:
        settings["context"] = dict(context)
        pairs = (f"{json.dumps(key)} = {json.dumps(value)}" for key, value in context)
        lines.append(f"context = {{ {', '.join(pairs)} }}")
    if not path.exists():
        create(path, "\n".join(["[tool.encenv]", *lines, ""]).encode(), 0o666)
        return
    with edit_file(path) as file:
        try:
            text = file.data.decode()
            new = _with_lines(text, lines)
            tool = tomllib.loads(text).get("tool", {})
            expected = tomllib.loads(text) | {"tool": tool | {"encenv": tool.get("encenv", {}) | settings}}
            is_safe = tomllib.loads(new) == expected
        except (ValueError, TypeError, AttributeError):  # TOML's and UTF-8's errors; tool is not a table
            is_safe, new = False, ""
        if not is_safe:
            raise FileError(
                f"{printable(os.path.relpath(path))} cannot be changed without changing what else it says",
                hint=f"add this yourself: [tool.encenv] with {'; '.join(lines)}",
            )
        file.replace(new.encode())


def _with_lines(text: str, lines: Sequence[str]) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    added = "".join(line + newline for line in lines)
    header = _HEADER.search(text)
    if header is not None:
        gap = "" if header[0].endswith("\n") else newline
        return text[: header.end()] + gap + added + text[header.end() :]
    gap = "" if not text or text.endswith("\n") else newline
    return f"{text}{gap}{newline if text else ''}[tool.encenv]{newline}{added}"
