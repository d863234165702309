"""When encenv calls git in a folder, no program runs that the git configuration of that folder names."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.programs import needs, needs_posix
from support.workspace import Workspace

from encenv.keys.local import generate_key_text

pytestmark = [needs_posix, needs("git")]

# Every setting of git-config(1) that names a program which a command that only reads might start.
PROGRAMS = (
    *("core.fsmonitor", "core.pager", "core.editor", "core.sshCommand", "core.askPass", "core.gitProxy"),
    *("core.alternateRefsCommand", "credential.helper", "gpg.program", "gpg.ssh.program", "gpg.x509.program"),
    *("diff.external", "diff.evil.command", "diff.evil.textconv", "interactive.diffFilter", "pager.log"),
    *("filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "merge.evil.driver"),
    *("remote.origin.uploadpack", "alias.log", "alias.rev-parse", "uploadpack.packObjectsHook"),
)
OTHER_SETTINGS = {
    "log.showSignature": "true",  # git log starts gpg.program
    "diff.autoRefreshIndex": "true",  # git diff writes the index, which starts the hook post-index-change
    "submodule.recurse": "true",
    "core.repositoryFormatVersion": "1",  # what is missing is fetched, with core.sshCommand and the like
    "extensions.partialClone": "origin",
    "remote.origin.promisor": "true",
    "protocol.allow": "always",
    "protocol.ext.allow": "always",
    "protocol.file.allow": "always",
}
HOOKS = ("post-index-change", "reference-transaction", "post-checkout", "pre-commit", "fsmonitor-watchman")
SIGNED_COMMIT = """\
tree {tree}
parent {parent}
author Ann <ann@shop.example> 1700000000 +0000
committer Ann <ann@shop.example> 1700000000 +0000
gpgsig -----BEGIN PGP SIGNATURE-----
 
 iQEzBAABCAAdFiEE
 -----END PGP SIGNATURE-----

encrypted
"""  # noqa: W293 (git's format)


COMMANDS = (
    *(
        "get A",
        "decrypt",
        "edit",
        "run -- true",
        "encrypt",
        "set C --from-file notes",
        "rename A D",
        "rotate",
    ),
    *("rewrap --add local", "status", "export --format docker", "iam-policy", "check", "check --staged"),
    *("check --range HEAD~1..HEAD", "check --open", "diff", "diff HEAD~1", "diff :.env", "diff none"),
    *("init --yes", "doctor --offline", "hook textconv .env", "hook merge .env .env .env", "hook install"),
    "hook uninstall",
)


@pytest.fixture(scope="module")
def programs():
    """A folder for the programs and for what they write, without a space in its path: git starts some with a shell."""
    with TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def template(tmp_path_factory, programs):
    """A repository in which every setting and every hook starts a program that writes down its own name."""
    workspace = Workspace(tmp_path_factory.mktemp("template"))
    workspace.environ |= {
        "GIT_CONFIG_GLOBAL": str(workspace.home / ".gitconfig"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "ENCENV_LOCAL_KEY": generate_key_text(),
        "EDITOR": "true",
    }

    def sh(line):
        done = workspace.shell(line)
        assert done.code == 0, done
        return done.out.strip()

    sh("git config --global user.name Ann && git config --global user.email ann@shop.example")
    sh("git init -q -b main && printf 'A=1\n' > .env && git add . && git commit -q -m plaintext")
    sh("encenv encrypt --key local")
    key = re.search(r":([A-Z2-7]{8})$", sh("cat .env"), re.MULTILINE)[1]
    workspace.write("pyproject.toml", f'[tool.encenv]\nkeys = ["local:{key}"]\n')
    sh("git add .")
    signed = SIGNED_COMMIT.format(tree=sh("git write-tree"), parent=sh("git rev-parse HEAD"))
    workspace.write("notes", signed)
    sh("git update-ref HEAD $(git hash-object -t commit -w notes)")
    sh("git config --global user.email bob@shop.example && printf 'B=1\n' >> .env && git add .env")

    # What a clone with --filter=blob:none has: a pack of all but the contents, which the server has promised to give.
    objects = "git rev-list --objects --filter=blob:none --all | cut -c1-40"
    sh(f"touch .git/objects/pack/pack-$({objects} | git pack-objects -q .git/objects/pack/pack).promisor")

    folder = programs / "programs"
    for path in [*(folder / name for name in PROGRAMS), *(folder / "hooks" / name for name in HOOKS)]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "{path.name} $*" >> {programs}/canary\n')
        path.chmod(0o755)
    shutil.copytree(folder / "hooks", workspace.folder / ".git" / "hooks", dirs_exist_ok=True)
    settings = {name: f"!{folder / name}" if "alias." in name else str(folder / name) for name in PROGRAMS}
    settings["remote.origin.url"] = f"ext::{folder / 'core.sshCommand'}"
    settings["core.hooksPath"] = str(folder / "hooks")
    config = workspace.folder / ".git" / "config"
    for name, value in (settings | OTHER_SETTINGS).items():
        subprocess.run(["git", "config", "-f", config, name, value], check=True)
    (workspace.folder / ".git" / "info" / "attributes").write_text("* diff=evil filter=evil merge=evil\n")
    return workspace


@pytest.fixture
def hostile(template, programs, workspace):
    """A new copy of the template, for a developer who has another key."""
    (programs / "canary").unlink(missing_ok=True)
    workspace.environ |= template.environ | {"ENCENV_LOCAL_KEY": generate_key_text()}
    shutil.copytree(template.folder, workspace.folder, dirs_exist_ok=True)
    os.utime(workspace.folder / ".env", (0, 0))  # so that git's index is out of date, and would be refreshed
    return workspace


@pytest.fixture
def started(programs):
    """Return a function that returns the programs that were started, with their arguments."""
    canary = programs / "canary"
    return lambda: canary.read_text() if canary.exists() else ""


def test_git_alone_starts_the_programs(hostile, started):
    """Git itself does start the programs: otherwise the tests below would prove nothing."""
    unfiltered = "git -c filter.evil.process= -c filter.evil.clean=cat"
    for line, name in (
        ("git status", "core.fsmonitor"),
        ("git log -1", "gpg.program"),
        ("git add .env", "filter.evil"),
        ("git read-tree HEAD", "post-index-change"),
        (f"{unfiltered} diff HEAD~1 HEAD", "diff.evil.command"),
        (f"{unfiltered} diff --no-ext-diff HEAD~1 HEAD", "diff.evil.textconv"),
        ("git cat-file blob 1234567890123456789012345678901234567890", "core.sshCommand"),
    ):
        hostile.shell(line)
        assert name in started(), line


@pytest.mark.parametrize("command", COMMANDS)
def test_no_program_is_started(hostile, started, command):
    """No command starts one of the programs, although it fails: this developer has another key."""
    done = hostile.run(*command.split()) if command.startswith("run") else hostile.call(*command.split())
    assert started() == ""
    assert "internal error" not in done.err
    assert "see: encenv" not in done.err  # the call was not a wrong one


def test_no_program_is_started_with_the_key(template, hostile, started):
    """Nor does a command that succeeds."""
    hostile.environ["ENCENV_LOCAL_KEY"] = template.environ["ENCENV_LOCAL_KEY"]
    for command in ("get A", "diff HEAD~1", "rewrap --add local", "init --yes", "check --open"):
        hostile.call(*command.split())
        assert started() == "", command


@pytest.mark.parametrize("command", ["diff HEAD~1:.env", "check --range HEAD", "init --yes", "get A"])
def test_missing_objects_are_not_fetched(hostile, started, command):
    """In a partial clone nothing is fetched, as that starts programs; the error says how to fetch by hand."""
    blob = hostile.shell("git -c core.fsmonitor=false rev-parse HEAD~1:.env").out.strip()
    (hostile.folder / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    done = hostile.call(*command.split())
    assert started() == ""
    assert done.code == 1
    assert ("git fetch --refetch --no-filter" in done.err) == (command != "get A"), done
