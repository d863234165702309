"""The settings objects that are alive: what was decrypted in them is cleared before a snapshot and loaded anew after it.

They are known weakly: whom the application lets go is not kept for this.
"""

import gc
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_settings import BaseSettings

from encenv.keys.snapshots import on_snapshot
from encenv.load.asked import loc_keys

_VALIDATORS = ("validators", "field_validators", "root_validators", "model_validators")


@dataclass(frozen=True, slots=True, eq=False)
class _Living:
    """A settings object, how it was made, and which of its fields were decrypted."""

    settings: "weakref.ref[BaseSettings]"
    make: Callable[..., None]
    arguments: Mapping[str, Any] = field(repr=False)
    fields: frozenset[str]

    def clear(self) -> None:
        settings = self.settings()
        if settings is not None:
            clear(settings, None if _may_carry(type(settings)) else self.fields)

    def load(self) -> None:
        settings = self.settings()
        if settings is not None:
            self.make(settings, **self.arguments)


_living: dict[int, _Living] = {}  # by the id of the object, for settings cannot be hashed


def remember(
    settings: BaseSettings, make: Callable[..., None], arguments: Mapping[str, Any], keys: Iterable[str]
) -> None:
    """Remember *settings*, in which something was decrypted, as long as it is alive.

    Args:
        settings: The object.
        make: The ``__init__`` that loads it anew in place.
        arguments: What that is called with.
        keys: The keys of the model's data that hold something decrypted.
    """
    cls, known, number = type(settings), {*keys}, id(settings)
    fields = {
        name for name, info in cls.model_fields.items() if known & loc_keys(name, info, cls.model_config)
    }
    _living[number] = _Living(
        weakref.ref(settings, lambda _: _living.pop(number, None)), make, arguments, frozenset(fields)
    )


def clear_all() -> None:
    """Take what was decrypted out of all settings objects. To look at it then is an `AttributeError`."""
    for one in list(_living.values()):
        one.clear()
    gc.collect()  # what only a cycle still holds


def load_all() -> None:
    """Load all settings objects anew, each in its place, as after a restore.

    Raises:
        EncenvError: If one cannot be loaded; as when it was made.
    """
    for one in list(_living.values()):
        one.load()


def clear(settings: BaseSettings, fields: Iterable[str] | None = None) -> None:
    """Take the values of *fields* out of *settings*, all of them if left out; and what is no field."""
    slots = ["__pydantic_extra__"] if fields is not None else ["__pydantic_extra__", "__pydantic_private__"]
    for slot in slots:
        object.__setattr__(settings, slot, None)
    kept = {*type(settings).model_fields} - {*fields} if fields is not None else set()
    for name in settings.__dict__.keys() - kept:  # a cached property stands there as well
        del settings.__dict__[name]


def _may_carry(cls: type[BaseSettings]) -> bool:
    """Return whether code of the class's own may have put what was decrypted in one field into another."""
    decorators = cls.__pydantic_decorators__
    return (
        any(getattr(decorators, kind) for kind in _VALIDATORS)
        or bool(cls.__pydantic_post_init__)
        or any(info.default_factory is not None for info in cls.model_fields.values())
    )


on_snapshot(clear_all, load_all)
