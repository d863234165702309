"""Start git, and ask it about the project's files: its index, its revisions, its history.

Paths are given and returned relative to the current folder, as a person writes them. The index is the one that git
names in ``GIT_INDEX_FILE``: ``git commit -- FILE`` shows its hooks a temporary one.
"""

import os
import posixpath
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from encenv.errors import EncenvError, FileError
from encenv.files.disk import StrPath, printable

TIMEOUT = 600  # seconds; listing the whole history of a very large repository takes minutes
HINT_TIMEOUT = 5  # seconds, for each question to git: a hint is not worth more
NAME_MAX = 120  # characters; a stranger can choose a long name
_KEY_FILES = [f":(top,glob)**/{name}" for name in ("pyproject.toml", ".env*", "*.env")]
_COMPLAINT_MAX = 4096  # characters of git's complaint that are read; a part of it becomes our message
_NOT_FETCHED = ("promisor remote", "lazy fetching disabled", "' not allowed")  # as git's versions say it
_FILE_MODE = "100(?:644|755)"  # neither a link nor a submodule
_CHANGES = ("--raw", "-z", "--no-renames", "--no-abbrev", "--diff-filter=AMT")
# What git gives its hooks as paths relative to the folder that it starts them in.
_PATH_VARIABLES = ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY")
# A stranger may have written the folder's .git/config: no program that it names is started. The command line wins over
# that file. git-config(1) says what each setting does; diff.external and textconv, which have no value that turns them
# off, are turned off by options of the commands that know them.
_OPTIONS = (
    "--no-pager",
    *("-c", "core.fsmonitor=false"),  # a program that finds out which files have changed
    *("-c", "log.showSignature=false"),  # gpg.program
    *("-c", "diff.autoRefreshIndex=false"),  # writing the index starts the hook post-index-change
)
_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",  # another process may be using the index; and, as above, nothing writes it
    "GIT_NO_LAZY_FETCH": "1",  # fetching what a partial clone lacks starts core.sshCommand, credential.helper, …
    "GIT_ALLOW_PROTOCOL": "",  # the same, for versions of git before 2.39.4
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_LITERAL_PATHSPECS": "0",  # we write ":(top,literal)" ourselves
    "LC_ALL": "C",  # some complaints are recognized, in English
}


class GitError(FileError):
    """Raised if git fails."""

    code = 0  # the exit code
    complaint = ""  # what git wrote to standard error, in English


class Version(NamedTuple):
    """A file as one commit made it, as it is staged, or as it is on disk."""

    path: str
    blob: str = ""  # the id of the content, for `content`; "" on disk
    commit: str = ""  # the whole id; "" for what is staged or on disk


def git(*args: str, cwd: StrPath | None = None, stdin: bytes = b"", timeout: float = TIMEOUT) -> bytes:
    """Return what ``git *args*`` in the folder *cwd* writes to standard output, if it ends within *timeout* seconds.

    Put text from a user after ``--end-of-options`` or ``--``.

    Raises:
        GitError: If it fails.
        FileError: If git is not installed, or takes too long.
    """
    paths = {name: os.path.abspath(os.environ[name]) for name in _PATH_VARIABLES if os.environ.get(name)}  # noqa: PTH100 (a link stays one)
    try:
        call = subprocess.run(  # noqa: S603 (a list of arguments, no shell)
            ["git", *_OPTIONS, *args],  # noqa: S607 (the one that the user runs)
            cwd=cwd,
            env={**os.environ, **paths, **_ENVIRONMENT},
            input=stdin,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        failure = FileError("git was not found", hint="install git, or name the files by their paths")
    except subprocess.TimeoutExpired:
        failure = FileError(
            f"git {args[0]} took longer than {timeout:g} seconds",
            hint="name the files by their paths, or a shorter range of commits",
        )
    else:
        if call.returncode == 0:
            return call.stdout
        failure = _failure(call.returncode, call.stderr.decode(errors="replace")[:_COMPLAINT_MAX].strip())
    raise failure


def git_line(*args: str, cwd: StrPath | None = None) -> str:
    """Return the one line that git prints, without its newline; arguments and errors as for `git`."""
    return os.fsdecode(git(*args, cwd=cwd).removesuffix(b"\n"))


def config(key: str) -> str | None:
    """Return the setting *key* of this clone; None if it is not set."""
    with suppress(GitError):
        return git_line("config", "--local", "--get", key)
    return None


def remove_config(section: str) -> Iterator[str]:
    """Remove a section from the configuration of this clone; yield what was done, nothing if it was not there."""
    with suppress(GitError):
        git("config", "--local", "--remove-section", section)
        yield f"git config: the section {section} is removed"


def top_level() -> Path:
    """Return the top folder of the work tree that the current folder is in; outside a work tree, a FileError."""
    try:
        return Path(git_line("rev-parse", "--show-toplevel"))
    except GitError as error:
        if (
            "not a git repository" not in error.complaint
            and "must be run in a work tree" not in error.complaint
        ):
            raise  # git refuses to look, for example into a folder of another user
    hint = "go to one, or make a repository here: git init"
    raise FileError("this folder is not in a git work tree", hint=hint)


def is_repository() -> bool:
    """Return whether the current folder is in a git work tree; False also if git is not installed."""
    with suppress(EncenvError):
        return bool(top_level())
    return False


def staged(path: str) -> bytes | None:
    """Return the content of the file *path* as it is staged: what a commit would record. None if it is not staged."""
    output = git("ls-files", "--stage", "--full-name", "-z", "--", f":(top,literal){_tracked(path)}")
    return _content_of(r"(\w+) 0", output)  # the other stages are the sides of a conflict


def show(revision: str, path: str) -> bytes | None:
    """Return the content of the file *path* in *revision*, which must exist; None if it has no such file."""
    try:
        tree = git_line("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{tree}}")
    except GitError as error:
        if error.complaint:
            raise
        raise FileError(f"git knows no revision {revision}", hint="see: git log --oneline --all") from None
    return _content_of(r"blob (\w+)", git("ls-tree", "--full-tree", "-z", tree, "--", _tracked(path)))


def content(blob: str) -> bytes:
    """Return the content that has the id *blob*."""
    return git("cat-file", "blob", blob)


def contents(blobs: Sequence[str]) -> Iterator[bytes]:
    """Yield the content of each of *blobs*; git is started once for a hundred of them."""
    for begin in range(0, len(blobs), 100):
        batch = blobs[begin : begin + 100]
        data = git("cat-file", "--batch", stdin="".join(f"{blob}\n" for blob in batch).encode())
        position = 0
        for _ in batch:
            end = data.index(b"\n", position)
            answer = os.fsdecode(data[position:end])
            if answer.endswith(" missing"):
                raise _failure(1, answer)
            size = int(answer.split(" ")[2])
            yield data[end + 1 : end + 1 + size]
            position = end + size + 2


def staged_files() -> Iterator[Version]:
    """Yield the files that a commit would add or change."""
    here = _prefix()  # this fails outside of a repository, where diff would compare files
    # These override the user's own diff.relative and the like.
    options = ("--no-relative", "--ignore-submodules=all", "--no-ext-diff", "--no-textconv")
    yield from _versions(git("diff", "--cached", *_CHANGES, *options), here)


def ignore_rule(path: str) -> str | None:
    """Return the rule, as FILE:LINE:PATTERN, that makes git ignore *path*; None if it does not, as for a tracked file."""
    try:
        git("check-ignore", "--quiet", "--", path)  # --verbose succeeds for a rule, too, that ignores nothing
    except GitError as error:
        if error.code == 1:
            return None
        raise
    return os.fsdecode(git("check-ignore", "--verbose", "--", path)).partition("\t")[0]


def history(*revisions: str) -> Iterator[Version]:
    """Yield each content that any file ever had in *revisions*, the newest first.

    The revisions, which must exist, are what ``git rev-list`` takes, such as ``A..B``; every branch and tag if left out.
    """
    which = ("--end-of-options", *revisions) if revisions else ("--all",)
    commits = git("rev-list", *which, "--").splitlines(keepends=True)
    # Each parent of a merge is compared (-m), for a merge may bring in what neither side had.
    options = ("--stdin", "-r", "-m", "--root", *_CHANGES)
    here = _prefix()
    seen: set[tuple[str, str]] = set()
    for begin in range(0, len(commits), 1000):
        output = git("diff-tree", *options, stdin=b"".join(commits[begin : begin + 1000]))
        for version in _versions(output, here):
            if version[:2] not in seen:
                seen.add(version[:2])
                yield version


def hint_with_key_owner(error: EncenvError) -> str:
    """Return the hint of *error*; if this user lacks a key, with the name of the colleague who added it."""
    key = next((failure.missing_key for failure in error.failures if failure.missing_key), "")
    person = _key_owner(key) if key else ""
    return f"{error.hint}; {person} added the key here" if person else error.hint


def _prefix() -> str:
    """Return the path of the current folder from the top level; "" for the top level itself."""
    return git_line("rev-parse", "--show-prefix")


def _tracked(path: str) -> str:
    """Return *path* relative to the top level, as git stores it."""
    return posixpath.normpath(posixpath.join(_prefix(), os.path.relpath(path).replace(os.sep, "/")))


def _content_of(entry: str, output: bytes) -> bytes | None:
    """Return the content of the first file in *output*, whose line says *entry* before its path."""
    match = re.search(rf"(?:\A|\0){_FILE_MODE} {entry}\t", os.fsdecode(output))
    return content(match[1]) if match else None


def _versions(output: bytes, here: str) -> Iterator[Version]:
    """Yield the files in the output of ``git diff --raw -z`` in the folder *here*; a commit comes before its files."""
    commit = ""
    fields = iter(os.fsdecode(output).split("\0")[:-1])
    for one in fields:
        if not one.startswith(":"):
            commit = one.strip()
            continue
        path = next(fields)
        _, mode, _, blob, _ = one.split(" ")
        if re.fullmatch(_FILE_MODE, mode):
            yield Version(posixpath.relpath(path, here) if here else path, blob, commit)


def _key_owner(key: str) -> str:
    """Return the last author who added the text *key* to a file of the project; "" if it is this user or nobody."""
    files = [name for name in _answer("grep", "-lzF", "-e", key, "--", *_KEY_FILES).split("\0") if name]
    if not files:  # searching the whole history for it would take long
        return ""
    options = (f"-S{key}", "--no-textconv", "--no-ext-diff", "--format=%aN <%aE>")
    author = _answer("log", "-1", *options, "--", *files)
    is_this_user = author[author.rfind("<") :] in _answer("var", "GIT_AUTHOR_IDENT")
    return "" if is_this_user else author[:NAME_MAX]


def _answer(*args: str) -> str:
    """Return the line that git answers; "" if there is no answer, no repository, or no git."""
    try:
        return git(*args, timeout=HINT_TIMEOUT).decode(errors="replace").strip()
    except EncenvError:
        return ""


def _failure(code: int, complaint: str) -> GitError:
    if "not a git repository" in complaint:
        message = "this folder is not in a git repository"
        hint = "go to a git repository, or start one: git init"
    elif "dubious ownership" in complaint:
        message = "git does not trust this folder: it belongs to another user"
        hint = "if you trust it: git config --global --add safe.directory FOLDER"
    elif any(text in complaint for text in _NOT_FETCHED):
        message = "this is a partial clone, and encenv does not let git fetch what it lacks"
        hint = "fetch it yourself: git fetch --refetch --no-filter"
    else:
        reasons = (one for one in complaint.splitlines() if one.strip() and not one.startswith("warning: "))
        reason = printable(next(reasons, "it gave no reason").removeprefix("fatal: "))
        message, hint = f"git failed: {reason}", "fix what git reports, then run the command again"
    error = GitError(message, hint=hint)
    error.code, error.complaint = code, complaint
    return error
