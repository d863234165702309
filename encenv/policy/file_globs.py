"""Match paths with the globs of ``files =`` in pyproject.toml, in the way that git matches those of .gitattributes.

A glob without a slash is compared with a file's name in any folder, one with a slash with the path from the project's
folder. ``*`` and ``?`` stay within one folder; ``**`` between slashes is any number of folders. Every other character
means itself. A ``!`` before a glob excludes files. The last glob that matches decides.
"""

import posixpath
import re
from collections.abc import Sequence
from functools import cache

# Where ** is not between slashes, it means what * means. Git agrees, unless all text before it is plain.
_STARS = re.compile(r"((?<![^/])\*\*+(?![^/]))|\*+")
_WILDCARD = re.compile(r"(\*\*/?|[*?])")
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
    pattern = "".join(_SPECIAL.sub(r"\\\g<0>", part) for part in _split(glob.removeprefix("!")))
    if not _QUOTED.search(pattern):
        return pattern
    return '"' + re.sub(r'[\0-\x1f"\\\x7f]', lambda match: f"\\{ord(match[0]):03o}", pattern) + '"'


@cache
def _regex(pattern: str) -> re.Pattern[bytes]:
    """Return *pattern* compiled, for bytes as in git: there ``?`` is one byte.

    It ignores the case of ASCII letters, as some file systems do: there ``.ENV`` is read for ``.env``.
    """
    regex = "".join(_REGEXES.get(part) or re.escape(part) for part in _split(pattern))
    return re.compile(regex.encode("utf-8", "surrogateescape"), re.DOTALL | re.IGNORECASE)


def _split(pattern: str) -> list[str]:
    """Return plain texts and wildcards in turn."""
    return _WILDCARD.split(_STARS.sub(lambda stars: "**" if stars[1] else "*", pattern))
