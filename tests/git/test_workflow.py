"""Real git and real pre-commit commit, show and merge files in a repository that encenv protects."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.programs import needs, needs_posix
from support.workspace import CANARY, Workspace

from encenv.files.document import parse
from encenv.keys.local import generate_key_text

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "samples" / "git-workflow" / "README.md"
pytestmark = [
    needs_posix,
    needs("git"),
    pytest.mark.timeout(300),  # pre-commit installs encenv into an environment of its own
]


class Repository(Workspace):
    """A workspace whose folder is a git repository, with its own git configuration and local key."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.environ |= {
            "GIT_CONFIG_GLOBAL": str(self.home / ".gitconfig"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "ENCENV_LOCAL_KEY": generate_key_text(),
        }
        self.git("config --global user.name Ann")
        self.git("config --global user.email ann@shop.example")
        self.git("init --quiet --initial-branch main")

    def git(self, line, code=0):
        """Run git, check its exit code, and return its output."""
        done = self.shell(f"git {line}")
        assert done.code == code, (line, done)
        return done.out + done.err

    def env(self, text):
        """Write .env, encrypted."""
        self.write(".env", text)
        assert self.shell("encenv encrypt --key local").code == 0

    def change(self, name, value):
        """Give a variable of .env another value, or append it, and encrypt the file."""
        path = self.folder / ".env"
        lines = path.read_text().splitlines(keepends=True)
        at = next((i for i, line in enumerate(lines) if line.startswith(f"{name}=")), len(lines))
        lines[at : at + 1] = [f"{name}={value}\n"]
        path.write_text("".join(lines))
        assert self.shell("encenv encrypt --key local").code == 0

    def values(self):
        """Return the decrypted variables of .env."""
        done = self.shell("encenv decrypt")
        assert done.code == 0, done
        return {b.name: b.value for b in parse(done.out).bindings if b.name}

    def commits(self):
        """Return how many commits there are."""
        return int(self.shell("git rev-list --count HEAD 2>/dev/null || echo 0").out)


@pytest.fixture
def repo() -> Iterator[Repository]:
    """A repository without a commit."""
    with tempfile.TemporaryDirectory() as root:
        yield Repository(Path(root))


@pytest.fixture(scope="module")
def hook_repository() -> Iterator[Path]:
    """The encenv of this tree, committed, as pre-commit takes it from a hosting service; and pre-commit's cache."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "encenv")
        shutil.copytree(ROOT / "encenv", path / "encenv", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml"):
            shutil.copy(ROOT / name, path)
        environ = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        who = ("-c", "user.name=Ann", "-c", "user.email=ann@shop.example")
        for args in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "-m", "encenv")):
            subprocess.run(["git", *who, *args], cwd=path, env=environ, check=True)
        yield path


def use_pre_commit(repo, hook_repository):
    """Install pre-commit's hooks instead of encenv's own."""
    repo.environ["PRE_COMMIT_HOME"] = str(hook_repository.parent / "cache")
    repo.environ |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    rev = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=hook_repository, capture_output=True, text=True, check=True
    ).stdout.strip()
    repo.write(
        ".pre-commit-config.yaml",
        "default_install_hook_types: [pre-commit, pre-merge-commit]\n"
        f"repos:\n  - repo: {hook_repository}\n    rev: {rev}\n    hooks:\n"
        "      - id: encenv-check\n      - id: encenv-encrypt\n        stages: [manual]\n",
    )
    program = Path(sys.executable).with_name("pre-commit")
    done = subprocess.run(
        [program, "install", "--install-hooks"],
        cwd=repo.folder,
        env=repo.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done
    repo.git("add .pre-commit-config.yaml")


@pytest.fixture(params=["hook", "pre-commit"])
def guarded(request, repo) -> Repository:
    """A repository with encenv's own hooks, or pre-commit's."""
    if request.param == "hook":
        assert repo.shell("encenv hook install").code == 0
    else:
        pytest.importorskip("pre_commit")
        use_pre_commit(repo, request.getfixturevalue("hook_repository"))
    return repo


@pytest.fixture
def protected(repo) -> Repository:
    """A repository with hooks and drivers, and an encrypted file of three variables."""
    assert repo.shell("encenv hook install").code == 0
    repo.env("A=1\nB=2\nC=3\n")
    repo.git("add .")
    repo.git("commit --quiet -m base")
    return repo


# The gate


def test_the_gate(guarded):
    """Plaintext is refused, even if it was encrypted after staging or is committed by path; encrypted text passes."""
    guarded.write(".env", f"A={CANARY}\n")
    guarded.git("add .env")
    said = guarded.git("commit -m plain", code=1)
    assert "A: plaintext that must be encrypted" in said
    assert CANARY not in said

    guarded.env(f"A={CANARY}\n")  # the file on the disk alone
    assert "A: plaintext" in guarded.git("commit -m plain", code=1)
    assert guarded.commits() == 0

    guarded.git("add .env")
    guarded.git("commit --quiet -m sealed")
    assert guarded.commits() == 1

    sealed = (guarded.folder / ".env").read_text()
    guarded.write(".env", sealed + f"B={CANARY}\n")
    said = guarded.git("commit -m plain -- .env", code=1)
    assert "B: plaintext that must be encrypted" in said
    assert "B: plaintext" in guarded.git("commit -a -m plain", code=1)
    guarded.write(".env", f"B={CANARY}\n" + sealed + f"C={CANARY}\n")
    done = guarded.shell("printf 's\\ny\\nn\\n' | git commit -p -m part")  # split, the first, not the second
    assert (done.code, CANARY in done.err) == (1, False)
    assert ".env:1: B: plaintext" in done.out + done.err
    assert "C: plaintext" not in done.out + done.err
    guarded.git("reset --quiet")
    guarded.write("other.txt", "x")
    guarded.git("add other.txt")
    guarded.git("commit --quiet -m other")  # what is not staged is nobody's business
    assert guarded.commits() == 2
    assert CANARY not in guarded.git("log -p --no-textconv -- .env")


def test_the_gate_at_a_merge(guarded):
    """A plaintext that was committed without the hook is refused when its branch is merged."""
    guarded.env("A=1\n")
    guarded.git("add .")
    guarded.git("commit --quiet -m base")
    guarded.git("switch --quiet -c topic")
    guarded.write("topic.env", f"T={CANARY}\n")
    guarded.git("add .")
    guarded.git("commit --quiet --no-verify -m topic")
    guarded.git("switch --quiet main")
    guarded.write("x", "x")
    guarded.git("add x")
    guarded.git("commit --quiet -m x")
    before = guarded.commits()
    assert "T: plaintext that must be encrypted" in guarded.git("merge --no-edit topic", code=1)
    assert guarded.commits() == before


def test_the_hooks_of_pre_commit(repo, hook_repository):
    """Both hooks run as pre-commit finds them in the repository; the one that encrypts fails to say so."""
    pytest.importorskip("pre_commit")
    use_pre_commit(repo, hook_repository)
    repo.write(".env", f"A={CANARY}\n")
    repo.write(".env.example", "A=fill-me-in\n")
    repo.write("pyproject.toml", '[tool.encenv]\nkeys = ["local"]\n')
    repo.git("add .")
    encrypt = "pre-commit run --hook-stage manual encenv-encrypt"
    done = repo.shell(encrypt)
    assert done.code == 1, done
    assert "files were modified by this hook" in done.out
    assert (repo.folder / ".env").read_text().count("encenv:1:") == 1
    assert (repo.folder / ".env.example").read_text() == "A=fill-me-in\n"
    assert repo.shell("pre-commit run encenv-check").code == 1  # what is staged is plaintext still
    repo.git("add .")
    assert repo.shell(encrypt).code == repo.shell("pre-commit run encenv-check").code == 0

    config = repo.folder / ".pre-commit-config.yaml"
    config.write_text(config.read_text().replace("        stages: [manual]\n", ""))
    repo.write("b.env", f"B={CANARY}\n")
    repo.git("add .")
    said = repo.git("commit -m both", code=1)
    assert "run: encenv encrypt b.env && git add b.env" in said
    assert CANARY not in said + (repo.folder / "b.env").read_text()
    repo.git("add .")
    repo.git("commit --quiet -m both")


def test_try_repo(repo, hook_repository):
    """pre-commit try-repo runs the check without any configuration."""
    pytest.importorskip("pre_commit")
    repo.environ |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    repo.write(".env", f"A={CANARY}\n")
    repo.git("add .")
    done = subprocess.run(
        [Path(sys.executable).with_name("pre-commit"), "try-repo", hook_repository, "encenv-check"],
        cwd=repo.folder,
        env=repo.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done
    assert "A: plaintext that must be encrypted" in done.stdout
    assert CANARY not in done.stdout + done.stderr


# The hook and its place


def test_an_existing_hook_is_chained(repo):
    """An existing hook runs first, can refuse a commit, and is back when ours is removed."""
    hook = repo.folder / ".git" / "hooks" / "pre-commit"
    hook.write_text('#!/bin/sh\necho "theirs: $*" >> ran\ntest ! -e stop\n')
    hook.chmod(0o755)
    before = hook.read_text()
    assert "after the hook that was there" in repo.shell("encenv hook install").err
    assert "already" in repo.shell("encenv hook install").err
    repo.write(".env", "A=1\n")
    repo.git("add .env")
    repo.git("commit -m plain", code=1)
    repo.write("stop", "")
    repo.env("A=1\n")
    repo.git("add .env")
    repo.git("commit -m sealed", code=1)
    assert (repo.folder / "ran").read_text() == "theirs: \n" * 2
    (repo.folder / "stop").unlink()
    repo.git("commit --quiet -m sealed")
    assert "is back" in repo.shell("encenv hook uninstall").err
    assert hook.read_text() == before
    assert os.access(hook, os.X_OK)
    assert "encenv" not in repo.git("config --local --list")
    assert "not protected" in repo.shell("encenv hook uninstall").err


def test_with_pre_commit_around_it(repo):
    """If pre-commit replaces our hook by its own, ours stays, and so does the one that was there first."""
    pytest.importorskip("pre_commit")
    hooks = repo.folder / ".git" / "hooks"
    repo.write(".pre-commit-config.yaml", "repos: []\n")
    repo.write(".env", "A=1\n")
    repo.git("add .")
    repo.shell("printf '#!/bin/sh\\necho theirs >> ran\\n' > .git/hooks/pre-commit")
    (hooks / "pre-commit").chmod(0o755)
    assert repo.shell("encenv hook install").code == 0
    assert repo.shell("pre-commit install").code == 0
    assert "A: plaintext" in repo.git("commit -m plain", code=1)
    assert (repo.folder / "ran").read_text() == "theirs\n"
    assert "already" in repo.shell("encenv hook install").err
    assert repo.shell("encenv hook uninstall").code == 0
    repo.git("commit --quiet -m 'not guarded'")
    assert (repo.folder / "ran").read_text() == "theirs\n" * 2


def test_pre_commit_on_both_sides(repo):
    """Installed before and after ours, pre-commit's hook does not call itself, and works when ours is removed."""
    pytest.importorskip("pre_commit")
    repo.write(".pre-commit-config.yaml", "repos: []\n")
    repo.write(".env", "A=1\n")
    repo.git("add .")
    for command in ("pre-commit install", "encenv hook install", "pre-commit install"):
        assert repo.shell(command).code == 0
    said = repo.git("commit -m plain", code=1)
    assert said.count("A: plaintext") == 1
    assert repo.shell("encenv hook uninstall").code == 0
    repo.git("commit --quiet -m 'not guarded'")


def test_a_hook_is_kept_already(repo):
    """If there is an earlier hook and then a second one, nothing is overwritten, and the error says what to do."""
    hooks = repo.folder / ".git" / "hooks"
    (hooks / "pre-commit").write_text("#!/bin/sh\n# one\n")
    assert repo.shell("encenv hook install").code == 0
    (hooks / "pre-commit").write_text("#!/bin/sh\n# two\n")
    done = repo.shell("encenv hook install")
    assert done.code == 1
    assert ".git/hooks/pre-commit.before-encenv holds an earlier hook already" in done.err
    assert (hooks / "pre-commit").read_text() == "#!/bin/sh\n# two\n"


def test_hooks_path(repo):
    """The folder of core.hooksPath gets the hook, which does nothing in other repositories with that folder."""
    shared = repo.root / "hooks"
    repo.git(f"config --global core.hooksPath '{shared}'")
    assert repo.shell("encenv hook install").code == 0
    assert (shared / "pre-commit").exists()
    repo.write(".env", "A=1\n")
    repo.git("add .env")
    repo.git("commit -m plain", code=1)
    repo.git("init --quiet ../other")
    repo.git("-C ../other commit --allow-empty --quiet -m empty")
    repo.shell("cp .env ../other")
    repo.git("-C ../other add .env")
    repo.git("-C ../other commit --quiet -m 'no concern of ours'")


def test_linked_worktree(protected):
    """A linked work tree is protected like the main one; the hooks can also be installed from there."""
    protected.git("worktree add --quiet ../linked")
    (protected.root / "linked" / ".env").write_text(f"A={CANARY}\n")
    protected.git("-C ../linked commit -a -m plain", code=1)
    assert "A: plaintext, not shown" in protected.git("-C ../linked diff")
    assert "already" in protected.shell("cd ../linked && encenv hook install").err


def test_from_a_subfolder(protected):
    """A commit from a subfolder is checked as a whole, and the paths are relative to that folder."""
    (protected.folder / "app").mkdir()
    protected.write("app/prod.env", "P=1\n")
    protected.git("add .")
    protected.git("-C app commit -m plain", code=1)
    said = protected.shell("cd app && encenv check --staged")
    assert said.out.startswith("prod.env:1: P: plaintext")


def test_encenv_is_gone(protected):
    """If encenv is not found, a commit is refused, a diff shows no content, and git merges by itself."""
    old, new = f"{Path(sys.executable).as_posix()}", "/gone/python"
    for path in (protected.folder / ".git" / "config", protected.folder / ".git" / "hooks" / "pre-commit"):
        path.write_text(path.read_text().replace(old, new))
    protected.environ["PATH"] = "/usr/bin:/bin"
    protected.write(".env", (protected.folder / ".env").read_text().replace("\nA=", "\nZ=") + f"P={CANARY}\n")
    shown = protected.git("diff")
    assert "+not shown: encenv is not found" in shown
    assert CANARY not in shown
    assert "encenv is not found, so what is staged is not checked" in protected.git("commit -a -m x", code=1)
    protected.git("commit --quiet --no-verify -a -m ours")
    protected.git("switch --quiet -c topic HEAD~1")
    protected.write(".env", (protected.folder / ".env").read_text() + "P=other\n")
    protected.git("commit --quiet --no-verify -a -m theirs")
    protected.git("merge main", code=1)
    assert "<<<<<<< ours\nP=other\n=======\n" in (protected.folder / ".env").read_text()


@pytest.mark.parametrize("breaks", [("hook merge --", "hook none --"), ("-m encenv hook", "-m none")])
def test_the_merge_driver_fails(protected, breaks):
    """If the driver fails, as an old or broken encenv would, git merges by itself."""
    branches(protected, ("A", "x"), ("B", "y"))
    theirs = protected.git("show topic:.env").splitlines()[2]
    driver = protected.git("config merge.encenv.driver").strip()
    protected.git(
        f"config merge.encenv.driver '{driver.replace(*breaks).replace(chr(39), chr(39) + chr(92) + chr(39) * 2)}'"
    )
    protected.git("merge topic", code=1)
    text = (protected.folder / ".env").read_text()
    assert "<<<<<<< ours\n" in text
    assert theirs in text.splitlines()


# What is shown


def test_a_diff_needs_no_key(protected):
    """A diff names the changed variables without a key and without any plaintext, encrypted or not."""
    protected.change("B", CANARY)
    protected.shell(f"echo 'P={CANARY}' >> .env; echo '# OLD={CANARY}' >> .env; echo '# a note' >> .env")
    protected.environ["ENCENV_LOCAL_KEY"] = ""
    shown = protected.git("diff")
    changed = [line for line in shown.splitlines() if line[0] in "+-"][2:]
    expected = [
        r"-B: encrypted under \w{8} \(\w{8}\)",
        r"\+B: encrypted under \w{8} \(\w{8}\)",
        r"\+P: plaintext, not shown \(\w{8}\)",
        r"\+# not shown \(\w{8}\)",
        r"\+# a note",
    ]
    assert len(changed) == len(expected)
    assert all(re.fullmatch(*pair) for pair in zip(expected, changed, strict=True)), changed
    protected.git("commit --quiet --no-verify -a -m x")
    for command in ("show", "log -p", "blame .env", "diff HEAD~1"):
        assert CANARY not in protected.git(command)
    protected.shell("sed -i 's/^P=.*/P=other/' .env")
    assert len(re.findall(r"^[+-]P: plaintext, not shown", protected.git("diff"), re.MULTILINE)) == 2


def test_marks_of_plaintext_are_of_this_clone(protected):
    """The mark of a plaintext is another one in another clone."""
    protected.shell("echo P=1 > p.env && git add -N p.env")
    first = protected.git("diff p.env")
    key = protected.folder / ".git" / "encenv-mask.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert protected.git("diff p.env") == first
    key.unlink()
    assert protected.git("diff p.env") != first


def test_any_file_can_be_shown(protected):
    """A file that is not a .env file is in the output of git diff, too."""
    for nul, said in ((b"", "a line that cannot be parsed, not shown"), (b"\x00", "not a .env file")):
        text = b"\xff\xfe" + nul + b" \x1b[31m='open\nA='x\r\n\r\n\"\n-----BEGIN\n"
        (protected.folder / "odd.env").write_bytes(text)
        protected.git("add -N odd.env")
        shown = protected.git("diff odd.env")
        assert said in shown
        assert "\x1b" not in shown


def test_set_is_one_line_of_the_diff(protected):
    """A value that is set again changes one line; the first encrypted value of a file also adds a key entry."""
    assert protected.shell("printf x | encenv set B --stdin").code == 0
    assert protected.git("diff --no-textconv --numstat").split() == ["1", "1", ".env"]
    protected.git("commit --quiet -a -m x")
    assert protected.shell("printf x | encenv set N --stdin").code == 0
    assert protected.git("diff --no-textconv --numstat").split() == ["1", "0", ".env"]
    protected.write("new.env", "A=1\n")
    protected.git("add -N new.env")
    assert protected.shell("printf x | encenv set A -f new.env --stdin --key local").code == 0
    assert protected.git("diff --no-textconv --numstat -- new.env").split() == ["2", "0", "new.env"]


def test_stash(protected):
    """A stashed change comes back beside a change that was made after it."""
    protected.change("A", "x")
    protected.git("stash")
    protected.change("B", "y")
    protected.git("commit --quiet -a -m B")
    protected.git("stash pop")
    assert protected.values() == {"A": "x", "B": "y", "C": "3"}


# Merges


def branches(repo, ours, theirs):
    """Make the branch topic with *theirs*, then main with *ours*; each a change of one variable."""
    repo.git("switch --quiet -c topic")
    repo.change(*theirs)
    repo.git("commit --quiet -a -m theirs")
    repo.git("switch --quiet main")
    repo.change(*ours)
    repo.git("commit --quiet -a -m ours")


@pytest.mark.parametrize("how", ["merge --no-edit", "rebase", "cherry-pick"])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(("A", "x"), ("B", "y")), (("N", "x"), ("M", "y")), (("C", "x"), ("N", "y"))],
    ids=["neighbours", "two appended", "one appended below the other"],
)
def test_different_variables(protected, how, ours, theirs):
    """With the driver, changes of different variables merge without a conflict, and every value decrypts."""
    branches(protected, ours, theirs)
    protected.git(f"{how} topic")
    assert protected.values() == {"A": "1", "B": "2", "C": "3"} | dict([ours, theirs])
    assert protected.shell("encenv check --range HEAD~1..HEAD").code == 0


@pytest.mark.parametrize("how", ["merge --no-edit", "rebase", "cherry-pick"])
def test_the_same_variable(protected, how):
    """The same variable changed on both sides is a conflict with markers round it alone, and no plaintext in it."""
    branches(protected, ("B", CANARY), ("B", CANARY + "2"))
    assert "changed on both sides: B" in protected.git(f"{how} topic", code=1)
    text = (protected.folder / ".env").read_text()
    assert [line[:5] for line in text.splitlines()[2:]] == [
        "<<<<<",
        "B=enc",
        "=====",
        "B=enc",
        ">>>>>",
        "C=enc",
    ]
    assert CANARY not in text
    protected.write(".env", re.sub(r"<<<<<<<.*\n(.*\n)=======\n.*\n>>>>>>>.*\n", r"\1", text))
    assert protected.values()["B"].startswith(CANARY)
    protected.git("add .env")
    assert protected.shell("encenv check --staged").code == 0


@pytest.mark.parametrize("name", ["-x.env", "a b.env", "q'uo\"te.env", "new\nline.env"])
def test_odd_paths(repo, name):
    """A file of any name is checked, shown and merged."""
    repo.shell("encenv hook install")
    path = repo.write(name, "A=1\nB=2\n")
    repo.git("add .")
    assert "A: plaintext" in repo.git("commit -m x", code=1)
    for number, text in enumerate(("A=1\nB=2\n", "A=x\nB=2\n", "A=1\nB=y\n")):
        repo.git(
            f"switch --quiet --orphan new{number}" if not number else f"switch --quiet -c new{number} new0"
        )
        path.write_text(text)
        repo.git("add .")
        assert repo.git("diff --cached").count("plaintext, not shown") >= 2
        repo.git("commit --quiet --no-verify -m x")
    repo.git("merge --no-verify --no-edit new1")
    assert path.read_text() == "A=x\nB=y\n"


def test_branches_that_merged_each_other(protected):
    """If two branches resolved one conflict differently, merging them is a conflict again."""
    branches(protected, ("B", "ours"), ("B", "theirs"))
    sides = {name: protected.git(f"show {name}:.env") for name in ("main", "topic")}
    protected.git("branch old")
    for name, other in (("main", "topic"), ("topic", "old")):
        protected.git(f"switch --quiet {name}")
        protected.git(f"merge {other}", code=1)
        protected.write(".env", sides[name])
        protected.git("commit --quiet -a -m merged")
    assert "changed on both sides: B" in protected.git("merge main", code=1)


def test_rotated_without_the_driver(protected):
    """The hook refuses a rotated file that git alone merged with a value under the old data key."""
    protected.write(".env", (protected.folder / ".env").read_text() + "# 1\n# 2\n# 3\n")
    protected.git("commit --quiet -a -m more --no-verify")
    protected.shell("encenv hook uninstall")
    branches(protected, ("N", "x"), ("A", "1"))
    protected.git("switch --quiet topic")
    assert protected.shell("encenv rotate --key local").code == 0
    protected.git("commit --quiet -a -m rotated")
    protected.git("switch --quiet main")
    before = protected.git("rev-parse HEAD").strip()
    protected.git("merge --no-edit topic")
    done = protected.shell("encenv check")
    assert done.code == 1
    assert re.search(r"N: its key entry ENCENV_KEY_\w{8} is missing", done.out)
    protected.git(f"reset --quiet --hard {before}")
    protected.shell("encenv hook install")
    protected.git("merge --no-edit topic")
    assert protected.values() == {"A": "1", "B": "2", "C": "3", "N": "x"}


@pytest.mark.parametrize("how", ["merge --no-edit", "rebase", "cherry-pick"])
def test_without_the_driver(protected, how):
    """Without the driver (a merge button, a clone that is not protected) adjacent lines conflict and distant lines do not."""
    protected.env("".join(f"{name}={n}\n" for n, name in enumerate("ABCDEFGH")))
    protected.git("commit --quiet -a -m more")
    protected.shell("encenv hook uninstall")
    branches(protected, ("A", "x"), ("H", "y"))
    protected.git(f"{how} topic")
    assert (protected.values()["A"], protected.values()["H"]) == ("x", "y")
    protected.git("switch --quiet main")
    protected.git("branch --quiet -D topic")
    branches(protected, ("C", "x"), ("D", "y"))
    protected.git(f"{how} topic", code=1)
    # What the guide says to do then: merge again in an protected clone.
    protected.git(f"{how.split()[0]} --abort")
    protected.shell("encenv hook install")
    protected.git(f"{how} topic")
    assert (protected.values()["C"], protected.values()["D"]) == ("x", "y")


def test_both_brought_a_key(protected):
    """Two branches that each encrypted a file for the first time, or rotated it, keep the key entries that they need."""
    protected.git("switch --quiet -c topic")
    protected.env("A=1\nB=2\nC=3\n")  # under a new data key
    protected.git("commit --quiet -a -m rotated")
    protected.git("switch --quiet main")
    protected.change("N", "new")
    protected.git("commit --quiet -a -m added")
    protected.git("merge --no-edit topic")
    assert protected.values() == {"A": "1", "B": "2", "C": "3", "N": "new"}
    assert (protected.folder / ".env").read_text().count("ENCENV_KEY_") == 2


# init


def test_init(repo):
    """One command makes a repository ready and says what it finds; the rest of pyproject.toml keeps its bytes."""
    toml = '# ours\r\n[project]\r\nname = "shop"\r\n\r\n[tool.other]\r\nx = 1'
    repo.write("pyproject.toml", toml)
    repo.write(".gitignore", "*.log\n.env\n")
    repo.write(".env", f"A={CANARY}\nDEBUG=\n")
    repo.git("add -f .env")
    repo.git("commit --quiet -m plain")
    repo.git("rm --quiet --cached .env")
    repo.git("commit --quiet -m gone")
    done = repo.shell("encenv init --yes --context stage=test")
    assert done.code == 0, done
    assert "pyproject.toml: files are encrypted with local:" in done.err
    assert "git ignores .env (.gitignore:2:.env): remove that rule once the file is encrypted" in done.err
    assert "next: encenv encrypt .env && git add .env" in done.err
    assert "plaintext in history (1 commit, .env):\n  A\nchange these where they were issued" in done.err
    assert CANARY not in done.err
    text = (repo.folder / "pyproject.toml").read_bytes().decode()
    assert re.fullmatch(
        re.escape(toml)
        + r'\r\n\r\n\[tool\.encenv\]\r\nkeys = \["local:\w{8}"\]\r\ncontext = \{ "stage" = "test" \}\r\n',
        text,
    )
    repo.shell("encenv encrypt")
    assert "+context:stage=test+" in (repo.folder / ".env").read_text()
    assert repo.shell("encenv init").code == 0
    assert (repo.folder / "pyproject.toml").read_bytes().decode() == text
    repo.shell("sed -i /env/d .gitignore")
    repo.git("add .")
    repo.git("commit --quiet -m sealed")


def test_init_makes_a_local_key(repo):
    """`init` makes a local key if there is none, and also works in a folder that is not a repository."""
    del repo.environ["ENCENV_LOCAL_KEY"]
    shutil.rmtree(repo.folder / ".git")
    done = repo.shell("encenv init --yes")
    assert "made local key" in done.err
    assert "this is not a git repository" in done.err
    assert (repo.home / ".config" / "encenv" / "local.key").exists()
    assert (repo.folder / "pyproject.toml").read_text().startswith('[tool.encenv]\nkeys = ["local:')


def test_init_in_a_clone_without_the_key(repo):
    """A second developer reads who can give access to the key; the clone is protected nevertheless."""
    repo.shell("encenv init --yes")
    repo.git("add .")
    repo.git("commit --quiet -m base")
    repo.environ["ENCENV_LOCAL_KEY"] = generate_key_text()
    done = repo.shell("git clone --quiet . ../clone && cd ../clone && encenv init")
    assert done.code == 0, done
    assert "you cannot use the key yet: the local key" in done.err
    assert "ask a colleague who has it" in done.err
    assert "checks what is staged" in done.err


def test_init_with_other_keys(repo):
    """A project keeps its keys; a table without keys gets them."""
    repo.write("pyproject.toml", '[tool.encenv]  # ours\nplain = ["DEBUG"]\n[tool.x]\n')
    assert repo.shell("encenv init --key local").code == 0
    assert re.fullmatch(
        r'\[tool.encenv\]  # ours\nkeys = \["local:\w+"\]\nplain = \["DEBUG"\]\n\[tool.x\]\n',
        (repo.folder / "pyproject.toml").read_text(),
    )
    done = repo.shell("encenv init --key alias/other")
    assert "names other keys" in done.err
    assert repo.shell("encenv init --key ''").code == 2


def test_init_that_cannot_add(repo):
    """A pyproject.toml that cannot be changed safely is unchanged, and the error says what to write."""
    toml = '[tool]\nencenv = { plain = ["DEBUG"] }\n'
    repo.write("pyproject.toml", toml)
    done = repo.shell("encenv init --yes")
    assert done.code == 1
    assert "add this yourself: [tool.encenv] with keys = [" in done.err
    assert (repo.folder / "pyproject.toml").read_text() == toml


# The guide


def test_the_guide(repo):
    """The commands of the sample's README do what it says, one after the other."""
    del repo.environ["ENCENV_LOCAL_KEY"]
    blocks = re.findall(r"^```sh\n(.*?)^```", SAMPLE.read_text(), re.MULTILINE | re.DOTALL)
    done = repo.shell("set -e\n" + "\n".join(blocks))
    assert done.code == 0, done
    assert [line for line in done.out.splitlines() if "refused" in line] == ["refused", "still refused"]
    assert "MAIL_PASSWORD: plaintext that must be encrypted" in done.out + done.err
    assert "PAYMENT_KEY=coins\nSEARCH_KEY=needle\n" in done.out
    last = done.out[done.out.rindex("DEBUG=false") :]
    for line in ("MAIL_FROM=shop@example.com", "PAYMENT_KEY=coins", "SEARCH_KEY=needle"):
        assert line in last
    assert "hunter2" not in repo.git("log -p --no-textconv")
