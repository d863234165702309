"""What it costs to open the default store of certificate authorities: in the other measurements there is one of ours.

In a process of its own each time, as the first thing that OpenSSL does there; only the opening is timed. A server with
a certificate of Amazon's is not asked, so this is no whole start: it is what a start at AWS has on top of those over TLS
in the table, where `AWS_CA_BUNDLE` names a file of one authority.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from processes import PROGRAMS, base_environ, summary

VARIANTS = ("single", "encenv", "amazon", "bundle", "hashed", "default")


def measure(rounds: int, work: Path) -> dict[str, Any]:
    """Return for each way to open the store its milliseconds, or why it is not to be had here."""
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
