"""Measure the time to open the system's store of certificate authorities; the other measurements use a small one of
ours.

Each time is from a separate process, in which this is the first use of OpenSSL; only the opening is measured. No server
with a certificate of Amazon is called, so this is not a whole start: it is what a start at AWS takes beyond the times
over TLS in the table, where `AWS_CA_BUNDLE` names a file of one authority.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from processes import PROGRAMS, base_environ, summary

VARIANTS = ("single", "encenv", "amazon", "bundle", "hashed", "default")


def measure(rounds: int, work: Path) -> dict[str, Any]:
    """Return, for each way to open the store, its milliseconds, or why this machine cannot measure it."""
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    missing: dict[str, str] = {}
    for turn in range(rounds + 1):
        for name in VARIANTS:
            if name in missing:
                continue
            command = [sys.executable, str(PROGRAMS / "ca_store.py"), name, str(work)]
            done = subprocess.run(command, env=base_environ(), capture_output=True, text=True, check=False)
            if done.returncode:
                missing[name] = done.stderr.strip().splitlines()[-1]
            elif turn:
                times[name].append(json.loads(done.stdout))
    return {name: {"failed": missing[name]} if name in missing else summary(times[name]) for name in VARIANTS}
