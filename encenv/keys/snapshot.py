"""What has to be done before this process is written down as a snapshot, and after it was restored from one.

AWS Lambda SnapStart starts many processes from one image of the first: a secret in that image would be on a disk. Its
runtime client calls what is registered with the module ``snapshot_restore_py``.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping

# AWS Lambda Developer Guide, "Defined runtime environment variables".
_KIND = ("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
_THREADS = "encenv-"  # what the names of our threads begin with: all of them unwrap
WAIT_SECONDS = 30.0  # for these, all together; each has a deadline of its own


def snapshot_comes(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether this process is one that a snapshot is taken of, or was."""
    return environ.get(_KIND[0]) == _KIND[1]


def on_snapshot(before: Callable[[], None], after: Callable[[], None] | None = None) -> None:
    """Have *before* called before a snapshot of this process, and *after* after it was restored, if there will be one.

    Where several register, the last one is called first before a snapshot, and last after a restore. No thread of
    ours still runs when *before* is called: in its frames, too, there may be a data key.
    """
    if not snapshot_comes():
        return
    try:
        # A lazy door: only where there will be a snapshot does the runtime bring this module along.
        from snapshot_restore_py import (  # type: ignore[import-untyped]
            register_after_restore,
            register_before_snapshot,
        )
    except ImportError:  # nothing calls hooks here
        return
    register_before_snapshot(_settled, before)
    if after is not None:
        register_after_restore(after)


def _settled(before: Callable[[], None]) -> None:
    until = time.monotonic() + WAIT_SECONDS
    for thread in threading.enumerate():
        if thread.name.startswith(_THREADS):
            thread.join(max(0.0, until - time.monotonic()))
    before()
