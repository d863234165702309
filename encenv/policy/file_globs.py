"""Match paths with the globs of ``files =`` in pyproject.toml, in the way that git matches those of .gitattributes.

A glob without a slash is compared with a file's name in any folder, one with a slash with the path from the project's
folder. ``*`` and ``?`` stay within one folder; ``**`` between slashes is any number of folders. Every other character
means itself. A ``!`` before a glob excludes files. The last glob that matches decides.
"""

import posixpath
import re
from collections.abc import Iterator, Sequence
from functools import cache

# Where ** is not between slashes, it means what * means. Git agrees, unless all text before it is plain.
_WILDCARD = re.compile(r"((?:(?<=/)|^)\*\*+(?:/|\Z))|(\*+)|(\?)")
_REGEXES = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
_SPECIAL = re.compile(r"[\\\[]|\A[!#]")  # more that git gives a meaning
# Git reads a pattern with one of these only if it is quoted as a string in C.
_QUOTED = re.compile(r'[\0- "\x7f]')


def covers(globs: Sequence[str], path: str) -> bool:
    """Return whether *globs* select the file *path*, which is relative to the project's folder, with slashes."""
    is_selected = False
    for glob in globs:
        pattern = glob.removeprefix("!")
        text = path if "/" in pattern else posixpath.basename(path)
        if _regex(pattern.removeprefix("/")).fullmatch(text.encode("utf-8", "surrogateescape")):
            is_selected = not glob.startswith("!")
    return is_selected


def attribute_pattern(glob: str) -> str:
    """Return *glob*, without its ``!``, as a line of .gitattributes begins with it."""
    parts = _split(glob.removeprefix("!"))
    pattern = "".join(wildcard or _SPECIAL.sub(r"\\\g<0>", text) for text, wildcard in parts)
    if not _QUOTED.search(pattern):
        return pattern
    return '"' + re.sub(r'[\0-\x1f"\\\x7f]', lambda match: f"\\{ord(match[0]):03o}", pattern) + '"'


@cache
def _regex(pattern: str) -> re.Pattern[bytes]:
    """Return *pattern* compiled, for bytes as in git: there ``?`` is one byte.

    It ignores the case of ASCII letters, as some file systems do: there ``.ENV`` is read for ``.env``.
    """
    parts = _split(pattern)
    regex = "".join(_REGEXES[wildcard] if wildcard else re.escape(text) for text, wildcard in parts)
    return re.compile(regex.encode("utf-8", "surrogateescape"), re.DOTALL | re.IGNORECASE)


def _split(pattern: str) -> Iterator[tuple[str, str]]:
    """Yield plain texts and wildcards in turn, each beside an empty string."""
    end = 0
    for match in _WILDCARD.finditer(pattern):
        yield pattern[end : match.start()], ""
        folders, star, _ = match.groups()
        if folders:
            yield "", "**/" if folders.endswith("/") else "**"
        else:
            yield "", "*" if star else "?"
        end = match.end()
    yield pattern[end:], ""
