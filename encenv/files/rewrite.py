"""A .env file's text with its values encrypted: what is sealed already, and every other byte, stays as it is.

The rule this file keeps: a writer seals only under a data key that it has just generated, or that it unwrapped
itself from an entry of this file that names no wrapping key but the configured ones, that opens every value
present under it (at least one), and that is not a contributor's. So nobody who plants an entry reads what is
sealed later.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from encenv.errors import (
    AuthenticationError,
    ConflictError,
    EncenvError,
    FileError,
    KeyEntryError,
    KeyRefusedError,
    MalformedError,
    PolicyError,
    combine,
)
from encenv.files.envfile import Binding, EnvFile, parse, with_value
from encenv.format.envelope import DataKey
from encenv.format.sealed import (
    ADDED_BY_WRITER,
    COPY_AGAIN,
    KeyEntry,
    SealedValue,
    WrappedKey,
    check_context,
    claims,
    embeds,
    encryption_context,
    entry_kid,
)
from encenv.keys.datakeys import Unwrapped, WrappedCopy, unwrap
from encenv.keys.provider import KeyProvider, find_provider

UNWRAP_SECONDS = 10.0
LOCAL_KEY = "ENCENV_LOCAL_KEY"

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class KeyName:
    """A wrapping key as a user names it.

    Attributes:
        provider: The key provider's name.
        key: What that provider takes: an ARN or ``alias/<name>`` for ``aws-kms``; an id, or nothing for the only
            key there is, for ``local``.
    """

    provider: str
    key: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``local``, ``local:<id>``, a KMS key's ARN, ``alias/<name>``, or ``<provider>:<key>``.

        Raises:
            MalformedError: If *text* is none of these.
        """
        if text == "local":
            return cls("local", "")
        if text.startswith(("arn:", "alias/")):
            return cls("aws-kms", text)
        provider, colon, key = text.partition(":")
        if colon and provider and key:
            return cls(provider, key)
        raise MalformedError(
            f"{text!r} names no wrapping key",
            hint="name local, a KMS key's ARN, alias/<name>, or <provider>:<key>",
        )

    def names(self, item: WrappedKey) -> bool | None:
        """Return whether *item* is under this key; None if only its provider can tell, as for an alias."""
        if item.provider != self.provider:
            return False
        if not self.key:
            return True
        return None if "alias/" in self.key else item.reference == self.key


@dataclass(frozen=True, slots=True)
class Writer:
    """Who encrypts: the wrapping keys and the context to use, and the environment that leads to them.

    Attributes:
        keys: The configured wrapping keys; if none, the file's own.
        context: The encryption context for new data keys; if None, the file's own, or none.
        environ: The process environment.
        providers: Providers to use instead of the built-in ones of their names.
    """

    keys: tuple[KeyName, ...] = ()
    context: Pairs | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    providers: Sequence[KeyProvider] = ()

    def find(self, name: str) -> KeyProvider:
        """Return the provider called *name*."""
        return find_provider(name, self.environ, self.providers)

    def new_key(self, keys: Sequence[KeyName], context: Pairs) -> tuple[DataKey, KeyEntry]:
        """Generate a data key and wrap it under each of *keys*.

        Raises:
            EncenvError: If a wrapping key refuses or cannot be reached.
        """
        check_context(context, where="the encryption context")
        whole = encryption_context(context)
        plain, first = self.find(keys[0].provider).generate(keys[0].key, whole)
        data_key = DataKey(plain)
        others = [self.find(key.provider).wrap(plain, key.key, whole) for key in keys[1:]]
        items = tuple({(item.provider, item.reference): item for item in (first, *others)}.values())
        entry = KeyEntry(data_key.commitment, tuple(sorted(context)), items)
        return data_key, KeyEntry.parse(
            entry.kid, str(entry)
        )  # what the format does not allow is not written


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The outcome of a rewrite.

    Attributes:
        text: The file's new text.
        names: The variables that were encrypted, in order.
        kept: How many were sealed already.
        entry: The key entry that they were encrypted under; None if there was nothing to encrypt.
        is_new: Whether that entry was added.
    """

    text: str
    names: tuple[str, ...]
    kept: int
    entry: KeyEntry | None
    is_new: bool


def encrypt(text: str, writer: Writer, where: str = ".env") -> Rewritten:
    """Encrypt every value of the .env file *text* that is not sealed yet.

    Args:
        text: The file's text, newlines untranslated.
        writer: Who encrypts.
        where: What to call the file in messages.

    Raises:
        EncenvError: If the file cannot be parsed, no key can be had, or a value in it does not open. The result is
            proved by decrypting it in memory before it is returned.
    """
    file = parse(text)
    todo, sealed = _judge(file, where)
    if not todo:
        return Rewritten(text, (), len(sealed), None, is_new=False)
    data_key, entry, is_new = _data_key(file, sealed, writer, where)
    return Rewritten(
        _sealed_text(file, _plain(file, todo), data_key, entry if is_new else None),
        tuple(file.bindings[index].name or "" for index in todo),
        len(sealed),
        entry,
        is_new,
    )


def reencrypt(text: str, writer: Writer, where: str = ".env") -> Rewritten:
    """Encrypt every value of the .env file *text* under a new data key, those that are sealed already as well.

    For a copy of the file: each file has a data key of its own. Arguments and errors as for `encrypt`.
    """
    file = parse(text)
    todo, sealed = _judge(file, where)
    if not todo and not sealed:
        return Rewritten(text, (), 0, None, is_new=False)
    plain = _plain(file, todo)
    entries = _entries(file, {value.kid for value in sealed.values()})
    for kid in dict.fromkeys(value.kid for value in sealed.values()):
        entry = next((entry for entry in entries if entry.kid == kid), None)
        if entry is None:
            raise KeyEntryError(
                f"there is no key entry ENCENV_KEY_{kid} in {where}",
                hint="copy its line from where the values are from",
            )
        plain |= _opened(file, sealed, entry, writer)[1]
    keys = writer.keys or _keys_of(entries, where)
    if not keys:
        raise _no_key(where, has_entries=False)
    context = writer.context
    if context is None:
        context = tuple(pair for pair in entries[0].context if pair != ADDED_BY_WRITER) if entries else ()
    data_key, entry = writer.new_key(keys, context)
    bare = file.without(
        {i for i, binding in enumerate(file.bindings) if binding.name and entry_kid(binding.name)}
    )
    # Blank lines and comments may be split otherwise without the old entries; the variables' order is the same.
    before = [i for i, binding in enumerate(file.bindings) if binding.name and not entry_kid(binding.name)]
    after = [i for i, binding in enumerate(bare.bindings) if binding.name]
    plain = {to: plain[index] for index, to in zip(before, after, strict=True) if index in plain}
    names = tuple(bare.bindings[index].name or "" for index in sorted(plain))
    return Rewritten(_sealed_text(bare, plain, data_key, entry), names, 0, entry, is_new=True)


def _judge(file: EnvFile, where: str) -> tuple[dict[int, Binding], dict[int, SealedValue]]:
    """Return by index which bindings are to be encrypted, and which are sealed already.

    Raises:
        EncenvError: If any line is neither; all of them are reported together.
    """
    todo: dict[int, Binding] = {}
    sealed: dict[int, SealedValue] = {}
    failures: list[EncenvError] = []
    for index, binding in enumerate(file.bindings):
        name, value = binding.name, binding.value
        if binding.error:
            failures.append(
                FileError(
                    f"line {binding.line} of {where} cannot be parsed, and may hold a secret",
                    hint="write it as NAME=value, with quotes round values that need them, or as a # comment",
                )
            )
        elif name is None or value is None or entry_kid(name) is not None:
            continue
        elif name == LOCAL_KEY and value:
            failures.append(
                PolicyError(
                    f"{where} holds {LOCAL_KEY}: the local key would stand beside what it opens",
                    hint=f"move it to the local key file (see encenv keygen --help) and delete the line from {where}",
                )
            )
        elif claims(value):
            try:
                sealed[index] = SealedValue.parse(value)
            except MalformedError as error:
                failures.append(error.of(name))
        elif embeds(value):
            message = "a sealed value stands inside the text: in quotes, with white space, or pasted into it"
            failures.append(MalformedError(message, hint=COPY_AGAIN, variables=[name]))
        else:
            todo[index] = binding
    if failures:
        raise combine(failures)
    return todo, sealed


def _data_key(
    file: EnvFile, sealed: Mapping[int, SealedValue], writer: Writer, where: str
) -> tuple[DataKey, KeyEntry, bool]:
    """Return the data key to encrypt under, its entry, and whether that is new to the file."""
    entries = _entries(file, {value.kid for value in sealed.values()})
    reusable = [entry for entry in entries if ADDED_BY_WRITER not in entry.context]
    if writer.context is not None:
        reusable = [
            entry for entry in reusable if tuple(sorted(entry.context)) == tuple(sorted(writer.context))
        ]
    fresh: tuple[DataKey, KeyEntry] | None = None
    if writer.keys:
        named = [_all_named(entry, writer.keys) for entry in reusable]
        if None in named and True not in named:
            # Only its provider can tell which key an alias means: the answer to a new data key does.
            fresh = writer.new_key(writer.keys, writer.context or ())
            real = {(item.provider, item.reference) for item in fresh[1].items}
            named = [{(item.provider, item.reference) for item in entry.items} <= real for entry in reusable]
        reusable = [entry for entry, is_named in zip(reusable, named, strict=True) if is_named]
    elif len({tuple((item.provider, item.reference) for item in entry.items) for entry in reusable}) > 1:
        raise ConflictError(
            f"{where} has values under more than one wrapping key",
            hint="name the one to use: encenv encrypt --key …",
        )
    refused: KeyRefusedError | None = None
    for entry in reusable:
        try:
            return _opened(file, sealed, entry, writer)[0], entry, False
        except KeyRefusedError as error:
            refused = error
    keys = writer.keys or _keys_of(reusable, where)
    if not keys:
        raise _no_key(where, has_entries=bool(entries))
    context = writer.context if writer.context is not None else reusable[0].context if reusable else ()
    if refused is not None:
        # Who may not decrypt may still add: under an entry of one's own, which nobody ever seals under again.
        fresh = writer.new_key(keys, (*context, ADDED_BY_WRITER))
    return *(fresh or writer.new_key(keys, context)), True


def _entries(file: EnvFile, used: set[str]) -> list[KeyEntry]:
    """Return the file's key entries that a sealed value uses, parsed, in order, those of one data key as one."""
    found: dict[str, KeyEntry] = {}
    for binding in file.bindings:
        kid = entry_kid(binding.name) if binding.name else None
        if kid is None or kid not in used or binding.value is None:
            continue
        entry = KeyEntry.parse(kid, binding.value)
        before = found.get(kid)
        if before is not None and before.commitment != entry.commitment:
            raise ConflictError(
                f"two key entries {entry.name} name different data keys",
                hint="keep the entry that belongs to the values, as version control shows it",
            )
        if before is None or (before.context == entry.context and set(before.items) <= set(entry.items)):
            found[kid] = entry
    return list(found.values())


def _all_named(entry: KeyEntry, keys: Sequence[KeyName]) -> bool | None:
    """Return whether each copy in *entry* is under one of *keys*; None if only a provider can tell."""
    answers = [{key.names(item) for key in keys} for item in entry.items]
    if all(True in answer for answer in answers):
        return True
    return None if all(answer & {True, None} for answer in answers) else False


def _keys_of(entries: Sequence[KeyEntry], where: str) -> tuple[KeyName, ...]:
    """Return the wrapping keys that *entries* name, all the same ones; none if there is no entry.

    Raises:
        ConflictError: If they name different ones: then one of them may be planted, and a person has to choose.
    """
    keys = {tuple(KeyName(item.provider, item.reference) for item in entry.items) for entry in entries}
    if len({frozenset(names) for names in keys}) > 1:
        raise ConflictError(
            f"{where} has values under more than one wrapping key",
            hint="name the one to use: encenv encrypt --key …",
        )
    return next(iter(keys), ())


def _opened(
    file: EnvFile, sealed: Mapping[int, SealedValue], entry: KeyEntry, writer: Writer
) -> tuple[DataKey, dict[int, str]]:
    """Unwrap the data key of *entry*; return it and, by index, every value present under it.

    Raises:
        EncenvError: If it cannot be unwrapped, or a value does not open.
    """
    copies = [WrappedCopy(item, entry.context, entry.commitment) for item in entry.items]
    (found,) = unwrap([copies], writer.find, UNWRAP_SECONDS)
    if not isinstance(found, Unwrapped):
        raise found
    opened: dict[int, str] = {}
    failures: list[EncenvError] = []
    for index, value in sealed.items():
        if value.kid == entry.kid:
            name = file.bindings[index].name or ""
            try:
                opened[index] = found.key.decrypt(name, value)
            except AuthenticationError as error:
                failures.append(error.of(name))
    if failures:
        raise combine(failures)
    return found.key, opened


def _plain(file: EnvFile, indexes: Iterable[int]) -> dict[int, str]:
    return {index: file.bindings[index].value or "" for index in indexes}


def _no_key(where: str, *, has_entries: bool) -> PolicyError:
    if has_entries:
        return PolicyError(
            f"no data key in {where} may be used for new values, and no wrapping key is named",
            hint="name one: encenv encrypt --key local, or --key arn:aws:kms:… as the other values have it",
        )
    return PolicyError(
        f"no wrapping key is named, and there is none in {where}",
        hint=f"run: encenv keygen && encenv encrypt --key local {where}   or, with AWS KMS: "
        f"encenv encrypt --key alias/<name> {where}",
    )


def _sealed_text(file: EnvFile, plain: Mapping[int, str], data_key: DataKey, entry: KeyEntry | None) -> str:
    """Return the text of *file* with the values *plain* sealed, and with *entry*, if there is one, above the first.

    Raises:
        FileError: If the result, opened in memory, does not give the same values. No file is lost to a mistake here.
    """
    changed = file.replace(
        {
            index: with_value(file.bindings[index], data_key.encrypt(file.bindings[index].name or "", text))
            for index, text in plain.items()
        }
    )
    if entry is not None:
        changed = changed.insert_above(min(plain), entry.name, str(entry))
    expected = [
        (b.name, plain.get(index, b.value)) for index, b in enumerate(file.bindings) if b.name is not None
    ]
    found: list[tuple[str | None, str | None]] = []
    for binding in parse(str(changed)).bindings:
        name, value = binding.name, binding.value
        if name is None or (entry is not None and name == entry.name):
            continue
        if value is not None and claims(value) and expected[len(found)][1] != value:
            value = data_key.decrypt(name, SealedValue.parse(value))
        found.append((name, value))
    if found == expected:
        return str(changed)
    raise FileError(
        "the encrypted file would not give the same values back", hint="report this; the file is as it was"
    )
