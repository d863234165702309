"""``encenv run`` and ``encenv demo`` as real processes, and AWS's own command line on the same wire."""

import base64
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from support.programs import needs_posix
from support.workspace import CANARY, PROGRAM, in_words

from encenv.files.document import parse
from encenv.format.envelope import DataKey
from encenv.format.sealed import KeyEntry, SealedValue, encryption_context, entry_kid
from encenv.testing import KmsServer

pytestmark = needs_posix


# run


def test_run_replaces_the_process(sealed):
    """The program replaces encenv in its process, with the default signal handlers."""
    script = (
        "import json, os, signal;"
        "print(json.dumps([os.getpid(), dict(os.environ), open('/proc/self/cmdline').read()"
        " if os.path.exists('/proc/self/cmdline') else '']))"
    )
    with sealed.start("run", "--", sys.executable, "-c", script) as process:
        out, err = process.communicate(timeout=60)
    pid, environ, command = json.loads(out)
    assert (process.returncode, err, pid) == (0, "", process.pid)
    assert environ["A"] == CANARY
    assert CANARY not in command
    assert not [name for name in environ if name.startswith("ENCENV")]
    assert sealed.run("run", "--", "sh", "-c", "yes | head -1").err == ""
    assert sealed.run("run", "--", "sh", "-c", "exit 77").code == 77
    assert sealed.run("run", "--", "sh", "-c", "kill -9 $$").code == -signal.SIGKILL
    with sealed.start("run", "--", "sh", "-c", "echo started; exec sleep 30") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=5) == -signal.SIGTERM


@pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="only Linux tells what a process began with"
)
def test_run_hides_pythons_own_locale(sealed):
    """The program does not get the LC_CTYPE that Python sets for itself, only one of the caller or of a file."""

    def locale(*options: str, **env: str) -> str:
        return sealed.run("run", *options, "--", "sh", "-c", 'echo "${LC_CTYPE-unset}"', env=env).out.strip()

    sealed.environ["LANG"] = "C"
    sealed.write("locale.env", "LC_CTYPE=POSIX\n")
    assert locale() == "unset"
    assert locale("-f", "locale.env") == "POSIX"
    assert locale(LC_CTYPE="C.UTF-8") == "C.UTF-8"
    assert locale("-f", "locale.env", LC_CTYPE="C.UTF-8") == "C.UTF-8"


@pytest.fixture
def signals() -> Iterator[None]:
    """Restore the signal handlers that ``run`` sets for the program."""
    before = {number: signal.getsignal(number) for number in (signal.SIGPIPE, signal.SIGXFSZ)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_run_passes_arguments_and_environment(sealed, monkeypatch, signals):
    """The program gets its arguments, the process environment without the keys, and the variables of the file."""
    sealed.environ |= {"OWN": "1", "ENCENV_LOCAL_KEY_FILE": str(sealed.home / ".config/encenv/local.key")}
    sealed.write("sealed.env", "C=3\n")
    sealed.call("encrypt", "--key", "local", "sealed.env")
    bindings = parse((sealed.folder / "sealed.env").read_text()).bindings
    entries = {b.name: b.value for b in bindings if b.name and b.value}
    passed = []

    def execvpe(*args: object) -> None:
        passed.append(args)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execvpe", execvpe)
    plain = dict(sealed.environ)
    sealed.environ |= entries
    assert sealed.call("run", "--", "some", "-f", "thing").code == 0
    environ = plain | {"A": CANARY, "B": f"{CANARY} # 2", "C": "3"}
    assert passed == [("some", ["some", "-f", "thing"], environ)]
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_DFL


def test_run_cannot_start_in_process(sealed, signals):
    """If the system refuses the program, its reason is reported and no frame with the environment is kept."""
    assert in_words(sealed.call("run", "--", "no-such-command"))[0].startswith(
        "no-such-command cannot be started"
    )
    assert in_words(sealed.call("run", "--", "true", "\0"))[0] == "an argument holds a NUL"
    message, hint = in_words(sealed.call("run", "-f", "nowhere", "--", "true"))
    assert (message, hint) == (
        "the file nowhere does not exist",
        "check the path and the current folder",
    )
    sealed.write(".env", "not a line\n")
    assert (
        in_words(sealed.call("run", "--override", "--", "true"))[0]
        == "line 1 of .env cannot be parsed, and may hold a secret"
    )


def test_run_leaves_no_plaintext(sealed):
    """While the program runs and afterwards, no file holds the plaintext: in the folder, the home or TMPDIR."""
    process = sealed.start("run", "--", "sh", "-c", 'echo "$A"; read -r _', stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == f"{CANARY}\n"
    assert not holders(sealed.root)
    assert not any(CANARY in argument for argument in arguments_of(process.pid))
    process.communicate("\n", timeout=60)
    sealed.run("decrypt")
    sealed.write("add.env", (sealed.folder / ".env").read_text() + "C=3\n")
    assert sealed.run("encrypt", "add.env").code == 0
    assert not holders(sealed.root)


def holders(folder: Path) -> list[Path]:
    """Return the files below *folder* that hold the plaintext."""
    return [path for path in folder.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]


def arguments_of(pid: int) -> list[str]:
    """Return the command line of a process, where the system shows it."""
    path = Path(f"/proc/{pid}/cmdline")
    return path.read_text().split("\0") if path.exists() else []


def test_run_opens_only_what_the_program_gets(workspace):
    """A value that the process or a later file replaces is not decrypted, and KMS is not asked for its data key."""
    with KmsServer() as kms:
        kms.create_key(alias="alias/a")
        workspace.environ |= kms.environ()
        workspace.write(".env", "A=1\nB=2\n")
        workspace.write("b.env", "A=1\nB=2\n")
        workspace.call("encrypt", "--key", "alias/a", ".env", "b.env")
        kms.clear()
        values = {"A": "process", "B": "process"}
        assert workspace.run("run", "--", "sh", "-c", "echo $A", env=values).out == "process\n"
        assert kms.calls == []
        assert workspace.run("run", "-f", ".env", "-f", "b.env", "--", "sh", "-c", "echo $A$B").out == "12\n"
        assert kms.count("Decrypt") == 1


# demo


def test_demo(workspace):
    """The demo works without a home, without a network and in any environment, and leaves nothing behind."""
    garbage = {
        "HOME": "/nonexistent",
        "AWS_PROFILE": "nobody",
        "AWS_REGION": "nowhere",
        "ENCENV_KEY_AAAAAAAA": "1:x",
        "ENCENV_LOCAL_KEY": "nonsense",
        "ENCENV_LOCAL_KEY_FILE": "/nowhere",
        "PYTHON_DOTENV_DISABLED": "1",
        "PYDANTIC_SETTINGS_DEBUG": "1",
        "debug": "maybe",
        "DATABASE_URL": "nonsense",
    }
    before = set(workspace.root.rglob("*"))
    started = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = workspace.run("demo", env=garbage)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert ended.ru_utime + ended.ru_stime - started.ru_utime - started.ru_stime < 5  # seconds; 0.4 usually
    assert (result.code, result.err) == (0, "")
    assert set(workspace.root.rglob("*")) == before
    assert max(len(line) for line in result.out.splitlines()) < 80
    assert result.out.isascii()
    for part in (
        "\n1. A plain .env file\n",
        "\n2. The same file after: encenv encrypt --key local .env\n",
        "  SECRET_KEY=encenv:1:",
        "...   # signs the sessions\n",
        "\n3. Loaded by a settings class, from the file and from the environment\n",
        "  secret_key    SecretStr    **********\n",
        "  database_url  PostgresDsn  postgres://shop:***@db.internal:5432/shop\n",
        "  from the environment: the same values\n",
        "  unwraps of the data key: 1, for two loads of 5 values\n",
        "\n4. Loaded after somebody changed an encrypted value\n",
        "  error: SECRET_KEY: the encrypted value was changed, cut off, renamed",
        "\nYour turn: encenv keygen && encenv encrypt --key local .env\n",
    ):
        assert part in result.out


def test_demo_in_process(workspace):
    """The demo restores the environment of its process, so that it can be called twice."""
    result, again = workspace.call("demo"), workspace.call("demo")
    assert (result.code, result.err) == (0, "")
    shape = [re.sub(r"[A-Z2-7]{8}.*", "", line) for line in result.out.splitlines()]
    assert shape == [re.sub(r"[A-Z2-7]{8}.*", "", line) for line in again.out.splitlines()]
    assert result.out != again.out


def test_demo_interrupted(workspace):
    """Ctrl-C during the demo leaves nothing behind."""
    before = set(workspace.root.rglob("*"))
    process = workspace.start("demo", env={"PYTHONUNBUFFERED": "1"})
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("2."):
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert set(workspace.root.rglob("*")) == before


# Others on the same wire


def test_the_aws_command_line_unwraps_a_data_key(workspace, tmp_path):
    """AWS's own command line unwraps a data key of encenv with the same encryption context, and not with another."""
    aws = PROGRAM.with_name("aws")
    with KmsServer(check_signatures=True) as kms:
        kms.create_key(alias="alias/a")
        workspace.environ |= kms.environ()
        path = workspace.write(".env", f"A={CANARY}\n")
        assert workspace.call("encrypt", "--key", "alias/a", "--context", "stage=staging").code == 0
        variables = {binding.name: binding.value for binding in parse(path.read_text()).bindings}
        (name,) = (name for name in variables if entry_kid(name or ""))
        entry = KeyEntry.parse(entry_kid(name), variables[name])
        blob = tmp_path / "blob"
        blob.write_bytes(entry.items[0].wrapped)

        def decrypt(context: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, aws, "kms", "decrypt", "--endpoint-url", kms.url, "--ciphertext-blob", f"fileb://{blob}",
                 "--encryption-context", json.dumps(dict(context)), "--query", "Plaintext", "--output", "text"],
                env=workspace.environ, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip

        done = decrypt(encryption_context(entry.context))
        data_key = DataKey(base64.b64decode(done.stdout))
        assert data_key.matches(entry.commitment)
        assert data_key.decrypt("A", SealedValue.parse(variables["A"])) == CANARY
        other = decrypt({"stage": "production", "encenv": "1"})
        assert other.returncode != 0
        assert "InvalidCiphertextException" in other.stderr
