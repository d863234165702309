"""The data keys of this process: each wrapped key is unwrapped once, whatever the number of threads that need it.

The first thread that needs a wrapped key starts an `Attempt`, and the others wait for the same one. There is no lock,
only single operations on dictionaries and lists: a forked child never inherits a lock that nobody will release, and
a signal handler may load settings wherever it interrupts. A child keeps its parent's data keys and forgets the
attempts that were running. A failure is not kept.
"""

import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from encenv.errors import EncenvError, KeyRefusedError
from encenv.format.sealed import WrappedKey, canonical, encryption_context, kid_of
from encenv.keys.process_safety import fork_waits, lazily, on_snapshot
from encenv.keys.provider import KeyProvider, takes_while_waiting

if TYPE_CHECKING:
    from encenv.format import envelope
    from encenv.format.envelope import DataKey
else:
    envelope = lazily("encenv.format.envelope")

IMPORT_SECONDS = 5.0  # for a thread that imports cryptography to check an answer
JOIN_SECONDS = 1.0  # for a thread that has only to return

# Texts and bytes only: comparing them runs no Python code, so an operation on a dictionary of them is a single one.
CacheKey = tuple[str, bytes, str, bytes, bytes]


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
        provider, reference, wrapped = wrapped_key.provider, wrapped_key.reference, wrapped_key.wrapped
        pairs = canonical(encryption_context(context))
        self.cache_key: CacheKey = provider, wrapped, reference, pairs, commitment

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnwrapRequest) and self.cache_key == other.cache_key

    def __hash__(self) -> int:
        return hash(self.cache_key)


class Attempt:
    """One call of a key provider, in a thread of its own, for all who need the data key.

    Attributes:
        deadline: How long the caller that started it waits, by `time.monotonic`.
        is_answered: Whether the provider has answered; the answer is then only checked.
        result: The data key, or why there is none; None while the attempt runs.
    """

    def __init__(self, cache: "Cache", request: UnwrapRequest, deadline: float) -> None:
        self.deadline = deadline
        self.is_answered = False
        self.result: DataKey | EncenvError | None = None
        self._cache, self._request = cache, request
        self._abandoned_at = deadline + (deadline - time.monotonic())
        self._starter = threading.get_ident()
        self._thread: threading.Thread | None = None
        self._is_importing = False
        self._events: list[threading.Event] = []

    @property
    def data_key(self) -> "DataKey | None":
        """The data key, once the attempt has succeeded."""
        return None if isinstance(self.result, EncenvError) else self.result

    def is_abandoned(self, now: float) -> bool:
        """Return whether nobody should join the attempt.

        Either its provider hangs, or this is a signal handler that runs in the thread that is about to start it.
        """
        is_interrupted = self._thread is None and self._starter == threading.get_ident()
        return self.result is None and (is_interrupted or now >= self._abandoned_at)

    def notify(self, event: threading.Event) -> None:
        """Set *event* when the attempt has finished; look at `result` once more after this call."""
        self._events.append(event)

    def start(self, provider: KeyProvider) -> None:
        """Call *provider* in a thread, or in this one where no thread can be started: then no deadline holds."""

        def run() -> None:
            self.finish(self._unwrap(provider, self.deadline - time.monotonic()))

        thread = threading.Thread(target=run, name="encenv-unwrap", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # there are too many, or the interpreter is about to exit
            run()
        else:
            self._thread = thread

    def finish(self, result: "DataKey | EncenvError") -> None:
        """Keep *result* if it is a data key, and wake all who wait for it."""
        key, attempts = self._request.cache_key, self._cache.attempts
        if not isinstance(result, EncenvError):
            self._cache.data_keys[key] = result
        if attempts.get(key) is self:
            del attempts[key]
        self.result = result  # before the events: a caller that adds one looks at the result afterwards
        for event in list(self._events):
            event.set()

    def keep_as(self, request: UnwrapRequest) -> None:
        """Keep the data key for *request*, too: the same data key under another region's replica of its key."""
        if self.data_key is not None:
            self._cache.data_keys[request.cache_key] = self.data_key

    def settle(self) -> None:
        """Wait for what depends on no provider any more, so that a load leaves no thread behind that has an answer."""
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
        except EncenvError as error:
            return without_frames(error)
        except BaseException as error:  # noqa: BLE001 (a plug-in may raise anything, and its text may hold a key)
            return provider_failure(request, type(error).__name__)
        if is_right:
            return data_key
        return KeyRefusedError(
            f"{request.wrapped_key.wrapping_key} gives another data key than {kid_of(request.commitment)}, which its key entry names",
            hint="restore the key entry from git",
        )

    def _import(self) -> None:
        """Import cryptography, which takes about as long as AWS KMS takes to answer."""
        self._is_importing = True
        with suppress(Exception):  # it is raised again where the import is needed
            _ = envelope.DataKey
        # After the deadline it stays set: an answer that came in time is still to be read, and `settle` waits for that.
        self._is_importing = time.monotonic() >= self.deadline


class Cache:
    """The data keys of this process, and the attempts that are running."""

    def __init__(self, data_keys: "dict[CacheKey, DataKey]") -> None:
        self.data_keys = data_keys
        self.attempts: dict[CacheKey, Attempt] = {}

    def attempt(
        self, request: UnwrapRequest, deadline: float, event: threading.Event
    ) -> tuple[Attempt, bool]:
        """Return the attempt for *request*, and whether it is a new one that the caller has to start.

        Args:
            request: The wrapped key.
            deadline: How long the caller waits, by `time.monotonic`.
            event: Is set when the attempt has finished.
        """
        key, new = request.cache_key, Attempt(self, request, deadline)
        attempt = self.attempts.setdefault(key, new)
        if attempt is not new and attempt.is_abandoned(time.monotonic()):
            attempt = self.attempts[key] = new
        attempt.notify(event)
        if (
            attempt is new and key in self.data_keys
        ):  # looked up last: `finish` stores it before it ends the attempt
            attempt.finish(self.data_keys[key])
        return attempt, attempt is new and attempt.result is None


_cache = Cache({})  # replaced as a whole: an attempt finishes in the cache in which it was started


def current() -> Cache:
    """Return the cache of this process."""
    return _cache


def clear_cache() -> None:
    """Forget every data key of this process; the next load unwraps again."""
    global _cache  # noqa: PLW0603 (see process_safety)
    _cache = Cache({})


def without_frames(error: EncenvError) -> EncenvError:
    """Return *error* of a provider without its frames; an `EncenvError` of no kind becomes a `KeyRefusedError`."""
    copy = error.of()
    if type(copy) is EncenvError:
        return KeyRefusedError(copy.message, hint=copy.hint, missing_key=copy.missing_key)
    return copy


def provider_failure(request: UnwrapRequest, kind: str) -> EncenvError:
    """Return the error for an exception of a provider, whose class is called *kind*."""
    return KeyRefusedError(
        f"{request.wrapped_key.wrapping_key} did not unwrap the data key: the provider raised {kind}",
        hint="see the documentation of the key provider",
    )


def _after_fork_in_child() -> None:
    global _cache  # noqa: PLW0603 (as above)
    _cache = Cache(_cache.data_keys)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
on_snapshot(clear_cache)
