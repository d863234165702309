"""What git knows of the project's files: its index, its revisions, its history. Only read here, by git itself.

Paths are given and returned relative to the current folder, as a person writes them. The index is the one that git
names in ``GIT_INDEX_FILE``: ``git commit -- FILE`` lets its hooks see a temporary one.
"""

import os
import posixpath
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO

from encenv.errors import EncenvError, FileError

OUTPUT_MAX = 64 * 1024 * 1024  # bytes; the list of all files of a very large repository has some ten of them
_SAID_MAX = 4096  # characters of git's own complaint that are looked at
_FILE_MODES = ("100644", "100755")  # neither links nor submodules
# What git hands its hooks relative to the folder that it starts them in.
_PATH_VARIABLES = ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY")


@dataclass(frozen=True, slots=True)
class Version:
    """A file as one commit made it.

    Attributes:
        commit: The commit's whole id.
        path: The file, relative to the top level.
        blob: The id of its content, for `content`.
    """

    commit: str
    path: str
    blob: str


class GitError(Exception):
    """Raised if git says no. For those who ask it; users get it as a `FileError`."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(said)
        self.code = code
        self.said = said


def git(*args: str, cwd: str | os.PathLike[str] | None = None, given: bytes | None = None) -> bytes:
    """Return what ``git *args*`` writes to standard output.

    Args:
        args: Its arguments. What a user gave stands behind ``--end-of-options`` or ``--``.
        cwd: Where to run it; the current folder if left out.
        given: Its standard input.

    Raises:
        FileError: If there is no git, or it fails, or writes more than 64 MiB.
    """
    try:
        return ask(*args, cwd=cwd, given=given)
    except GitError as error:
        said = error.said
    raise _failed(said)


def ask(*args: str, cwd: str | os.PathLike[str] | None = None, given: bytes | None = None) -> bytes:
    """Return what ``git *args*`` writes, as `git` does; for a question to which no is an answer.

    Raises:
        GitError: If it fails.
        FileError: If there is no git, or it writes more than 64 MiB.
    """
    environ = dict(os.environ)
    if cwd is not None:
        environ |= {name: os.path.abspath(environ[name]) for name in _PATH_VARIABLES if environ.get(name)}  # noqa: PTH100 (a link stays one)
    # In English, to know some of its complaints again; without the index being refreshed under another's hands.
    environ |= {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    environ |= {"GIT_LITERAL_PATHSPECS": "0"}  # ":(top,literal)" is to be understood
    try:
        process = subprocess.Popen(  # noqa: S603 (a list of arguments, no shell)
            ["git", *args],  # noqa: S607 (the one that the user runs)
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except FileNotFoundError:
        process = None
    if process is None:
        raise FileError("there is no git to be found", hint="install git, or give the files by their paths")
    said: list[bytes] = []
    with process:
        threads = [Thread(target=_drain, args=(process.stderr, said), daemon=True)]
        if given is not None:
            threads.append(Thread(target=_feed, args=(process.stdin, given), daemon=True))
        for thread in threads:
            thread.start()
        data = process.stdout.read(OUTPUT_MAX + 1) if process.stdout else b""
        if len(data) > OUTPUT_MAX:
            process.kill()
        for thread in threads:
            thread.join()
    if len(data) > OUTPUT_MAX:
        raise FileError(
            f"git {args[0]} has more to say than encenv reads: {OUTPUT_MAX:,} bytes",
            hint="give the files by their paths, or a shorter range of commits",
        )
    if process.returncode:
        raise GitError(process.returncode, b"".join(said).decode(errors="replace")[:_SAID_MAX].strip())
    return data


def top_level(cwd: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the top folder of the work tree that the current folder, or *cwd*, is in; None outside of one.

    Raises:
        FileError: If git refuses to look, for example into a folder of another user's.
    """
    try:
        return Path(os.fsdecode(_line(ask("rev-parse", "--show-toplevel", cwd=cwd))))
    except GitError as error:
        said = error.said
    if "not a git repository" in said or "must be run in a work tree" in said:
        return None
    raise _failed(said)


def is_repository(cwd: str | os.PathLike[str] | None = None) -> bool:
    """Return whether the current folder, or *cwd*, is in a git work tree; False also where there is no git at all."""
    try:
        return top_level(cwd) is not None
    except EncenvError:
        return False


def staged(path: str) -> bytes | None:
    """Return the content of the file *path* as it is staged: what a commit would record. None if it is not."""
    listed = git("ls-files", "--stage", "--full-name", "-z", "--", f":(top,literal){_tracked(path)}")
    for line in _split(listed):
        mode, blob, stage = line.partition("\t")[0].split(" ")
        if mode in _FILE_MODES and stage == "0":  # others are the sides of a conflict
            return content(blob)
    return None


def show(revision: str, path: str) -> bytes | None:
    """Return the content of the file *path* in *revision*; None if it is not in it.

    Raises:
        FileError: If there is no such revision.
    """
    listed = git("ls-tree", "--full-tree", "-z", tree(revision), "--", _tracked(path))
    for line in _split(listed):
        mode, _, blob = line.partition("\t")[0].split(" ")
        if mode in _FILE_MODES:
            return content(blob)
    return None


def tree(revision: str) -> str:
    """Return the id of the tree of *revision*.

    Raises:
        FileError: If there is no such revision.
    """
    try:
        found = ask("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{tree}}")
    except GitError as error:
        said = error.said
    else:
        return _line(found).decode()
    if said:
        raise _failed(said)
    raise FileError(f"git knows no revision {revision}", hint="see: git log --oneline --all")


def content(blob: str) -> bytes:
    """Return the content that has the id *blob*."""
    return git("cat-file", "blob", blob)


def contents(blobs: Sequence[str]) -> Iterator[bytes]:
    """Yield the content of each of *blobs*, a hundred of them for each start of git."""
    for begin in range(0, len(blobs), 100):
        some = blobs[begin : begin + 100]
        data = git("cat-file", "--batch", given="".join(f"{blob}\n" for blob in some).encode())
        position = 0
        for _ in some:
            end = data.index(b"\n", position)
            size = int(data[position:end].split(b" ")[2])
            yield data[end + 1 : end + 1 + size]
            position = end + size + 2


def staged_files() -> dict[str, str]:
    """Return the files that a commit would add or change, each with the id of its content, for `content`."""
    # All of them, whatever the user's diff.relative and diff.renames say.
    options = ("--raw", "-z", "--no-relative", "--no-renames", "--no-abbrev", "--no-ext-diff")
    fields = iter(_split(git("diff", "--cached", *options, "--diff-filter=AMT")))
    here = os.fsdecode(_line(git("rev-parse", "--show-prefix"))) or "."
    found = {}
    for about, path in zip(fields, fields, strict=True):
        _, mode, _, blob, _ = about.split(" ")
        if mode in _FILE_MODES:
            found[posixpath.relpath(path, here)] = blob
    return found


def is_ignored(path: str) -> bool:
    """Return whether git leaves *path* alone because a rule says so; one that is tracked is not ignored."""
    try:
        ask("check-ignore", "--quiet", "--", path)
    except GitError as error:
        if error.code == 1:
            return False
        said = error.said
    else:
        return True
    raise _failed(said)


def history(*revisions: str) -> Iterator[Version]:
    """Yield each content that any file ever got in *revisions*, the newest first.

    Args:
        revisions: What ``git rev-list`` takes, such as ``A..B``; every branch and tag if left out.

    Raises:
        FileError: If there is no such revision.
    """
    which = ("--end-of-options", *revisions) if revisions else ("--all",)
    commits = git("rev-list", *which, "--")
    # Each parent of a merge is compared (-m), for a merge may bring in what neither side had.
    options = ("-r", "-m", "--root", "--raw", "--no-renames", "--no-abbrev", "--diff-filter=AMT", "-z")
    commit = ""
    fields = _changes(commits, options)
    seen: set[tuple[str, str]] = set()
    for one in fields:
        if not one.startswith(":"):
            commit = one.strip()
            continue
        _, mode, _, blob, _ = one.split(" ")
        path = next(fields)
        if mode in _FILE_MODES and (path, blob) not in seen:
            seen.add((path, blob))
            yield Version(commit, path, blob)


def _changes(commits: bytes, options: Sequence[str]) -> Iterator[str]:
    """Yield what diff-tree says of *commits*, a thousand of them for each start of git."""
    lines = commits.splitlines(keepends=True)
    for begin in range(0, len(lines), 1000):
        yield from _split(git("diff-tree", "--stdin", *options, given=b"".join(lines[begin : begin + 1000])))


def _tracked(path: str) -> str:
    """Return *path* relative to the top level, as git stores it."""
    here = os.fsdecode(_line(git("rev-parse", "--show-prefix")))
    relative = os.path.relpath(path).replace(os.sep, "/")
    return posixpath.normpath(posixpath.join(here, relative))


def _split(listed: bytes) -> list[str]:
    return [os.fsdecode(part) for part in listed.split(b"\0") if part]


def _line(data: bytes) -> bytes:
    return data.removesuffix(b"\n").removesuffix(b"\r")


def _drain(stream: IO[bytes], into: list[bytes]) -> None:
    into.append(stream.read(_SAID_MAX))
    while stream.read(_SAID_MAX):
        pass


def _feed(stream: IO[bytes], data: bytes) -> None:
    try:
        stream.write(data)
        stream.close()
    except OSError:  # git has ended before it had read all, and says why
        pass


def _failed(said: str) -> FileError:
    lines = [line for line in said.splitlines() if line.strip()]
    reason = next(iter(lines), "it gave no reason").removeprefix("fatal: ")
    if "not a git repository" in reason:
        return FileError(
            "this folder is not in a git repository", hint="run it inside of one, or begin one: git init"
        )
    if "dubious ownership" in reason:
        return FileError(
            "git does not trust this folder: it belongs to another user",
            hint="if you do: git config --global --add safe.directory FOLDER",
        )
    return FileError(f"git failed: {reason}", hint="mend what git reports and run the command again")
