"""A fork waits for the imports that other threads are in the middle of."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

WAIT_SECONDS = 5.0  # boto3's import takes 0.2, or some where the CPU is throttled
POLL_SECONDS = 0.002

_importing: list[int] = []  # the threads that a fork waits for


@contextmanager
def fork_waits() -> Iterator[None]:
    """Make a fork by another thread wait for this block, which imports something, but not for ever.

    What one thread imports while another forks is never finished in the child, which would hang when it imports
    the same: the lock of that module belongs to a thread that does not exist there.
    """
    thread = threading.get_ident()
    _importing.append(thread)
    try:
        yield
    finally:
        _importing.remove(thread)


def _before_fork() -> None:
    own, until = threading.get_ident(), time.monotonic() + WAIT_SECONDS
    while any(thread != own for thread in list(_importing)) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)


def _after_fork_in_child() -> None:
    own = threading.get_ident()
    _importing[:] = [thread for thread in _importing if thread == own]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
