"""``[tool.encenv]`` of pyproject.toml: its settings, and which table counts for a file."""

from pathlib import Path

import pytest

from encenv import PolicyError
from encenv.policy.project import Project, project


def written(folder: Path, table: str) -> Path:
    """Write a pyproject.toml with *table* into *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(f"[tool.encenv]\n{table}\n")
    return folder


def test_project(tmp_path):
    """The settings of the table become the project's; the others have their defaults."""
    table = 'keys = ["local"]\ncontext = {b = "2", a = "1"}\nseal = "*_KEY"\nfiles = ["conf/*.env"]'
    found = project(written(tmp_path, table))
    assert found.path == tmp_path / "pyproject.toml"
    assert [key.provider for key in found.keys] == ["local"]
    assert found.context == (("a", "1"), ("b", "2"))
    assert (found.seal, found.plain, found.settings) == (("*_KEY",), (), None)
    assert found.writer().keys == found.keys
    assert found.covers("conf/x.env")
    assert not found.covers("conf/sub/x.env")
    assert not found.covers(".env")


def test_default_files():
    """By default, .env, .env.* and *.env in any folder are the project's files, but examples are not."""
    found = Project(folder=Path("/p"))
    yes = (".env", "sub/.env", ".env.local", "prod.env")
    no = (".env.example", "env", ".envrc", "prod.env.sample", "x.py")
    assert all(found.covers(path) for path in yes)
    assert not any(found.covers(path) for path in no)


def test_nearest_within_the_repository(tmp_path):
    """The nearest pyproject.toml with the table counts, but none outside the repository."""
    written(tmp_path, 'keys = ["local:AAAAAAAA"]')
    top = written(tmp_path / "repo", 'keys = ["local"]')
    deep = top / "a" / "b"
    deep.mkdir(parents=True)
    (top / "a" / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert project(deep).path is None
    (top / ".git").mkdir()
    assert project(deep).path == top / "pyproject.toml"
    (top / "pyproject.toml").unlink()
    assert project(deep) == Project(folder=deep)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("kyes = []", "has the unknown setting 'kyes'"),
        ("keys = 1", "keys has a wrong value"),
        ('settings = "app"', "settings has a wrong value"),
        ('context = {encenv = "x"}', "which is reserved"),
        ('context = {encenv-add = "1"}', "context: the encryption context holds encenv-add=1"),
        ('context = {stage = "a", STAGE = "b"}', "the same context key twice"),
        ('context = {stage = "a b"}', "context: the encryption context has a context key or value"),
        ("files = [1]", "files has a wrong value"),
        ('keys = ["nonsense"]', "keys: 'nonsense' does not name a key"),
    ],
)
def test_bad_table(tmp_path, table, message):
    """A misspelt setting is refused, and the hint says how to write it."""
    with pytest.raises(PolicyError, match=message):
        project(written(tmp_path, table))
