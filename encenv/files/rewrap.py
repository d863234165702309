"""The wrapped copies of a .env file's data keys: added, removed, refreshed. Every value keeps its bytes.

Between two keys of one provider that can do so (AWS KMS within a region), the data key never comes here. All else
unwraps it first, and wraps it again only if it is the one that the key entry names.

Whoever can change the file can put a copy under a key of his own beside the others. So a copy is made anew from
itself alone, unless its wrapping key is named by the project, and a key is added only where all are accounted for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from encenv.errors import ConflictError, EncenvError, KeyEntryError, PolicyError, frameless
from encenv.files.document import parse, with_value
from encenv.files.key_names import KeyName, Pairs
from encenv.files.writer import UNWRAP_SECONDS, Writer
from encenv.format.sealed import (
    ADDED_BY_WRITER,
    KeyEntry,
    WrappedKey,
    check_context,
    encryption_context,
    entry_kid,
)
from encenv.keys.provider import Rewraps
from encenv.keys.unwrap import UnwrapRequest, UnwrapResult, unwrap


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """The outcome of a rewrap.

    Attributes:
        text: The file's new text.
        added: The wrapping keys that have a copy now and had none.
        removed: The wrapping keys that had a copy and have none now.
        refreshed: The wrapping keys whose copy was made anew.
        stale: The wrapping keys whose copy could not be, and stays; with the reason.
    """

    text: str
    added: tuple[KeyName, ...]
    removed: tuple[KeyName, ...]
    refreshed: tuple[KeyName, ...]
    stale: tuple[tuple[KeyName, EncenvError], ...]


@dataclass(frozen=True, slots=True)
class _Change:
    """What is asked for."""

    add: Sequence[KeyName]
    remove: Sequence[KeyName]
    context: Pairs | None
    writer: Writer

    @property
    def is_refresh(self) -> bool:
        return not self.add and not self.remove and self.context is None


@frameless
def rewrap(
    text: str,
    writer: Writer,
    where: str = ".env",
    *,
    add: Sequence[KeyName] = (),
    remove: Sequence[KeyName] = (),
) -> Rewrapped:
    """Change under which wrapping keys the data keys of the .env file *text* stand; refresh all if nothing is asked.

    Args:
        text: The file's text, newlines untranslated.
        writer: Leads to the wrapping keys. If it has a context, every copy is wrapped anew with that one.
        where: What to call the file in messages.
        add: The wrapping keys to wrap each data key under as well. Where these are under different wrapping keys,
            each of those has to be the writer's, or one to add or remove.
        remove: The wrapping keys whose copies go. Who has used one may have kept the data key: removing is not
            revoking.

    Raises:
        KeyEntryError: If the file has no key entry.
        PolicyError: If no copy would be left.
        ConflictError: If a key to remove has no copy, or is ambiguous; or nobody named one that a data key is under.
        EncenvError: If a key entry is malformed or a copy cannot be made; the file is then to stay as it is. In a
            plain refresh that is so only if none can.
    """
    file = parse(text)
    change = _Change(add, remove, writer.context, writer)
    if change.context is not None:
        check_context(change.context, where="the encryption context")
    entries = {
        index: KeyEntry.parse(kid, binding.value)
        for index, binding in enumerate(file.bindings)
        if (kid := entry_kid(binding.name or "")) is not None and binding.value is not None
    }
    if not entries:
        raise KeyEntryError(
            f"there is no key entry in {where}", hint="encrypt the file first: encenv encrypt --key KEY"
        )
    for key in remove:
        _check_removable(key, [item for entry in entries.values() for item in entry.items], where)
    groups: dict[bytes, list[int]] = {}
    for index, entry in entries.items():
        groups.setdefault(entry.commitment, []).append(index)
    _check_named([[entries[index] for index in indexes] for indexes in groups.values()], change, where)
    stale: dict[KeyName, EncenvError] = {}
    after: dict[int, KeyEntry | None] = {}
    for indexes in groups.values():
        after |= _rewrapped({index: entries[index] for index in indexes}, change, stale, where)
    was, now = _copies(entries), _copies(after)
    refreshed = [key for key in now if key in was and now[key] != was[key]]
    if stale and not refreshed:
        raise next(iter(stale.values()))
    changed = file.replace(
        {
            i: with_value(file.bindings[i], str(entry))
            for i, entry in after.items()
            if entry not in (None, entries[i])
        }
    )
    changed = changed.without({index for index, entry in after.items() if entry is None})
    return Rewrapped(
        str(changed),
        tuple(key for key in now if key not in was),
        tuple(key for key in was if key not in now),
        tuple(refreshed),
        tuple(stale.items()),
    )


def _rewrapped(
    entries: Mapping[int, KeyEntry], change: _Change, stale: dict[KeyName, EncenvError], where: str
) -> dict[int, KeyEntry | None]:
    """Return the *entries* of one data key changed, None for one of which nothing is left; note what stays *stale*."""
    data_key = _DataKey([*entries.values()], change)
    after = {index: _kept(entry, change, data_key, stale) for index, entry in entries.items()}
    had = {_name(item) for entry in after.values() for item in entry.items}
    index = next((index for index, entry in after.items() if entry.items), min(after))
    for key in change.add:
        if key not in had:
            item = data_key.under(key, after[index].context)
            if _name(item) not in had:  # an alias may be one that is there
                had.add(_name(item))
                after[index] = after[index]._replace(items=(*after[index].items, item))
    if not had:
        raise PolicyError(
            f"no wrapping key would be left for {after[index].name} in {where}, and its values would be lost",
            hint="add another one as well: encenv rewrap --add KEY --remove KEY",
        )
    # Parsed, so that what the format does not allow is never written.
    return {i: KeyEntry.parse(entry.kid, str(entry)) if entry.items else None for i, entry in after.items()}


def _kept(
    entry: KeyEntry, change: _Change, data_key: "_DataKey", stale: dict[KeyName, EncenvError]
) -> KeyEntry:
    """Return *entry* without the copies that are to go, and the others wrapped anew if that is asked for."""
    items = [item for item in entry.items if not any(key.covers(_name(item)) for key in change.remove)]
    context = entry.context
    if change.context is not None:
        context = tuple(sorted({*change.context} | ({ADDED_BY_WRITER} & {*entry.context})))
    if change.context is not None or change.is_refresh:
        for place, item in enumerate(items):
            try:
                items[place] = data_key.under(_name(item), context, was=item)
            except EncenvError as error:
                if not change.is_refresh:
                    raise
                stale[_name(item)] = error.of()
    return entry._replace(context=context, items=tuple(items))


class _DataKey:
    """A data key as its entries hold it: unwrapped when there is no other way, and then checked."""

    def __init__(self, entries: Sequence[KeyEntry], change: _Change) -> None:
        self._copies = [(item, entry) for entry in entries for item in entry.items]
        self._writer = change.writer
        self._named = (*change.writer.keys, *change.remove)

    def under(self, key: KeyName, context: Pairs, was: WrappedKey | None = None) -> WrappedKey:
        """Return it wrapped under *key* with *context*; if the copy *was* there before, then from that one.

        From the others only if the key is named: nothing else says that who has it may have the data key.
        """
        sources = sorted(self._copies, key=lambda copy: (copy[0] != was, not self._is_named(_name(copy[0]))))
        if was is not None and not self._is_named(key):
            sources = [copy for copy in sources if copy[0] == was]
        provider = self._writer.find(key.provider)
        whole = encryption_context(context)
        failure: EncenvError | None = None
        if isinstance(provider, Rewraps):
            for item, entry in sources:
                if item.provider != key.provider:
                    continue
                try:
                    fresh = provider.rewrap(item, key.key, encryption_context(entry.context), whole)
                except EncenvError as error:
                    failure = failure or error.of()
                else:
                    if fresh is not None:
                        return fresh
            if failure is not None:  # where it could have stayed away from here, it does
                raise failure
        copies = [UnwrapRequest(item, entry.context, entry.commitment) for item, entry in sources]
        (found,) = unwrap([copies], self._writer.find, UNWRAP_SECONDS)
        if not isinstance(found, UnwrapResult):
            raise found
        return provider.wrap(found.key.expose_key(), key.key, whole)

    def _is_named(self, key: KeyName) -> bool:
        return any(named.covers(key) for named in self._named)


def _check_named(data_keys: Sequence[Sequence[KeyEntry]], change: _Change, where: str) -> None:
    """Check that no key is added to a data key that somebody else may have put there.

    Raises:
        ConflictError: If one of *data_keys* is under other wrapping keys than the rest, and nobody named them.
    """
    under = [{_name(item): entry for entry in entries for item in entry.items} for entries in data_keys]
    if not change.add or len({frozenset(keys) for keys in under}) == 1:
        return
    named = (*change.writer.keys, *change.add, *change.remove)
    for keys in under:
        for key, entry in keys.items():
            if not any(one.covers(key) for one in named):
                raise ConflictError(
                    f"{where} has data keys under different wrapping keys, and nobody named {key.provider}:{key.key},"
                    f" which {entry.name} is under",
                    hint="if it belongs there, name it too: --add KEY; if not, set the values of that key entry anew",
                )


def _check_removable(key: KeyName, items: Sequence[WrappedKey], where: str) -> None:
    """Check that *key* names one wrapping key among *items*.

    Raises:
        ConflictError: If it does not.
    """
    found = {_name(item) for item in items if key.covers(_name(item))}
    if len(found) == 1:
        return
    which = ", ".join(dict.fromkeys(f"{item.provider}:{item.reference}" for item in items))
    if found:
        raise ConflictError(
            f"{where} has copies under {len(found)} {key.provider} keys",
            hint=f"name one of them: {', '.join(f'{one.provider}:{one.key}' for one in found)}",
        )
    named = f"{key.provider}:{key.key}".rstrip(":")
    raise ConflictError(f"{where} has no copy under {named}", hint=f"name one that it has: {which}")


def _name(item: WrappedKey) -> KeyName:
    return KeyName(item.provider, item.reference)


def _copies(entries: Mapping[int, KeyEntry] | Mapping[int, KeyEntry | None]) -> dict[KeyName, list[bytes]]:
    """Return by wrapping key the wrapped copies in *entries*."""
    copies: dict[KeyName, list[bytes]] = {}
    for entry in entries.values():
        for item in entry.items if entry else ():
            copies.setdefault(_name(item), []).append(item.wrapped)
    return copies
