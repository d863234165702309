"""The hint of an error names the colleague who added the key that is missing."""

import os
import subprocess
from pathlib import Path

import pytest
from support.programs import needs

from encenv.cli.files import for_each_file
from encenv.errors import KeyDeniedError, KeyUnreachableError, combine
from encenv.git.repository import NAME_MAX, hint_with_key_owner

pytestmark = needs("git")
KEY = "arn:aws:kms:eu-west-1:123456789012:key/one"


@pytest.fixture
def repo(tmp_path, monkeypatch):
    """The current folder: a repository to which Ann has added a key; Bob is this user."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / ".gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text(f"{KEY}\n")
    commit = 'git add .env && git -c user.name="$0" -c user.email=ann@shop.example commit -q -m one'
    subprocess.run(["sh", "-c", f"git init -q && {commit}", "Ann" * 100], check=True)
    subprocess.run(["git", "config", "--global", "user.email", "bob@shop.example"], check=True)
    return tmp_path


def test_hint(repo):
    """The hint of an error names Ann, and so does that of a copy or of several errors together; a long name is cut."""
    error = KeyDeniedError("refused", hint="allow it", missing_key=KEY)
    other = KeyUnreachableError("no answer", hint="try again")
    expected = f"; {('Ann' * 100)[:NAME_MAX]} added the key here"
    assert hint_with_key_owner(error) == hint_with_key_owner(error.of("A")) == f"allow it{expected}"
    several = combine([other, error.of("A"), error.of("B")])
    assert hint_with_key_owner(several).endswith(expected)
    assert hint_with_key_owner(several.of("A", "B")).endswith(expected)


def test_no_hint(repo, monkeypatch, tmp_path_factory):
    """The hint names no person for another failure, a key that is in no file, one's own key, or without a repository."""
    error = KeyDeniedError("refused", hint="allow it", missing_key=KEY)
    assert hint_with_key_owner(KeyUnreachableError("no answer", hint="try again")) == "try again"
    assert hint_with_key_owner(KeyDeniedError("refused", hint="allow it", missing_key="--no")) == "allow it"
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "ann@shop.example")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Ann")
    assert hint_with_key_owner(error) == "allow it"
    monkeypatch.delenv("GIT_AUTHOR_EMAIL")
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
    assert hint_with_key_owner(error) == "allow it"


def test_one_of_several_files(repo):
    """The error of a command for several files names the person, too."""

    def refuse(path: str) -> None:
        raise KeyDeniedError("refused", hint="allow it", missing_key=KEY)

    with pytest.raises(KeyDeniedError, match=r"^\.env: refused") as caught:
        for_each_file([".env", "other.env"], "decrypting", refuse)
    assert hint_with_key_owner(caught.value).endswith("added the key here")
