"""The session of a reader, with its options and its log record; and what one source gives it to decrypt."""

import logging
import os
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextvars import ContextVar
from itertools import dropwhile, takewhile

from encenv.errors import ConflictError, EncenvError, combine
from encenv.format.sealed import ENTRY_PREFIX, claims
from encenv.keys.process_safety import lazily
from encenv.keys.session import UNWRAP_SECONDS, Session

TYPE_CHECKING = False  # not typing's: a load with nothing encrypted should cost nothing
if TYPE_CHECKING:
    from typing import Any

    from encenv.keys import trust
    from encenv.load.options import ReaderOptions
else:
    trust = lazily("encenv.keys.trust")

# The names of `ReaderOptions`, which is for type checkers: its import would take longer than all else here.
OPTIONS = {
    "trusted_keys", "encryption_context", "encrypted_prefix", "key_providers", "unwrap_timeout", "hedge_delay",
}  # fmt: skip

ABSENT = object()  # no value at all; None is the value of a line without "="

loading: "ContextVar[SettingsSession | None]" = ContextVar("encenv_loading", default=None)
logger = logging.getLogger("encenv")


class ReaderSession(Session):
    """A session with a reader's *options*; encenv's own settings come from the process environment alone.

    A misspelt option raises TypeError, as an unknown argument of a function does, so that no rule is lost.
    """

    def __init__(self, options: "ReaderOptions") -> None:
        for name in options.keys() - OPTIONS:
            raise TypeError(f"got an unexpected keyword argument {name!r}")
        keys, context = options.get("trusted_keys"), options.get("encryption_context")
        super().__init__(
            os.environ,
            trust=None if keys is None and not context else trust.Trust.of(keys, context),
            providers=tuple(options.get("key_providers") or ()),
            seconds=options.get("unwrap_timeout") or UNWRAP_SECONDS,
            hedge_delay=options.get("hedge_delay"),
        )
        self.prefix = options.get("encrypted_prefix") or ""
        self.inner_has_decrypted = False  # whether a load inside of this one has
        self._started = time.monotonic()

    @property
    def has_decrypted(self) -> bool:
        """Whether this load, or a load inside of it, decrypted anything."""
        return bool(self.decrypted_count) or self.inner_has_decrypted

    def without_prefix(
        self, variables: Sequence[tuple[str, str | None]], wanted_names: Container[str] | None = None
    ) -> list[tuple[str, str, str | None]]:
        """Return each of one source's *variables* as the name that it supplies, its own name, and its value.

        An encrypted ``ENC_NAME`` supplies ``NAME``. If the source has both, that is a failure, unless *wanted_names*
        lack ``NAME`` (None: they lack no name).
        """
        names = {name for name, _ in variables}
        result = []
        for name, value in variables:
            supplied = name.removeprefix(self.prefix)
            is_unwanted = wanted_names is not None and (name in wanted_names or supplied not in wanted_names)
            if supplied in ("", name) or is_unwanted or value is None or not claims(value):
                supplied = name
            elif supplied in names:
                self.fail_both_set(supplied, name)
            result.append((supplied, name, value))
        return result

    def fail_both_set(self, name: str, other: str) -> None:
        """Add the failure that *name* and *other*, which supplies it, are both set."""
        hint = f"remove {name}, or give {other} another name"
        self.fail(name, ConflictError(f"{name} and {other} are both set", hint=hint))

    def end(self) -> EncenvError | None:
        """Write the log record of the load; return all its failures as one error, or None if there are none."""
        outer = loading.get()
        if outer is not None and self.has_decrypted:
            outer.inner_has_decrypted = True
        if self.failures:
            return combine(self.failures)
        if self.decrypted_count:
            keys = self.unwrapped_keys()
            logger.info(
                "decrypted %d variables under data keys %s: %d unwrapped by %s, %.1f ms",
                self.decrypted_count,
                ", ".join(keys),
                sum(not key.cached for key in keys.values()),
                ", ".join(dict.fromkeys(key.provider for key in keys.values())),
                (time.monotonic() - self._started) * 1000,
            )
        return None

    def finish(self) -> None:
        """Write the log record of the load; raise all its failures as one error, if there are any."""
        failure = self.end()
        if failure is not None:
            raise failure


class EncryptedVariable:
    """A variable whose value is encrypted, or refers to one that is."""

    def __init__(self, name: str, raw: str, texts: list[str], decrypt: Callable[[], str | None]) -> None:
        self.name, self.raw = name, raw  # as in the source
        self.texts = texts  # the encrypted values that it needs, except for references inside them
        self.decrypt = decrypt  # returns its value; a failure goes to the session
        self.value: object = ABSENT  # once it is decrypted
        self.below: object = ABSENT  # what it replaces, used if its own value is empty and ignored
        self.duplicate = ""  # another variable of the same place that supplies the same name


# The variables of one place by name, without key entries.
Place = Mapping[str, "str | EncryptedVariable | None"]


class SettingsSession(ReaderSession):
    """The session of one load of a settings class, with its sources and what is known about their values."""

    def __init__(self, settings_cls: "type[Any]") -> None:
        config = settings_cls.model_config
        super().__init__({name: config[name] for name in OPTIONS & config.keys()})  # type: ignore[arg-type]
        self.settings_cls = settings_cls
        self.decrypted_keys: set[str] = set()  # keys of the model's data that hold something decrypted
        # Field and path of values that could not be decrypted. No lower source replaces them.
        self.lost_paths: set[tuple[str, ...]] = set()
        self.in_hook = False  # whether `settings_customise_sources` is running
        self.hook_arguments: Sequence[object] = ()  # the sources that pydantic-settings has made
        self.cli_sources: Sequence[Any] = ()  # those that `CliApp` has made
        self.sources: Sequence[Any] = ()  # those of the load, highest first
        self.order: list[Reader | None] = []  # their readers; None where only a call tells the values
        # Each source with its reader, if it has one, by the id of the source. The source is kept: as long as it lives,
        # no other object has its id.
        self.readers: dict[int, tuple[object, Reader | None]] = {}

    @property
    def may_hold_values(self) -> bool:
        """Whether a data key was needed, so that the frames of this load may hold it, or a value."""
        return self.has_decrypted or self.needed_a_key

    def before_read(self, reader: "Reader", state: "Mapping[str, Any]") -> None:
        """Unwrap what *reader* needs, together with what the sources after it will certainly need."""
        # Read now, because a hook may have added some; by name, because reading a value decodes it.
        entries = [(name, self.environ.get(name)) for name in self.environ if name.startswith(ENTRY_PREFIX)]
        for _, other in self.readers.values():
            try:
                entries += () if other is None else other.entries()
            except EncenvError as error:
                self.failures.append(error.of(*error.variables))
        self.entries.add(entries)
        if len(self.entries) == 1:
            return  # the only data key there is: it is unwrapped for the first value
        earlier_fields: set[str] = set()
        texts = reader.needs(state, earlier_fields)
        behind = dropwhile(lambda other: other is not reader, self.order)
        next(behind, None)
        for other in takewhile(lambda other: other is not None, behind):
            texts += other.needs(state, earlier_fields)  # type: ignore[union-attr]
        self.prepare(texts)


class Reader:
    """What one source reads from, in one load of a settings class.

    It decrypts no value that is useless beside those of earlier sources, which the source's `current_state` holds.
    """

    _state: "Mapping[str, Any] | None" = None  # for which the values were read

    def entries(self) -> Iterable[tuple[str, str]]:
        """Return the key entries that the session does not know yet."""
        return ()

    def needs(self, state: "Mapping[str, Any]", earlier_fields: set[str]) -> list[str]:  # noqa: ARG002 (for subclasses)
        """Return the encrypted values certain to be read, except for *earlier_fields*; add this reader's fields to them."""
        return []

    def plain_texts(self) -> Iterable[tuple[str, str]]:
        """Return plaintext that an error may show, each text with its key in the model's data."""
        raise NotImplementedError
