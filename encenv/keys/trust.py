"""Which wrapping keys and which encryption context this reader accepts.

A key entry comes with the values it opens, so whoever can write the one can write the other. By default the
wrapping keys that this process may use (IAM, the local key file) are the only limit; a `Trust` narrows it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Self

from encenv.errors import PolicyError
from encenv.format.sealed import KeyEntry, WrappedKey

ACCOUNT_DIGITS = 12  # an AWS account id
ARN_FIELDS = 6  # arn:partition:service:region:account:resource


@dataclass(frozen=True, slots=True)
class Trust:
    """A reader's rules.

    Attributes:
        keys: Patterns of accepted wrapping keys, or None for any: an ARN with ``*`` inside its fields, an
            account id of 12 digits, ``local:<id>``, or ``<provider>:<reference>`` of a plug-in.
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
        """Return the rules that a reader's options state.

        Raises:
            PolicyError: If a pattern is none of the accepted forms.
        """
        if isinstance(trusted_keys, str):
            trusted_keys = (trusted_keys,)
        keys = None if trusted_keys is None else tuple(trusted_keys)
        for pattern in keys or ():
            if not _is_account(pattern) and not _is_arn(pattern) and ":" not in pattern.strip(":"):
                raise PolicyError(
                    f"trusted_keys has {pattern!r}, which is no ARN pattern, account id or local:<id>",
                    hint="write arn:aws:kms:<region>:<account>:key/<id>, 12 digits, or local:<id>",
                )
        return cls(keys, tuple(sorted((encryption_context or {}).items())))

    def accepted(self, entry: KeyEntry) -> tuple[WrappedKey, ...]:
        """Return the wrapped copies of *entry* that may be tried; never none.

        Raises:
            PolicyError: If no copy is under a trusted key, or a required context pair is missing.
        """
        for key, value in self.context:
            if (key, value) not in entry.context:
                raise PolicyError(
                    f"the key entry {entry.name} does not carry the required context {key}={value}",
                    hint="take the value from the environment it was encrypted for, or encrypt it with this context",
                )
        items = tuple(item for item in entry.items if self.trusts(item))
        if not items:
            raise PolicyError(
                f"no wrapped copy in {entry.name} is under a trusted key",
                hint="encrypt the values under a key in trusted_keys, or add that key to trusted_keys",
            )
        return items

    def trusts(self, item: WrappedKey) -> bool:
        """Return whether *item* is under a wrapping key that this reader accepts."""
        return self.keys is None or any(_matches(pattern, item) for pattern in self.keys)


def _is_account(pattern: str) -> bool:
    return len(pattern) == ACCOUNT_DIGITS and pattern.isdigit() and pattern.isascii()


def _is_arn(pattern: str) -> bool:
    return pattern.startswith("arn:") and pattern.count(":") == ARN_FIELDS - 1


def _matches(pattern: str, item: WrappedKey) -> bool:
    if item.provider != "aws-kms":
        return not pattern.startswith("arn:") and fnmatchcase(f"{item.provider}:{item.reference}", pattern)
    fields = item.reference.split(":", ARN_FIELDS - 1)
    if _is_account(pattern):
        return fields[4] == pattern
    if not _is_arn(pattern):
        return False
    wanted = pattern.split(":", ARN_FIELDS - 1)
    if wanted[5].startswith("key/mrk-") and wanted[5] == fields[5]:
        # A multi-region key is one key: its replicas share key material and id, and differ in the region alone.
        wanted[3] = fields[3]
    # Field by field, so that a * never reaches over a colon into the account or the region.
    return all(fnmatchcase(field, glob) for field, glob in zip(fields, wanted, strict=True))
