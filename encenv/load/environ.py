"""The process environment: `decrypt_environ`, and what every load with a reader's options has."""

import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar

from encenv.errors import ConflictError, EncenvError, frameless
from encenv.format.sealed import LOCAL_KEY_NAME, claims, embeds, entry_kid
from encenv.keys.process_safety import lazily
from encenv.keys.session import UNWRAP_SECONDS, Session

TYPE_CHECKING = False  # not typing's: a load with nothing sealed should cost nothing
if TYPE_CHECKING:
    from typing import Unpack

    from encenv.keys import trust as trust_rules
    from encenv.keys.trust import Trust
    from encenv.load.options import ReaderOptions

else:
    trust_rules = lazily("encenv.keys.trust")

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


class Load(Session):
    """A session of a reader: with the reader's options, and a log record of what it decrypted.

    Args:
        options: The reader's options.
        environ: The process environment as it is before the load; encenv's own settings come from nowhere else.
    """

    def __init__(self, options: "ReaderOptions", environ: Mapping[str, str] = os.environ) -> None:
        super().__init__(
            environ,
            trust=_trust(options),
            providers=tuple(options.get("key_providers") or ()),
            seconds=options.get("unwrap_timeout") or UNWRAP_SECONDS,
            hedge_delay=options.get("hedge_delay"),
        )
        self.inner_has_decrypted = False  # a load inside of this one
        self._started = time.monotonic()

    @property
    def has_decrypted(self) -> bool:
        """Whether this load, or a load inside of it, decrypted anything."""
        return bool(self.decrypted) or self.inner_has_decrypted

    def finish(self) -> EncenvError | None:
        """Write the load's log record; return all its failures as one error, or None if there are none."""
        outer = loading.get()
        if outer is not None and self.has_decrypted:
            outer.inner_has_decrypted = True
        if self.decrypted and not self.failures:
            keys = self.unwrapped()
            logger.info(
                "decrypted %d variables under data keys %s: %d unwrapped by %s, %.1f ms",
                self.decrypted,
                ", ".join(keys),
                sum(not key.cached for key in keys.values()),
                ", ".join(dict.fromkeys(key.provider for key in keys.values())),
                (time.monotonic() - self._started) * 1000,
            )
        return self.failure()


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
    load.entries.add(environ.items())
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
