"""Decide which wrapping keys and which encryption context this reader accepts.

A key entry comes with the values it opens, so anyone who can write the one can write the other. By default the
wrapping keys that this process may use (IAM, the local key file) are the only limit; a `Trust` narrows it.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Self

from encenv.errors import MalformedError, PolicyError
from encenv.format.sealed import KeyEntry, WrappedKey, check_context

# Not compiled: most readers have no rules.
_ACCOUNT = r"[0-9]{12}"
# A pattern that fits none of these cannot match any wrapping key, so it is reported at once.
_ARN = r"arn:[a-z0-9*-]+:(?:kms|\*):[a-z0-9*-]+:[0-9*]+:(?:\*|key(?=[/*]))[A-Za-z0-9/*-]*"
_LOCAL = r"local:(?=.*\*|.{8}$)[A-Z2-7*]{1,8}"
_PLUG_IN = r"(?!(?:arn|aws-kms|context|local):)[a-z][a-z0-9-]{0,31}:[A-Za-z0-9_.:/*-]{1,512}"


class Trust(NamedTuple):
    """A reader's rules.

    Attributes:
        keys: Patterns of accepted wrapping keys, or None for any: an ARN with ``*`` inside its fields, an
            account id of 12 digits, ``local:<id>``, or ``<provider>:<reference>`` of a plug-in. No ``*`` matches
            a colon.
        context: Pairs that a key entry's encryption context must carry.
    """

    keys: tuple[str, ...] | None = None
    context: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(
        cls,
        trusted_keys: str | Iterable[str] | None = None,
        encryption_context: Mapping[str, str] | None = None,
    ) -> Self:
        """Return the rules in a reader's options.

        Raises:
            PolicyError: If a pattern has none of the accepted forms, or no key entry could carry the context.
        """
        if isinstance(trusted_keys, str):
            trusted_keys = (trusted_keys,)
        keys = None if trusted_keys is None else tuple(trusted_keys)
        for pattern in keys or ():
            if not isinstance(pattern, str) or not any(
                re.fullmatch(form, pattern) for form in (_ACCOUNT, _ARN, _LOCAL, _PLUG_IN)
            ):
                raise PolicyError(
                    f"trusted_keys has {pattern!r}, which is not an ARN pattern, account id or local:<id>",
                    hint="write arn:aws:kms:<region>:<account>:key/<id>, 12 digits, or local:<id>; an alias can be"
                    " changed to any key and does not pin one",
                )
        context = tuple((encryption_context or {}).items())
        if not all(isinstance(text, str) for pair in context for text in pair):
            raise PolicyError(
                "encryption_context has a key or value that is not a string", hint="write it as a string"
            )
        try:
            check_context(context, where="encryption_context")
        except MalformedError as error:
            raise PolicyError(error.message, hint=error.hint) from None
        return cls(keys, tuple(sorted(context)))

    def accepted_keys(self, entry: KeyEntry) -> tuple[WrappedKey, ...]:
        """Return the wrapped keys of *entry* that may be tried; at least one.

        Raises:
            PolicyError: If none is under a trusted key, or a required context pair is missing.
        """
        for key, value in self.context:
            if (key, value) not in entry.context:
                raise PolicyError(
                    f"the key entry {entry.name} does not carry the required context {key}={value}",
                    hint="take the value from the environment it was encrypted for, or encrypt it with this context",
                )
        wrapped_keys = tuple(wrapped_key for wrapped_key in entry.items if self.trusts(wrapped_key))
        if not wrapped_keys:
            raise PolicyError(
                f"none of the keys in {entry.name} is trusted",
                hint="encrypt the values under a key in trusted_keys, or add that key to trusted_keys",
            )
        return wrapped_keys

    def trusts(self, wrapped_key: WrappedKey) -> bool:
        """Return whether *wrapped_key* is under a wrapping key that this reader accepts."""
        return self.keys is None or any(_matches(pattern, wrapped_key) for pattern in self.keys)


def _matches(pattern: str, wrapped_key: WrappedKey) -> bool:
    if wrapped_key.provider != "aws-kms":
        return not pattern.startswith("arn:") and _glob(pattern, wrapped_key.wrapping_key)
    if re.fullmatch(_ACCOUNT, pattern):
        return wrapped_key.reference.split(":")[4] == pattern
    if not pattern.startswith("arn:"):
        return False
    fields = pattern.split(":")
    if "*" not in fields[5] and fields[5].startswith("key/mrk-"):
        # The replicas of a multi-region key share key material and id, and differ in the region only.
        fields[3] = "*"
    return _glob(":".join(fields), wrapped_key.reference)


def _glob(pattern: str, text: str) -> bool:
    """Return whether *text* matches *pattern*; a ``*`` matches within one field, never across a colon."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", "[^:]*"), text) is not None
