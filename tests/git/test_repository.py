"""encenv.git.repository: files of any name, from any folder; errors of git in plain words."""

import os
import subprocess
from pathlib import Path

import pytest
from support.programs import needs

from encenv.errors import FileError
from encenv.git import repository
from encenv.git.repository import GitError

pytestmark = needs("git")
ODD = ":(top) odd\n'name' é.env"


@pytest.fixture
def repo(tmp_path, monkeypatch):
    """The current folder: a repository with one commit of two files, one of them oddly named."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / ".gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    folder = tmp_path / "w"
    (folder / "sub").mkdir(parents=True)
    monkeypatch.chdir(folder)
    run("config", "--global", "user.name", "Ann")
    run("config", "--global", "user.email", "ann@shop.example")
    run("init", "--quiet", "--initial-branch", "main")
    Path(".env").write_text("A=1\n")
    Path("sub", ODD).write_text("B=1\n")
    run("add", ".")
    run("commit", "--quiet", "-m", "one")
    return folder


def run(*args):
    """Run git and return what it writes."""
    return subprocess.run(["git", *args], check=True, capture_output=True, text=True).stdout


def test_staged(repo, monkeypatch):
    """The staged content is that of the index, not of the disk, from any folder and for any file name."""
    assert list(repository.staged_files()) == []
    Path("sub", ODD).write_text("B=2\n")
    run("add", ".")
    Path("sub", ODD).write_text("B=3\n")
    assert [one.path for one in repository.staged_files()] == [f"sub/{ODD}"]
    assert repository.staged(f"sub/{ODD}") == b"B=2\n"
    assert repository.staged(str(repo / "sub" / ODD)) == b"B=2\n"
    monkeypatch.chdir("sub")
    assert [one.path for one in repository.staged_files()] == [ODD]
    assert (repository.staged(ODD), repository.staged("../.env"), repository.staged("none")) == (
        b"B=2\n",
        b"A=1\n",
        None,
    )
    assert repository.top_level() == repo


def test_another_index(repo, monkeypatch):
    """The index is the one that git names to a hook, as in ``git commit -- FILE``."""
    monkeypatch.setenv("GIT_INDEX_FILE", str(repo / "other.index"))
    run("read-tree", "HEAD")
    Path(".env").write_text("A=2\n")
    run("add", ".env")
    assert repository.staged(".env") == b"A=2\n"
    monkeypatch.delenv("GIT_INDEX_FILE")
    assert repository.staged(".env") == b"A=1\n"


def test_links_and_conflicts_are_not_staged(repo):
    """A link, and a file in conflict, have no staged content; a first commit has all of its files staged."""
    Path("link.env").symlink_to(".env")
    run("add", "link.env")
    assert list(repository.staged_files()) == []
    assert repository.staged("link.env") is None
    run("init", "--quiet", "new")
    Path("new", ".env").write_text("A=1\n")
    os.chdir("new")
    run("add", ".env")
    assert [one.path for one in repository.staged_files()] == [".env"]
    assert list(repository.history()) == []


def test_show(repo):
    """`show` returns a file of a revision; an unknown revision is an error, even if it looks like an option."""
    Path(".env").write_text("A=2\n")
    run("commit", "--quiet", "-am", "two")
    assert (repository.show("HEAD", ".env"), repository.show("HEAD~1", ".env")) == (b"A=2\n", b"A=1\n")
    assert repository.show("HEAD", "none") is None
    for revision in ("none", "--all", "-q", "HEAD:none"):
        with pytest.raises(FileError):
            repository.show(revision, ".env")


def test_history(repo):
    """The history has each content of each file, of all branches, even if only a merge brought it in."""
    run("switch", "--quiet", "-c", "topic")
    Path("t.env").write_text("T=1\n")
    run("add", ".")
    run("commit", "--quiet", "-m", "topic")
    run("switch", "--quiet", "main")
    run("merge", "--quiet", "--no-ff", "--no-commit", "topic")
    Path("evil.env").write_text("E=1\n")
    run("add", ".")
    run("commit", "--quiet", "-m", "merge")
    versions = list(repository.history())
    texts = dict(
        zip((one.path for one in versions), repository.contents([one.blob for one in versions]), strict=True)
    )
    assert texts == {".env": b"A=1\n", f"sub/{ODD}": b"B=1\n", "t.env": b"T=1\n", "evil.env": b"E=1\n"}
    assert {one.path for one in repository.history("main~1..main")} == {"t.env", "evil.env"}
    os.chdir("sub")
    assert {one.path for one in repository.history("main~1..main")} == {"../t.env", "../evil.env"}
    with pytest.raises(FileError):
        list(repository.history("none..main"))


def test_ignore_rule(repo):
    """A file that a rule matches is ignored until it is tracked."""
    Path(".gitignore").write_text("*.env\n.env\n")
    assert repository.ignore_rule("x.env")
    assert not repository.ignore_rule(".env")
    assert not repository.ignore_rule("x.txt")


def test_outside(repo, tmp_path, monkeypatch):
    """Outside of a repository, in a bare one, and without git, the functions say so."""
    assert repository.is_repository()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileError, match="not in a git work tree"):
        repository.top_level()
    with pytest.raises(FileError, match="not in a git repository"):
        repository.staged(".env")
    run("init", "--quiet", "--bare", "bare")
    monkeypatch.chdir("bare")
    with pytest.raises(FileError, match="not in a git work tree"):
        repository.top_level()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileError, match="git was not found"):
        repository.git("version")
    assert not repository.is_repository()


def test_what_git_complains_of(repo):
    """The error has the first line of git's complaint, at a length that fits a screen, and a hint."""
    with pytest.raises(GitError, match=r"^git failed: '.*' is not a valid branch name") as caught:
        repository.git("check-ref-format", "--branch", "x..\x1b[31m")
    assert "\x1b" not in str(caught.value)
    with pytest.raises(GitError) as caught:
        repository.git("check-ref-format", "--branch", "x" * 100_000 + "..")
    assert len(caught.value.complaint) <= repository._COMPLAINT_MAX
    assert caught.value.code == 128
    assert "fix what git reports" in caught.value.hint


def test_a_damaged_repository(repo):
    """A missing object of the repository is an error, for one file and for many."""
    blob = run("rev-parse", "HEAD:.env").strip()
    Path(".git", "objects", blob[:2], blob[2:]).unlink()
    with pytest.raises(GitError, match="bad file"):
        repository.content(blob)
    with pytest.raises(GitError, match=f"git failed: {blob} missing"):
        list(repository.contents([blob]))


def test_git_takes_too_long(repo):
    """A git that does not end in time is ended, and the error says so."""
    Path("sleep").write_text("#!/bin/sh\nexec sleep 3\n")
    Path("sleep").chmod(0o755)
    run("config", "alias.slow", "!./sleep")
    with pytest.raises(FileError, match=r"git slow took longer than 0\.2 seconds"):
        repository.git("slow", timeout=0.2)


def test_from_a_hook(repo, monkeypatch):
    """Relative paths that git sets for a hook mean the same where git runs in another folder."""
    monkeypatch.setenv("GIT_DIR", ".git")
    monkeypatch.setenv("GIT_WORK_TREE", ".")
    assert repository.git_line("rev-parse", "--show-toplevel", cwd="sub") == str(repo)
