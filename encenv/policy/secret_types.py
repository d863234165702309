"""Decide by the types of a settings class which of its variables hold a secret, and which cannot."""

import types
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, Secret, SecretBytes, SecretStr
from pydantic.fields import FieldInfo
from pydantic.networks import UrlConstraints
from pydantic_settings import BaseSettings, EnvSettingsSource

from encenv.load.field_names import ModelNames, model_keys
from encenv.load.pydantic_names import url_constraints
from encenv.policy.rules import FieldSecrecy

_SECRET = (SecretStr, SecretBytes, Secret)
# A value of one of these types is one of a few, or says where the service runs.
_NUMBERS = (bool, int, float, complex, Decimal)
_TIMES = (date, time, timedelta, tzinfo)
_ADDRESSES = (IPv4Address, IPv4Network, IPv6Address, IPv6Network)  # an interface is an address, too
_HARMLESS = (*_NUMBERS, *_TIMES, *_ADDRESSES, Enum, PurePath, types.NoneType)
_WEB = {"http", "https", "ws", "wss", "file", "ftp"}  # URLs of other schemes hold the password of a service
_LEVELS_MAX = 8  # of nested models: one may hold itself

Secrecy = bool | None  # True: it holds a secret, False: it cannot, None: undecided


def field_secrecy(settings_class: type[BaseSettings]) -> FieldSecrecy:
    """Return which variables of *settings_class* hold secrets, by their types."""
    source = EnvSettingsSource(settings_class)
    fields = ModelNames(source).fields
    names: defaultdict[str, list[Secrecy]] = defaultdict(list)
    prefixes: defaultdict[str, list[Secrecy]] = defaultdict(list)
    levels_max = _LEVELS_MAX if source.maxsplit < 0 else min(_LEVELS_MAX, source.maxsplit + 1)
    for name, field in settings_class.model_fields.items():
        levels = levels_max if fields[name].has_nested and source.env_nested_delimiter else 0
        for variable in fields[name].names:
            for text, one, is_prefix in _variables(source, variable, field, levels):
                (prefixes if is_prefix else names)[text].append(one)
    return FieldSecrecy(
        {name: _combined(parts) for name, parts in names.items()},
        {prefix: _combined(parts) for prefix, parts in prefixes.items()},
        bool(source.case_sensitive),
    )


def secrecy(kind: Any, _seen: frozenset[type] = frozenset()) -> Secrecy:
    """Return whether the type *kind* holds a secret."""
    return _combined(_of_class(cls, args, _seen) for cls, args in _classes(kind))


def _classes(kind: Any) -> Iterator[tuple[type, tuple[Any, ...]]]:
    """Yield the classes that *kind* may be, with their arguments; `object` if they are unknown."""
    metadata: Sequence[Any] = ()
    if isinstance(kind, FieldInfo):
        kind, metadata = kind.annotation, kind.metadata
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        metadata = [*metadata, *args[1:]]
    if _leads_to_service(metadata):
        yield SecretStr, ()
    elif origin in (Annotated, Union, types.UnionType):
        for member in args[:1] if origin is Annotated else args:
            yield from _classes(member)
    elif origin is Literal or kind is None:
        yield types.NoneType, ()
    elif isinstance(origin or kind, type):
        yield origin or kind, args
    else:
        names = ("__supertype__", "__value__", "__bound__")  # of NewType, type X = …, TypeVar
        inner = (getattr(kind, name, None) for name in names)
        yield from _classes(next((one for one in inner if one is not None), object))


def _of_class(cls: type, args: tuple[Any, ...], seen: frozenset[type]) -> Secrecy:
    is_dsn = any(base.__name__.endswith("Dsn") or "MultiHostUrl" in base.__name__ for base in cls.__mro__)
    if issubclass(cls, _SECRET) or is_dsn or _leads_to_service([url_constraints(cls)]):
        return True
    if issubclass(cls, _HARMLESS) or cls in seen:  # a model within itself adds nothing
        return False
    parts = _parts(cls)
    if parts is not None:
        return _combined(secrecy(part, seen | {cls}) for part in parts.values())
    if args and issubclass(cls, Mapping):  # the keys of one are names
        key, value = (*args, Any)[:2]
        return secrecy(key, seen) or secrecy(value, seen)
    if args and issubclass(cls, Iterable):
        return _combined(secrecy(arg, seen) for arg in args if arg is not ...)
    return None


def _parts(cls: type) -> dict[str, Any] | None:
    """Return the parts of a model, a dataclass, a TypedDict or a NamedTuple, by name."""
    if issubclass(cls, BaseModel):
        return dict(cls.model_fields)
    if is_dataclass(cls) or (issubclass(cls, (dict, tuple)) and hasattr(cls, "__annotations__")):
        try:
            hints = get_type_hints(cls, include_extras=True)
        except Exception:  # noqa: BLE001 (a forward reference that does not resolve: undecided)
            return {"": Any}
        if is_dataclass(cls):
            hints = {one.name: hints[one.name] for one in dataclass_fields(cls)}
        return hints or None
    return None


def _leads_to_service(metadata: Iterable[Any]) -> bool:
    """Return whether a URL with the constraints in *metadata* is a DSN, as pydantic before 2.10 declares them."""
    return any(
        isinstance(one, UrlConstraints) and bool({*(one.allowed_schemes or ())} - _WEB) for one in metadata
    )


def _combined(parts: Iterable[Secrecy]) -> Secrecy:
    """Return the secrecy of a whole: one secret is enough; it is harmless only if every part is."""
    every = {*parts}
    if True in every:
        return True
    return False if every == {False} else None


def _variables(
    source: EnvSettingsSource, variable: str, kind: Any, levels: int
) -> Iterator[tuple[str, Secrecy, bool]]:
    """Yield *variable* of the type *kind*, and the variables of *levels* levels below it: ``<variable>__<part>``.

    Each comes with its secrecy, and with True if it is the beginning of names, not a whole name.
    """
    yield variable, secrecy(kind), False
    prefix = variable + (source.env_nested_delimiter or "")
    for cls, args in _classes(kind) if levels else ():
        parts = _parts(cls)
        if parts is None and issubclass(cls, Mapping):
            yield prefix, secrecy(args[-1]) if args else None, True
        for name, part in (parts or {}).items():
            keys = {name}
            if isinstance(part, FieldInfo) and issubclass(cls, BaseModel):
                keys |= model_keys(name, part, cls.model_config).keys()
            for key in keys if source.case_sensitive else {key.lower() for key in keys}:
                yield from _variables(source, prefix + key, part, levels - 1)
