"""Unwrap data keys: each wrapped key once per process, whatever the number of threads that need it.

The first thread that needs a wrapped key starts an `Attempt`, and the others wait for the same one. There is no lock,
only atomic operations on dictionaries and lists: a forked child never inherits a lock that nobody will release, and
a signal handler may load settings wherever it interrupts. A child keeps its parent's data keys and forgets the
attempts that were running. A failure is not cached.

A load unwraps its data keys side by side. If a wrapped key of one is slow, the next is tried while the first may still
be answered. This is a hedge: an AWS region that hangs costs one second, not the load.
"""

import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from encenv.errors import EncenvError, KeyDeniedError, KeyRefusedError, KeyUnreachableError, place_of
from encenv.format.sealed import WrappedKey, canonical, encryption_context, kid_of
from encenv.keys.process_safety import fork_waits, lazily, on_snapshot
from encenv.keys.provider import KeyProvider, takes_while_waiting

if TYPE_CHECKING:
    from encenv.format import envelope
    from encenv.format.envelope import DataKey
else:
    envelope = lazily("encenv.format.envelope")

FindProvider = Callable[[str], KeyProvider]
# Texts and bytes only: comparing them runs no Python code, so operations on a dictionary of them are atomic.
CacheKey = tuple[str, bytes, str, bytes, bytes]

SECONDS_MAX = 86_400.0  # threading limits how long a thread may wait, and infinity is beyond that
HEDGE_SECONDS = 1.0  # a key provider that has not answered by then is slow, wherever it is
IMPORT_SECONDS = 5.0  # for a thread that imports cryptography to check an answer
JOIN_SECONDS = 1.0  # for a thread that has only to return


class UnwrapRequest:
    """One wrapped key with all that decides what it unwraps to; two that unwrap to the same are equal.

    Args:
        wrapped_key: Provider, wrapped bytes and reference.
        context: The pairs of its key entry, whose order makes no difference.
        commitment: 32 bytes: the data key that it must unwrap to.
    """

    def __init__(
        self, wrapped_key: WrappedKey, context: tuple[tuple[str, str], ...], commitment: bytes
    ) -> None:
        self.wrapped_key, self.context, self.commitment = wrapped_key, context, commitment
        self.cache_key: CacheKey = (*wrapped_key, canonical(encryption_context(context)), commitment)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnwrapRequest) and self.cache_key == other.cache_key

    def __hash__(self) -> int:
        return hash(self.cache_key)


class UnwrapResult:
    """A data key and where it is from.

    Attributes:
        key: The data key.
        provider: The name of the provider that unwrapped it.
        cached: Whether this call needed no provider: the key was cached, or another thread was unwrapping it already.
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
        hedge_delay: Seconds without an answer after which the next wrapped key is tried as well. After a failure it
            is tried at once.

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


def clear_cache() -> None:
    """Forget every data key of this process; the next load unwraps again."""
    global _cache  # noqa: PLW0603 (see process_safety)
    _cache = _Cache({})


class _Cache:
    """The data keys of this process, and the attempts that are running."""

    def __init__(self, data_keys: "dict[CacheKey, DataKey]") -> None:
        self.data_keys = data_keys
        self.attempts: dict[CacheKey, Attempt] = {}


_cache = _Cache({})  # replaced as a whole: an attempt finishes in the cache in which it was started


class _Call:
    """The deadline, the providers and the wake-up event that all data keys of one call of `unwrap` share."""

    def __init__(self, find: FindProvider, seconds: float, hedge_delay: float) -> None:
        self.deadline = time.monotonic() + min(seconds, SECONDS_MAX)
        self.hedge_delay = hedge_delay
        self.event = threading.Event()
        self._find = find
        self._providers: dict[str, KeyProvider] = {}

    def attempt(self, request: UnwrapRequest) -> "Attempt":
        """Return the running attempt to unwrap *request*, or start one; it sets this call's event when it finishes."""
        cache, key = _cache, request.cache_key
        own = Attempt(request, self, cache)
        attempt = cache.attempts.setdefault(key, own)
        if attempt is not own and attempt.is_abandoned(time.monotonic()):
            attempt = cache.attempts[key] = own
        attempt.events.append(self.event)
        if attempt is own:
            # Looked up last: `finish` stores the data key before it removes the attempt.
            if key in cache.data_keys:
                own.finish(cache.data_keys[key])
            else:
                own.start()
        return attempt

    def provider(self, request: UnwrapRequest) -> KeyProvider | EncenvError:
        """Return the provider of *request*, or why there is none."""
        name = request.wrapped_key.provider
        if name not in self._providers:
            try:
                with fork_waits():
                    self._providers[name] = self._find(name)
            except Exception as error:  # noqa: BLE001 (a plug-in may raise anything when it is imported)
                return _failure(request, error)
        return self._providers[name]

    def replica(self, request: UnwrapRequest) -> UnwrapRequest | None:
        """Return *request* for a replica of its wrapping key nearer to this process; None if there is none."""
        provider = self.provider(request)
        try:
            wrapped_key = provider.replica(request.wrapped_key) if hasattr(provider, "replica") else None
        except Exception:  # noqa: BLE001 (as above)
            return None
        return wrapped_key and UnwrapRequest(wrapped_key, request.context, request.commitment)


class Attempt:
    """One call of a key provider, in its own thread, for all loads that need the data key.

    Attributes:
        call: The call of `unwrap` that started it; it fails at the deadline of this call.
        cache: The cache in which it was started; its data key goes there.
        is_answered: Whether the provider has answered; the answer is then only checked.
        result: The data key, or why there is none; None while the attempt runs.
        events: Set when it has finished. A caller that adds one looks at `result` once more afterwards.
    """

    def __init__(self, request: UnwrapRequest, call: _Call, cache: _Cache) -> None:
        self.call, self.cache = call, cache
        self.is_answered = False
        self.result: DataKey | EncenvError | None = None
        self.events: list[threading.Event] = []
        self._request = request
        self._abandoned_at = call.deadline + (call.deadline - time.monotonic())
        self._starter = threading.get_ident()
        self._thread: threading.Thread | None = None
        self._is_importing = False

    @property
    def data_key(self) -> "DataKey | None":
        """The data key, once the attempt has succeeded."""
        return None if isinstance(self.result, EncenvError) else self.result

    def is_abandoned(self, now: float) -> bool:
        """Return whether its provider hangs, or a signal handler calls this in the thread about to start it."""
        is_interrupted = self._thread is None and self._starter == threading.get_ident()
        return self.result is None and (is_interrupted or now >= self._abandoned_at)

    def start(self) -> None:
        """Call the provider in a new thread; if none can be started, call it in this one, without a deadline."""
        try:
            provider = self.call.provider(self._request)
            if isinstance(provider, EncenvError):
                self.finish(provider)
                return

            def run() -> None:
                self.finish(self._unwrap(provider, self.call.deadline - time.monotonic()))

            thread = threading.Thread(target=run, name="encenv-unwrap", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # there are too many, or the interpreter is about to exit
                run()
            else:
                self._thread = thread
        except BaseException as error:  # Ctrl-C: nobody else must wait for an attempt that was not started
            self.finish(_failure(self._request, error))
            raise

    def finish(self, result: "DataKey | EncenvError") -> None:
        """Cache *result* if it is a data key, and wake all threads that wait for it."""
        key, attempts = self._request.cache_key, self.cache.attempts
        if not isinstance(result, EncenvError):
            self.cache.data_keys[key] = result
        if attempts.get(key) is self:
            del attempts[key]
        self.result = result  # before the events
        for event in list(self.events):
            event.set()

    def settle(self) -> None:
        """Wait for the thread if it imports or has its answer, so that a load leaves no such thread behind."""
        if self._thread is None:
            return
        if self._is_importing or self.is_answered:
            self._thread.join(IMPORT_SECONDS)
        if self.result is not None:
            self._thread.join(JOIN_SECONDS)

    def _unwrap(self, provider: KeyProvider, seconds: float) -> "DataKey | EncenvError":
        """Return the data key or why there is none: a raised error would keep the frames that hold the key."""
        request = self._request
        context = encryption_context(request.context)
        try:
            if takes_while_waiting(provider):
                plain = provider.unwrap(request.wrapped_key, context, seconds, self._import)
            else:
                plain = provider.unwrap(request.wrapped_key, context, seconds)
            self.is_answered = True
            with fork_waits():
                data_key = envelope.DataKey(plain)
                is_right = data_key.matches(request.commitment)
        except BaseException as error:  # noqa: BLE001 (a plug-in may raise anything)
            return _failure(request, error)
        if is_right:
            return data_key
        return KeyRefusedError(
            f"{request.wrapped_key.wrapping_key} does not give the data key {kid_of(request.commitment)} that its key entry names",
            hint="restore the key entry from git",
        )

    def _import(self) -> None:
        """Import cryptography, which takes about as long as AWS KMS takes to answer."""
        self._is_importing = True
        with suppress(Exception):  # it is raised again where the import is needed
            _ = envelope.DataKey
        # After the deadline it stays set, so that `settle` waits until an answer that came in time is read.
        self._is_importing = time.monotonic() >= self.call.deadline


class _HedgedUnwrap:
    """The unwrap of one data key: each of its wrapped keys is tried when those before it have failed or are slow."""

    def __init__(self, requests: Sequence[UnwrapRequest], call: _Call) -> None:
        self._call = call
        self._pending = [*requests]  # not tried yet, or only with a replica of their wrapping key
        self._attempts: dict[UnwrapRequest, Attempt] = {}
        # The key entry's request, by the request that was made from it for a replica.
        self._originals: dict[UnwrapRequest, UnwrapRequest] = {}
        self._next_at = 0.0
        self._result: UnwrapResult | None = None
        for request in requests:
            if (key := _cache.data_keys.get(request.cache_key)) is not None:
                self._result = UnwrapResult(key, request.wrapped_key.provider, cached=True)
                break

    def result(self) -> UnwrapResult | None:
        """Return the data key as soon as one attempt has it."""
        for request, attempt in self._attempts.items() if self._result is None else ():
            if (key := attempt.data_key) is not None:
                is_own = attempt.call is self._call and attempt.is_answered
                self._result = UnwrapResult(key, request.wrapped_key.provider, cached=not is_own)
                break
        return self._result

    def is_over(self) -> bool:
        """Return whether there is nothing left to try or to wait for."""
        return self.result() is not None or not (self._pending or self._is_running())

    def advance(self, now: float) -> None:
        """Try whatever is due at *now*."""
        for request, attempt in self._attempts.items():
            is_own, failure = attempt.call is self._call, attempt.result
            # It failed at the deadline of the call that started it; this call has more time.
            if not is_own and isinstance(failure, KeyUnreachableError) and attempt.call.deadline <= now:
                self._attempts[request] = self._call.attempt(request)
        while not self.is_over() and self._pending and (not self._is_running() or now >= self.next_at()):
            self._try_next(now)

    def next_at(self) -> float:
        """Return when the next wrapped key is tried without an answer: never while one is being checked."""
        is_checking = any(one.is_answered and one.result is None for one in self._attempts.values())
        return self._next_at if self._pending and not is_checking else math.inf

    def settle(self) -> None:
        """Wait for attempts that have their answer, and keep the data key for the wrapped key of the key entry."""
        for attempt in self._attempts.values():
            attempt.settle()
        for replica, original in self._originals.items():
            if (key := self._attempts[replica].data_key) is not None:
                self._attempts[replica].cache.data_keys[original.cache_key] = key

    def failure(self, seconds: float) -> EncenvError:
        """Return why none of the wrapped keys gave the data key."""
        failures = []
        for request in (*self._attempts, *self._pending):
            result = self._attempts[request].result if request in self._attempts else None
            if not isinstance(result, EncenvError):
                result = KeyUnreachableError(
                    f"{request.wrapped_key.wrapping_key} did not unwrap the data key within {seconds:g} seconds",
                    hint="check the network, or raise unwrap_timeout",
                )
            failures.append((request.wrapped_key.provider, result))
        every = [failure for _, failure in failures]
        if len(every) == 1:
            return every[0]
        # A laptop's key beside a server's is the common case: the server's reason matters more than "no key file".
        remote = [failure for provider, failure in failures if provider != "local"] or every
        kind = type(remote[0])
        if kind is KeyDeniedError and any(type(failure) is not kind for failure in remote):
            kind = KeyRefusedError  # a permission would not help the other wrapped keys
        message = "; ".join(failure.message for failure in every)
        return kind(
            f"none of the keys could unwrap the data key: {message}",
            hint="; or, ".join(dict.fromkeys(failure.hint for failure in remote)),
            missing_key=next((failure.missing_key for failure in remote if failure.missing_key), ""),
        )

    def _is_running(self) -> bool:
        return any(attempt.result is None for attempt in self._attempts.values())

    def _try_next(self, now: float) -> None:
        # A wrapped key without an answer leaves each one after it a share of the time; it may still be answered.
        share = (self._call.deadline - now) / len(self._pending)
        self._next_at = now + max(0.0, min(self._call.hedge_delay, share))
        request = self._pending[0]
        replica = self._call.replica(request)
        if replica is None or replica in self._pending or replica in self._attempts:
            del self._pending[0]
        else:
            self._originals[replica] = request
            request = replica
        self._attempts[request] = self._call.attempt(request)


def _failure(request: UnwrapRequest, error: BaseException) -> EncenvError:
    """Return one of our errors, without frames, for the *error* that the provider of *request* raised."""
    if isinstance(error, EncenvError):
        copy = error.of()
        if type(copy) is EncenvError:
            return KeyRefusedError(copy.message, hint=copy.hint, missing_key=copy.missing_key)
        return copy
    # The text of another exception may hold a key.
    return KeyRefusedError(
        f"{request.wrapped_key.wrapping_key} did not unwrap the data key: its key provider failed {place_of(error)}",
        hint="see the documentation of the key provider",
    )


def _after_fork_in_child() -> None:
    global _cache  # noqa: PLW0603 (as above)
    _cache = _Cache(_cache.data_keys)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
on_snapshot(clear_cache)
