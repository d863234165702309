"""Which variables must be sealed.

One rule for every verb, from the first of these places that has something to say of a variable:

1. The settings class. A field whose type holds a `SecretStr`, `SecretBytes`, `Secret[...]` or a DSN must be sealed,
   whatever the globs say; so must a nested model's field of such a type (``DB__PASSWORD``), and the model's own
   variable (``DB``), which may hold it as JSON. A field whose type can hold no secret (``bool``, numbers, enums,
   ``Literal``, dates, paths, IP addresses, and collections of these) need not, unless a glob in ``seal`` says so.
   Any other type (a plain ``str``, a URL, ``list[str]``), and a name that the class does not know, is open.
2. The globs: ``seal`` names variables that must be sealed, ``plain`` those that need not; where both match,
   ``seal`` holds. ``seal`` alone, with no class and no ``plain``, means these and no others.
3. Whatever is open after that must be sealed: a false alarm costs a line in ``plain``, the other mistake a secret.

Names are compared as the class compares them (aliases, ``env_prefix``, case); globs ignore case.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Self

from encenv.format.sealed import LOCAL_KEY_NAME, entry_kid

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings


@dataclass(frozen=True, slots=True)
class Known:
    """What a settings class says of variables: True must be sealed, False need not, None is open.

    Attributes:
        names: By name.
        below: By the beginning of a name, for what stands in a dict; the longest beginning holds.
        case_sensitive: Whether names are compared as they stand; else both are given in lower case.
    """

    names: Mapping[str, bool | None]
    below: Mapping[str, bool | None]
    case_sensitive: bool

    def says(self, name: str) -> bool | None:
        """Return what the class says of the variable *name*."""
        name = name if self.case_sensitive else name.lower()
        if name in self.names:
            return self.names[name]
        beginning = max((part for part in self.below if name.startswith(part)), key=len, default=None)
        return None if beginning is None else self.below[beginning]


@dataclass(frozen=True, slots=True)
class Policy:
    """Which variables must be sealed.

    Attributes:
        known: What the settings class says, if there is one.
        must: Globs of names that must be sealed.
        need_not: Globs of names that need not.
    """

    known: Known | None = None
    must: tuple[str, ...] = field(default=())
    need_not: tuple[str, ...] = field(default=())

    @classmethod
    def every(cls) -> Self:
        """Return the policy that every variable must be sealed."""
        return cls()

    @classmethod
    def of(
        cls,
        settings_class: "type[BaseSettings] | None" = None,
        must: Iterable[str] = (),
        need_not: Iterable[str] = (),
    ) -> Self:
        """Return the policy of a settings class and of globs."""
        known = None
        if settings_class is not None:
            from encenv.policy.secret_types import known_of  # a lazy door: most policies need no pydantic

            known = Known(*known_of(settings_class))
        return cls(known, tuple(must), tuple(need_not))

    def requires(self, name: str) -> bool:
        """Return whether the variable *name* must be sealed."""
        if entry_kid(name) is not None or name == LOCAL_KEY_NAME:
            return False
        typed = None if self.known is None else self.known.says(name)
        if typed or matches(name, self.must):
            return True
        if typed is False or matches(name, self.need_not):
            return False
        return self.known is not None or bool(self.need_not) or not self.must


def matches(name: str, globs: Iterable[str]) -> bool:
    """Return whether one of *globs* matches the variable *name*, ignoring case."""
    return any(fnmatchcase(name.upper(), glob.upper()) for glob in globs)
