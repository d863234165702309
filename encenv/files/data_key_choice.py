"""Choose the data key under which a writer encrypts.

The rule: a writer encrypts only under a data key that it has just generated, or that it unwrapped itself from an
entry of the file that names no wrapping key but the configured ones, that opens every value present under it (at
least one), and that is not a contributor's. So nobody who plants an entry can read what is encrypted later.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress

from encenv.errors import (
    ConflictError,
    EncenvError,
    KeyDeniedError,
    KeyRefusedError,
    KeyUnreachableError,
    PolicyError,
)
from encenv.files.disk import shell_argument
from encenv.files.key_names import KeyName, Pairs
from encenv.files.lines import FileKey, FileLines
from encenv.files.opening import open_values
from encenv.files.writer import UNWRAP_SECONDS, EncryptionKey, Writer
from encenv.format.sealed import ADDED_BY_WRITER
from encenv.keys.entries import is_contributed
from encenv.keys.unwrap import UnwrapRequest, UnwrapResult, unwrap


def choose_data_key(lines: FileLines, writer: Writer) -> EncryptionKey:
    """Return the data key for further values: one of the file's if the rule permits it, else a new one.

    Raises:
        EncenvError: If no data key is permitted, or a value under it does not decrypt.
    """
    new: EncryptionKey | None = None
    if writer.keys:
        keys = writer.keys
        candidates = [key for key in lines.keys if key.is_only_under(keys)]
        if lines.keys and not candidates and not all(key.is_exact for key in keys):
            # The entry of a new data key says which key an alias means.
            new = writer.new_key(keys, writer.context or ())
            exact = FileKey((new.entry,), {}).wrapping_keys
            candidates = [key for key in lines.keys if key.is_only_under(exact)]
    else:
        keys = agreed_keys(lines, writer)
        candidates = lines.trusted_keys
    context = tuple(sorted(_agreed_context(candidates, writer, lines.where)))
    session = writer.session(lines.entries)
    denial: KeyDeniedError | None = None
    failure: KeyRefusedError | KeyUnreachableError | None = None
    for key in candidates:
        if key.contexts == {context} and not is_contributed(key.entries):
            try:
                data_key = session.data_key(key.entries[0].kid)
                open_values(key.values, session, writer.progress)  # every value under it has to decrypt
                return EncryptionKey(data_key, key.entries[0], is_new=False)
            except KeyDeniedError as error:
                denial = error
            except (KeyRefusedError, KeyUnreachableError) as error:
                failure = failure or error
    if failure is not None:
        raise failure
    _check_wrapped_keys(candidates, writer, lines.where)
    if denial is not None:
        # A contributor may still add values, under a data key that nobody encrypts under again.
        return writer.new_key(keys, (*context, ADDED_BY_WRITER))
    if new is None or {*new.entry.context} - {ADDED_BY_WRITER} != {*context}:
        new = writer.new_key(keys, context)
    return new


def wrapping_of_new_key(lines: FileLines, writer: Writer) -> tuple[Sequence[KeyName], Pairs]:
    """Return wrapping keys and context for a new data key that replaces all that the file has.

    Raises:
        EncenvError: If the writer names none and those of the file differ or cannot be trusted.
    """
    keys = writer.keys or agreed_keys(lines, writer)
    trusted = lines.trusted_keys
    _check_wrapped_keys(trusted, writer, lines.where)
    return keys, _agreed_context(trusted, writer, lines.where)


def agreed_keys(lines: FileLines, writer: Writer) -> tuple[KeyName, ...]:
    """Return the wrapping keys that all data keys of the file are under, except contributors'.

    Raises:
        ConflictError: If they differ: one of them may be planted, so a person has to choose.
        PolicyError: If there are none.
    """
    trusted, where = lines.trusted_keys, lines.where
    hint = "name the one to use: --key …"
    if len({frozenset(key.wrapping_keys) for key in trusted}) > 1:
        raise ConflictError(f"{where} has values under more than one key", hint=hint)
    if trusted:
        return trusted[0].wrapping_keys
    if lines.keys:
        raise PolicyError(f"no key is named, and contributors added all values in {where}", hint=hint)
    file = shell_argument(where)
    hint = (
        f"run: encenv keygen && encenv encrypt --key local {file}   or, with AWS KMS: "
        f"encenv encrypt --key alias/NAME {file}"
    )
    with suppress(EncenvError, OSError):  # this user has no home directory, or may not look into it
        from encenv.keys.local import LocalKeys  # a lazy door: only this hint needs its cryptography

        if LocalKeys(writer.environ).exist():
            hint = "name the one to use: --key local   or, with AWS KMS: --key alias/NAME"
    raise PolicyError(f"no key is named, and there is none in {where}", hint=hint)


def _agreed_context(file_keys: Iterable[FileKey], writer: Writer, where: str) -> Pairs:
    """Return the writer's encryption context, else the one that *file_keys* agree on, else an empty one."""
    if writer.context is not None:
        return writer.context
    contexts = {context for key in file_keys for context in key.contexts}
    if len(contexts) > 1:
        hint = "name the one to use: --context key=value"
        raise ConflictError(f"{where} has values under more than one encryption context", hint=hint)
    return next(iter(contexts), ())


def _check_wrapped_keys(file_keys: Iterable[FileKey], writer: Writer, where: str) -> None:
    """If the writer names no wrapping keys, check that those of *file_keys* may be used again.

    They may if every wrapped key unwraps to its data key: then its maker had the data key. Anyone who can change the file
    can add one under their own wrapping key, and the next data key would be wrapped under that.
    """
    if writer.keys:
        return
    for key in file_keys:
        requests = [UnwrapRequest(item, e.context, e.commitment) for e in key.entries for item in e.items]
        if len(requests) == 1:  # there is no other one to compare it with
            continue
        results = unwrap([[request] for request in requests], writer.find, UNWRAP_SECONDS)
        for request, result in zip(requests, results, strict=True):
            if not isinstance(result, UnwrapResult):
                name = request.wrapped_key.wrapping_key
                raise PolicyError(
                    f"nothing shows that {name} belongs in {where}: it cannot decrypt the values here: {result.message}",
                    hint="name the keys for the file: --key …, or keys in [tool.encenv]",
                )
