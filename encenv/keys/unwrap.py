"""Unwrap the data keys of a load, all side by side, and each with the next of its wrapped keys where one is slow.

A request that is sent although an earlier one may still be answered is called a hedge: an AWS region that hangs
costs one second, and not the load.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from encenv.errors import EncenvError, KeyDeniedError, KeyRefusedError, KeyUnreachableError
from encenv.keys import cache
from encenv.keys.cache import Attempt
from encenv.keys.cache import UnwrapRequest as UnwrapRequest  # noqa: PLC0414 (callers make them)
from encenv.keys.process_safety import fork_waits
from encenv.keys.provider import KeyProvider

if TYPE_CHECKING:
    from encenv.format.envelope import DataKey

FindProvider = Callable[[str], KeyProvider]

SECONDS_MAX = 86_400.0  # threading limits how long a thread may wait, and infinity is beyond that
HEDGE_SECONDS = 1.0  # a key provider that has not answered by then is slow, wherever it is


class UnwrapResult:
    """A data key and where it is from.

    Attributes:
        key: The data key.
        provider: The name of the provider that unwrapped it.
        cached: Whether this call asked no provider: the key was there, or another thread was already asking for it.
    """

    def __init__(self, key: "DataKey", provider: str, *, cached: bool) -> None:
        self.key, self.provider, self.cached = key, provider, cached


def unwrap(
    groups: Sequence[Sequence[UnwrapRequest]],
    find: FindProvider,
    seconds: float,
    hedge_delay: float = HEDGE_SECONDS,
) -> list[UnwrapResult | EncenvError]:
    """Unwrap one data key for each group of wrapped keys, all groups side by side.

    Args:
        groups: For each data key its wrapped keys, in the order in which they are tried; at least one each.
        find: Returns the provider of a name.
        seconds: How long all of it may take.
        hedge_delay: After how many seconds without an answer the next wrapped key is tried as well. One that has
            failed is not waited for.

    Returns:
        For each group the data key, or why it could not be unwrapped.
    """
    call = _Call(find, seconds, hedge_delay)
    unwraps = [_HedgedUnwrap(group, call) for group in groups]
    running = [one for one in unwraps if not one.is_over()]
    while running and (now := time.monotonic()) < call.deadline:
        call.event.clear()  # before looking, so that an attempt that finishes meanwhile is not missed
        for one in running:
            one.advance(now)
        running = [one for one in running if not one.is_over()]
        if running:
            until = min(call.deadline, *(one.next_at() for one in running))
            # This thread only ever waits here: whatever a provider does, the deadline holds and Ctrl-C is heard.
            call.event.wait(max(0.0, until - time.monotonic()))
    for one in unwraps:
        one.settle()
    return [one.result() or one.failure(seconds) for one in unwraps]


class _Call:
    """What the data keys of one call of `unwrap` share: the deadline, the providers, and the event that wakes it."""

    def __init__(self, find: FindProvider, seconds: float, hedge_delay: float) -> None:
        self.deadline = time.monotonic() + min(seconds, SECONDS_MAX)
        self.hedge_delay = hedge_delay
        self.event = threading.Event()
        self._find = find
        self._providers: dict[str, KeyProvider] = {}

    def attempt(self, request: UnwrapRequest) -> tuple[Attempt, bool]:
        """Return an attempt to unwrap *request*, and whether this call has started it."""
        attempt, is_new = cache.current().attempt(request, self.deadline, self.event)
        if is_new:
            try:
                provider = self._provider(request)
                if isinstance(provider, EncenvError):
                    attempt.finish(provider)
                else:
                    attempt.start(provider)
            except BaseException:  # Ctrl-C: nobody else must wait for an attempt that was not started
                attempt.finish(cache.provider_failure(request, "KeyboardInterrupt"))
                raise
        return attempt, is_new

    def replica(self, request: UnwrapRequest) -> UnwrapRequest | None:
        """Return *request* for a replica of its wrapping key nearer to this process; None if there is none."""
        provider = self._provider(request)
        try:
            wrapped_key = provider.replica(request.wrapped_key) if hasattr(provider, "replica") else None
        except Exception:  # noqa: BLE001 (a plug-in may raise anything)
            return None
        if wrapped_key is None:
            return None
        return UnwrapRequest(wrapped_key, request.context, request.commitment)

    def _provider(self, request: UnwrapRequest) -> KeyProvider | EncenvError:
        name = request.wrapped_key.provider
        if name not in self._providers:
            try:
                with fork_waits():
                    self._providers[name] = self._find(name)
            except EncenvError as error:
                return cache.without_frames(error)
            except Exception as error:  # noqa: BLE001 (a plug-in may raise anything when it is imported)
                return cache.provider_failure(request, type(error).__name__)
        return self._providers[name]


class _Try:
    """A wrapped key that is being tried, or the same for a replica of its wrapping key.

    Attributes:
        request: The request that was made.
        original: The request for the wrapped key as its key entry has it.
        attempt: The attempt, which other calls may wait for, too.
        is_own: Whether this call started it.
    """

    def __init__(self, call: _Call, request: UnwrapRequest, original: UnwrapRequest) -> None:
        self.request, self.original = request, original
        self.attempt, self.is_own = call.attempt(request)


class _HedgedUnwrap:
    """The unwrap of one data key: each of its wrapped keys is tried when those before it have failed or are slow."""

    def __init__(self, requests: Sequence[UnwrapRequest], call: _Call) -> None:
        self._call = call
        self._pending = [*requests]  # not tried yet
        self._tries: list[_Try] = []
        self._next_at = 0.0
        self._result: UnwrapResult | None = None
        for request in requests:
            if (key := cache.current().data_keys.get(request.cache_key)) is not None:
                self._result = UnwrapResult(key, request.wrapped_key.provider, cached=True)
                break

    def result(self) -> UnwrapResult | None:
        """Return the data key as soon as one attempt has it."""
        for one in self._tries if self._result is None else ():
            if (key := one.attempt.data_key) is not None:
                self._result = UnwrapResult(key, one.request.wrapped_key.provider, cached=not one.is_own)
                break
        return self._result

    def is_over(self) -> bool:
        """Return whether there is nothing left to try or to wait for."""
        return self.result() is not None or not (self._pending or self._is_running())

    def advance(self, now: float) -> None:
        """Try whatever is due at *now*."""
        for index, one in enumerate(self._tries):
            failure = one.attempt.result
            # It failed at the deadline of the call that started it; this call has more time.
            if not one.is_own and isinstance(failure, KeyUnreachableError) and one.attempt.deadline <= now:
                self._tries[index] = _Try(self._call, one.request, one.original)
        while not self.is_over() and self._pending and (not self._is_running() or now >= self.next_at()):
            self._try_next(now)

    def next_at(self) -> float:
        """Return when the next wrapped key is tried if no answer comes: never while an answer is only checked."""
        is_checking = any(one.attempt.is_answered and one.attempt.result is None for one in self._tries)
        return self._next_at if self._pending and not is_checking else math.inf

    def settle(self) -> None:
        """Wait for attempts that have their answer, and keep the data key for the wrapped key of the key entry."""
        for one in self._tries:
            one.attempt.settle()
        for one in self._tries:
            if one.original is not one.request:
                one.attempt.keep_as(one.original)

    def failure(self, seconds: float) -> EncenvError:
        """Return why none of the wrapped keys gave the data key."""
        results = [(one.request, one.attempt.result) for one in self._tries]
        results += [(request, None) for request in self._pending]
        failures = [
            (request, result if isinstance(result, EncenvError) else _late(request, seconds))
            for request, result in results
        ]
        every = [failure for _, failure in failures]
        if len(every) == 1:
            return every[0]
        # A laptop's key beside a server's is the common case: what the server says matters more than "no key file".
        remote = [failure for request, failure in failures if request.wrapped_key.provider != "local"]
        kind = type((remote or every)[0])
        if kind is KeyDeniedError and any(type(failure) is not kind for failure in remote):
            kind = KeyRefusedError  # a permission would not help the other wrapped keys
        message = "; ".join(failure.message for failure in every)
        hint = "; or, ".join(dict.fromkeys(failure.hint for failure in remote or every))
        missing_key = next((failure.missing_key for failure in remote or every if failure.missing_key), "")
        message = f"none of the keys could unwrap the data key: {message}"
        return kind(message, hint=hint, missing_key=missing_key)

    def _is_running(self) -> bool:
        return any(one.attempt.result is None for one in self._tries)

    def _try_next(self, now: float) -> None:
        # A wrapped key that is not answered leaves those after it their share of the time; it may still be answered.
        share = (self._call.deadline - now) / len(self._pending)
        self._next_at = now + max(0.0, min(self._call.hedge_delay, share))
        request = self._pending[0]
        replica = self._call.replica(request)
        if replica is None or replica in self._pending or any(one.request == replica for one in self._tries):
            del self._pending[0]
            replica = request
        self._tries.append(_Try(self._call, replica, request))


def _late(request: UnwrapRequest, seconds: float) -> EncenvError:
    return KeyUnreachableError(
        f"{request.wrapped_key.wrapping_key} did not unwrap the data key within {seconds:g} seconds",
        hint="check the network, or raise unwrap_timeout",
    )
