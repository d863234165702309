"""Empty the living settings objects before a snapshot, and load them again in place after it.

Emptied of all, for a value that was decrypted in one field may be part of another: validators, factories and sources of
the application's own may have put it there. The objects are known weakly: what the application drops is not kept.
"""

import functools
import gc
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_settings import BaseSettings

from encenv.keys.process_safety import on_snapshot

Init = Callable[..., None]


class _Living:
    """A settings object, and what it was made with."""

    def __init__(
        self, settings: "weakref.ref[BaseSettings]", args: tuple[Any, ...], values: Mapping[str, Any]
    ) -> None:
        self.settings, self.args, self.values = settings, args, values

    def clear(self) -> None:
        if (settings := self.settings()) is not None:
            clear(settings)

    def load(self) -> None:
        if (settings := self.settings()) is not None:
            type(settings).__init__(settings, *self.args, **self.values)


# By the id of the object, for settings cannot be hashed.
_living: dict[int, _Living] = {}
_making: dict[int, bool] = {}  # those whose ``__init__`` runs, and whether anything was decrypted for them


def recorded(init: Init) -> Init:
    """Return *init*, the ``__init__`` of a settings class, such that its objects are known.

    Of an ``__init__`` that calls its base's, the outer call is the one that is made again.
    """
    if hasattr(init, "_encenv_records"):
        return init

    @functools.wraps(init)
    def __init__(settings: BaseSettings, /, *args: Any, **values: Any) -> None:  # noqa: N807 (it stands for one)
        number = id(settings)
        if number in _making:
            init(settings, *args, **values)
            return
        _making[number] = False
        try:
            init(settings, *args, **values)
            if _making[number]:
                reference = weakref.ref(settings, lambda _: _living.pop(number, None))
                _living[number] = _Living(reference, args, values)
        finally:
            del _making[number]

    __init__._encenv_records = True  # type: ignore[attr-defined]  # noqa: SLF001
    return __init__


def decrypted_for(settings: BaseSettings) -> bool:
    """Note that *settings*, which is being made, holds something decrypted; return whether that is of interest."""
    if id(settings) not in _making:
        return False
    _making[id(settings)] = True
    return True


def clear(settings: BaseSettings) -> None:
    """Take all values out of *settings*: fields, extra and private ones, cached properties.

    To look at one is an `AttributeError` then.
    """
    settings.__dict__.clear()
    object.__setattr__(settings, "__pydantic_extra__", None)
    object.__setattr__(settings, "__pydantic_private__", {} if settings.__private_attributes__ else None)


def clear_all() -> None:
    """Empty all settings objects for which something was decrypted."""
    for one in list(_living.values()):
        one.clear()
    gc.collect()  # what only a cycle still holds


def load_all() -> None:
    """Load them again, each in its place.

    Raises:
        EncenvError: If one cannot be loaded; as when it was made.
    """
    for one in list(_living.values()):
        one.load()


on_snapshot(clear_all, load_all)
