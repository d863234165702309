"""Measure encenv and comparable tools: ``python tests/benchmarks``. This needs Python, pip's index, and npm for one
tool.

The tools are installed in the folder ``work``, which git ignores; the results are in ``results.json``.
"""

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WORK = HERE / "work"
RESULTS = HERE / "results.json"
PARTS = ("cold", "instructions", "limited", "commands", "scale", "size")
ROUNDS = 21
QUICK_ROUNDS = 3


def main() -> None:
    """Run the chosen parts; report a part that fails, and go on with the others."""
    parser = argparse.ArgumentParser("python tests/benchmarks", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them (all)")
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, metavar="N", help=f"how often each is run ({ROUNDS})"
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds: to see that it runs")
    options = parser.parse_args()
    parts = options.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    rounds = QUICK_ROUNDS if options.quick else options.rounds
    if rounds < 1:
        parser.error("--rounds must be at least 1")
    WORK.mkdir(exist_ok=True)
    if Path(sys.prefix).resolve() != (WORK / "venv").resolve():
        _start_again()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the servers must not outlive us
    done = [_run(part, rounds) for part in parts]  # all of them, even if one fails
    raise SystemExit(not all(done))


def _start_again() -> None:
    """Continue in a virtual environment that has this encenv, installed as users install it, and the other tools."""
    python = WORK / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", WORK / "venv"], check=True)
    install = [python, "-m", "pip", "install", "-q"]
    subprocess.run([*install, f"{ROOT}[bench]"], check=True)
    subprocess.run(
        [*install, "--force-reinstall", "--no-deps", ROOT], check=True
    )  # the version has not changed
    os.execv(python, [str(python), str(HERE), *sys.argv[1:]])


def _run(part: str, rounds: int) -> bool:
    machine = importlib.import_module("machine")
    print(part, flush=True)
    found: dict[str, object] = {"machine": machine.describe(), "rounds": rounds}
    try:
        module = importlib.import_module(part)
        found |= {"title": module.TITLE, "results": module.measure(rounds, WORK)}
    except Exception:  # noqa: BLE001 (a peer that could not be had must not take the others with it)
        found["failed"] = traceback.format_exc(limit=-3)
        print(found["failed"], file=sys.stderr)
    found["load_after"] = [round(load, 2) for load in os.getloadavg()]
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[part] = found
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    return "failed" not in found


if __name__ == "__main__":
    main()
