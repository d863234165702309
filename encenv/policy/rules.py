"""Decide which variables must be encrypted.

All verbs use this one rule. The first step that decides counts:

1. The settings class. A field whose type holds a `SecretStr`, `SecretBytes`, `Secret[...]` or a DSN must be
   encrypted, whatever the globs say; so must a nested model's field of such a type (``DB__PASSWORD``), and the
   model's own variable (``DB``), which may hold it as JSON. A field whose type cannot hold a secret (``bool``,
   numbers, enums, ``Literal``, dates, paths, IP addresses, and collections of these) may stay plaintext, unless a
   glob in ``seal`` matches. Other types (a plain ``str``, a URL, ``list[str]``) and unknown names are undecided.
2. The globs: variables that match ``seal`` must be encrypted, those that match ``plain`` need not be; ``seal`` wins
   over ``plain``. ``seal`` alone, without a class and without ``plain``, means these variables and no others.
3. Everything else must be encrypted: a false alarm costs a line in ``plain``, the other mistake a secret.

Names are compared as the class compares them (aliases, ``env_prefix``, case); globs ignore case.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from encenv.format.sealed import LOCAL_KEY_NAME, entry_kid


@dataclass(frozen=True, slots=True)
class FieldSecrecy:
    """Whether the fields of a settings class hold secrets: True, False (they cannot), or None (undecided)."""

    names: Mapping[str, bool | None]  # by the name of the variable
    prefixes: Mapping[str, bool | None]  # for items of a dict, by the start of a name; the longest counts
    case_sensitive: bool  # whether names are compared with their case; otherwise they are in lower case here

    def of(self, name: str) -> bool | None:
        """Return whether the variable *name* holds a secret."""
        name = name if self.case_sensitive else name.lower()
        if name in self.names:
            return self.names[name]
        prefix = max((prefix for prefix in self.prefixes if name.startswith(prefix)), key=len, default=None)
        return None if prefix is None else self.prefixes[prefix]


@dataclass(frozen=True, slots=True)
class Policy:
    """Which variables must be encrypted; without arguments, all of them."""

    fields: FieldSecrecy | None = None  # what the settings class says, if there is one
    seal: tuple[str, ...] = ()  # globs of variables that must be encrypted
    plain: tuple[str, ...] = ()  # globs of variables that may stay plaintext

    def requires(self, name: str) -> bool:
        """Return whether the variable *name* must be encrypted."""
        if entry_kid(name) is not None or name == LOCAL_KEY_NAME:
            return False
        is_secret = None if self.fields is None else self.fields.of(name)
        if is_secret or matches(name, self.seal):
            return True
        if is_secret is False or matches(name, self.plain):
            return False
        return self.fields is not None or bool(self.plain) or not self.seal


def matches(name: str, globs: Iterable[str]) -> bool:
    """Return whether one of *globs* matches the variable *name*, ignoring case."""
    return any(fnmatchcase(name.upper(), glob.upper()) for glob in globs)
