"""Start cold processes in turn, and measure their time from the outside.

The programs of a run take turns, so that other work of the machine slows all of them alike. The first round is not
counted, because it reads files into memory and writes bytecode.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

PROGRAMS = Path(__file__).parent / "programs"
# All that the programs get of this process's environment: nothing of what a shell may have set for Python, for OpenSSL
# or for AWS; and few variables, as a Lambda function has.
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")


@dataclass(frozen=True)
class Program:
    """A command, and the environment that it runs in.

    Attributes:
        name: Its name in the results.
        command: Its arguments, the program's own path first.
        environ: All of its environment.
        expected: The output that it must print; None for any.
    """

    name: str
    command: Sequence[str]
    environ: Mapping[str, str]
    expected: str | None = None

    @classmethod
    def of(cls, name: str, file: str, environ: Mapping[str, str], expected: str) -> "Program":
        """Return the program in *file* of the folder ``programs``."""
        return cls(name, [sys.executable, str(PROGRAMS / file)], environ, expected)


def base_environ() -> dict[str, str]:
    """Return the few variables of this process that the programs get."""
    return {name: os.environ[name] for name in KEPT if name in os.environ}


def run_once(program: Program, output: Path) -> tuple[float, float]:
    """Run *program* and return its milliseconds, and those of the processor.

    Raises:
        RuntimeError: If it fails or prints something else.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [
        (os.POSIX_SPAWN_OPEN, 1, str(output), flags, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, f"{output}.err", flags, 0o600),
    ]
    path = shutil.which(program.command[0]) or program.command[0]
    began = time.perf_counter()
    # vfork and exec: how large this process is makes no difference.
    child = os.posix_spawn(path, program.command, program.environ, file_actions=actions)
    _, status, usage = os.wait4(child, 0)
    elapsed = time.perf_counter() - began
    if os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"{program.name} failed: {Path(f'{output}.err').read_text()[-2000:]}")
    if program.expected is not None and output.read_text().strip() != program.expected:
        raise RuntimeError(f"{program.name} did not do its work: it printed {output.read_text()!r}")
    return elapsed * 1000, (usage.ru_utime + usage.ru_stime) * 1000


def measure(programs: Sequence[Program], rounds: int) -> dict[str, Any]:
    """Run all *programs* in turn, one time to warm up and *rounds* times for the results, in milliseconds."""
    times: dict[str, list[tuple[float, float]]] = {program.name: [] for program in programs}
    failures: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds + 1):
            for index in range(len(programs)):
                program = programs[(index + turn) % len(programs)]  # another one is first in each round
                if program.name in failures:
                    continue
                try:
                    taken = run_once(program, Path(folder, "output"))
                except RuntimeError as error:
                    failures[program.name] = str(error)
                    print(f"  {error}", file=sys.stderr, flush=True)
                    continue
                if turn:
                    times[program.name].append(taken)
    results: dict[str, Any] = {name: {"failed": failure} for name, failure in failures.items()}
    whole = {name: taken for name, taken in times.items() if name not in failures}
    clock, cpu = ({name: [one[kind] for one in taken] for name, taken in whole.items()} for kind in (0, 1))
    by_clock, by_cpu = compared(clock), compared(cpu)
    for name in whole:
        results[name] = by_clock[name] | {
            f"cpu_{what}": by_cpu[name][what]
            for what in ("median", "overhead", "ratio")
            if what in by_cpu[name]
        }
    return results


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Return the median, the quartiles, the minimum and the number of *values*."""
    low, middle, high = _quartiles(values)
    rounded = {"median": middle, "q1": low, "q3": high, "min": min(values)}
    return {name: round(value, 3) for name, value in rounded.items()} | {"n": len(values)}


def compared(
    times: Mapping[str, Sequence[float]], *, base: str = "plaintext", rival: str = "boto3 envelope"
) -> dict[str, dict[str, Any]]:
    """Return the `summary` of each program's *times*, its overhead over *base*, and the ratio of that to *rival*'s.

    The overhead is the median, with quartiles, of the differences to *base* in the same round. The machine's speed
    changes within minutes, and the runs of a round are seconds apart.
    """
    results = {name: summary(taken) for name, taken in times.items()}
    if base not in times:
        return results
    for name, taken in times.items():
        over = [one - of_base for one, of_base in zip(taken, times[base], strict=True)]
        for what, value in zip(("overhead_q1", "overhead", "overhead_q3"), _quartiles(over), strict=True):
            results[name][what] = round(value, 3)
    against = results.get(rival, {}).get("overhead", 0.0)
    for result in results.values() if against > 0 else ():
        result["ratio"] = round(result["overhead"] / against, 4)
    return results


def _quartiles(values: Sequence[float]) -> list[float]:
    return quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
