"""``encenv diff``: what happened to each variable, between files and git revisions, without a key and with one."""

import json
import subprocess

import pytest
from support.programs import skip_without
from support.workspace import CANARY, in_words

from encenv.files.compare import compare


@pytest.fixture
def repository(workspace):
    """A repository with an encrypted .env in its one commit."""
    skip_without("git")
    workspace.write(".env", f"A={CANARY}\nB={CANARY}2\nC={CANARY}3\n")
    workspace.call("keygen")
    workspace.call("encrypt", "--key", "local")
    git(workspace, "init", "-q")
    commit(workspace)
    return workspace


def git(workspace, *args):
    """Run git on the workspace."""
    options = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(
        ["git", *options, *args], cwd=workspace.folder, env=workspace.environ, check=True, capture_output=True
    )


def commit(workspace):
    """Commit everything."""
    git(workspace, "add", "-A")
    git(workspace, "commit", "-qm", "x")


def change(workspace):
    """Drop A, change B, add D in plaintext."""
    path = workspace.folder / ".env"
    lines = [line for line in path.read_text().splitlines(keepends=True) if not line.startswith(("A=", "B="))]
    path.write_text("".join(lines) + "B=other\n")
    assert workspace.call("encrypt").code == 0
    with path.open("a") as file:
        file.write(f"D={CANARY}4\n")


CHANGED = "- A  removed\n~ B  changed\n+ D  added, in plaintext\n"


@pytest.mark.parametrize(
    "args",
    [(), ("HEAD",), (".env",), ("HEAD:.env",), ("HEAD:.env", ".env"), ("HEAD", ".env"), ("old.env", ".env")],
)
def test_changes_without_a_key(repository, args):
    """Each way to name the two sides gives the same output, without a key and without a value."""
    (repository.folder / "old.env").write_text((repository.folder / ".env").read_text())
    change(repository)
    (repository.home / ".config/encenv/local.key").unlink()
    result = repository.call("diff", *args)
    assert (result.code, result.out, result.err) == (0, CHANGED, "")


def test_staged_and_folders(repository):
    """What is staged is :FILE, and a path is relative to the current folder, as everywhere."""
    change(repository)
    git(repository, "add", ".env")
    assert repository.call("diff", "HEAD", ":.env").out == CHANGED
    result = repository.call("diff", ":.env", ".env")
    assert (result.out, result.err) == ("", ":.env and .env hold the same variables\n")
    commit(repository)
    assert repository.call("diff", "HEAD~1", "HEAD").out == CHANGED


def test_show(repository):
    """--show prints the values, each side decrypted with its own key entries."""
    change(repository)
    result = repository.call("diff", "HEAD", "--show")
    assert result.out == (
        f"- A  removed\n    - {CANARY}\n~ B  changed\n    - {CANARY}2\n    + other\n"
        f"+ D  added, in plaintext\n    + {CANARY}4\n"
    )
    (repository.home / ".config/encenv/local.key").unlink()
    message, hint = in_words(repository.call("diff", "HEAD", "--show"))
    assert message.startswith("HEAD:.env: A, B: the local key ")
    assert "; without --show no key is needed" in hint


@pytest.mark.parametrize(
    ("args", "advice"),
    [
        (["diff", "HEAD", "--show"], "without --show no key is needed"),
        (["export", "--format", "json"], "or, if no value refers to others by ${NAME}: --as-is"),
    ],
    ids=["diff", "export"],
)
def test_the_hint_names_who_added_the_key(repository, args, advice):
    """The hint names who added the missing key, after the advice of the command."""
    change(repository)
    repository.write(".env", (repository.folder / ".env").read_text().rpartition("D=")[0])
    (repository.home / ".config/encenv/local.key").unlink()
    repository.environ |= {"GIT_AUTHOR_NAME": "me", "GIT_AUTHOR_EMAIL": "me@example.org"}
    _, hint = in_words(repository.call(*args))
    assert hint.endswith(f"; {advice}; x <x@example.org> added the key here"), hint


def test_encrypted_again(repository):
    """Only with the key does diff show whether a value under another data key has changed."""
    (repository.folder / "copy.env").write_text("A=new\n" + repository.call("decrypt").out.split("\n", 1)[1])
    repository.call("encrypt", "--key", "local", "copy.env")
    out = repository.call("diff", ".env", "copy.env").out
    assert out == "".join(
        f"~ {name}  re-encrypted: under another data key; the value may have changed\n" for name in "ABC"
    )
    out = repository.call("diff", ".env", "copy.env", "--show").out
    assert out == (
        f"~ A  changed\n    - {CANARY}\n    + new\n~ B  re-encrypted: same value\n~ C  re-encrypted: same value\n"
    )


def test_decrypted_and_encrypted(repository):
    """A value that was encrypted and is plaintext now is marked."""
    repository.write("plain.env", repository.call("decrypt").out)
    out = repository.call("diff", ".env", "plain.env").out
    assert out.splitlines()[0] == "~ A  DECRYPTED: was encrypted, is plaintext"
    assert repository.call("diff", "plain.env", ".env").out.splitlines()[0] == "~ A  encrypted: was plaintext"
    assert CANARY not in out


def test_re_wrapped(repository):
    """Values whose data key has other wrapping keys are re-wrapped, and the added and removed keys are listed."""
    path = repository.folder / ".env"
    text = path.read_text()
    head, rest = text.split("\n", 1)
    path.write_text(f"{head}+aws-kms:AAAA:arn:aws:kms:eu-west-1:111122223333:key/x\n{rest}")
    out = repository.call("diff").out
    kid = head.partition("=")[0].removeprefix("ENCENV_KEY_")
    said = "re-wrapped: same value, other keys or context"
    assert out == (
        f"~ A  {said}\n~ B  {said}\n~ C  {said}\n* data key {kid}: re-wrapped\n"
        "    + aws-kms:arn:aws:kms:eu-west-1:111122223333:key/x\n"
    )


def test_json(repository):
    """--json has names and states, and values only with --show."""
    change(repository)
    report = json.loads(repository.call("diff", "HEAD", "--json").out)
    assert [(one["name"], one["change"], one["before"], one["after"]) for one in report["variables"]] == [
        ("A", "removed", "encrypted", None),
        ("B", "changed", "encrypted", "encrypted"),
        ("D", "added", None, "plaintext"),
    ]
    assert CANARY not in json.dumps(report)
    report = json.loads(repository.call("diff", "HEAD", "--json", "--show").out)
    assert report["variables"][1]["value_after"] == "other"


def test_missing_sides(repository):
    """The error says what is missing: the file, the revision, the file in the revision, or a staged file."""
    for args, said in (
        (("nobody",), "nobody is neither a file nor a revision: "),
        (("HEAD:other.env",), "other.env is not in the revision HEAD"),
        ((":other.env",), "other.env is not staged"),
        (("HEAD~7",), "HEAD~7 is neither a file nor a revision: "),
        ((".env", "gone.env"), "gone.env"),
    ):
        assert said in in_words(repository.call("diff", *args))[0]


def test_control_characters(workspace):
    """--show prints a value on one line, with control characters escaped."""
    workspace.write("a.env", "A=1\n")
    workspace.write("b.env", 'A="x\\n\x1b[31m y"\n')
    out = workspace.call("diff", "a.env", "b.env", "--show").out
    assert out == "~ A  changed\n    - 1\n    + 'x\\n\\x1b[31m y'\n"


def test_order_and_repetition():
    """Removed names keep their place; the second line of a name is compared with the second."""
    found = compare("A=1\nB=1\nC=1\nC=2\n", "Z=1\nA=1\nC=1\nC=3\n")[0]
    assert [(one.name, one.change) for one in found] == [("Z", "added"), ("B", "removed"), ("C", "changed")]
    assert compare("A\n", "A=\n")[0][0].change == "changed"
    assert not compare("A=1 # x\n", "export A='1'\n")[0]
