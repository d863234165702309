"""``encenv init`` as two developers meet it: on a terminal, with AWS KMS, and in a clone without the key."""

import re
import tomllib

import pytest
from support.programs import needs, needs_posix
from support.workspace import CANARY, in_words, on_a_terminal

from encenv.testing import KmsServer

pytestmark = [needs_posix, needs("git")]

ANN = "Ann <ann@shop.example> added the key here"


@pytest.fixture
def repo(workspace):
    """A workspace in a git repository of Ann's."""
    workspace.environ |= {"GIT_CONFIG_GLOBAL": str(workspace.home / ".gitconfig"), "GIT_CONFIG_NOSYSTEM": "1"}
    assert (
        workspace.shell(
            "git config --global user.name Ann; git config --global user.email ann@shop.example; git init -q"
        ).code
        == 0
    )
    return workspace


@pytest.fixture
def kms(repo):
    """An AWS KMS that the workspace's environment leads to."""
    with KmsServer() as server:
        repo.environ |= server.environ() | {"AWS_MAX_ATTEMPTS": "1"}
        yield server


def keys(repo):
    """Return the wrapping keys that pyproject.toml names."""
    return tomllib.loads((repo.folder / "pyproject.toml").read_text())["tool"]["encenv"]["keys"]


def clone(repo, who="Bob"):
    """Let another developer, with a home of their own, clone what is committed."""
    assert repo.shell("git add . && git commit -q -m base").code == 0
    assert repo.shell("git clone -q . ../clone").code == 0
    repo.root.joinpath("other").mkdir()
    repo.environ |= {
        "HOME": str(repo.root / "other"),
        "GIT_CONFIG_GLOBAL": str(repo.root / "other/.gitconfig"),
    }
    repo.shell(
        f"git config --global user.name {who}; git config --global user.email {who.lower()}@shop.example"
    )


def test_the_one_question(repo):
    """On a terminal, init asks one question, repeats it after a wrong answer, and takes Enter for a local key."""
    code, screen = on_a_terminal(repo, [("Key [local]:", "prod\n"), ("name local, arn", "\n")], "init")
    assert code == 0, screen
    assert "'prod' does not name a key" in screen
    assert screen.count("Key [local]:") == 2
    assert re.fullmatch(r"local:[A-Z2-7]{8}", *keys(repo))
    code, screen = on_a_terminal(repo, [], "init")
    assert code == 0, screen
    assert "Key [" not in screen


@pytest.mark.parametrize("answer", ["\3", "\4"], ids=["Ctrl-C", "Ctrl-D"])
def test_the_question_interrupted(repo, answer):
    """Ctrl-C and Ctrl-D at the question end init, and nothing is written."""
    code, screen = on_a_terminal(repo, [("Key [local]:", answer)], "init")
    assert code == 1
    assert "interrupted" in screen
    assert [path.name for path in repo.folder.iterdir()] == [".git"]
    assert not (repo.home / ".config").exists()


def test_keys_in_use(repo):
    """Init proposes the key that files are encrypted with, and makes no other."""
    repo.write(".env", f"A={CANARY}\n")
    assert repo.run("keygen").code == 0
    assert repo.run("encrypt", "--key", "local").code == 0
    key = f"local:{re.search(r':([A-Z2-7]{8})$', (repo.folder / '.env').read_text(), re.MULTILINE)[1]}"
    code, screen = on_a_terminal(repo, [(f"Key [{key}]:", "\n")], "init")
    assert code == 0, screen
    assert keys(repo) == [key]
    (repo.folder / "pyproject.toml").unlink()
    (repo.home / ".config/encenv/local.key").unlink()
    message, hint = in_words(repo.run("init", "-y"))
    assert message.startswith(f"the local key {key.removeprefix('local:')} is not in ")
    assert hint.startswith("ask a colleague who has it")
    assert not (repo.folder / "pyproject.toml").exists()


def test_with_aws_kms(repo, kms):
    """An alias is written as the ARN of its key, and the commands that follow use it with the context."""
    arn = kms.create_key(alias="alias/shop")
    repo.write(".env", f"A={CANARY}\n")
    code, screen = on_a_terminal(repo, [("Key [local]:", "alias/shop\n")], "init", "--context", "stage=test")
    assert code == 0, screen
    assert keys(repo) == [arn]
    assert "# alias/shop\n" in (repo.folder / "pyproject.toml").read_text()
    assert repo.run("encrypt").code == 0
    text = (repo.folder / ".env").read_text()
    assert CANARY not in text
    assert "+context:stage=test+aws-kms:" in text
    assert repo.run("get", "A").out == CANARY
    assert repo.shell("git add . && git commit -q -m encrypted").code == 0


def test_a_kms_key_that_cannot_be_used(repo, kms):
    """A key that does not exist, is denied or is out of reach fails before anything is written."""
    kms.create_key(alias="alias/shop")
    message, hint = in_words(repo.run("init", "--key", "alias/none"))
    assert (message, hint) == (
        "AWS KMS refused kms:GenerateDataKey on alias/none: NotFoundException",
        "check the key's account and region; the key does not exist there",
    )
    kms.deny("GenerateDataKey")
    assert "AccessDenied" in in_words(repo.run("init", "--key", "alias/shop"))[0]
    repo.environ["AWS_ENDPOINT_URL_KMS"] = "http://127.0.0.1:9"
    assert "was not reached" in in_words(repo.run("init", "--key", "alias/shop"))[0]
    assert [path.name for path in repo.folder.iterdir()] == [".git"]


def test_a_clone_without_the_local_key(repo):
    """In a clone, each verb says which local key is missing, who wrote it down, and where it belongs."""
    assert repo.run("init", "-y", "-q").err == ""
    repo.write(".env", f"A={CANARY}\n")
    assert repo.run("encrypt").code == 0
    key = keys(repo)[0].removeprefix("local:")
    clone(repo)
    where = "~/.config/encenv/local.key"
    expected = (
        f"the local key {key} is not in {where}",
        f"ask a colleague who has it for its key text, and add that line to {where}, a file of mode 600; {ANN}",
    )
    for verb in ("decrypt", "get A", "edit", "rename A B", "encrypt", "run -- true"):
        repo.shell("cd ../clone && git checkout -q .env && printf 'C=1\\n' >> .env")
        done = repo.shell(f"cd ../clone && encenv {verb}")
        done.err = done.err.replace(str(repo.root / "other"), "~")
        message, hint = in_words(done)
        assert (message.removeprefix("A: "), hint) == expected, verb
    done = repo.shell("cd ../clone && encenv init")
    assert done.code == 0
    assert f"you cannot use the key yet: {expected[0]}" in done.err.replace(str(repo.root / "other"), "~")
    assert ANN in done.err


def test_a_clone_without_permission(repo, kms):
    """Without permission to decrypt, the hint names the permission and who added the key."""
    kms.create_key(alias="alias/shop")
    assert repo.run("init", "--key", "alias/shop").code == 0
    repo.write(".env", f"A={CANARY}\n")
    assert repo.run("encrypt").code == 0
    kms.deny("Decrypt")
    assert "Ann" not in in_words(repo.run("decrypt"))[1]  # one's own name is no help
    clone(repo)
    message, hint = in_words(repo.run("decrypt"))
    assert message.endswith("AccessDeniedException")
    assert hint.startswith("allow kms:Decrypt on this key")
    assert hint.endswith(f"; {ANN}")


def test_a_name_like_an_option(repo):
    """A suggested command takes a file whose name begins with ``-`` as a file."""
    repo.write("pyproject.toml", '[tool.encenv]\nfiles = ["*.env"]\n')
    repo.write("-q.env", f"A={CANARY}\n")
    assert "next: encenv encrypt ./-q.env && git add ./-q.env\n" in repo.run("init", "-y").err
    assert repo.shell("encenv encrypt ./-q.env && git add ./-q.env").code == 0
