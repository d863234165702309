"""Who has to be told that this process is written down as a snapshot, and that it has been restored from one.

AWS Lambda SnapStart starts many processes from one image of the first: a secret in that image would be on a disk. Its
runtime client calls what is registered with the module ``snapshot_restore_py``.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress

# AWS Lambda Developer Guide, "Defined runtime environment variables".
_KIND = ("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")


def on_snapshot(
    before: Callable[[], None],
    after: Callable[[], None] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Have *before* called before a snapshot of this process, and *after* after it was restored, if there will be one.

    Where several register, the last one is called first before a snapshot, and last after a restore.
    """
    if environ.get(_KIND[0]) != _KIND[1]:
        return
    with suppress(ImportError):
        # A lazy door: only where there will be a snapshot does the runtime bring this module along.
        from snapshot_restore_py import (  # type: ignore[import-untyped]
            register_after_restore,
            register_before_snapshot,
        )

        register_before_snapshot(before)
        if after is not None:
            register_after_restore(after)
