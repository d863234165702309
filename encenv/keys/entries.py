"""Gather the key entries of any text or environment by KID, and judge them in this one place.

A key entry names one data key by its commitment, and holds that data key wrapped under one or more wrapping keys.
Several entries of one KID add up if they name the same data key. An entry that nothing uses is never judged.
"""

from collections.abc import Iterable, Sequence

from encenv.errors import ConflictError, KeyEntryError, MalformedError, PolicyError
from encenv.format.sealed import ADDED_BY_WRITER, ENTRY_PREFIX, KeyEntry, entry_kid


class KeyEntries:
    """The key entries among variables, by KID; those that were added first come first.

    Args:
        variables: Names and values, key entries or not; None for a variable without a value.
        where: The name of their place for messages; empty for several places.
    """

    def __init__(self, variables: Iterable[tuple[str, str | None]] = (), where: str = "") -> None:
        self._where = where
        self._texts: dict[str, list[str]] = {}
        self._parsed: dict[str, tuple[KeyEntry, ...]] = {}
        self.add(variables)

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, variables: Iterable[tuple[str, str | None]]) -> None:
        """Add the key entries among *variables* after those that are there."""
        for name, value in variables:
            kid = entry_kid(name)
            if kid is not None and value is not None and value not in self._texts.setdefault(kid, []):
                self._texts[kid].append(value)
                self._parsed.pop(kid, None)

    def texts(self) -> dict[str, list[str]]:
        """Return the texts of the key entries by KID, not judged."""
        return self._texts

    def of(self, kid: str) -> tuple[KeyEntry, ...]:
        """Return the key entries of *kid*, at least one; all of them name one data key.

        Raises:
            KeyEntryError: If there is none.
            MalformedError: If one is malformed.
            ConflictError: If they name different data keys.
        """
        if kid not in self._texts:
            place = f"in {self._where}" if self._where else "to decrypt it with"
            raise KeyEntryError(
                f"there is no key entry {ENTRY_PREFIX}{kid} {place}",
                hint=f"copy the line {ENTRY_PREFIX}{kid}=… as well, from where the value was copied",
            )
        if kid not in self._parsed:
            entries = tuple(KeyEntry.parse(kid, text) for text in self._texts[kid])
            check_agreement(entries)
            self._parsed[kid] = entries
        return self._parsed[kid]


def check_agreement(entries: Sequence[KeyEntry]) -> None:
    """Check that *entries* of one KID name one data key.

    Raises:
        ConflictError: If they do not.
    """
    if len({entry.commitment for entry in entries}) > 1:
        raise ConflictError(
            f"two key entries {entries[0].name} name different data keys",
            hint="keep the key entry that belongs to the values, as git shows it",
        )


def merge(entries: Sequence[KeyEntry]) -> KeyEntry | None:
    """Return one key entry with all wrapped keys of *entries*; None if their encryption contexts differ.

    Args:
        entries: At least one, all of one data key. The last of two wrapped keys under one wrapping key is kept.
    """
    if len({tuple(sorted(entry.context)) for entry in entries}) > 1:
        return None
    items = {(item.provider, item.reference): item for entry in entries for item in entry.items}
    return entries[0]._replace(items=tuple(items.values()))


def is_contributed(entries: Iterable[KeyEntry]) -> bool:
    """Return whether the data key of *entries* was made by a contributor: someone who cannot decrypt."""
    return any(ADDED_BY_WRITER in entry.context for entry in entries)


def embedded_value() -> MalformedError:
    """Return the error for a text that holds a sealed value and something else."""
    return MalformedError(
        "the text holds an encrypted value and something else: quotes, white space or other text",
        hint="make the encrypted value the whole value; to build one value from others, write ${NAME} in a .env file",
    )


def local_key_beside_values(where: str) -> PolicyError:
    """Return the error for a file *where* that holds the local key beside the values it decrypts."""
    return PolicyError(
        f"{where} holds ENCENV_LOCAL_KEY, the local key, beside the values that it decrypts",
        hint=f"move it to the local key file (see encenv keygen --help) and delete the line from {where}",
    )
