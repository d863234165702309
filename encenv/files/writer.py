"""The writer of a .env file: its wrapping keys and encryption context, and how it makes a new data key."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from encenv.errors import EncenvError, KeyDeniedError
from encenv.files.key_names import KeyName, Pairs
from encenv.files.opening import Progress
from encenv.format.sealed import ADDED_BY_WRITER, KeyEntry, check_context, encryption_context
from encenv.keys.entries import KeyEntries
from encenv.keys.process_safety import lazily
from encenv.keys.provider import KeyProvider, find_provider
from encenv.keys.session import Session

if TYPE_CHECKING:
    from encenv.format import envelope
    from encenv.format.envelope import DataKey
else:
    envelope = lazily("encenv.format.envelope")

UNWRAP_SECONDS = 20.0  # a person waits, and may be asked to sign in


class EncryptionKey(NamedTuple):
    """The data key to encrypt under, its key entry, and whether that entry is new to the file."""

    data_key: "DataKey"
    entry: KeyEntry
    is_new: bool


@dataclass(frozen=True, slots=True)
class Writer:
    """The wrapping keys and the context to encrypt with, and the process environment that leads to them."""

    keys: tuple[KeyName, ...] = ()  # if none, the file's own
    context: Pairs | None = None  # for new data keys; if None, the file's own, or none
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    providers: Sequence[KeyProvider] = ()  # to use instead of the built-in ones of their names
    progress: Progress = iter  # iterates over the values to work on, and may show the progress

    def session(self, entries: KeyEntries) -> Session:
        """Return a session that decrypts values for this writer, with only the key entries of the file."""
        return Session(
            self.environ,
            entries=entries,
            providers=self.providers,
            seconds=UNWRAP_SECONDS,
            data_keys_max=None,  # each contributor has added one; `rotate` replaces them all
        )

    def find(self, name: str) -> KeyProvider:
        """Return the provider called *name*."""
        return find_provider(name, self.environ, self.providers)

    def new_key(self, keys: Sequence[KeyName], context: Pairs) -> EncryptionKey:
        """Wrap a new data key under each of *keys*, as a contributor's if that is denied; errors are the providers' own."""
        check_context(context, where="the encryption context")
        try:
            return self._generate(keys, context)
        except KeyDeniedError as error:
            refusal = error
        if ADDED_BY_WRITER not in context:
            with suppress(EncenvError):
                return self._generate(keys, (*context, ADDED_BY_WRITER))
        raise refusal

    def _generate(self, keys: Sequence[KeyName], context: Pairs) -> EncryptionKey:
        whole = encryption_context(context)
        plain, first = self.find(keys[0].provider).generate(keys[0].key, whole)
        data_key = envelope.DataKey(plain)
        others = [self.find(key.provider).wrap(plain, key.key, whole) for key in keys[1:]]
        items = tuple({(item.provider, item.reference): item for item in (first, *others)}.values())
        entry = KeyEntry(data_key.commitment, tuple(sorted(context)), items)
        # Parsed, so that an entry outside the format is never written.
        return EncryptionKey(data_key, KeyEntry.parse(entry.kid, str(entry)), is_new=True)
