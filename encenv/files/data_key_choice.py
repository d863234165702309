"""Choose the data key under which a writer encrypts.

The rule: a writer encrypts only under a data key that it has just generated, or that it unwrapped itself from an
entry of the file that names no wrapping key but the configured ones, that opens every value present under it (at
least one), and that is not a contributor's. So nobody who plants an entry can read what is encrypted later.
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from encenv.errors import ConflictError, KeyDeniedError, KeyRefusedError, KeyUnreachableError, PolicyError
from encenv.files.key_names import KeyName, Pairs
from encenv.files.opening import Progress, open_values
from encenv.files.writer import UNWRAP_SECONDS, Writer
from encenv.format.sealed import ADDED_BY_WRITER, KeyEntry, SealedValue
from encenv.keys.entries import is_contributed
from encenv.keys.process_safety import lazily
from encenv.keys.session import Session

if TYPE_CHECKING:
    from encenv.format.envelope import DataKey
    from encenv.keys import unwrap as data_keys
else:
    data_keys = lazily("encenv.keys.unwrap")


@dataclass(frozen=True, slots=True)
class FileKey:
    """A data key that encrypts values of a file.

    Attributes:
        entries: Its key entries in the file, at least one; several of them add up.
        values: Name and sealed value of each line under it, by the line's index.
    """

    entries: tuple[KeyEntry, ...]
    values: Mapping[int, tuple[str, SealedValue]]

    @property
    def kid(self) -> str:
        """The KID that its values and entries name."""
        return self.entries[0].kid

    @property
    def wrapping_keys(self) -> tuple[KeyName, ...]:
        """The wrapping keys that it is wrapped under."""
        items = (item for entry in self.entries for item in entry.items)
        return tuple(dict.fromkeys(KeyName(item.provider, item.reference) for item in items))

    @property
    def contexts(self) -> set[Pairs]:
        """The encryption contexts that it is wrapped with, without a contributor's mark."""
        return {tuple(sorted({*entry.context} - {ADDED_BY_WRITER})) for entry in self.entries}

    @property
    def is_contributed(self) -> bool:
        """Whether it was made by someone who cannot decrypt."""
        return is_contributed(self.entries)

    def is_only_under(self, keys: Sequence[KeyName]) -> bool:
        """Return whether *keys* cover every wrapping key that it is wrapped under."""
        return all(any(key.covers(own) for key in keys) for own in self.wrapping_keys)

    def unwrap(self, session: Session, progress: Progress) -> "DataKey":
        """Return the data key, if every value under it decrypts.

        Raises:
            EncenvError: If it cannot be unwrapped, or a value does not decrypt.
        """
        data_key = session.data_key(self.kid)
        open_values(self.values, session, progress)
        return data_key


class DataKeyChoice(NamedTuple):
    """The data key to encrypt under, its key entry, and whether that entry is new to the file."""

    data_key: "DataKey"
    entry: KeyEntry
    is_new: bool


def choose_data_key(
    writer: Writer, file_keys: Sequence[FileKey], session: Session, where: str
) -> DataKeyChoice:
    """Return the data key to encrypt under: one of *file_keys* if the rule permits, else a new one.

    Args:
        writer: Who encrypts.
        file_keys: The data keys of the file.
        session: The writer's session with the key entries of the file.
        where: What messages call the file.

    Raises:
        EncenvError: If no data key is permitted, or a value under it does not decrypt.
    """
    new: tuple[DataKey, KeyEntry] | None = None
    if writer.keys:
        keys = writer.keys
        candidates = [key for key in file_keys if key.is_only_under(keys)]
        if file_keys and not candidates and not all(key.is_exact for key in keys):
            # The entry of a new data key says which key an alias means.
            new = writer.new_key(keys, writer.context or ())
            exact = FileKey((new[1],), {}).wrapping_keys
            candidates = [key for key in file_keys if key.is_only_under(exact)]
    else:
        keys, candidates = agreed_keys(file_keys, where), _trusted(file_keys)
    context = tuple(sorted(agreed_context(candidates, writer, where)))
    denial: KeyDeniedError | None = None
    failure: KeyRefusedError | KeyUnreachableError | None = None
    for key in candidates:
        if key.contexts == {context} and not key.is_contributed:
            try:
                return DataKeyChoice(key.unwrap(session, writer.progress), key.entries[0], is_new=False)
            except KeyDeniedError as error:
                denial = error
            except (KeyRefusedError, KeyUnreachableError) as error:
                failure = failure or error
    if failure is not None:
        raise failure
    check_wrapped_keys(candidates, writer, where)
    if denial is not None:
        # A contributor may still add values, under a data key that nobody encrypts under again.
        return DataKeyChoice(*writer.new_key(keys, (*context, ADDED_BY_WRITER)), is_new=True)
    if new is None or {*new[1].context} - {ADDED_BY_WRITER} != {*context}:
        new = writer.new_key(keys, context)
    return DataKeyChoice(*new, is_new=True)


def wrapping_of_new_key(
    writer: Writer, file_keys: Sequence[FileKey], where: str
) -> tuple[Sequence[KeyName], Pairs]:
    """Return wrapping keys and context for a new data key that replaces all of *file_keys*.

    Raises:
        EncenvError: If the writer names none and those of the file differ or cannot be trusted.
    """
    keys, trusted = writer.keys or agreed_keys(file_keys, where), _trusted(file_keys)
    check_wrapped_keys(trusted, writer, where)
    return keys, agreed_context(trusted, writer, where)


def agreed_keys(file_keys: Sequence[FileKey], where: str) -> tuple[KeyName, ...]:
    """Return the wrapping keys that all of *file_keys* are under, contributors' data keys aside.

    Raises:
        ConflictError: If they differ: one of them may be planted, so a person has to choose.
        PolicyError: If there are none.
    """
    trusted = _trusted(file_keys)
    if len({frozenset(key.wrapping_keys) for key in trusted}) > 1:
        raise ConflictError(
            f"{where} has values under more than one key",
            hint="name the one to use: --key …",
        )
    if trusted:
        return trusted[0].wrapping_keys
    if file_keys:
        raise PolicyError(
            f"no key is named, and the values in {where} are under contributors' data keys only",
            hint="name the one to use: --key …",
        )
    file = "-" if where == "standard input" else shlex.quote(where)
    raise PolicyError(
        f"no key is named, and there is none in {where}",
        hint=f"run: encenv keygen && encenv encrypt --key local {file}   or, with AWS KMS: "
        f"encenv encrypt --key alias/NAME {file}",
    )


def agreed_context(file_keys: Iterable[FileKey], writer: Writer, where: str) -> Pairs:
    """Return the writer's encryption context, else that of all of *file_keys*, else an empty one.

    Raises:
        ConflictError: If the writer has none and theirs differ.
    """
    if writer.context is not None:
        return writer.context
    contexts = {context for key in file_keys for context in key.contexts}
    if len(contexts) > 1:
        raise ConflictError(
            f"{where} has values under more than one encryption context",
            hint="name the one to use: --context key=value",
        )
    return next(iter(contexts), ())


def check_wrapped_keys(file_keys: Iterable[FileKey], writer: Writer, where: str) -> None:
    """Check that the wrapping keys of *file_keys* may be used again, if the writer names none.

    They may if every wrapped key gives its data key: then its maker had the data key. Anyone who can change the file
    can add one under their own wrapping key, and the next data key would be wrapped under that.

    Raises:
        PolicyError: If one does not, so that its wrapping key may have been planted.
    """
    if writer.keys:
        return
    for key in file_keys:
        requests = [
            data_keys.UnwrapRequest(item, e.context, e.commitment) for e in key.entries for item in e.items
        ]
        if len(requests) == 1:  # there is no other to compare it with
            continue
        results = data_keys.unwrap([[request] for request in requests], writer.find, UNWRAP_SECONDS)
        for request, result in zip(requests, results, strict=True):
            if not isinstance(result, data_keys.UnwrapResult):
                name = f"{request.wrapped_key.provider}:{request.wrapped_key.reference}"
                raise PolicyError(
                    f"nothing shows that {name} belongs in {where}: it does not open the data key here:"
                    f" {result.message}",
                    hint="name the keys for the file: --key …, or keys in [tool.encenv]",
                )


def _trusted(file_keys: Iterable[FileKey]) -> list[FileKey]:
    """Return *file_keys* without contributors': someone who can only add does not choose our key."""
    return [key for key in file_keys if not key.is_contributed]
