"""Find, in git history, the person who added a wrapping key, to name in the hint when the key does not work here."""

from encenv.errors import EncenvError
from encenv.git.repository import git

TIMEOUT = 5  # seconds, for each question to git: a hint is not worth more
NAME_MAX = 120  # characters; a stranger can choose a long name
_FILES = [f":(top,glob)**/{name}" for name in ("pyproject.toml", ".env*", "*.env")]


def hint_of(error: EncenvError) -> str:
    """Return the hint of *error*; if this user lacks a key, with the name of the colleague who added it."""
    key = next((failure.missing_key for failure in error.failures if failure.missing_key), "")
    person = _find_author(key) if key else ""
    return f"{error.hint}; {person} added the key here" if person else error.hint


def _find_author(key: str) -> str:
    """Return the last author who added the text *key* to a file of the project; "" if that is nobody else."""
    files = [name for name in _ask("grep", "-lzF", "-e", key, "--", *_FILES).split("\0") if name]
    if not files:  # searching the whole history for it would take long
        return ""
    options = (f"-S{key}", "--no-textconv", "--no-ext-diff", "--format=%aN <%aE>")
    author = _ask("log", "-1", *options, "--", *files)
    is_this_user = author[author.rfind("<") :] in _ask("var", "GIT_AUTHOR_IDENT")
    return "" if is_this_user else author[:NAME_MAX]


def _ask(*args: str) -> str:
    """Return the line that git answers; "" if there is no answer, no repository, or no git."""
    try:
        return git(*args, timeout=TIMEOUT).decode(errors="replace").strip()
    except EncenvError:
        return ""
