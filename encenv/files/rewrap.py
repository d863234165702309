"""Add, remove and refresh the wrapped keys of a .env file's data keys. Every value keeps its bytes.

Where the provider can re-wrap (AWS KMS within a region), the data key is never unwrapped here. Otherwise it is
unwrapped, checked against its key entry, and wrapped again.

Anyone who can change the file can add a wrapped key under their own wrapping key. Therefore each wrapped key is
re-wrapped only from itself unless the project configures its wrapping key, and a key is added only if the user has
named every wrapping key that differs between data keys.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from encenv.errors import ConflictError, EncenvError, KeyEntryError, PolicyError, frameless
from encenv.files.disk import shell_argument
from encenv.files.document import parse, with_value
from encenv.files.key_names import KeyName, Pairs
from encenv.files.opening import entry_kids
from encenv.files.writer import UNWRAP_SECONDS, Writer
from encenv.format.sealed import ADDED_BY_WRITER, KeyEntry, WrappedKey, check_context, encryption_context
from encenv.keys.unwrap import UnwrapRequest, UnwrapResult, unwrap

if TYPE_CHECKING:
    from encenv.keys.provider import Rewraps

_Entries = Mapping[int, KeyEntry]  # by the index of their lines


@dataclass(frozen=True, slots=True)
class RewrapResult:
    """The outcome of a rewrap: the file's new text, and what happened to which wrapping keys."""

    text: str
    added: tuple[KeyName, ...]  # they open the file now, and did not before
    removed: tuple[KeyName, ...]  # they opened the file before, and do not now
    refreshed: tuple[KeyName, ...]  # their wrapped key is new
    stale: tuple[tuple[KeyName, EncenvError], ...]  # why their wrapped key could not be refreshed; it stays


@frameless
def rewrap(
    text: str,
    writer: Writer,
    where: str = ".env",
    *,
    add: Sequence[KeyName] = (),
    remove: Sequence[KeyName] = (),
) -> RewrapResult:
    """Change the wrapping keys of the data keys of the .env file *text*; without a change, refresh all wrapped keys.

    Args:
        text: The file's text, newlines untranslated.
        writer: Finds the wrapping keys. If it has a context, every data key is wrapped again with that.
        where: What messages call the file.
        add: The wrapping keys to wrap each data key under as well. If the data keys are under different wrapping
            keys, the writer, *add* or *remove* must name each of these.
        remove: The wrapping keys to remove. Their users may have kept the data key, so removing is not revoking.

    Raises:
        KeyEntryError: If the file has no key entry.
        PolicyError: If no wrapped key would be left.
        ConflictError: If a key to remove is absent or ambiguous, or a data key is under one that nobody named.
        EncenvError: If a key entry is malformed or a data key cannot be wrapped; the file must then stay unchanged.
            A refresh raises only if it can refresh nothing.
    """
    file = parse(text)
    if writer.context is not None:
        check_context(writer.context, where="the encryption context")
    before = {
        index: KeyEntry.parse(kid, value)
        for index, kid in entry_kids(file).items()
        if (value := file.bindings[index].value) is not None
    }
    if not before:
        hint = f"encrypt the file first: encenv encrypt --key KEY {shell_argument(where)}"
        raise KeyEntryError(f"there is no key entry in {where}", hint=hint)
    old = _wrapped_by_key(before)
    for key in remove:
        _check_removable(key, old, where)
    data_keys: dict[bytes, dict[int, KeyEntry]] = {}
    for index, entry in before.items():
        data_keys.setdefault(entry.commitment, {})[index] = entry
    if add and len({frozenset(_wrapped_by_key(entries)) for entries in data_keys.values()}) > 1:
        _check_named(before.values(), (*writer.keys, *add, *remove), where)
    change = _Change(writer, add, remove, where)
    after: dict[int, KeyEntry] = {}
    for entries in data_keys.values():
        after |= change.apply(entries)
    new = _wrapped_by_key(after)
    refreshed = tuple(key for key in new if key in old and new[key] != old[key])
    if change.stale and not refreshed:
        raise next(iter(change.stale.values()))
    changes = {
        index: with_value(file.bindings[index], str(entry))
        for index, entry in after.items()
        if entry != before[index]
    }
    return RewrapResult(
        str(file.replace(changes).without(before.keys() - after.keys())),
        tuple(key for key in new if key not in old),
        tuple(key for key in old if key not in new),
        refreshed,
        tuple(change.stale.items()),
    )


@dataclass(frozen=True, slots=True)
class _Change:
    """What to change in each data key of the file *where*."""

    writer: Writer
    add: Sequence[KeyName]
    remove: Sequence[KeyName]
    where: str
    stale: dict[KeyName, EncenvError] = field(default_factory=dict)  # why each key could not be refreshed

    def apply(self, entries: _Entries) -> dict[int, KeyEntry]:
        """Return the *entries* of one data key changed, without those that end up empty."""
        after = {index: self._change_entry(entry, entries) for index, entry in entries.items()}
        present = {*_wrapped_by_key(after)}
        first = next((index for index, entry in after.items() if entry.items), min(after))
        more = [self._wrap(key, after[first].context, entries) for key in self.add if key not in present]
        # An alias may mean a key that is present.
        new = {KeyName.of(item): item for item in more if KeyName.of(item) not in present}
        after[first] = after[first]._replace(items=(*after[first].items, *new.values()))
        if not present and not new:
            raise PolicyError(
                f"no key would be left for {after[first].name} in {self.where}, and its values would be lost",
                hint="add another one as well: encenv rewrap --add KEY --remove KEY "
                + shell_argument(self.where),
            )
        # Parsed, so that an entry outside the format is never written.
        return {i: KeyEntry.parse(entry.kid, str(entry)) for i, entry in after.items() if entry.items}

    def _change_entry(self, entry: KeyEntry, entries: _Entries) -> KeyEntry:
        """Return *entry* without the keys to remove; the others are wrapped again for a new context or a refresh."""
        items = [item for item in entry.items if not KeyName.of(item).is_among(self.remove)]
        context, new_context = entry.context, self.writer.context
        if new_context is not None:
            context = tuple(sorted({*new_context} | ({ADDED_BY_WRITER} & {*entry.context})))
        elif self.add or self.remove:
            return entry._replace(items=tuple(items))
        for place, item in enumerate(items):
            try:
                items[place] = self._wrap(KeyName.of(item), context, entries, item)
            except EncenvError as error:
                if new_context is not None:
                    raise
                self.stale[KeyName.of(item)] = error.of()
        return entry._replace(context=context, items=tuple(items))

    def _wrap(
        self, key: KeyName, context: Pairs, entries: _Entries, present: WrappedKey | None = None
    ) -> WrappedKey:
        """Return the data key of *entries* wrapped under *key* with *context*, first from the wrapped key *present*.

        Other wrapped keys are used only if the user named *key*: nothing else says that its owner may decrypt.
        """
        sources = [(item, entry) for entry in entries.values() for item in entry.items]
        named_keys = (*self.writer.keys, *self.remove)
        if present is not None and not key.is_among(named_keys):
            sources = [source for source in sources if source[0] == present]
        sources.sort(
            key=lambda source: (source[0] != present, not KeyName.of(source[0]).is_among(named_keys))
        )
        provider = self.writer.find(key.provider)
        whole = encryption_context(context)
        if hasattr(provider, "rewrap"):
            near = [source for source in sources if source[0].provider == key.provider]
            item = _rewrap_by_provider(cast("Rewraps", provider), key, near, whole)
            if item is not None:
                return item
        requests = [UnwrapRequest(item, entry.context, entry.commitment) for item, entry in sources]
        (result,) = unwrap([requests], self.writer.find, UNWRAP_SECONDS)
        if not isinstance(result, UnwrapResult):
            raise result
        return provider.wrap(result.key.expose_key(), key.key, whole)


def _rewrap_by_provider(
    provider: "Rewraps",
    key: KeyName,
    sources: Iterable[tuple[WrappedKey, KeyEntry]],
    context: Mapping[str, str],
) -> WrappedKey | None:
    """Return the first of *sources* that *provider* re-wraps under *key*; None if it can re-wrap none, as between regions.

    An error of the provider is raised: a data key that it could re-wrap is not unwrapped here.
    """
    failure: EncenvError | None = None
    for item, entry in sources:
        try:
            wrapped = provider.rewrap(item, key.key, encryption_context(entry.context), context)
        except EncenvError as error:
            failure = failure or error.of()
        else:
            if wrapped is not None:
                return wrapped
    if failure is not None:
        raise failure
    return None


def _check_named(entries: Iterable[KeyEntry], named_keys: Sequence[KeyName], where: str) -> None:
    """Check that the user named every wrapping key of *entries*: any other one may be planted."""
    for entry in entries:
        for item in entry.items:
            if not KeyName.of(item).is_among(named_keys):
                raise ConflictError(
                    f"{where} has values under different keys, and nobody named {item.wrapping_key},"
                    f" a key of {entry.name}",
                    hint="if it belongs there, name it too: --add KEY; if not, set the values of that key entry"
                    " again",
                )


def _check_removable(key: KeyName, present: Iterable[KeyName], where: str) -> None:
    """Check that *key* means exactly one of the wrapping keys *present*."""
    names = {name: f"{name.provider}:{name.key}" for name in present}
    matches = [names[name] for name in names if key.covers(name)]
    if len(matches) > 1:
        hint = f"name one of them: {', '.join(matches)}"
        raise ConflictError(f"{where} is encrypted under {len(matches)} {key.provider} keys", hint=hint)
    if not matches:
        raise ConflictError(
            f"{where} is not encrypted under {f'{key.provider}:{key.key}'.rstrip(':')}",
            hint=f"name one of its keys: {', '.join(names.values())}",
        )


def _wrapped_by_key(entries: _Entries) -> dict[KeyName, list[bytes]]:
    """Return the wrapped data keys in *entries*, by wrapping key."""
    wrapped: dict[KeyName, list[bytes]] = {}
    for entry in entries.values():
        for item in entry.items:
            wrapped.setdefault(KeyName.of(item), []).append(item.wrapped)
    return wrapped
