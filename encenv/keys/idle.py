"""Work for the time in which a thread has sent its question and waits for the answer.

It belongs to the thread: a key provider has nothing to pass on, nor has one that an application made out of another.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_here = threading.local()


@contextmanager
def idle_work(work: Callable[[], None]) -> Iterator[None]:
    """Have *work* done the first time that this thread is `idle` in the block, if it ever is."""
    _here.work = work
    try:
        yield
    finally:
        _here.work = None


def idle() -> None:
    """Do what there is to do: all that the answer needs is sent, and it is not looked for yet."""
    work, _here.work = getattr(_here, "work", None), None
    if work is not None:
        work()
