"""Make forks, exits and snapshots of the process safe, and list all state that the process shares.

AWS Lambda SnapStart starts many processes from one snapshot of the first one's memory. A secret in that memory would be
on a disk, so data keys and settings are dropped before a snapshot and loaded again after it.

The state below belongs to the process, not to an object. A test compares this list with the source code. Forked
children and snapshots keep the state unless the list says otherwise.

- `keys.process_safety._guarded`: the threads that run a `fork_waits` block. A child keeps its own thread only.
- `keys.process_safety._forking`: the threads that fork right now. A child starts with none.
- `keys.process_safety._exiting`: the threads that must not start a `fork_waits` block while the program exits.
  A child starts with none.
- `keys.unwrap._cache`: the data keys, so that each is unwrapped once, and the running attempts. A child keeps the keys and
  forgets the attempts, whose threads it does not have. Empty in a snapshot.
- `keys.aws.client._thread`: whether this thread is calling boto3, whose debug records would show plaintext. A filter
  that stays on botocore's loggers reads it.
- `load.reader_session.loading`: the running load of a settings class, for sources that pydantic-settings creates. Set only
  while a load runs, in its thread or task.
- `load.snapstart._objects`: the settings objects to empty before a snapshot and to load again after it. Filled only
  in a process that is written to a snapshot.
- `load.snapstart._in_init`: the settings objects whose ``__init__`` is running. Empty otherwise.
- `policy.file_globs._regex`: compiled patterns of ``files =``, by their texts.
- `cli.terminal._is_quiet`, `cli.terminal._has_bar`: the option ``--quiet``, and whether a progress bar is on the
  terminal. Only a command sets them.
"""

import atexit
import importlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

WAIT_SECONDS = 5.0  # importing boto3 takes 0.2, or a few where the CPU is throttled
POLL_SECONDS = 0.002
SNAPSHOT_SECONDS = 30.0  # for all threads that unwrap, which have deadlines of their own
THREAD_PREFIX = "encenv-"  # the names of our threads that unwrap begin with this
# AWS Lambda Developer Guide, "Defined runtime environment variables".
_SNAPSTART = ("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")

_guarded: list[int] = []
_forking: list[int] = []
_exiting: frozenset[threading.Thread] = frozenset()


@contextmanager
def fork_waits() -> Iterator[None]:
    """Make fork() and interpreter exit wait for this block when it runs in another thread, for a limited time.

    If one thread forks while another imports a module, the child hangs when it imports the same module: the module's
    lock belongs to a thread that the child does not have. The same holds for the locks of OpenSSL, so nothing signs or
    speaks TLS while another thread forks. At exit, Python up to 3.13 stops daemon threads anywhere; in the Rust code of
    cryptography, that aborts the whole process.
    """
    thread = threading.get_ident()
    is_inner = thread in _guarded
    _guarded.append(thread)  # before looking, so that at least one of two threads sees the other
    while not is_inner and _must_wait(thread):
        _guarded.remove(thread)
        time.sleep(POLL_SECONDS)
        _guarded.append(thread)
    try:
        yield
    finally:
        _guarded.remove(thread)


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


def has_snapshot(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether this process is to be written to a snapshot, or was restored from one."""
    return environ.get(_SNAPSTART[0]) == _SNAPSTART[1]


def on_snapshot(before: Callable[[], None], after: Callable[[], None] | None = None) -> None:
    """Call *before* before a snapshot of this process and *after* when it is restored; do nothing without SnapStart.

    If several callers register, the last one's *before* is called first and its *after* last. No thread unwraps while
    *before* runs, because the frames of such a thread may hold a data key.
    """
    if not has_snapshot():
        return
    try:
        # Only the runtime of Lambda has this module, and only SnapStart calls the hooks.
        from snapshot_restore_py import (  # type: ignore[import-untyped]
            register_after_restore,
            register_before_snapshot,
        )
    except ImportError:  # nothing calls hooks here
        return
    register_before_snapshot(_call_without_threads, before)
    if after is not None:
        register_after_restore(after)


def _call_without_threads(before: Callable[[], None]) -> None:
    until = time.monotonic() + SNAPSHOT_SECONDS
    for thread in threading.enumerate():
        if thread.name.startswith(THREAD_PREFIX):
            thread.join(max(0.0, until - time.monotonic()))
    before()


def _must_wait(own: int) -> bool:
    return any(thread != own for thread in list(_forking)) or threading.current_thread() in _exiting


def _wait_for_others() -> None:
    own, until = threading.get_ident(), time.monotonic() + WAIT_SECONDS
    while any(thread != own for thread in list(_guarded)) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)


def _before_fork() -> None:
    _forking.append(threading.get_ident())
    _wait_for_others()


def _after_fork_in_parent() -> None:
    _forking.remove(threading.get_ident())


def _after_fork_in_child() -> None:
    global _exiting  # noqa: PLW0603 (a child exits by itself)
    own = threading.get_ident()
    _guarded[:] = [thread for thread in _guarded if thread == own]
    _forking.clear()
    _exiting = frozenset()


def _at_exit() -> None:
    global _exiting  # noqa: PLW0603 (set once)
    # Threads that exit handlers start later may still enter such a block.
    _exiting = frozenset(threading.enumerate()) - {threading.current_thread()}
    _wait_for_others()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
