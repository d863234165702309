"""One session finds key entries, checks them, unwraps, decrypts and reports: the only way a value is opened.

The order is the promise: everything that can be judged without a key or a network (format, limits, the reader's
rules) is judged before the first data key is unwrapped.
"""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from encenv.errors import EncenvError, MalformedError, PolicyError, combine
from encenv.format.sealed import SealedValue, claims, embeds, kid_shown
from encenv.keys.entries import KeyEntries, embedded_value
from encenv.keys.process_safety import lazily
from encenv.keys.provider import KeyProvider, find_provider

TYPE_CHECKING = False  # not typing's: a load with nothing sealed should cost nothing
if TYPE_CHECKING:
    from encenv.format.envelope import DataKey
    from encenv.keys import unwrap as data_keys
    from encenv.keys.trust import Trust
    from encenv.keys.unwrap import UnwrapRequest, UnwrapResult
else:
    data_keys = lazily("encenv.keys.unwrap")

DATA_KEYS_MAX = 32  # distinct data keys in one session: a bound on what a hostile environment can cost
UNWRAP_SECONDS = 10.0  # for all unwraps of a session together


class Session:
    """Holds the key entries, the reader's rules, the data keys and the failures while values are opened.

    Args:
        environ: The process environment, for the settings of encenv and of the key providers.
        entries: The key entries to unwrap data keys from; more may be added.
        trust: The wrapping keys and the encryption context that are accepted; None for any.
        providers: Key providers to use instead of the built-in ones of their names.
        seconds: How long all unwraps may take together.
        hedge_delay: Seconds after which another wrapped key of the same data key is tried as well; None for the default.
        data_keys_max: How many data keys may be needed; None for any number.

    Attributes:
        failures: What went wrong, in order; each names its variables.
        decrypted_count: How many values were decrypted.
        needed_a_key: Whether a data key was needed, so that frames of this session may hold it, or a value.
    """

    def __init__(  # noqa: PLR0913 (what a reader may decide)
        self,
        environ: Mapping[str, str] = os.environ,
        *,
        entries: KeyEntries | None = None,
        trust: "Trust | None" = None,
        providers: Sequence[KeyProvider] = (),
        seconds: float = UNWRAP_SECONDS,
        hedge_delay: float | None = None,
        data_keys_max: int | None = DATA_KEYS_MAX,
    ) -> None:
        self.environ = environ
        self.entries = KeyEntries() if entries is None else entries
        self.failures: list[EncenvError] = []
        self.decrypted_count = 0
        self.needed_a_key = False
        self._trust = trust
        self._key_providers = providers
        self._seconds = seconds
        self._hedge_delay = hedge_delay
        self._data_keys_max = data_keys_max
        self._waited = 0.0  # seconds, for data keys
        self._values: dict[str, SealedValue] = {}  # the first of each KID, by its text: it is parsed once
        self._keys: dict[str, UnwrapResult | EncenvError] = {}

    def unwrapped_keys(self) -> "dict[str, UnwrapResult]":
        """Return the data keys that were unwrapped, by KID."""
        return {kid: key for kid, key in self._keys.items() if not isinstance(key, EncenvError)}

    def prepare(self, texts: Iterable[str]) -> None:
        """Check the key entries that the sealed values among *texts* need, then unwrap the data keys side by side."""
        kids: dict[str, None] = {}
        for text in texts:
            # One sound value is enough to need a data key; the others are parsed when they are decrypted.
            if claims(text) and (kid := kid_shown(text)) not in kids and kid not in self._keys:
                with suppress(MalformedError):
                    kids[self._parse(text).kid] = None
        self.unwrap(kids)

    def unwrap(self, kids: Iterable[str]) -> None:
        """Check the key entries of those *kids* that are not known yet, then unwrap the data keys side by side."""
        is_forbidden = False
        groups = []
        for kid in dict.fromkeys(kids):
            if kid in self._keys:
                continue
            self.needed_a_key = True
            try:
                groups.append((kid, self._acceptable(kid)))
            except EncenvError as error:
                self._keys[kid] = error.of()
                is_forbidden = is_forbidden or isinstance(error, PolicyError)
        if self._data_keys_max is not None and len(self._keys) + len(groups) > self._data_keys_max:
            is_forbidden = True
            self.failures.append(
                PolicyError(
                    f"the values need more than {self._data_keys_max} data keys",
                    hint="encrypt the values of one environment under one data key: encenv rotate",
                )
            )
        if is_forbidden:
            # Once the reader's rules forbid one value, no network call follows, not even for the others.
            stop = PolicyError("not decrypted, because of the other failures", hint="fix those first")
            self._keys.update((kid, stop) for kid, _ in groups)
        elif groups:
            # One deadline for the whole session, however often it needs another data key.
            left = max(0.0, self._seconds - self._waited)
            delay = data_keys.HEDGE_SECONDS if self._hedge_delay is None else self._hedge_delay
            started = time.monotonic()
            results = data_keys.unwrap([requests for _, requests in groups], self._provider, left, delay)
            self._waited += time.monotonic() - started
            self._keys.update(zip((kid for kid, _ in groups), results, strict=True))

    def data_key(self, kid: str) -> "DataKey":
        """Return the data key *kid*, unwrapped if it is not yet.

        Raises:
            EncenvError: If it cannot be unwrapped.
        """
        self.unwrap([kid])
        key = self._keys[kid]
        if isinstance(key, EncenvError):
            raise key.of()
        return key.key

    def decrypt(self, name: str, text: str) -> str | None:
        """Return the plaintext of the variable *name* with the value *text*; None after a failure (see `failures`)."""
        if not claims(text):
            if embeds(text):
                self.fail(name, embedded_value())
                return None
            return text
        key = self._keys.get(kid_shown(text))
        try:
            if key is None or isinstance(key, EncenvError) or text in self._values:
                value = self._parse(text)  # first: a malformed value needs no data key
                plain = self.data_key(value.kid).decrypt(name, value)
            else:
                plain = key.key.decrypt_text(name, text)
        except EncenvError as error:
            self.fail(name, error)
            return None
        self.decrypted_count += 1
        return plain

    def fail(self, name: str, failure: EncenvError) -> None:
        """Add *failure* to `failures`, for the variable *name*."""
        self.failures.append(failure.of(name))

    def raise_failures(self, *, whole: str = "the environment", done: str = "loaded") -> None:
        """Raise all failures as one error, if there are any; arguments as for `combine`."""
        if self.failures:
            raise combine(self.failures, whole=whole, done=done)

    def _parse(self, text: str) -> SealedValue:
        value = self._values.get(text)
        if value is None:
            value = self._values[text] = SealedValue.parse(text)
        return value

    def _provider(self, name: str) -> KeyProvider:
        return find_provider(name, self.environ, self._key_providers)

    def _acceptable(self, kid: str) -> "list[UnwrapRequest]":
        """Return the wrapped keys of the data key *kid* that may be tried, in the order of the trials.

        Raises:
            EncenvError: If there are none.
        """
        # Copies of several entries add up; one entry that the rules accept is enough.
        requests: dict[UnwrapRequest, None] = {}
        refusal: EncenvError | None = None
        for entry in self.entries.of(kid):
            try:
                wrapped_keys = entry.items if self._trust is None else self._trust.accepted_keys(entry)
            except PolicyError as error:
                refusal = error.of()
                continue
            requests.update(
                (data_keys.UnwrapRequest(one, entry.context, entry.commitment), None) for one in wrapped_keys
            )
        if not requests and refusal is not None:
            raise refusal
        return sorted(requests, key=self._distance)

    def _distance(self, request: "UnwrapRequest") -> int:
        """Return the rank of *request* among the trials: a local key costs nothing, the process's own region little."""
        region = self.environ.get("AWS_REGION") or self.environ.get("AWS_DEFAULT_REGION")
        if request.wrapped_key.provider == "local":
            return 0
        if request.wrapped_key.provider == "aws-kms":
            return 1 if request.wrapped_key.reference.split(":")[3] == region else 2
        return 3
