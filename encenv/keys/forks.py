"""A fork, and the end of the program, wait for what other threads are in the middle of: an import, or cryptography."""

import atexit
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

WAIT_SECONDS = 5.0  # boto3's import takes 0.2, or some where the CPU is throttled
POLL_SECONDS = 0.002
_FOR_EVER = 86_400.0

_importing: list[int] = []  # the threads that a fork waits for
_left: frozenset[threading.Thread] = frozenset()  # those that the end of the program leaves where they are


@contextmanager
def fork_waits() -> Iterator[None]:
    """Make a fork by another thread, and the end of the program, wait for this block, but not for ever.

    What one thread imports while another forks is never finished in the child, which would hang when it imports
    the same: the lock of that module belongs to a thread that does not exist there. At its end, Python up to 3.13
    ends a daemon thread wherever it is; in the middle of cryptography's Rust code, that aborts the whole process.
    """
    thread = threading.get_ident()
    is_inner = thread in _importing
    _importing.append(thread)
    while (
        not is_inner and threading.current_thread() in _left
    ):  # the program is ending, and this thread with it
        if thread in _importing:
            _importing.remove(thread)
        time.sleep(_FOR_EVER)
    try:
        yield
    finally:
        _importing.remove(thread)


def _wait() -> None:
    own, until = threading.get_ident(), time.monotonic() + WAIT_SECONDS
    while any(thread != own for thread in list(_importing)) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)


def _at_end() -> None:
    global _left  # noqa: PLW0603 (said once, of the threads that are there)
    # Not those that begin later: what a program loads while it ends is waited for.
    _left = frozenset(threading.enumerate()) - {threading.current_thread()}
    _wait()


def _after_fork_in_child() -> None:
    global _left  # noqa: PLW0603 (a child's end is its own)
    own = threading.get_ident()
    _importing[:] = [thread for thread in _importing if thread == own]
    _left = frozenset()


atexit.register(_at_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_wait, after_in_child=_after_fork_in_child)
