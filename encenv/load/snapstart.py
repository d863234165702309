"""Settings objects under Lambda SnapStart: they are emptied before a snapshot, and loaded again in place after it.

All fields are emptied, because a value that was decrypted in one may be part of another: validators, factories and
sources of the application may have put it there. The objects are held weakly: what the application drops is not kept.
"""

import functools
import gc
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_settings import BaseSettings

from encenv.keys.process_safety import on_snapshot

Init = Callable[..., None]


# Settings objects with the arguments of each, by the id of the object, because settings cannot be hashed.
_objects: "dict[int, tuple[weakref.ref[BaseSettings], tuple[Any, ...], Mapping[str, Any]]]" = {}
_in_init: dict[int, bool] = {}  # those whose ``__init__`` runs, and whether anything was decrypted for them


def with_record(init: Init) -> Init:
    """Return *init*, the ``__init__`` of a settings class, so that its objects can be loaded again.

    For nested ``__init__`` calls, only the outermost is recorded and replayed.
    """
    if hasattr(init, "_encenv_records"):
        return init

    @functools.wraps(init)
    def __init__(settings: BaseSettings, /, *args: Any, **values: Any) -> None:  # noqa: N807 (it stands for one)
        number = id(settings)
        if number in _in_init:
            init(settings, *args, **values)
            return
        _in_init[number] = False
        try:
            init(settings, *args, **values)
            if _in_init[number]:
                reference = weakref.ref(settings, lambda _: _objects.pop(number, None))
                _objects[number] = reference, args, values
        finally:
            del _in_init[number]

    __init__._encenv_records = True  # type: ignore[attr-defined]  # noqa: SLF001
    return __init__


def mark_decrypted(settings: BaseSettings) -> bool:
    """Mark *settings*, whose ``__init__`` runs, as decrypted; return whether it is recorded for another load."""
    if id(settings) not in _in_init:
        return False
    _in_init[id(settings)] = True
    return True


def clear(settings: BaseSettings) -> None:
    """Remove all values from *settings*: fields, extra and private ones, cached properties.

    Reading one raises AttributeError afterwards.
    """
    settings.__dict__.clear()
    object.__setattr__(settings, "__pydantic_extra__", None)
    object.__setattr__(settings, "__pydantic_private__", {} if settings.__private_attributes__ else None)


def clear_all() -> None:
    """Empty all settings objects for which something was decrypted."""
    _for_each(lambda settings, _args, _values: clear(settings))
    gc.collect()  # what only a cycle still holds


def load_all() -> None:
    """Load these objects again, each in place; raise the same errors as the first load."""
    _for_each(lambda settings, args, values: type(settings).__init__(settings, *args, **values))


def _for_each(act: Callable[[BaseSettings, tuple[Any, ...], Mapping[str, Any]], None]) -> None:
    for reference, args, values in list(_objects.values()):
        settings = reference()
        if settings is not None:
            act(settings, args, values)


on_snapshot(clear_all, load_all)
