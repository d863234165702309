"""One load: find the key entries, check them, unwrap, decrypt, and report all that failed together.

The order is the promise: everything that can be judged without a key or a network (format, limits, the reader's
rules) is judged before the first data key is unwrapped.
"""

import functools
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar

from encenv.errors import ConflictError, EncenvError, KeyEntryError, MalformedError, PolicyError, combine
from encenv.format.sealed import (
    ENTRY_PREFIX,
    LOCAL_KEY_NAME,
    KeyEntry,
    SealedValue,
    claims,
    embeds,
    entry_kid,
    kid_shown,
)
from encenv.keys.process_safety import lazily
from encenv.keys.provider import KeyProvider, find_provider

TYPE_CHECKING = False  # not typing's: a load with nothing sealed should cost nothing
if TYPE_CHECKING:
    from typing import ParamSpec, TypeVar, Unpack

    from encenv.keys import trust as trust_rules
    from encenv.keys import unwrap as data_keys
    from encenv.keys.trust import Trust
    from encenv.keys.unwrap import Unwrapped, WrappedCopy
    from encenv.load.options import ReaderOptions

    P = ParamSpec("P")
    R = TypeVar("R")
else:
    trust_rules = lazily("encenv.keys.trust")
    data_keys = lazily("encenv.keys.unwrap")

DATA_KEYS_MAX = 32  # distinct data keys in one load: a bound on what a hostile environment can cost
UNWRAP_SECONDS = 10.0  # for all of a load's unwraps together
# The names of `ReaderOptions`, which is for type checkers: its import would take longer than all else here.
OPTIONS = frozenset(
    {
        "trusted_keys",
        "encryption_context",
        "encrypted_prefix",
        "key_providers",
        "unwrap_timeout",
        "hedge_delay",
    }
)

loading: "ContextVar[Load | None]" = ContextVar("encenv_loading", default=None)  # a settings class's
logger = logging.getLogger("encenv")


class Load:
    """What one load knows: the sources' key entries, the reader's rules, the keys it has and what went wrong.

    Args:
        options: The reader's options.
        environ: The process environment as it is before the load; encenv's own settings come from nowhere else.
    """

    def __init__(self, options: "ReaderOptions", environ: Mapping[str, str] = os.environ) -> None:
        self.environ = environ
        self.failures: list[EncenvError] = []
        self.decrypted = 0
        self.has_decrypted = False  # it, or a load inside of it
        self.trust = _trust(options)
        self.given: Sequence[KeyProvider] = tuple(options.get("key_providers") or ())
        self.seconds = options.get("unwrap_timeout") or UNWRAP_SECONDS
        self.hedge_delay = options.get("hedge_delay")
        self._started = time.monotonic()
        self._waited = 0.0  # seconds, for data keys
        self._entries: dict[str, list[str]] = {}
        self._copies: dict[str, list[WrappedCopy] | EncenvError] = {}
        self._keys: dict[str, Unwrapped | EncenvError] = {}

    def add_entries(self, variables: Iterable[tuple[str, str | None]]) -> None:
        """Note the key entries among *variables*. Those of earlier sources are tried first."""
        for name, value in variables:
            kid = entry_kid(name)
            if kid is not None and value is not None and value not in self._entries.setdefault(kid, []):
                self._entries[kid].append(value)

    def prepare(self, texts: Iterable[str]) -> None:
        """Unwrap side by side what the sealed values among *texts* need, all checks of all of them first."""
        kids: dict[str, None] = {}
        for text in texts:
            # One sound value is enough to need a data key; the others are parsed when they are decrypted.
            if claims(text) and (kid := kid_shown(text)) not in kids and kid not in self._keys:
                with suppress(MalformedError):
                    kids[SealedValue.parse(text).kid] = None
        forbidden = False
        wanted = []
        for kid in kids:
            copies = self._find(kid)
            if isinstance(copies, EncenvError):
                self._keys[kid] = copies
                forbidden = forbidden or isinstance(copies, PolicyError)
            else:
                wanted.append((kid, copies))
        if len(self._copies) > DATA_KEYS_MAX:
            forbidden = True
            self._fail(
                PolicyError(
                    f"the values need more than {DATA_KEYS_MAX} data keys",
                    hint="encrypt the values of one environment under one data key: encenv encrypt",
                )
            )
        if forbidden:
            # What the reader's rules forbid is not followed by a network call, not even for the other values.
            stop = PolicyError("not decrypted, because of the failures beside it", hint="mend those first")
            self._keys.update((kid, stop) for kid, _ in wanted)
        elif wanted:
            # One deadline for the whole load, however often it finds that it needs another data key.
            left, started = max(0.0, self.seconds - self._waited), time.monotonic()
            delay = data_keys.HEDGE_SECONDS if self.hedge_delay is None else self.hedge_delay
            found = data_keys.unwrap([copies for _, copies in wanted], self._provider, left, delay)
            self._waited += time.monotonic() - started
            self._keys.update(zip((kid for kid, _ in wanted), found, strict=True))

    def decrypt(self, name: str, text: str) -> str | None:
        """Return what the variable *name* with the value *text* says; None if that failed, which is noted."""
        if not claims(text):
            if embeds(text):
                self.fail(name, _embedded())
                return None
            return text
        found = self._keys.get(kid_shown(text))
        if found is None or isinstance(found, EncenvError):
            found = self._key_of(text, found)
        if isinstance(found, EncenvError):
            self.fail(name, found)
            return None
        try:
            plain = found.key.decrypt_text(name, text)
        except EncenvError as error:
            self.fail(name, error)
            return None
        self.decrypted += 1
        self.has_decrypted = True
        return plain

    def fail(self, name: str, failure: EncenvError) -> None:
        """Note that the variable *name* cannot be loaded."""
        self._fail(failure.of(name))

    def finish(self) -> EncenvError | None:
        """Write the load's log record; return all its failures as one error, or None if there are none."""
        outer = loading.get()
        if outer is not None and self.has_decrypted:
            outer.has_decrypted = True
        if self.failures:
            return combine(self.failures)
        if self.decrypted:
            keys = {kid: key for kid, key in self._keys.items() if not isinstance(key, EncenvError)}
            logger.info(
                "decrypted %d variables under data keys %s: %d unwrapped by %s, %.1f ms",
                self.decrypted,
                ", ".join(keys),
                sum(not key.cached for key in keys.values()),
                ", ".join(dict.fromkeys(key.provider for key in keys.values())),
                (time.monotonic() - self._started) * 1000,
            )
        return None

    def _fail(self, failure: EncenvError) -> None:
        self.failures.append(failure)

    def _key_of(self, text: str, failure: EncenvError | None) -> "Unwrapped | EncenvError":
        """Return the data key of the sealed value *text*, or why there is none: *failure*, if it was looked for."""
        try:
            kid = SealedValue.parse(text).kid
        except MalformedError as error:
            return error.of()
        if failure is None:
            self.prepare([text])
        return self._keys[kid]

    def _provider(self, name: str) -> KeyProvider:
        return find_provider(name, self.environ, self.given)

    def _find(self, kid: str) -> "list[WrappedCopy] | EncenvError":
        """Return the wrapped copies of the data key *kid* that may be tried, or why there are none."""
        try:
            found: list[WrappedCopy] | EncenvError = self._accepted(kid)
        except EncenvError as error:
            found = error.of()
        self._copies[kid] = found
        return found

    def _accepted(self, kid: str) -> "list[WrappedCopy]":
        entries = [KeyEntry.parse(kid, text) for text in self._entries.get(kid, ())]
        if not entries:
            raise KeyEntryError(
                f"there is no key entry {ENTRY_PREFIX}{kid} to open it with",
                hint=f"set {ENTRY_PREFIX}{kid} as well: its line stands where the value was copied from",
            )
        if len({entry.commitment for entry in entries}) > 1:
            raise ConflictError(
                f"two key entries {ENTRY_PREFIX}{kid} name different data keys",
                hint="keep the entry that belongs to the values, as version control shows it",
            )
        # Copies of several entries add up; one entry that the rules accept is enough.
        copies: dict[WrappedCopy, None] = {}
        refusal: EncenvError | None = None
        for entry in entries:
            try:
                items = entry.items if self.trust is None else self.trust.accepted(entry)
            except PolicyError as error:
                refusal = error.of()
                continue
            copies.update(
                (data_keys.WrappedCopy(item, entry.context, entry.commitment), None) for item in items
            )
        if not copies and refusal is not None:
            raise refusal
        return sorted(copies, key=self._turn)

    def _turn(self, copy: "WrappedCopy") -> int:
        """Return when *copy* is tried: a local key costs nothing, one's own region little; else as they stand."""
        region = self.environ.get("AWS_REGION") or self.environ.get("AWS_DEFAULT_REGION")
        if copy.item.provider == "local":
            return 0
        if copy.item.provider == "aws-kms":
            return 1 if copy.item.reference.split(":")[3] == region else 2
        return 3


def frameless(function: "Callable[P, R]") -> "Callable[P, R]":
    """Let what *function* raises keep none of its frames: their locals hold keys and values."""

    @functools.wraps(function)
    def call(*args: "P.args", **kwargs: "P.kwargs") -> "R":
        try:
            return function(*args, **kwargs)
        except (EncenvError, ValueError, KeyboardInterrupt) as error:
            raised = error.with_traceback(None)
            raised.__cause__ = raised.__context__ = None
        raise raised

    return call


@frameless
def decrypt_environ(
    environ: Mapping[str, str] = os.environ,
    names: Iterable[str] | None = None,
    **options: "Unpack[ReaderOptions]",
) -> dict[str, str]:
    """Return a decrypted copy of *environ*, which itself stays as it is.

    Args:
        environ: Variables, sealed or plain, with their key entries.
        names: Which of the sealed ones to decrypt; the others are then left out. All of them if left out.
        **options: The reader's rules, see `ReaderOptions`.

    Returns:
        The variables without the keys: neither key entries nor ``ENCENV_LOCAL_KEY``. With the option
        ``encrypted_prefix``, a sealed variable of that prefix stands under its name without it.

    Raises:
        EncenvError: If a value cannot be decrypted. All failures are reported together.
    """
    if isinstance(names, str):
        raise TypeError("names is one text; give a list of names")
    asked = None if names is None else set(names)
    load = Load(checked(options))
    load.add_entries(environ.items())
    variables = [
        (name, value) for name, value in environ.items() if entry_kid(name) is None and name != LOCAL_KEY_NAME
    ]
    mapped = without_prefix(load, variables, options.get("encrypted_prefix") or "", asked)
    kept = [
        (to, name, value)
        for (name, value), to in zip(variables, mapped, strict=True)
        if value is not None and (asked is None or to in asked or not (claims(value) or embeds(value)))
    ]
    load.prepare(value for _, _, value in kept)
    decrypted = {to: load.decrypt(name, value) for to, name, value in kept}
    failure = load.finish()
    if failure is not None:
        raise failure
    return {name: text for name, text in decrypted.items() if text is not None}


def checked(options: "ReaderOptions") -> "ReaderOptions":
    """Return *options*, if there is none among them that is misspelt: a rule must not be lost that way.

    Raises:
        TypeError: As Python itself does about an unknown argument.
    """
    for name in options.keys() - OPTIONS:
        raise TypeError(f"got an unexpected keyword argument {name!r}")
    return options


def without_prefix(
    load: Load,
    variables: Sequence[tuple[str, str | None]],
    prefix: str,
    asked: Iterable[str] | None = None,
) -> list[str]:
    """Return the names that one source's *variables* supply: ``ENC_NAME`` supplies ``NAME`` if it is sealed.

    Both in one source is a failure of the load, if ``NAME`` is *asked* for (None: everything is).
    """
    if not prefix:
        return [name for name, _ in variables]
    present = {name for name, _ in variables}
    asked = None if asked is None else set(asked)
    names = []
    for name, value in variables:
        to = name.removeprefix(prefix)
        unasked = asked is not None and (name in asked or to not in asked)
        if to in ("", name) or unasked or value is None or not claims(value):
            names.append(name)
            continue
        if to in present:
            load.fail(
                to,
                ConflictError(
                    f"{to} and {name} are both set", hint=f"remove {to}, or give {name} another name"
                ),
            )
        names.append(to)
    return names


def _trust(options: "ReaderOptions") -> "Trust | None":
    """Return the rules that *options* state; None if they state none."""
    keys, context = options.get("trusted_keys"), options.get("encryption_context")
    if keys is None and not context:
        return None
    return trust_rules.Trust.of(keys, context)


def _embedded() -> MalformedError:
    return MalformedError(
        "a sealed value stands inside the text: in quotes, with white space, or pasted into it",
        hint="set the variable to the sealed value alone; to build one value from others, write ${NAME} in a .env file",
    )
