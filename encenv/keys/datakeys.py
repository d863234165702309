"""Each wrapped data key is unwrapped once per process. The only process-wide state is here.

Single flight: of the threads that want one wrapped copy at one time, one asks the provider and the others wait
for its answer. No lock is held while anybody is asked, so a fork never inherits one that is never released; a
child keeps what was finished and forgets what was under way. A failure is not kept.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from encenv.errors import EncenvError, KeyRefusedError, KeyUnreachableError
from encenv.format.envelope import DataKey
from encenv.format.sealed import WrappedKey, canonical, encryption_context, kid_of
from encenv.keys.provider import KeyProvider

FindProvider = Callable[[str], KeyProvider]


@dataclass(frozen=True, slots=True)
class WrappedCopy:
    """One wrapped copy with all that decides what it unwraps to; equal copies are unwrapped once.

    Attributes:
        item: Provider, wrapped bytes and reference.
        context: The pairs of its key entry.
        commitment: 32 bytes: the data key that it must unwrap to.
    """

    item: WrappedKey
    context: tuple[tuple[str, str], ...]
    commitment: bytes

    def _key(self) -> tuple[WrappedKey, bytes, bytes]:
        return self.item, canonical(encryption_context(self.context)), self.commitment


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """A data key and how it was come by: the provider's name, seconds waited, whether it was there already."""

    key: DataKey
    provider: str
    seconds: float
    cached: bool


@dataclass(slots=True)
class _Flight:
    landed: threading.Event = field(default_factory=threading.Event)
    result: DataKey | EncenvError | None = None


_CacheKey = tuple[WrappedKey, bytes, bytes]
_guard = threading.Lock()
_finished: dict[_CacheKey, DataKey] = {}
_flights: dict[_CacheKey, _Flight] = {}


def clear_cache() -> None:
    """Forget every data key of this process; the next load unwraps again."""
    with _guard:
        _finished.clear()
        _flights.clear()


def unwrap(
    groups: Sequence[Sequence[WrappedCopy]], find: FindProvider, seconds: float
) -> "list[Unwrapped | EncenvError]":
    """Unwrap one data key for each group of copies, all groups side by side.

    Args:
        groups: For each data key its copies, in the order in which they are tried; at least one each.
        find: Gives the provider of a name.
        seconds: How long all of it may take.

    Returns:
        For each group the data key, or why it could not be unwrapped.
    """
    deadline = time.monotonic() + seconds
    results: list[Unwrapped | EncenvError | None] = [_kept(group) for group in groups]
    threads = []
    for index, result in enumerate(results):
        if result is None:
            # A thread, even for one key: whatever a provider waits for, the deadline holds and Ctrl-C is heard.
            thread = threading.Thread(
                target=_work,
                args=(results, index, groups[index], find, deadline),
                name="encenv-unwrap",
                daemon=True,
            )
            thread.start()
            threads.append(thread)
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [result or _too_late(groups[index], seconds) for index, result in enumerate(results)]


def _kept(group: Sequence[WrappedCopy]) -> Unwrapped | None:
    with _guard:
        for copy in group:
            if (key := _finished.get(copy._key())) is not None:  # noqa: SLF001 (this module's own)
                return Unwrapped(key, copy.item.provider, 0.0, cached=True)
    return None


def _work(
    results: "list[Unwrapped | EncenvError | None]",
    index: int,
    group: Sequence[WrappedCopy],
    find: FindProvider,
    deadline: float,
) -> None:
    started = time.monotonic()
    failures = []
    for copy in group:
        result = _single_flight(copy, find, deadline)
        if isinstance(result, DataKey):
            results[index] = Unwrapped(result, copy.item.provider, time.monotonic() - started, cached=False)
            return
        failures.append(result)
    results[index] = _none_opened(group, failures)


def _single_flight(copy: WrappedCopy, find: FindProvider, deadline: float) -> DataKey | EncenvError:
    key = copy._key()  # noqa: SLF001 (this module's own)
    with _guard:
        if key in _finished:
            return _finished[key]
        flight = _flights.get(key)
        leads = flight is None
        if flight is None:
            flight = _flights[key] = _Flight()
    if leads:
        flight.result = _ask(copy, find, deadline)
        with _guard:
            # Not after clear_cache(), nor if a fork made this flight another process's.
            if _flights.get(key) is flight:
                del _flights[key]
                if isinstance(flight.result, DataKey):
                    _finished[key] = flight.result
        flight.landed.set()
    else:
        flight.landed.wait(max(0.0, deadline - time.monotonic()))
    return flight.result or _late(copy)


def _ask(copy: WrappedCopy, find: FindProvider, deadline: float) -> DataKey | EncenvError:
    try:
        timeout = deadline - time.monotonic()
        if timeout <= 0:
            return _late(copy)
        plain = find(copy.item.provider).unwrap(copy.item, encryption_context(copy.context), timeout)
        data_key = DataKey(plain)
        if data_key.matches(copy.commitment):
            return data_key
        return KeyRefusedError(
            f"{_shown(copy)} holds another data key than its key entry says",
            hint="restore the key entry from version control",
        )
    except EncenvError as error:
        return error.of()
    except Exception as error:  # noqa: BLE001 (a plug-in may raise anything, and its text may hold a key)
        return KeyRefusedError(
            f"{_shown(copy)} could not be unwrapped: the provider raised {type(error).__name__}",
            hint="see the documentation of the key provider",
        )


def _none_opened(group: Sequence[WrappedCopy], failures: "list[EncenvError]") -> EncenvError:
    if len(failures) == 1:
        return failures[0]
    # A laptop's key beside a server's is the common case: what the server says matters more than "no key file".
    told = next(
        (f for copy, f in zip(group, failures, strict=True) if copy.item.provider != "local"), failures[0]
    )
    message = "; ".join(failure.message for failure in failures)
    return type(told)(f"no wrapped copy of the data key could be unwrapped: {message}", hint=told.hint)


def _shown(copy: WrappedCopy) -> str:
    return f"the copy of data key {kid_of(copy.commitment)} under {copy.item.provider}:{copy.item.reference}"


def _late(copy: WrappedCopy) -> EncenvError:
    return KeyUnreachableError(
        f"{_shown(copy)} was not unwrapped in time", hint="check the network, or raise unwrap_timeout"
    )


def _too_late(group: Sequence[WrappedCopy], seconds: float) -> EncenvError:
    names = " or ".join(f"{copy.item.provider}:{copy.item.reference}" for copy in group)
    return KeyUnreachableError(
        f"{names} did not unwrap the data key within {seconds:g} seconds",
        hint="check the network, or raise unwrap_timeout",
    )


def _after_fork_in_child() -> None:
    global _guard, _flights  # noqa: PLW0603 (the state of this process, made anew)
    _guard = threading.Lock()
    _flights = {}


if hasattr(os, "register_at_fork"):
    # The lock is held only for a few dictionary look-ups, so waiting for it here cannot take long.
    os.register_at_fork(
        before=lambda: _guard.acquire(),  # noqa: PLW0108 (the lock is made anew in a child)
        after_in_parent=lambda: _guard.release(),  # noqa: PLW0108
        after_in_child=_after_fork_in_child,
    )
