"""Parse wrapping keys and encryption contexts as a user writes them, in an option or in pyproject.toml."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from encenv.errors import MalformedError
from encenv.format.sealed import ADDED_BY_WRITER, WrappedKey, check_context

AWS_KMS = "aws-kms"
_PROVIDER = re.compile(r"[a-z][a-z0-9-]{0,31}")
_ARN = r"arn:aws(?:-[a-z0-9-]+)?:kms:(?:[a-z]+-){2,3}[0-9]+:[0-9]{12}:"
# A key or an alias: AWS KMS API reference, KeyId and AliasName. Nothing else is asked for over the network.
_AWS_KEY = re.compile(rf"{_ARN}key/[A-Za-z0-9-]{{1,128}}|(?:{_ARN})?alias/[A-Za-z0-9/_-]{{1,250}}")

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class KeyName:
    """A wrapping key as a user names it: the key provider's name, and what that provider takes.

    For ``aws-kms`` the key is an ARN or ``alias/<name>``; for ``local`` an id, or nothing for the only key there is.
    """

    provider: str
    key: str

    @classmethod
    def of(cls, item: WrappedKey) -> Self:
        """Return the name of the wrapping key that *item* is under."""
        return cls(item.provider, item.reference)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``local[:<id>]``, a KMS key's ARN, ``alias/<name>`` or ``<provider>:<key>``, or raise MalformedError."""
        if text == "local":
            return cls("local", "")
        if text.startswith(("arn:", "alias/")):
            text = f"{AWS_KMS}:{text}"
        provider, _, key = text.partition(":")
        if key and _PROVIDER.fullmatch(provider) and (provider != AWS_KMS or _AWS_KEY.fullmatch(key)):
            return cls(provider, key)
        hint = "name local, arn:aws:kms:<region>:<account>:key/<id>, alias/<name>, or <provider>:<key>"
        raise MalformedError(f"{text.removeprefix(f'{AWS_KMS}:')!r} does not name a key", hint=hint)

    def __str__(self) -> str:
        """Return the text that `parse` takes."""
        if self.provider == AWS_KMS:
            return self.key
        return f"{self.provider}:{self.key}" if self.key else self.provider

    @property
    def is_exact(self) -> bool:
        """Whether it can be compared as it is; only its provider can tell what an alias means."""
        return self.provider == "local" or ":key/" in self.key

    def covers(self, other: "KeyName") -> bool:
        """Return whether *other*, as a key entry names it, is this key."""
        return self.provider == other.provider and self.key in ("", other.key)

    def is_among(self, keys: Iterable["KeyName"]) -> bool:
        """Return whether one of *keys* covers this one."""
        return any(key.covers(self) for key in keys)


def parse_keys(texts: Iterable[str]) -> tuple[KeyName, ...]:
    """Return the wrapping keys that *texts* name, each once; errors as for `KeyName.parse`."""
    return tuple(dict.fromkeys(KeyName.parse(text) for text in texts))


def parse_context(pairs: Iterable[tuple[str, str]]) -> Pairs:
    """Return the encryption context of *pairs*, sorted.

    Raises:
        MalformedError: If the format does not allow it, or a pair is the mark of a contributor's data key.
    """
    context = tuple(sorted(pairs))
    check_context(context, where="the encryption context")
    if ADDED_BY_WRITER in context:  # then each `set` would make another contributor's data key
        raise MalformedError(
            f"the encryption context holds {'='.join(ADDED_BY_WRITER)}, which encenv alone may set",
            hint="leave that pair out",
        )
    return context
