"""Child processes that run Python, and waits for another thread or process: both bounded in time."""

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Mapping, Sequence

CHILD_SECONDS = 60  # a child that has not ended by then hangs

# A command that runs another one in which permissions hold for root, too: it drops Linux's CAP_DAC_OVERRIDE,
# CAP_DAC_READ_SEARCH and CAP_FOWNER, capabilities(7). For other users it changes nothing.
_DROP = """
import ctypes, os, sys
if os.geteuid() == 0:
    for capability in (1, 2, 3):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP, prctl(2)
os.execv(sys.argv[1], sys.argv[1:])
"""
WITHOUT_PRIVILEGE = [sys.executable, "-c", _DROP]


def run(
    code: str,
    environ: Mapping[str, str],
    *arguments: str,
    seconds: float = CHILD_SECONDS,
    is_silent: bool = True,
    through: Sequence[str] = (),
) -> str:
    """Run *code* in a new Python process and return its output; if *is_silent*, it must write no errors.

    *through* is a command that runs it, such as `WITHOUT_PRIVILEGE`.
    """
    strict = ["-W", "error", "-W", "ignore::DeprecationWarning"]
    child = subprocess.run(
        [*through, sys.executable, *strict, "-c", textwrap.dedent(code), *arguments],
        env=environ,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert not is_silent or child.stderr == ""
    return child.stdout


def wait_for_encenv_threads() -> None:
    """Wait until no thread of encenv, such as one that asks KMS, runs any more."""
    for thread in threading.enumerate():
        if thread.name.startswith("encenv"):
            thread.join(CHILD_SECONDS)
            assert not thread.is_alive()


def wait_until(true: Callable[[], object]) -> None:
    """Wait until *true* returns something true."""
    deadline = time.monotonic() + CHILD_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)
