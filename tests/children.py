"""Python processes of their own, and waiting for what another thread or process does: both bounded in time."""

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping

CHILD_SECONDS = 60  # a child that has not ended by then hangs


def run(
    code: str,
    environ: Mapping[str, str],
    *arguments: str,
    seconds: float = CHILD_SECONDS,
    is_silent: bool = True,
) -> str:
    """Run *code* in a Python of its own and return what it printed; it says nothing besides, if *is_silent*."""
    strict = ["-W", "error", "-W", "ignore::DeprecationWarning"]
    child = subprocess.run(
        [sys.executable, *strict, "-c", textwrap.dedent(code), *arguments],
        env=environ,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert not is_silent or child.stderr == ""
    return child.stdout


def wait_until(true: Callable[[], object]) -> None:
    """Wait until *true* is."""
    deadline = time.monotonic() + CHILD_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)
