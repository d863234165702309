"""The command line and its surroundings: Ctrl-C, pipes, full disks, old terminals."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support.programs import needs_ascii_path, needs_posix
from support.workspace import CANARY, PROGRAM, Result, in_words, without_coverage

from encenv.testing import KmsServer

pytestmark = needs_posix


@pytest.mark.parametrize(
    "args", [["encrypt"], ["encrypt", "-o", "new.env"], ["decrypt"], ["run", "--", "true"], ["encrypt", "--key", "alias/a"]],
    ids=" ".join,
)  # fmt: skip
def test_interrupted(workspace, args):
    """Ctrl-C while KMS is slow ends the command at once with one error and one hint, and the file is unchanged."""
    with KmsServer() as kms:
        kms.create_key(alias="alias/a")
        workspace.environ |= kms.environ()
        path = workspace.write(".env", f"A={CANARY}\n")
        if args[-1] != "alias/a":
            assert workspace.call("encrypt", "--key", "alias/a").code == 0
            path.write_text(path.read_text() + f"B={CANARY}\n")
        before, calls = path.read_bytes(), len(kms.calls)
        kms.delay(30)
        process = workspace.start(*args)
        while len(kms.calls) == calls:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        out, err = process.communicate(timeout=20)
        assert time.monotonic() - sent < 5
    assert in_words(Result(process.returncode, out, err)) == (
        "interrupted",
        "run it again; no file was left half written",
    )
    assert path.read_bytes() == before
    assert [p.name for p in workspace.folder.iterdir()] == [".env"]


@pytest.mark.parametrize("verb", [["decrypt"], ["demo"], ["--help"], ["encrypt", "-o", "-"]], ids=" ".join)
def test_closed_pipe(sealed, verb):
    """A reader that closes the pipe early, as ``| head -1``, causes no message on the terminal."""
    sealed.write("big.env", "".join(f"A{i}={'x' * 100}\n" for i in range(2000)))
    args = [*verb, "big.env"] if verb[0] == "decrypt" else verb
    reader, writer = os.pipe()
    os.close(reader)
    result = sealed.run(*args, stdout=writer)
    os.close(writer)
    assert result.code in {0, 1}
    assert "rror" not in result.err


@pytest.mark.parametrize(
    "verb", [["decrypt"], ["demo"], ["--help"], ["--version"], ["keygen", "-o", "-"]], ids=" ".join
)
def test_full_output(sealed, verb):
    """Output that cannot be written is one error, without a second one at exit."""
    with Path("/dev/full").open("w") as full:
        assert in_words(sealed.run(*verb, stdout=full))[0] == "the system refused: no space left on device"


@pytest.mark.parametrize("environ", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
def test_output_cut_short(sealed, environ):
    """Output that is written only in part is an error."""
    sealed.environ = without_coverage(sealed.environ) | environ  # the measurement would be cut short as well
    sealed.write("big.env", f"A={'x' * 20_000}\n")
    result = sealed.shell("ulimit -f 8; encenv decrypt big.env > out")  # blocks of 512 or 1024 bytes
    assert in_words(result)[0] == "the system refused: file too large"
    assert 0 < (sealed.folder / "out").stat().st_size < 20_000


def test_no_streams(sealed):
    """Closed standard streams are reported on those that are open."""
    closed = sealed.shell("encenv decrypt >&-")
    assert in_words(closed)[0] == "there is no standard output"
    closed = sealed.shell("encenv decrypt - <&-")
    assert in_words(closed)[0] == "there is no standard input"
    for redirection in ("2>&-", "2>/dev/full"):
        assert sealed.shell(f"encenv decrypt nowhere {redirection}").code == 1
        assert sealed.shell(f"encenv nowhere {redirection}").code == 2
        sealed.write("new.env", "A=1\n")
        assert sealed.shell(f"encenv encrypt --key local new.env {redirection}").code == 0


@pytest.mark.parametrize(
    "locale",
    [
        pytest.param({"PYTHONIOENCODING": "ascii"}, id="ascii"),
        pytest.param(
            {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, id="C", marks=needs_ascii_path
        ),
    ],
)
def test_old_terminals(workspace, locale):
    """On an ASCII terminal, names are escaped, and files and programs still get their bytes."""
    workspace.environ |= locale
    workspace.write("é.env", "GRÜSSE='Zürich ☕'\n")
    assert workspace.run("keygen").code == 0
    assert "encrypted 1 value" in workspace.run("encrypt", "--key", "local", "é.env").err
    raw = subprocess.run(
        [PROGRAM, "decrypt", "é.env"],
        cwd=workspace.folder,
        env=workspace.environ,
        capture_output=True,
        check=True,
    )
    assert raw.stdout == "GRÜSSE='Zürich ☕'\n".encode()
    raw = subprocess.run(
        [PROGRAM, "run", "-f", "é.env", "--", "env"],
        cwd=workspace.folder,
        env=workspace.environ,
        capture_output=True,
        check=True,
    )
    assert "GRÜSSE=Zürich ☕\n".encode() in raw.stdout
    assert "Error" not in workspace.run("decrypt", "ü.env").err
    assert workspace.run("demo").code == 0


def test_colours_only_on_a_terminal(sealed):
    """A terminal gets the prefixes in bold, unless NO_COLOR is set; a pipe gets plain text."""

    def on_terminal(**environ: str) -> bytes:
        master, slave = os.openpty()
        sealed.run("decrypt", "nowhere", stderr=slave, env=environ)
        os.close(slave)
        text = os.read(master, 10_000)
        os.close(master)
        return text

    assert on_terminal(NO_COLOR="").startswith(b"encenv: error: ")
    assert on_terminal().startswith(b"\x1b[1;31mencenv: error:\x1b[0m the file")
