"""Measure the start of a program with 20 decrypted variables: ``encenv run``, ``dotenvx run`` and ``sops exec-env``."""

import json
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from figures import ratio, spread
from peers import ENCENV, WORK, Peers, kms_process

TITLE = "A program started with 20 decrypted variables"
SECRETS = 20
LOCAL, CLOUD = "encenv run, local key", "encenv run, KMS"


@dataclass
class Command:
    """One way to start a program: the words before the program, the folder, and the environment."""

    name: str
    words: list[str]
    folder: Path
    environ: dict[str, str]
    decrypts: bool = True

    def run(self, program: str) -> str:
        """Start *program* and return what it printed."""
        return subprocess.run(
            [*self.words, program],
            cwd=self.folder,
            env=self.environ,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ).stdout

    def seconds(self) -> tuple[float, float]:
        """Return the seconds until a program that does nothing has ended, and the seconds of the processor."""
        before, started = _processor(), time.perf_counter()
        self.run("true")
        return time.perf_counter() - started, _processor() - before


def measure(rounds: int, work: Path) -> dict[str, Any]:
    """Run every command once a round, in turn.

    Returns:
        ``rows``, one for each command: ``median_ms``, ``q1_ms`` and ``q3_ms`` of the whole process, ``cpu_ms`` of the
        processor; ``ratios``, the median over the rounds of encenv's time to each other tool's; ``versions`` of the tools.
    """
    peers = Peers(work)
    versions = peers.install()
    plain = {f"SERVICE_TOKEN_{i:02}": secrets.token_hex(16) for i in range(SECRETS)}
    with tempfile.TemporaryDirectory() as name, kms_process("--tls") as (key, aws):
        commands = _commands(peers, plain, Path(name), key, aws)
        for command in commands:
            _prove(command, plain)
        taken: dict[str, list[tuple[float, float]]] = {command.name: [] for command in commands}
        for turn in range(rounds):
            for index in range(len(commands)):
                command = commands[(index + turn) % len(commands)]  # another one is first in each round
                taken[command.name].append(command.seconds())
    times = {name: [clock for clock, _ in pairs] for name, pairs in taken.items()}
    return {
        "secrets": SECRETS,
        "rounds": rounds,
        "versions": versions,
        "rows": [
            {
                "command": name,
                **spread(seconds),
                "cpu_ms": spread([cpu for _, cpu in taken[name]])["median_ms"],
            }
            for name, seconds in times.items()
        ],
        "ratios": [
            {"of": this, "to": that, "ratio": ratio(times[this], times[that])}
            for this, those in {
                LOCAL: ("dotenvx run", "npx dotenvx run", "sops exec-env, age", "python -c pass"),
                CLOUD: ("sops exec-env, KMS",),
            }.items()
            for that in those
        ],
    }


def _commands(
    peers: Peers, plain: dict[str, str], folder: Path, key: str, aws: dict[str, str]
) -> list[Command]:
    """Encrypt the same variables with each tool, in folders of their own."""
    text = "".join(f"{name}={value}\n" for name, value in plain.items())
    folders = {name: folder / name for name in ("local", "kms", "dotenvx", "sops")}
    for place in folders.values():
        place.mkdir()
        (place / ".env").write_text(text)
    own = peers.environ({"ENCENV_LOCAL_KEY_FILE": str(folder / "local.key")})
    cloud = peers.environ(aws)
    age = peers.environ({"SOPS_AGE_KEY_FILE": str(folder / "age.key")})

    def call(place: Path, environ: dict[str, str], *words: str | Path) -> str:
        done = subprocess.run(words, cwd=place, env=environ, check=True, capture_output=True, text=True)
        return done.stdout

    call(folders["local"], own, ENCENV, "keygen")
    call(folders["local"], own, ENCENV, "encrypt", "--key", "local")
    call(folders["kms"], cloud, ENCENV, "encrypt", "--key", key)
    call(folders["dotenvx"], peers.environ(), peers.dotenvx, "encrypt")
    recipient = peers.age_key(folder / "age.key")
    sops = folders["sops"]
    (sops / "age.env").write_text(call(sops, age, peers.sops, "encrypt", "--age", recipient, ".env"))
    (sops / "kms.env").write_text(call(sops, cloud, peers.sops, "encrypt", "--kms", key, ".env"))

    npx_folder, npx = peers.npx
    encrypted = str(folders["dotenvx"] / ".env")
    return [
        Command("true", ["env"], folder, peers.environ(), decrypts=False),
        Command("python -c pass", [sys.executable, "-c", "pass"], folder, peers.environ(), decrypts=False),
        Command(LOCAL, [str(ENCENV), "run", "--"], folders["local"], own),
        Command(CLOUD, [str(ENCENV), "run", "--"], folders["kms"], cloud),
        Command("sops exec-env, age", [str(peers.sops), "exec-env", "age.env"], sops, age),
        Command("sops exec-env, KMS", [str(peers.sops), "exec-env", "kms.env"], sops, cloud),
        Command("dotenvx run", [str(peers.dotenvx), "run", "--"], folders["dotenvx"], peers.environ()),
        Command("npx dotenvx run", [*npx, "run", "-f", encrypted, "--"], npx_folder, peers.environ()),
    ]


def _processor() -> float:
    """Return the processor seconds of all child processes that have ended, and of their children."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _prove(command: Command, plain: dict[str, str]) -> None:
    """Fail unless *command* passes every secret to the program. This also compiles what a first start compiles."""
    given = dict(line.split("=", 1) for line in command.run("env").splitlines() if "=" in line)
    missing = [name for name, value in plain.items() if given.get(name) != value]
    if missing and command.decrypts:
        raise RuntimeError(f"{command.name} did not hand over {', '.join(missing)}")


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 15, WORK), indent=2))
