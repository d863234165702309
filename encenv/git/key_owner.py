"""Whom to ask for a key that does not work here: who wrote it down, as git knows it."""

import re

from encenv.errors import EncenvError, KeyRefusedError, KeyUnreachableError
from encenv.git.repository import git

# What only somebody else can give: a key text, a permission, a sign-in.
_GIVEN = re.compile(r"the local key|AccessDenied|NotAuthorized|AWS credentials")
_KEY = re.compile(r"local key ([A-Z2-7]{8})|(arn:aws[a-z-]*:kms:[A-Za-z0-9:/-]*[A-Za-z0-9])")
HINT_SECONDS = 5  # for each question to git: a hint is not worth more
NAME_MAX = 120  # characters; somebody else chose it
_WHERE = [f":(top,glob)**/{name}" for name in ("pyproject.toml", ".env*", "*.env")]


def hint_of(error: EncenvError) -> str:
    """Return the hint of *error*; if a key is wanting that a colleague has written down, with the colleague's name."""
    wanting = (
        one
        for one in error.failures
        if isinstance(one, (KeyRefusedError, KeyUnreachableError)) and _GIVEN.search(one.message)
    )
    key = next((found for one in wanting if (found := _KEY.search(one.message))), None)
    who = _who_wrote(key[1] or key[2]) if key else ""
    return f"{error.hint}; {who} wrote the key down here" if who else error.hint


def _who_wrote(key: str) -> str:
    """Return the last author but this one who wrote the text *key* into a file of the project; "" if there is none."""
    files = [name for name in _said("grep", "-lzF", "-e", key, "--", *_WHERE).split("\0") if name]
    if not files:  # then not all of history is searched for it
        return ""
    found = _said(
        "log", "-1", f"-S{key}", "--no-textconv", "--no-ext-diff", "--format=%aN <%aE>", "--", *files
    )
    is_own = found[found.rfind("<") :] in _said("var", "GIT_AUTHOR_IDENT")  # one's own name is no help
    return "" if is_own else found[:NAME_MAX]


def _said(*args: str) -> str:
    """Return the line that git says; "" if it has none, or there is no repository, or no git."""
    try:
        return git(*args, timeout=HINT_SECONDS).decode(errors="replace").strip()
    except EncenvError:
        return ""
