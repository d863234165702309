"""Count the instructions that cold processes execute, with valgrind: other work of the machine does not change them.

Waiting is not counted. A millisecond of work has some four million instructions here. On a busy machine a ratio of
instructions is more reliable than a ratio of times.
"""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from cold import stage
from processes import Program

TITLE = "Cold start, in instructions"
# Which programs, by the number of secrets; the one with plaintext first, and the one with boto3 last.
WHICH = {
    20: ("plaintext", "encenv", "floor", "boto3 envelope"),
    100: ("plaintext", "encenv", "floor"),
}
_COLLECTED = re.compile(r"Collected : (\d+)")


def measure(rounds: int, work: Path) -> dict[str, Any]:
    """Return, by place and program, millions of instructions, and how many more they are than the plaintext program's."""
    if shutil.which("valgrind") is None:
        raise RuntimeError("valgrind is not installed; it is in most systems' packages")
    results: dict[str, Any] = {}
    with stage(tuple(WHICH)) as ready:
        for count, names in WHICH.items():
            for scheme in ("http", "tls"):
                title = f"{count} secrets, {scheme}"
                print(f"  {title}", flush=True)
                programs = {one.name: one for one in ready.programs(count, scheme, 0.0)}
                found = {name: {"millions": _counted(programs[name])} for name in names}
                for one in found.values():
                    one["overhead"] = one["millions"] - found["plaintext"]["millions"]
                if "boto3 envelope" in found:
                    for one in found.values():
                        one["ratio"] = one["overhead"] / found["boto3 envelope"]["overhead"]
                results[title] = found
    return results


def _counted(program: Program) -> float:
    subprocess.run(program.command, env=program.environ, check=True, capture_output=True)  # writes bytecode
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *program.command]
    done = subprocess.run(command, env=program.environ, check=True, capture_output=True, text=True)
    return int(_COLLECTED.search(done.stderr)[1]) / 1e6
