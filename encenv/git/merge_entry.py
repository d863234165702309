"""Three texts of one key entry into one: wrapped copies that either side added or removed."""

from encenv.errors import EncenvError
from encenv.format.sealed import KeyEntry, WrappedKey


def merged_entry(kid: str, base: str | None, ours: str, theirs: str) -> str | None:
    """Return the value of the key entry of *kid* with what *ours* and *theirs* each made of *base*.

    None if that does not add up: another data key, another context, no wrapped copy left or too many, no key entry.
    """
    try:
        before, mine, others = (None if text is None else _copies(kid, text) for text in (base, ours, theirs))
        if mine is None or others is None or _frame(kid, ours) != _frame(kid, theirs):
            return None
        before = before or {}
        kept = [key for key in {**mine, **others} if key not in before or (key in mine and key in others)]
        # One that was refreshed on both sides opens to the same data key, whichever is taken.
        items = [
            others[key] if key in others and mine.get(key) == before.get(key) else mine[key] for key in kept
        ]
        entry = KeyEntry.parse(kid, ours)._replace(items=tuple(items))
        return str(KeyEntry.parse(kid, str(entry)))
    except EncenvError:
        return None


def _copies(kid: str, text: str) -> dict[tuple[str, str], WrappedKey]:
    return {(item.provider, item.reference): item for item in KeyEntry.parse(kid, text).items}


def _frame(kid: str, text: str) -> tuple[bytes, frozenset[tuple[str, str]]]:
    entry = KeyEntry.parse(kid, text)
    return entry.commitment, frozenset(entry.context)
