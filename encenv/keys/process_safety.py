"""A fork, and the end of the program, wait for what other threads are in the middle of: an import, or cryptography."""

import atexit
import importlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

WAIT_SECONDS = 5.0  # boto3's import takes 0.2, or some where the CPU is throttled
POLL_SECONDS = 0.002

_importing: list[int] = []  # the threads that a fork waits for
_forking: list[int] = []  # the threads that fork just now
_left: frozenset[threading.Thread] = frozenset()  # those that the end of the program leaves where they are


@contextmanager
def fork_waits() -> Iterator[None]:
    """Make a fork by another thread, and the end of the program, wait for this block, but not for ever.

    What one thread imports while another forks is never finished in the child, which would hang when it imports
    the same: the lock of that module belongs to a thread that does not exist there. So it is with OpenSSL's locks:
    nothing that signs, or speaks TLS, may be in the middle of it. At its end, Python up to 3.13 ends a daemon thread
    wherever it is; in the middle of cryptography's Rust code, that aborts the whole process.
    """
    thread = threading.get_ident()
    is_inner = thread in _importing
    _importing.append(thread)  # before looking, so that one of the two sees the other
    while not is_inner and _is_held(thread):
        _importing.remove(thread)
        time.sleep(POLL_SECONDS)
        _importing.append(thread)
    try:
        yield
    finally:
        _importing.remove(thread)


class _LazyModule:
    """A module that is imported when one of its names is first used."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._module: object = None  # once it is imported

    def __getattr__(self, name: str) -> object:
        if self._module is None:
            with fork_waits():
                self._module = importlib.import_module(self._name)
        return getattr(self._module, name)


def lazily(name: str) -> _LazyModule:
    """Return the module *name*, to be imported when one of its names is first used.

    Every start of a program pays for what it imports, and most programs use only a part: without an encrypted value,
    no cryptography; without a failure, no texts of errors. The import itself runs in `fork_waits`. The type
    checker needs an ordinary import beside it:

        if TYPE_CHECKING:
            from encenv.load import safe_errors
        else:
            safe_errors = lazily("encenv.load.safe_errors")

    Args:
        name: The full name of the module, as a literal: the architecture test reads it.
    """
    return _LazyModule(name)


def _is_held(own: int) -> bool:
    return any(thread != own for thread in list(_forking)) or threading.current_thread() in _left


def _wait() -> None:
    own, until = threading.get_ident(), time.monotonic() + WAIT_SECONDS
    while any(thread != own for thread in list(_importing)) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)


def _before_fork() -> None:
    _forking.append(threading.get_ident())
    _wait()


def _after_fork() -> None:
    _forking.remove(threading.get_ident())


def _after_fork_in_child() -> None:
    global _left  # noqa: PLW0603 (a child's end is its own)
    own = threading.get_ident()
    _importing[:] = [thread for thread in _importing if thread == own]
    _forking.clear()
    _left = frozenset()


def _at_end() -> None:
    global _left  # noqa: PLW0603 (said once, of the threads that are there)
    # Not those that begin later: what a program loads while it ends is waited for.
    _left = frozenset(threading.enumerate()) - {threading.current_thread()}
    _wait()


atexit.register(_at_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
