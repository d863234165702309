"""The command line on its real entry point: the scripts in tests/cli/scripts, and what a script cannot test.

A script is a first line that states its promise, then commands and what they print, then files:

    $ encenv decrypt            a command; encenv runs in this process if it can, all else in the shell
    A=1                         a line of standard output, * for any text, ... for any lines, ~ for HOME
    2> encenv: error: *         a line of standard error
    [exit 1]                    the exit code, if it is not 0
    -- .env --                  a file that exists at the beginning

Other lines explain. ``[kms]`` below the promise gives a KMS with the key $KEY, alias/shop, and the command kms.
"""

import contextlib
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from support.programs import needs_linux, needs_posix
from support.python_process import WITHOUT_PRIVILEGE
from support.workspace import CANARY, PROGRAM, in_words, matches, perform, read_script

import encenv
from encenv.cli.group import encenv as group
from encenv.files.document import parse
from encenv.testing import KmsServer

SCRIPTS = Path(__file__).parent / "scripts"
pytestmark = needs_posix


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.txt")), ids=lambda path: path.stem)
def test_script(workspace, script):
    """Every command of a script prints what the script says, and exits as it says."""
    steps, files, needs_kms = read_script(script.read_text())
    for name, text in files.items():
        workspace.write(name, text)
    assert steps
    with contextlib.ExitStack() as stack:
        kms = None
        if needs_kms:
            kms = stack.enter_context(KmsServer())
            workspace.environ |= kms.environ() | {
                "KEY": kms.create_key(alias="alias/shop"),
                "AWS_MAX_ATTEMPTS": "1",
            }
        for step in steps:
            result = perform(workspace, kms, step.command)
            shown = f"{script.name}, line {step.line}: {step.command}\n{result.out}--- 2>\n{result.err}[{result.code}]"
            assert result.code == step.code, shown
            assert matches(step.out, result.out), shown
            assert matches(step.err, result.err), shown
            assert result.code in {0, 1, 2}
            assert "Traceback" not in result.err
            if result.code and step.err and "Usage" not in step.err[0]:
                assert re.findall(r"^encenv: \w+:", result.err, re.MULTILINE) == [
                    "encenv: error:",
                    "encenv: hint:",
                ]


# What a script cannot test


def test_every_verb_is_documented():
    """Each verb has a one-line summary, a text and an example that names it."""
    context = group.make_context("encenv", ["demo"])
    for name in group.list_commands(context):
        listed, (_, verb, _) = group.get_command(context, name), group.resolve_command(context, [name])
        assert listed is not None
        assert verb is not None
        assert listed.short_help
        assert verb.help
        assert name == "demo" or f"encenv {name}" in verb.help


def test_listing_the_verbs_imports_none(workspace):
    """--help and the completion of a verb's name import no verb."""
    code = "import sys\nfrom encenv.cli.main import main\ntry:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    for args, env in (
        (["--help"], {}),
        ([], {"_ENCENV_COMPLETE": "bash_complete", "COMP_WORDS": "encenv s", "COMP_CWORD": "1"}),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *args],
            env=workspace.environ | env,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "status" in done.stdout
        assert "encenv.cli.group" in done.stderr.split()
        assert "encenv.cli.verbs.status" not in done.stderr.split()


@pytest.mark.skipif(not hasattr(click.exceptions, "NoSuchCommand"), reason="click suggests verbs from 8.4 on")
def test_a_misspelt_verb(workspace):
    """An unknown verb is answered with the verb that is spelt most like it."""
    assert "'encrypt'" in in_words(workspace.call("enrcypt"), code=2)[0]


@pytest.mark.parametrize(
    "program", [[str(PROGRAM)], [sys.executable, "-m", "encenv"]], ids=["script", "module"]
)
def test_both_entry_points(workspace, program):
    """The installed script and ``python -m encenv`` are one program, with one name and the same exit codes."""
    for args, code in ((["--version"], 0), (["decrypt"], 1), (["nope"], 2)):
        done = subprocess.run(
            [*program, *args],
            cwd=workspace.folder,
            env=workspace.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code
        assert (done.stdout or done.stderr).startswith("encenv")
    assert encenv.__version__


@pytest.mark.parametrize("error", [RuntimeError(CANARY), OSError(CANARY), OSError(5, CANARY)], ids=repr)
def test_an_unexpected_error(workspace, monkeypatch, error):
    """An unexpected error is two lines with its class and place, without its text, which may hold a value."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("encenv.cli.verbs.keygen.generate_key_text", fail)
    result = workspace.call("keygen")
    if isinstance(error, RuntimeError):
        assert re.fullmatch(
            r"internal error: RuntimeError \(raised at test_scripts.py:\d+\)", in_words(result)[0]
        )
    else:
        assert result.err.startswith("encenv: error: the system refused: ")
        assert result.code == 1


@needs_linux
def test_no_permission(sealed):
    """Without permission to a file, its folder or the local key, the error says which, and nothing changes."""
    through = WITHOUT_PRIVILEGE
    closed = sealed.write("closed.env", "A=1\n")
    closed.chmod(0)
    inside = sealed.write("folder/.env", "A=1\n")
    inside.parent.chmod(0o500)
    key = sealed.home / ".config/encenv/local.key"

    def refused(*args: str) -> tuple[str, str]:
        return in_words(sealed.run(*args, through=through))

    try:
        for args in (("encrypt", "--key", "local"), ("decrypt",)):
            assert refused(*args, "closed.env")[0] == "no permission to read the file closed.env"
        assert (
            refused("run", "-f", "closed.env", "--", "true")[0] == "no permission to read the file closed.env"
        )
        assert (
            refused("encrypt", "--key", "local", "folder/.env")[0]
            == "no permission to write into the folder folder"
        )
        assert (
            refused("encrypt", "-o", "folder/new", ".env")[0]
            == "no permission to write into the folder folder"
        )
        assert (
            refused("edit", "--key", "local", "folder/.env")[0]
            == "no permission to write into the folder folder"
        )
        assert refused("keygen", "-o", "folder/key")[0] == "no permission to write into the folder folder"
        assert refused("keygen", "-o", "folder/new/key")[0] == "no permission to write into the folder folder"
        assert [path.name for path in inside.parent.iterdir()] == [".env"]
        key.chmod(0)
        assert "local.key cannot be read" in refused("decrypt")[0]
        key.chmod(0o644)
        hint = refused("decrypt")[1]
        assert (
            hint.replace("'", "") == "run: chmod 600 ~/.config/encenv/local.key"
        )  # quoted if HOME has a space
    finally:
        inside.parent.chmod(0o700)
    assert inside.read_text() == "A=1\n"
    key.chmod(0o600)
    assert sealed.run("decrypt", through=through).code == 0


def test_large_files(workspace):
    """A file of thousands of lines and a value of 700,000 characters are encrypted and decrypted."""
    text = "".join(f"NAME_{i}=value {i}\n" for i in range(4000)) + f"BIG={'x' * 700_000}\n"
    path = workspace.write(".env", text)
    workspace.call("keygen")
    assert "encrypted 4,001 values" in workspace.call("encrypt", "--key", "local").err
    assert path.read_text().count("=encenv:1:") == 4001
    assert len(parse(workspace.call("decrypt").out).bindings) == 4001
    workspace.write("huge.env", f"HUGE={'x' * 1_000_000}\n")
    message, hint = in_words(workspace.call("encrypt", "--key", "local", "huge.env"))
    assert message == "HUGE: the value would be longer than 1,048,576 characters when encrypted"
    assert hint == "keep it in a file and put the file's path into the variable"


def test_many_at_once(workspace):
    """When eight processes encrypt one file, one does the work and the others find it done."""
    workspace.write(".env", "".join(f"NAME_{i}={i}\n" for i in range(50)))
    workspace.call("keygen")
    processes = [workspace.start("encrypt", "--key", "local") for _ in range(8)]
    said = sorted(process.communicate(timeout=60)[1] for process in processes)
    assert [process.returncode for process in processes] == [0] * 8
    assert sum("encrypted 50 values (new data key under local:" in text for text in said) == 1
    assert sum("nothing to encrypt (50 values encrypted already)" in text for text in said) == 7
    assert workspace.call("decrypt").out == "".join(f"NAME_{i}={i}\n" for i in range(50))
    assert [path.name for path in workspace.folder.iterdir()] == [".env"]
