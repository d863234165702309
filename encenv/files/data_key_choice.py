"""Who encrypts, and under which data key.

The rule: a writer seals only under a data key that it has just generated, or that it unwrapped itself from an entry
of the file that names no wrapping key but the configured ones, that opens every value present under it (at least
one), and that is not a contributor's. So nobody who plants an entry reads what is sealed later.
"""

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from encenv.errors import (
    ConflictError,
    EncenvError,
    KeyDeniedError,
    KeyRefusedError,
    KeyUnreachableError,
    PolicyError,
)
from encenv.files.key_names import KeyName, Pairs
from encenv.files.opening import Each, open_values
from encenv.format.sealed import ADDED_BY_WRITER, KeyEntry, SealedValue, check_context, encryption_context
from encenv.keys.entries import KeyEntries, is_contributed
from encenv.keys.provider import KeyProvider, find_provider
from encenv.keys.session import Session

if TYPE_CHECKING:
    from encenv.format.envelope import DataKey

UNWRAP_SECONDS = 20.0  # a person waits, and may be asked to sign in


@dataclass(frozen=True, slots=True)
class Writer:
    """The wrapping keys and the context to encrypt with, and the environment that leads to them.

    Attributes:
        keys: The configured wrapping keys; if none, the file's own.
        context: The encryption context for new data keys; if None, the file's own, or none.
        environ: The process environment.
        providers: Providers to use instead of the built-in ones of their names.
        each: What goes through the values that are worked on: it may show how far it is.
    """

    keys: tuple[KeyName, ...] = ()
    context: Pairs | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    providers: Sequence[KeyProvider] = ()
    each: Each = iter

    def session(self, entries: KeyEntries) -> Session:
        """Return a session that opens values for this writer, with the key entries of the file alone."""
        return Session(
            self.environ,
            entries=entries,
            providers=self.providers,
            seconds=UNWRAP_SECONDS,
            data_keys_max=None,  # each contributor has added one, and `rotate` makes one of them
        )

    def find(self, name: str) -> KeyProvider:
        """Return the provider called *name*."""
        return find_provider(name, self.environ, self.providers)

    def new_key(self, keys: Sequence[KeyName], context: Pairs) -> "tuple[DataKey, KeyEntry]":
        """Generate a data key and wrap it under each of *keys*: as a contributor's, if nothing else is permitted.

        Raises:
            EncenvError: If a wrapping key refuses or cannot be reached.
        """
        check_context(context, where="the encryption context")
        try:
            return self._generate(keys, context)
        except KeyDeniedError as error:
            refusal = error
        if ADDED_BY_WRITER not in context:
            try:
                return self._generate(keys, (*context, ADDED_BY_WRITER))
            except EncenvError:
                pass
        raise refusal

    def _generate(self, keys: Sequence[KeyName], context: Pairs) -> "tuple[DataKey, KeyEntry]":
        # A lazy door: a file with nothing to encrypt needs no cryptography.
        from encenv.format.envelope import DataKey

        whole = encryption_context(context)
        plain, first = self.find(keys[0].provider).generate(keys[0].key, whole)
        data_key = DataKey(plain)
        others = [self.find(key.provider).wrap(plain, key.key, whole) for key in keys[1:]]
        items = tuple({(item.provider, item.reference): item for item in (first, *others)}.values())
        entry = KeyEntry(data_key.commitment, tuple(sorted(context)), items)
        # Parsed, so that what the format does not allow is never written.
        return data_key, KeyEntry.parse(entry.kid, str(entry))


@dataclass(frozen=True, slots=True)
class FileKey:
    """A data key that values of a file are under.

    Attributes:
        entries: Its key entries in the file, at least one; several of them add up.
        values: Name and sealed value of each line under it, by the line's index.
    """

    entries: tuple[KeyEntry, ...]
    values: Mapping[int, tuple[str, SealedValue]]

    @property
    def keys(self) -> tuple[KeyName, ...]:
        """The wrapping keys that it is wrapped under."""
        items = (item for entry in self.entries for item in entry.items)
        return tuple(dict.fromkeys(KeyName(item.provider, item.reference) for item in items))

    @property
    def contexts(self) -> set[Pairs]:
        """The encryption contexts that it is wrapped with, without a contributor's mark."""
        return {tuple(sorted({*entry.context} - {ADDED_BY_WRITER})) for entry in self.entries}

    @property
    def is_contributed(self) -> bool:
        """Whether it was made by someone who may not decrypt."""
        return is_contributed(self.entries)

    def open(self, session: Session, each: Each) -> "DataKey":
        """Return the data key, unwrapped, if every value under it opens.

        Raises:
            EncenvError: If it cannot be unwrapped, or a value does not open.
        """
        data_key = session.data_key(self.entries[0].kid)
        open_values(self.values, session, each)
        return data_key


def data_key_for(
    writer: Writer, known: Sequence[FileKey], session: Session, where: str
) -> "tuple[DataKey, KeyEntry, bool]":
    """Return a data key to encrypt under.

    Args:
        writer: Who encrypts.
        known: The data keys of the file.
        session: The writer's session with the key entries of the file.
        where: What to call the file in messages.

    Returns:
        The data key, its entry, and whether that is new to the file.

    Raises:
        EncenvError: If there is none that the rule permits, or a value under it does not open.
    """
    fresh: tuple[DataKey, KeyEntry] | None = None
    if writer.keys:
        keys = writer.keys
        ours = _under(keys, known)
        if known and not ours and not all(key.is_exact for key in keys):
            # The answer to a new data key says which key an alias means.
            fresh = writer.new_key(keys, writer.context or ())
            ours = _under(FileKey((fresh[1],), {}).keys, known)
    else:
        ours = [one for one in known if not one.is_contributed]  # who may only add does not choose our key
        keys = agreed_keys(ours, where, has_entries=bool(known))
    context = tuple(sorted(agreed_context(ours, writer, where)))
    failures: list[EncenvError] = []
    for one in ours:
        if one.contexts == {context} and not one.is_contributed:
            try:
                return one.open(session, writer.each), one.entries[0], False
            except (KeyRefusedError, KeyUnreachableError) as error:
                failures.append(error)
    for failure in failures:
        if not isinstance(failure, KeyDeniedError):
            raise failure
    check_copies(ours, writer, where)
    if failures:
        # Who may not decrypt may still add: under a data key of one's own, which nobody ever seals under again.
        return *writer.new_key(keys, (*context, ADDED_BY_WRITER)), True
    if fresh is None or {*fresh[1].context} - {ADDED_BY_WRITER} != {*context}:
        fresh = writer.new_key(keys, context)
    return *fresh, True


def agreed_keys(known: Sequence[FileKey], where: str, *, has_entries: bool = False) -> tuple[KeyName, ...]:
    """Return the wrapping keys that all of *known* are under.

    Raises:
        ConflictError: If they differ: then one of them may be planted, and a person has to choose.
        PolicyError: If there are none.
    """
    if len({frozenset(one.keys) for one in known}) > 1:
        raise ConflictError(
            f"{where} has values under more than one wrapping key",
            hint="name the one to use: --key …",
        )
    if known:
        return known[0].keys
    if has_entries:
        raise PolicyError(
            f"no wrapping key is named, and the values in {where} are under contributors' data keys only",
            hint="name the one to use: --key …",
        )
    file = "-" if where == "standard input" else shlex.quote(where)
    raise PolicyError(
        f"no wrapping key is named, and there is none in {where}",
        hint=f"run: encenv keygen && encenv encrypt --key local {file}   or, with AWS KMS: "
        f"encenv encrypt --key alias/NAME {file}",
    )


def check_copies(known: Iterable[FileKey], writer: Writer, where: str) -> None:
    """Check that the wrapping keys of *known* may be used again, if the writer names none.

    They may if every wrapped copy gives its data key: then who made it had that. Whoever can change the file can
    put a copy beside the others that names a wrapping key of his own, and the next data key would be wrapped under it.

    Raises:
        PolicyError: If one does not, and so perhaps its wrapping key does not belong there.
    """
    if writer.keys:
        return
    from encenv.keys.unwrap import Unwrapped, WrappedCopy, unwrap  # a lazy door: as above

    for one in known:
        copies = [WrappedCopy(item, e.context, e.commitment) for e in one.entries for item in e.items]
        if len(copies) == 1:  # nothing else says what the file is under
            continue
        found = unwrap([[copy] for copy in copies], writer.find, UNWRAP_SECONDS)
        for copy, result in zip(copies, found, strict=True):
            if not isinstance(result, Unwrapped):
                raise PolicyError(
                    f"nothing shows that {copy.item.provider}:{copy.item.reference} belongs into {where}: its copy"
                    f" does not open here: {result.message}",
                    hint="name the wrapping keys that the file is to be under: --key …, or keys in [tool.encenv]",
                )


def agreed_context(known: Iterable[FileKey], writer: Writer, where: str) -> Pairs:
    """Return the writer's encryption context, else that of all of *known*, else an empty one.

    Raises:
        ConflictError: If it has to be theirs and they differ.
    """
    contexts = {context for one in known for context in one.contexts}
    if writer.context is None and len(contexts) > 1:
        raise ConflictError(
            f"{where} has values under more than one encryption context",
            hint="name the one to use: --context key=value",
        )
    return writer.context if writer.context is not None else next(iter(contexts), ())


def _under(keys: Sequence[KeyName], known: Iterable[FileKey]) -> list[FileKey]:
    """Return those of *known* that are under *keys* and no other."""
    return [one for one in known if all(any(key.covers(own) for key in keys) for own in one.keys)]
