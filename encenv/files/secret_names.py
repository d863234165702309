"""Names that look like secrets: the lines of a secret that lost its quotes become names of variables."""

import re

RANDOM_MIN = 12  # characters without a separator, in both cases and with digits: no such word is a name


def may_be_secret(name: str) -> bool:
    """Return whether *name* looks like a piece of a secret."""
    return "://" in name or "@" in name or any(_looks_random(part) for part in re.split(r"[._-]", name))


def mask_name(name: str) -> str:
    """Return what to call the variable *name* in output that others may read."""
    return "(masked)" if may_be_secret(name) else name


def _looks_random(text: str) -> bool:
    if len(text) < RANDOM_MIN:
        return False
    digits = sum(c.isdigit() for c in text)
    is_one_case = text.isupper() or text.islower()
    return digits > 1 and (not is_one_case or digits * 5 > len(text))
