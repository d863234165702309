"""An empty workspace for a test of the command line: a folder, a home, an environment, and the real entry point."""

import contextlib
import io
import os
import re
import select
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from encenv.cli.main import main
from encenv.keys.unwrap import clear_cache
from encenv.testing import KmsServer

PROGRAM = Path(sys.executable).with_name("encenv")
CALL_SECONDS = 110  # for one command, on a busy machine
CANARY = "hunter2-the-canary"
COVERAGE_VARIABLE = "COVERAGE_PROCESS_CONFIG"  # with it, coverage measures a child process, too


@dataclass
class Result:
    """Exit code and output of a command, with the home folder shown as ~."""

    code: int
    out: str
    err: str


@dataclass
class Workspace:
    """An empty folder, an empty home and an environment that has only PATH from the developer's own."""

    root: Path
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.home.mkdir()
        self.environ |= {
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "PATH": f"{PROGRAM.parent}:{os.environ.get('PATH', os.defpath)}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(self.root),
        }
        if COVERAGE_VARIABLE in os.environ:
            self.environ[COVERAGE_VARIABLE] = os.environ[COVERAGE_VARIABLE]

    @property
    def folder(self) -> Path:
        """The folder in which commands run."""
        return self.root / "w"

    @property
    def home(self) -> Path:
        """The home folder, HOME."""
        return self.root / "home"

    def write(self, name: str, text: str) -> Path:
        """Write a file of the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        return path

    def start(
        self, *args: str, through: Sequence[str] = (), env: Mapping[str, str] | None = None, **streams: Any
    ) -> subprocess.Popen[str]:
        """Start the installed program; *through* is a command that runs it, as env(1) runs a program."""
        streams = (
            dict.fromkeys(("stdout", "stderr"), subprocess.PIPE) | {"stdin": subprocess.DEVNULL} | streams
        )
        environ = self.environ | dict(env or {})
        return subprocess.Popen(
            [*through, str(PROGRAM), *args], cwd=self.folder, env=environ, text=True, **streams
        )

    def run(self, *args: str, **options: Any) -> Result:
        """Run the installed program to its end; *options* as for `start`."""
        with self.start(*args, **options) as process:
            out, err = process.communicate(timeout=CALL_SECONDS)
        return self._result(process.returncode, out or "", err or "")

    def shell(self, line: str) -> Result:
        """Run *line* in a shell."""
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=CALL_SECONDS,
            check=False,
        )
        return self._result(done.returncode, done.stdout, done.stderr)

    def call(self, *args: str) -> Result:
        """Call the entry point in this process, with the environment and the folder of a process of its own."""
        before, folder = dict(os.environ), Path.cwd()
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        clear_cache()
        try:
            os.environ.clear()
            os.environ.update(self.environ)
            os.chdir(self.folder)
            with (
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
                pytest.raises(SystemExit) as end,
            ):
                main(list(args))
        finally:
            os.environ.clear()
            os.environ.update(before)
            os.chdir(folder)
            clear_cache()
        out.seek(0)
        err.seek(0)
        assert isinstance(end.value.code, int)
        return self._result(end.value.code, out.read(), err.read())

    def _result(self, code: int, out: str, err: str) -> Result:
        """Return the result with the home folder shown as ~."""
        return Result(code, out.replace(str(self.home), "~"), err.replace(str(self.home), "~"))


def in_words(result: Result, code: int = 1) -> tuple[str, str]:
    """Return the message and the hint of a failed command, and check that it printed nothing else."""
    found = re.fullmatch(r"\n?encenv: error: ((?:.|\n  )+)\nencenv: hint: (.+)\n", result.err)
    assert found, result
    assert (result.code, result.out) == (code, "")
    assert CANARY not in result.err
    return found[1], found[2]


def without_coverage(environ: Mapping[str, str]) -> dict[str, str]:
    """Return *environ* for a child whose imports or time are looked at: coverage has modules of its own."""
    return {name: value for name, value in environ.items() if name != COVERAGE_VARIABLE}


def on_a_terminal(workspace: Workspace, answers: Sequence[tuple[str, str]], *args: str) -> tuple[int, str]:
    """Run the program on a terminal; return code and screen. An answer is typed once its text is on the screen."""
    import pty  # not on Windows, where the tests of loading run without it

    child, terminal = pty.fork()
    if child == 0:
        os.chdir(workspace.folder)
        os.execve(str(PROGRAM), [str(PROGRAM), *args], workspace.environ)
    screen, waiting = "", [*answers]
    while True:
        if waiting and waiting[0][0] in screen:
            time.sleep(0.1)  # until the echo is off
            os.write(terminal, waiting.pop(0)[1].encode())
        try:
            if select.select([terminal], [], [], 0.1)[0]:
                data = os.read(terminal, 4096)
                if not data:
                    break
                screen += data.decode()
        except OSError:  # the other end is closed
            break
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), screen.replace("\r\n", "\n")


@dataclass
class Step:
    """A command of a script, and the output and exit code that the script says."""

    line: int
    command: str
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    code: int = 0


def read_script(text: str) -> tuple[list[Step], dict[str, str], bool]:
    """Return the steps and the files of a script, and whether it needs a KMS."""
    script, *rest = re.split(r"^-- (.+) --\n", text, flags=re.MULTILINE)
    steps: list[Step] = []
    step: Step | None = None
    for number, line in enumerate(script.split("\n")[1:], start=2):
        if line.startswith("$ "):
            step = Step(number, line[2:])
            steps.append(step)
        elif step is not None and (code := re.fullmatch(r"\[exit (\d+)\]", line)):
            step.code = int(code[1])
        elif step is not None and line.startswith("2> "):
            step.err.append(line[3:])
        elif step is not None:
            step.out.append(line)
    for step in steps:  # an empty line ends the output, unless more of it follows
        if "" in step.out and not step.command.endswith(("help", "-h")):
            del step.out[step.out.index("") :]
        while step.out and not step.out[-1]:
            step.out.pop()
    return steps, dict(zip(rest[::2], rest[1::2], strict=True)), "\n[kms]\n" in script


def matches(lines: list[str], text: str) -> bool:
    """Return whether *text* matches the *lines* of a script."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else re.escape(line).replace(r"\*", ".*") + r"\n" for line in lines
    )
    return re.fullmatch(pattern, text if text.endswith("\n") or not text else text + "\n") is not None


def perform(workspace: Workspace, kms: KmsServer | None, command: str) -> Result:
    """Run one command of a script."""
    if command.startswith("export "):
        name, _, value = command.removeprefix("export ").partition("=")
        workspace.environ[name] = value.replace("$PWD", str(workspace.folder))
        return Result(0, "", "")
    if command.startswith("kms ") and kms is not None:
        verb, *args = (
            workspace.environ.get(word[1:], word) if word[0] == "$" else word for word in command.split()[1:]
        )
        answer = getattr(kms, verb)(*args)
        return Result(0, "" if answer is None else f"{answer}\n", "")
    if re.match(r"encenv(?! run)", command) and not re.search(r"[|<>&;*`{(]", command):
        return workspace.call(
            *(workspace.environ.get(w[1:], w) if w[:1] == "$" else w for w in shlex.split(command)[1:])
        )
    return workspace.shell(command)
