"""``check`` and ``status`` with real git, their imports, long files, and terminals."""

import importlib
import json
import os
import pty
import subprocess
import sys

import pytest
from support.programs import skip_without
from support.workspace import CANARY, PROGRAM, in_words, without_coverage

from encenv.cli import terminal

GIT = {f"GIT_{who}_{what}": "x@example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
HEAVY = {"boto3", "botocore", "cryptography", "ssl", "pydantic", "pydantic_settings"}


@pytest.fixture
def repo(workspace):
    """A workspace in a git repository, with a local key that the project names."""
    skip_without("git")
    workspace.environ |= GIT | {"GIT_CONFIG_NOSYSTEM": "1"}
    workspace.call("keygen")
    workspace.write("pyproject.toml", '[tool.encenv]\nkeys = ["local"]\n')
    git(workspace, "init", "-q", "-b", "main")
    return workspace


def git(workspace, *args: str) -> str:
    """Run git and return what it prints."""
    done = subprocess.run(
        ["git", *args],
        cwd=workspace.folder,
        env=workspace.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def commit(workspace, message: str = "x") -> str:
    """Commit everything and return the commit's id."""
    git(workspace, "add", "-A")
    git(workspace, "commit", "-q", "-m", message)
    return git(workspace, "rev-parse", "HEAD")


def test_staged_is_what_is_staged(repo):
    """The staged content is checked, not the file: encrypting the file after staging does not help."""
    repo.write(".env", f"A={CANARY}\n")
    assert repo.call("check", "--staged").code == 0  # nothing is staged
    git(repo, "add", "-A")
    result = repo.call("check", "--staged")
    assert (result.code, result.out) == (1, ".env:1: A: plaintext that must be encrypted\n")
    assert repo.call("encrypt").code == 0
    assert repo.call("check").code == 0
    assert repo.call("check", "--staged").code == 1
    git(repo, "add", "-A")
    repo.write(".env", f"A={CANARY}\n")  # and plaintext that came after staging does not fail it
    assert repo.call("check", "--staged").code == 0
    assert CANARY not in result.out + result.err


def test_staged_files_of_the_project(repo):
    """Only files of the project's globs are checked, in every folder; deleted files and links are not."""
    repo.write("sub/prod.env", "A=1\n")
    repo.write("notes.txt", "A=1\n")
    repo.write(".env.example", "A=1\n")
    (repo.folder / "link.env").symlink_to("notes.txt")
    git(repo, "add", "-A")
    assert repo.call("check", "--staged").out == "sub/prod.env:1: A: plaintext that must be encrypted\n"
    result = repo.call("check", "--staged", "notes.txt")
    assert result.out == "notes.txt:1: A: plaintext that must be encrypted\n"
    commit(repo)
    git(repo, "rm", "-q", "sub/prod.env")
    assert repo.call("check", "--staged").code == 0


@pytest.mark.parametrize(
    "setting",
    [{"GIT_LITERAL_PATHSPECS": "1"}, {"GIT_CONFIG_KEY_0": "diff.relative"}],
    ids=["pathspecs", "relative"],
)
def test_staged_with_settings_of_git(repo, setting):
    """No git setting that narrows its output or changes how it reads paths hides a staged file, in any folder."""
    repo.environ |= {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "x.y",
        "GIT_CONFIG_VALUE_0": "true",
    } | setting
    repo.write(".env", "A=1\n")
    repo.write("sub/x", "")
    git(repo, "add", "-A")
    result = repo.shell("cd sub && encenv check --staged")
    assert (result.code, result.out) == (1, "../.env:1: A: plaintext that must be encrypted\n")
    result = repo.shell(f"cd sub && encenv check --staged '{repo.folder}/.env'")
    assert (result.code, result.out) == (1, "../.env:1: A: plaintext that must be encrypted\n")


def test_staged_each_project_has_its_own_rules(repo):
    """In a repository of several projects, the nearest table has the rules for a file."""
    repo.write("a/pyproject.toml", '[tool.encenv]\nplain = ["A"]\n')
    repo.write("b/pyproject.toml", '[tool.encenv]\nfiles = ["conf.*"]\n')
    for name in ("a/.env", "b/.env", "b/conf.x", ".env"):
        repo.write(name, "A=1\n")
    git(repo, "add", "-A")
    assert [line.split(":")[0] for line in repo.call("check", "--staged").out.splitlines()] == [
        ".env",
        "b/conf.x",
    ]


def test_staged_in_a_temporary_index(repo):
    """``git commit -- path`` shows its hooks a temporary index, and check reads that."""
    repo.write(".env", "A=1\n")
    repo.call("encrypt")
    commit(repo)
    hook = repo.write(".git/hooks/pre-commit", f"#!/bin/sh\nexec '{PROGRAM}' check --staged\n")
    hook.chmod(0o755)
    repo.write(".env", f"A={CANARY}\n")
    done = subprocess.run(
        ["git", "commit", "-m", "x", "--", ".env"],
        cwd=repo.folder,
        env=repo.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert ".env:1: A: plaintext that must be encrypted" in done.stdout + done.stderr


def test_range(repo):
    """Every version is checked, also one that a later commit fixes or that a merged branch removed again."""
    repo.write("README", "x\n")
    first = commit(repo)
    git(repo, "checkout", "-q", "-b", "side")
    repo.write(".env", f"A={CANARY}\n")
    bad = commit(repo)
    git(repo, "rm", "-q", ".env")
    commit(repo)
    git(repo, "checkout", "-q", "main")
    repo.write("README", "y\n")
    commit(repo)
    git(repo, "merge", "-q", "--no-ff", "-m", "x", "side")
    result = repo.call("check", "--range", f"{first}..HEAD")
    assert (result.code, result.out) == (1, f"{bad[:10]} .env:1: A: plaintext that must be encrypted\n")
    assert "rewrite these commits" in result.err
    assert repo.call("check", "--range", "HEAD^..HEAD^").code == 0
    found = json.loads(repo.call("check", "--json", "--range", "HEAD").out)["findings"]
    assert [(one["where"], one["commit"], one["variable"]) for one in found] == [(".env", bad[:10], "A")]
    assert repo.call("check", "--range", "nowhere..HEAD").code == 1
    assert repo.call("check", "--range", "--all").code == 2


def test_range_from_a_folder(repo):
    """Paths are relative to the current folder."""
    repo.write(".env", "A=1\n")
    repo.write("sub/.env", "B=1\n")
    commit(repo)
    result = repo.shell("cd sub && encenv check --range HEAD")
    assert [line.split()[1] for line in result.out.splitlines()] == ["../.env:1:", ".env:1:"]


def test_an_old_version_that_is_not_text(repo):
    """A version that cannot be read is named with its commit, and the others are still checked."""
    (repo.folder / ".env").write_bytes(b"A=\xff\n")
    bad = commit(repo)
    repo.write(".env", "A=1\n")
    commit(repo)
    result = repo.call("check", "--range", "HEAD")
    assert len(result.out.splitlines()) == 2
    assert f"{bad[:10]} .env: " in result.out


def test_a_secret_that_became_a_name(repo):
    """The lines of a key without quotes are names to python-dotenv; no command that only reads shows them."""
    lines = [f"{i}MIICdQIBADANBgkqhkiG9w0BAQEF{i}" for i in range(3)]
    repo.write(".env", "PEM=-----BEGIN PRIVATE KEY-----\n" + "\n".join(lines) + f"\n{CANARY}://x@host/?a=b\n")
    commit(repo)
    repo.write("empty.env", "")
    for args in (
        ["check"],
        ["check", "--json"],
        ["check", "--range", "HEAD"],
        ["status"],
        ["status", "--json"],
        ["diff", "empty.env", ".env"],
        ["diff", "--json", "empty.env", ".env"],
        ["doctor"],
        ["init", "--key", "local"],
        ["hook", "textconv", ".env"],
    ):
        result = repo.run(*args)
        assert ".env" in result.out + result.err or "not shown" in result.out, args
        assert not any(line in result.out + result.err for line in [*lines, CANARY]), args
    assert repo.call("check").code == 1


def test_encrypt_and_check_follow_the_settings_class(repo):
    """Encrypt leaves plaintext what the settings class allows, and check accepts that."""
    repo.write("pyproject.toml", '[tool.encenv]\nkeys = ["local"]\nsettings = "conf:Settings"\n')
    repo.write(
        "conf.py",
        "from pydantic import SecretStr\nfrom encenv import EncryptedSettings\n"
        "class Settings(EncryptedSettings, env_file='.env'):\n    key: SecretStr\n    debug: bool\n"
        "settings = Settings()\nprint(settings.key)\n",
    )
    path = repo.write(".env", f"KEY={CANARY}\nDEBUG=1\n")
    assert repo.call("check").out == ".env:1: KEY: plaintext that must be encrypted\n"
    assert repo.call("encrypt").code == 0
    assert path.read_text().splitlines()[-1] == "DEBUG=1"
    assert repo.call("check").code == 0
    repo.environ["HOME"] = "/nowhere"
    assert repo.call("status").code == 0


def test_options_win_over_pyproject(repo):
    """--key and --context win over pyproject.toml."""
    repo.write("pyproject.toml", '[tool.encenv]\nkeys = ["alias/nobody"]\ncontext = {stage = "table"}\n')
    repo.write(".env", "A=1\n")
    assert repo.call("encrypt", "--key", "local", "--context", "stage=option").code == 0
    assert "stage=option" in repo.call("status").out


@pytest.mark.parametrize("args", [["status"], ["check"], ["check", "--staged"], ["encrypt"]], ids=" ".join)
def test_imports_nothing_heavy(repo, args):
    """Commands that only read import no boto3, cryptography, ssl or pydantic; nor does encrypt with nothing to do."""
    repo.write(".env", "A=1\n")
    repo.call("encrypt")
    git(repo, "add", "-A")
    code = (
        "import sys\nfrom encenv.cli.main import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n"
        "    assert end.code == 0\n    print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        cwd=repo.folder,
        env=without_coverage(repo.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    assert not HEAVY & set(done.stderr.split())


def test_two_thousand_variables(repo):
    """A file of 2,000 variables is read like a small one; tests/benchmarks/scale.py measures the time."""
    repo.write(".env", "".join(f"NAME_{i}=value {i}\n" for i in range(2000)))
    assert repo.call("encrypt").code == 0
    before = (repo.folder / ".env").read_bytes()
    assert "2000 encrypted" in repo.call("status").out.replace(",", "")
    assert repo.call("check").code == 0
    assert repo.call("encrypt").code == 0
    assert (repo.folder / ".env").read_bytes() == before


def test_too_many_data_keys_to_load(repo):
    """--open says that no program loads a file with so many data keys; after rotate, the file has one."""
    texts = []
    for i in range(33):
        path = repo.write(f"{i}.env", f"NAME_{i}={CANARY}\n")
        assert repo.call("encrypt", path.name).code == 0
        texts.append(path.read_text())
    repo.write("-all.env", "".join(texts))
    assert repo.call("check", "--", "-all.env").code == 0
    result = repo.call("check", "--open", "--", "-all.env")
    assert (
        result.out == "-all.env: has 33 data keys, and a program loads at most 32: no value was decrypted\n"
    )
    assert result.err == "encenv: error: 1 problem\nencenv: hint: run: encenv rotate ./-all.env\n"
    assert repo.call("rotate", "./-all.env").code == 0
    assert repo.call("check", "--open", "./-all.env").code == 0


def test_a_value_with_a_nul(repo):
    """For a value that encrypt refuses, check suggests to encode it first."""
    repo.write(".env", f"A={CANARY}\0\n")
    assert repo.call("encrypt").code == 1
    result = repo.call("check")
    assert result.out == ".env:1: A: plaintext that must be encrypted\n"
    hint = "encode the value, for example as base64, and encrypt it: it holds a NUL"
    assert result.err == f"encenv: error: 1 problem\nencenv: hint: {hint}\n"


def test_completion(repo):
    """A shell completes the names of the file's variables, without key entries."""
    repo.write(".env", "ALPHA=1\nAlpine=2\nBETA=3\n")
    repo.call("encrypt")
    result = repo.run(
        env={"_ENCENV_COMPLETE": "bash_complete", "COMP_WORDS": "encenv encrypt --only al", "COMP_CWORD": "3"}
    )
    assert result.out.split() == ["plain,ALPHA", "plain,Alpine"]
    repo.write("b.env", "GAMMA=1\n")
    for words, expected in (
        ("set A", ["plain,ALPHA", "plain,Alpine"]),
        ("get -f b.env ''", ["plain,GAMMA"]),
        ("rename b", ["plain,BETA"]),
        ("unset ALPHA b", ["plain,BETA"]),
        ("encrypt .e", ["file,.e"]),  # the shell goes on with its files
        ("decrypt -o .e", ["file,.e"]),
        ("edit .e", ["file,.e"]),
        ("set A --from-file x", ["file,x"]),
        ("get A -f b", ["file,b"]),
    ):
        line = {"COMP_WORDS": f"encenv {words}", "COMP_CWORD": str(len(words.split()))}
        assert repo.run(env={"_ENCENV_COMPLETE": "bash_complete"} | line).out.split() == expected, words


def on_a_terminal(workspace, *args: str, **env: str) -> str:
    """Return what a command prints on a terminal."""
    main, other = pty.openpty()
    with workspace.start(
        *args, env={"TERM": "xterm"} | env, stdin=other, stdout=other, stderr=other
    ) as process:
        os.close(other)
        shown = b""
        while True:
            try:
                some = os.read(main, 65536)
            except OSError:  # the other end is closed
                break
            if not some:
                break
            shown += some
        process.wait(timeout=60)
    os.close(main)
    return shown.decode()


def test_colour(repo):
    """There is colour on terminals, unless NO_COLOR is set."""
    repo.write(".env", "A=1\n")
    assert "\033[31mmust be encrypted" in on_a_terminal(repo, "status")
    assert "\033" not in on_a_terminal(repo, "status", NO_COLOR="1")
    assert "\033" not in repo.run("status").out


def test_progress(monkeypatch, capsys):
    """A progress bar is drawn on a terminal, is removed before other output, and -q draws none."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(terminal, "PROGRESS_AFTER", 0.0)
    monkeypatch.setattr(terminal, "PROGRESS_EVERY", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    for done in terminal.progress(["a", "b"], "working"):
        if done == "a":
            terminal.say("a is done")
    err = capsys.readouterr().err
    assert "working ........................ 0 of 2\r\033[Ka is done\n" in err
    assert "working ############............ 1 of 2" in err
    assert err.endswith("\r\033[K")
    with terminal.quietly():
        assert list(terminal.progress(["a"], "working")) == ["a"]
        terminal.say("nothing")
        terminal.warn("this")
    assert capsys.readouterr().err == "encenv: warning: this\n"


def test_progress_within_a_file(repo, monkeypatch):
    """Verbs that decrypt or encrypt all values of a file show progress through them."""
    told: list[int] = []
    repo.write(".env", "A=1\nB=2\nC=3\n")
    for verb, expected in (("encrypt", 1), ("decrypt", 1), ("rotate", 2)):
        told.clear()
        module = importlib.import_module(f"encenv.cli.verbs.{verb}")
        monkeypatch.setattr(module, "progress", lambda items: told.append(len(items)) or iter(items))
        assert repo.call(verb).code == 0
        assert told.count(3) == expected, verb


def test_staged_files_outside_of_a_repository(workspace):
    """Without a repository, or without git, check --staged says which of the two is missing."""
    skip_without("git")
    result = workspace.call("check", "--staged")
    assert in_words(result)[0] == "this folder is not in a git repository"
    workspace.environ["PATH"] = str(workspace.folder)
    result = workspace.call("check", "--staged")
    assert in_words(result)[0] == "git was not found"
