"""Limit a process to a share of one processor, as AWS Lambda does, with the CPU quota of a control group.

Only the processor is limited, not the memory. Lambda's share grows with the memory: 1,769 MB are one processor (AWS
Lambda Developer Guide, "Configure Lambda function memory").
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MB_PER_PROCESSOR = 1769
PERIOD = 20_000  # microseconds. Short, so that it matters little where in a period a process begins
ROOT = Path("/sys/fs/cgroup")


class NoLimitError(RuntimeError):
    """Raised if no limit can be set on this machine; the text says why."""


@contextmanager
def processor_of(megabytes: int) -> Iterator[list[str]]:
    """Make a control group, and yield the words that start a command in it.

    Raises:
        NoLimitError: If that is not allowed here.
    """
    quota = PERIOD * megabytes // MB_PER_PROCESSOR
    is_v2 = (ROOT / "cgroup.controllers").exists()
    group = (ROOT if is_v2 else ROOT / "cpu") / f"encenv-benchmark-{os.getpid()}-{megabytes}"
    try:
        group.mkdir()
        if is_v2:
            (group / "cpu.max").write_text(f"{quota} {PERIOD}")
        else:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        raise NoLimitError(f"no control group can be made here: {error.strerror}") from None
    try:
        yield ["/bin/sh", "-c", 'echo $$ >"$0" && exec "$@"', str(group / "cgroup.procs")]
    finally:
        with suppress(OSError):  # a process that is still ending
            group.rmdir()
