"""Each wrapped data key is unwrapped once per process. All data keys that a process keeps are here.

Single flight: of the threads that want one wrapped copy at one time, one asks the provider and the others wait
for its answer. There is no lock, only single operations of dictionaries and lists, so a fork never inherits one that
is never released, and a signal handler may load whatever it interrupts. A child keeps what was finished and forgets
what was under way. A failure is not kept.
"""

import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from encenv import errors
from encenv.errors import EncenvError, KeyDeniedError, KeyRefusedError, KeyUnreachableError
from encenv.format.sealed import WrappedKey, canonical, encryption_context, kid_of
from encenv.keys.idle import idle_work
from encenv.keys.process_safety import fork_waits, lazily
from encenv.keys.provider import KeyProvider, Replicates
from encenv.keys.snapshot import on_snapshot

if TYPE_CHECKING:
    from encenv.format import envelope
    from encenv.format.envelope import DataKey
else:
    envelope = lazily("encenv.format.envelope")

FindProvider = Callable[[str], KeyProvider]

SECONDS_MAX = 86_400.0  # what a thread may wait for has a limit, and infinity is beyond it
HEDGE_SECONDS = 1.0  # a key provider that has not answered by then is slow, wherever it is
JOIN_SECONDS = 1.0  # for a thread that has only its return left
IMPORT_SECONDS = 5.0  # for one that imports what opens the answer


class WrappedCopy(NamedTuple):
    """One wrapped copy with all that decides what it unwraps to; equal copies are unwrapped once.

    Attributes:
        item: Provider, wrapped bytes and reference.
        context: The pairs of its key entry.
        commitment: 32 bytes: the data key that it must unwrap to.
    """

    item: WrappedKey
    context: tuple[tuple[str, str], ...]
    commitment: bytes

    @property
    def key(self) -> "_CacheKey":
        """What the cache knows it by: the order of the context's pairs makes no difference."""
        item, context = self.item, canonical(encryption_context(self.context))
        return item.provider, item.wrapped, item.reference, context, self.commitment


class Unwrapped:
    """A data key and how it was come by.

    Attributes:
        key: The data key.
        provider: The name of the provider that unwrapped it.
        cached: Whether nobody was asked for it: it was there, or another thread's question answered this one too.
    """

    def __init__(self, key: "DataKey", provider: str, *, cached: bool) -> None:
        self.key, self.provider, self.cached = key, provider, cached


class _Flight:
    """One question to one provider, in a thread of its own; all who want the answer are told when it is there."""

    def __init__(self, until: float, lost_at: float) -> None:
        self.until = until  # how long whoever began it waits
        self.lost_at = lost_at  # after that nobody waits for it any more: a later load asks again
        self.leader = threading.get_ident()
        self.told: list[threading.Event] = []
        self.is_importing = False  # what opens the answer, which may be there already
        self.is_answered = False  # by the provider
        self.result: DataKey | EncenvError | None = None
        self.thread: threading.Thread | None = None

    def is_lost(self, now: float) -> bool:
        """Return whether waiting for it is vain: it hangs, or a signal handler runs in the thread that begins it."""
        interrupted = self.thread is None and self.leader == threading.get_ident()
        return self.result is None and (interrupted or now >= self.lost_at)


# Of texts and bytes alone, whose comparison runs no Python code: that keeps an operation of a dictionary single.
_CacheKey = tuple[str, bytes, str, bytes, bytes]


class _State:
    def __init__(self, finished: "dict[_CacheKey, DataKey]") -> None:
        self.finished = finished
        self.flights: dict[_CacheKey, _Flight] = {}


_state = _State({})  # replaced as a whole: a flight lands in the state that it began in


def clear_cache() -> None:
    """Forget every data key of this process; the next load unwraps again."""
    global _state  # noqa: PLW0603 (the only process-wide state)
    _state = _State({})


def unwrap(
    groups: Sequence[Sequence[WrappedCopy]],
    find: FindProvider,
    seconds: float,
    hedge_delay: float = HEDGE_SECONDS,
) -> "list[Unwrapped | EncenvError]":
    """Unwrap one data key for each group of copies, all groups side by side.

    Args:
        groups: For each data key its copies, in the order in which they are tried; at least one each.
        find: Gives the provider of a name.
        seconds: How long all of it may take.
        hedge_delay: After how many seconds without an answer the next copy is asked as well. One that has failed
            is not waited for.

    Returns:
        For each group the data key, or why it could not be unwrapped.
    """
    races = [_Race(group) for group in groups]
    call = _Call(find, seconds, hedge_delay)
    call.wait_for([race for race in races if race.result is None])
    return [race.result or race.failure(seconds) for race in races]


class _Race:
    """The copies of one data key: each is asked when those before it have failed or have had their time."""

    def __init__(self, group: Sequence[WrappedCopy]) -> None:
        self.group = [*group]
        self._state = _state
        self._replicas: dict[WrappedCopy, WrappedCopy] = {}  # with the copies that they stand for
        self.asked: list[tuple[_Flight, bool]] = []
        self.next_at = 0.0
        self.result: Unwrapped | None = None
        for copy in group:
            if (key := self._state.finished.get(copy.key)) is not None:
                self.result = Unwrapped(key, copy.item.provider, cached=True)
                break

    def over(self) -> bool:
        """Return whether there is nothing more to wait for, or to ask."""
        waits = False
        for copy, (flight, leads) in zip(self.group, self.asked, strict=False):
            waits = waits or flight.result is None
            if flight.result is not None and not isinstance(flight.result, EncenvError):
                if copy in self._replicas:  # the next load looks for the copy that its key entry has
                    self._state.finished[self._replicas[copy].key] = flight.result
                self.result = Unwrapped(flight.result, copy.item.provider, cached=not leads)
                return True
        return not waits and len(self.asked) == len(self.group)

    def outlived(self, now: float) -> list[int]:
        """Return which questions of others ran out of their time, of which there is more here."""
        return [
            index
            for index, (flight, leads) in enumerate(self.asked)
            if not leads and isinstance(flight.result, KeyUnreachableError) and flight.until <= now
        ]

    def asks(self, now: float, deadline: float, hedge_delay: float) -> WrappedCopy | None:
        """Return the copy whose turn it is, or None if those that were asked may still answer."""
        left = len(self.group) - len(self.asked)
        waits = any(flight.result is None for flight, _ in self.asked)
        if not left or (waits and now < self.turn()):
            return None
        # A copy that does not answer must leave those behind it their share; it may still answer meanwhile.
        self.next_at = now + max(0.0, min(hedge_delay, (deadline - now) / left))
        return self.group[len(self.asked)]

    def turn(self) -> float:
        """Return when the next copy is asked if no answer comes: never, if one is there and is only to be opened."""
        is_opening = any(flight.is_answered and flight.result is None for flight, _ in self.asked)
        return math.inf if is_opening or len(self.asked) == len(self.group) else self.next_at

    def nearer(self, copy: WrappedCopy, item: WrappedKey | None) -> WrappedCopy:
        """Return the copy to ask instead of *copy*, which then comes next: that in a replica, *item*, if there is one."""
        near = copy if item is None else copy._replace(item=item)
        if near in self.group:
            return copy
        self.group.insert(len(self.asked), near)
        self._replicas[near] = copy
        return near

    def failure(self, seconds: float) -> EncenvError:
        """Return why none of the copies gave the data key."""
        results = [flight.result for flight, _ in self.asked]
        results += [None] * (len(self.group) - len(results))
        failures = [
            result if isinstance(result, EncenvError) else _late(copy, seconds)
            for copy, result in zip(self.group, results, strict=True)
        ]
        if len(failures) == 1:
            return failures[0]
        # A laptop's key beside a server's is the common case: what the server says matters more than "no key file".
        remote = [f for copy, f in zip(self.group, failures, strict=True) if copy.item.provider != "local"]
        told = (remote or failures)[0]
        kind = type(told)
        if kind is KeyDeniedError and any(type(failure) is not kind for failure in remote):
            kind = KeyRefusedError  # what is wrong with another copy is no matter of permissions
        message = "; ".join(failure.message for failure in failures)
        hint = "; or, ".join(dict.fromkeys(failure.hint for failure in remote or failures))
        return kind(f"no wrapped copy of the data key could be unwrapped: {message}", hint=hint)


class _Call:
    """One call of `unwrap`: who is asked, until when, and how it hears of an answer."""

    def __init__(self, find: FindProvider, seconds: float, hedge_delay: float) -> None:
        self._find = find
        self._hedge_delay = hedge_delay
        self._deadline = time.monotonic() + min(seconds, SECONDS_MAX)
        self._providers: dict[str, KeyProvider] = {}
        self._news = threading.Event()

    def wait_for(self, races: Sequence[_Race]) -> None:
        """Run *races* until each is over or the deadline has come."""
        running = list(races)
        while running and (now := time.monotonic()) < self._deadline:
            self._news.clear()  # before looking, so that what comes while looking is not missed
            for race in running:
                for index in race.outlived(now):
                    race.asked[index] = self._board(race.group[index])
                while (
                    not race.over()
                    and (copy := race.asks(now, self._deadline, self._hedge_delay)) is not None
                ):
                    race.asked.append(self._board(race.nearer(copy, self._replica(copy))))
            running = [race for race in running if not race.over()]
            if running:
                turn = min(race.turn() for race in running)
                # This thread only ever waits here: whatever a provider does, the deadline holds and Ctrl-C is heard.
                self._news.wait(max(0.0, min(self._deadline, turn) - time.monotonic()))
        self._settle(races)

    def _settle(self, races: Sequence[_Race]) -> None:
        """Take what came with the deadline; no thread is left when a load has what it asked for."""
        flights = [flight for race in races for flight, _ in race.asked]
        for flight in flights:
            if (flight.is_importing or flight.is_answered) and flight.thread is not None:
                flight.thread.join(IMPORT_SECONDS)  # the deadline is the provider's
        for race in races:
            race.over()
        for flight in flights:
            if flight.result is not None and flight.thread is not None:
                flight.thread.join(JOIN_SECONDS)

    def _board(self, copy: WrappedCopy) -> tuple[_Flight, bool]:
        """Return the flight that will have the answer for *copy*, and whether this call began it."""
        now, key, state = time.monotonic(), copy.key, _state
        own = _Flight(self._deadline, now + 2 * (self._deadline - now))
        flight = state.flights.setdefault(key, own)
        if flight is not own and flight.is_lost(now):
            flight = state.flights[key] = own
        flight.told.append(self._news)
        if flight is not own:
            return flight, False
        if key in state.finished:  # looked up only now: an answer is there before its flight is gone
            _land(own, key, state, state.finished[key])
            return own, False
        try:
            self._take_off(own, copy, state)
        except BaseException:
            _land(own, key, state, _raised(copy, "KeyboardInterrupt"))  # nobody else shall wait for it
            raise
        return own, True

    def _take_off(self, flight: _Flight, copy: WrappedCopy, state: _State) -> None:
        provider = self._provider(copy)
        if isinstance(provider, EncenvError):
            _land(flight, copy.key, state, provider)
            return

        def fly() -> None:
            _land(flight, copy.key, state, _ask(flight, copy, provider, self._deadline - time.monotonic()))

        thread = threading.Thread(target=fly, name="encenv-unwrap", daemon=True)
        try:
            thread.start()
        except (
            RuntimeError
        ):  # there may be no more threads, or the interpreter is ending: then without a deadline
            fly()
        else:
            flight.thread = thread

    def _replica(self, copy: WrappedCopy) -> WrappedKey | None:
        provider = self._provider(copy)
        try:
            return provider.replica(copy.item) if isinstance(provider, Replicates) else None
        except Exception:  # noqa: BLE001 (a plug-in may raise anything)
            return None

    def _provider(self, copy: WrappedCopy) -> KeyProvider | EncenvError:
        name = copy.item.provider
        if name not in self._providers:
            try:
                with fork_waits():
                    self._providers[name] = self._find(name)
            except EncenvError as error:
                return _clean(error)
            except Exception as error:  # noqa: BLE001 (a plug-in may raise anything when it is imported)
                return _raised(copy, type(error).__name__)
        return self._providers[name]


def _land(flight: _Flight, key: _CacheKey, state: _State, result: "DataKey | EncenvError") -> None:
    if not isinstance(result, EncenvError):
        state.finished[key] = result
    if state.flights.get(key) is flight:
        del state.flights[key]
    flight.result = result  # before the telling: who asks to be told looks once more afterwards
    for news in list(flight.told):
        news.set()


def _ask(
    flight: _Flight, copy: WrappedCopy, provider: KeyProvider, seconds: float
) -> "DataKey | EncenvError":
    def meanwhile() -> None:
        flight.is_importing = True
        with suppress(Exception):  # where it is needed, it is met again
            _ = envelope.DataKey  # imported here
        flight.is_importing = False

    try:
        with idle_work(meanwhile):  # the import takes as long as AWS KMS does
            plain = provider.unwrap(copy.item, encryption_context(copy.context), seconds)
        flight.is_answered = True
        with fork_waits():
            data_key = envelope.DataKey(plain)
            is_right = data_key.matches(copy.commitment)
    except EncenvError as error:
        return _clean(error)
    except BaseException as error:  # noqa: BLE001 (a plug-in may raise anything, and its text may hold a key)
        return _raised(copy, type(error).__name__)
    if is_right:
        return data_key
    return KeyRefusedError(
        f"{_shown(copy)} holds another data key than its key entry says",
        hint="restore the key entry from version control",
    )


def _clean(error: EncenvError) -> EncenvError:
    """Return *error* without its frames; a plug-in's own class, which may be made otherwise, as ours above it."""
    ours = next(cls for cls in type(error).__mro__ if cls.__module__ == errors.__name__)
    kind = KeyRefusedError if ours is EncenvError else ours
    cleaned: EncenvError = kind(error.message, hint=error.hint)
    return cleaned


def _raised(copy: WrappedCopy, kind: str) -> EncenvError:
    return KeyRefusedError(
        f"{_shown(copy)} could not be unwrapped: the provider raised {kind}",
        hint="see the documentation of the key provider",
    )


def _shown(copy: WrappedCopy) -> str:
    return f"the copy of data key {kid_of(copy.commitment)} under {copy.item.provider}:{copy.item.reference}"


def _late(copy: WrappedCopy, seconds: float) -> EncenvError:
    return KeyUnreachableError(
        f"{copy.item.provider}:{copy.item.reference} did not unwrap the data key within {seconds:g} seconds",
        hint="check the network, or raise unwrap_timeout",
    )


def _after_fork_in_child() -> None:
    global _state  # noqa: PLW0603 (the state of this process, made anew)
    _state = _State(_state.finished)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
on_snapshot(clear_cache)
