"""Decide by the types of a settings class which of its variables hold a secret, and which cannot."""

import types
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import PurePath
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, Secret, SecretBytes, SecretStr
from pydantic.fields import FieldInfo
from pydantic.networks import UrlConstraints
from pydantic_settings import BaseSettings, EnvSettingsSource

from encenv.load.field_names import ModelNames, model_keys
from encenv.load.pydantic_names import url_constraints
from encenv.policy.rules import FieldSecrecy

_SECRET = (SecretStr, SecretBytes, Secret)
# A value of one of these is one of a few, or says something of the service's surroundings.
_NUMBERS = (bool, int, float, complex, Decimal)
_TIMES = (date, time, timedelta, tzinfo)
_ADDRESSES = (IPv4Address, IPv4Network, IPv6Address, IPv6Network)  # an interface is an address, too
_HARMLESS = (*_NUMBERS, *_TIMES, *_ADDRESSES, Enum, PurePath, types.NoneType)
_WEB = {"http", "https", "ws", "wss", "file", "ftp"}  # URLs of other schemes hold the password of a service
_DEPTH_MAX = 8  # of nested models: one may hold itself

Secrecy = bool | None  # True: it holds a secret, False: it cannot, None: undecided


def field_secrecy(settings_class: type[BaseSettings]) -> FieldSecrecy:
    """Return which variables of *settings_class* hold secrets, by their types."""
    source = EnvSettingsSource(settings_class)
    fields = ModelNames(source).fields
    names: defaultdict[str, list[Secrecy]] = defaultdict(list)
    prefixes: defaultdict[str, list[Secrecy]] = defaultdict(list)
    for name, field in settings_class.model_fields.items():
        for variable in fields[name].names:
            names[variable].append(secrecy(field))
            if fields[name].has_nested and source.env_nested_delimiter:
                for text, one, is_prefix in _nested(source, variable, field, 1):
                    (prefixes if is_prefix else names)[text].append(one)
    return FieldSecrecy(
        {name: _combined(parts) for name, parts in names.items()},
        {prefix: _combined(parts) for prefix, parts in prefixes.items()},
        bool(source.case_sensitive),
    )


def secrecy(  # noqa: PLR0911 (a case a line)
    kind: Any, _seen: frozenset[Any] = frozenset()
) -> Secrecy:
    """Return whether the type *kind* holds a secret."""
    if isinstance(kind, FieldInfo):
        return True if _leads_to_service(kind.metadata) else secrecy(kind.annotation, _seen)
    if kind in _seen:
        return False  # a model within itself adds nothing
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return True if _leads_to_service(args[1:]) else secrecy(args[0], _seen)
    if origin is Literal or kind is None:
        return False
    if origin in (Union, types.UnionType):
        return _combined(secrecy(arg, _seen) for arg in args)
    if isinstance(origin or kind, type):
        return _of_class(kind, origin or kind, args, _seen)
    inner = getattr(kind, "__supertype__", None) or getattr(kind, "__value__", None)  # NewType, type X = …
    if inner is None and isinstance(kind, TypeVar):
        inner = kind.__bound__
    return None if inner is None else secrecy(inner, _seen)


def _of_class(kind: Any, cls: type, args: tuple[Any, ...], seen: frozenset[Any]) -> Secrecy:
    if issubclass(cls, _SECRET) or _is_dsn(cls):
        return True
    if issubclass(cls, _HARMLESS):
        return False
    parts = _parts(cls)
    if parts is not None:
        return _combined(secrecy(part, seen | {kind}) for part in parts.values())
    if args and issubclass(cls, Mapping):  # the keys of one are names
        key, value = (*args, Any)[:2]
        return True if secrecy(key, seen) else secrecy(value, seen)
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


def _is_dsn(cls: type) -> bool:
    return any(base.__name__.endswith("Dsn") or "MultiHostUrl" in base.__name__ for base in cls.__mro__) or (
        _leads_to_service([url_constraints(cls)])
    )


def _leads_to_service(metadata: Iterable[Any]) -> bool:
    """Return whether a URL with the constraints in *metadata* is a DSN, as pydantic before 2.10 declares them."""
    return any(
        isinstance(one, UrlConstraints) and bool({*(one.allowed_schemes or ())} - _WEB) for one in metadata
    )


def _combined(parts: Iterable[Secrecy]) -> Secrecy:
    """Return the secrecy of a whole: one secret is enough; it is harmless only if every part is."""
    every = [*parts]
    return True if True in every else None if None in every or not every else False


def _nested(
    source: EnvSettingsSource, prefix: str, kind: Any, depth: int
) -> Iterator[tuple[str, Secrecy, bool]]:
    """Yield the variables ``<prefix>__<part>`` of the nested type *kind*, and those below them.

    Each comes with its secrecy, and with True if it is the beginning of names, not a whole name.
    """
    prefix += source.env_nested_delimiter or ""
    kind = kind.annotation if isinstance(kind, FieldInfo) else kind
    for cls, args in _classes(kind):
        parts = _parts(cls)
        if parts is None and issubclass(cls, Mapping):
            yield prefix, secrecy(args[-1]) if args else None, True
        for name, part in (parts or {}).items():
            keys = {name}
            if isinstance(part, FieldInfo) and issubclass(cls, BaseModel):
                keys |= model_keys(name, part, cls.model_config).keys()
            for key in keys if source.case_sensitive else {key.lower() for key in keys}:
                yield prefix + key, secrecy(part), False
                if depth < _DEPTH_MAX and (source.maxsplit < 0 or depth <= source.maxsplit):
                    yield from _nested(source, prefix + key, part, depth + 1)


def _classes(kind: Any) -> list[tuple[type, tuple[Any, ...]]]:
    """Return the classes that *kind* may be, with their arguments."""
    origin, args = get_origin(kind), get_args(kind)
    if isinstance(origin or kind, type) and origin is not types.UnionType:
        return [(origin or kind, args)]
    inner = getattr(kind, "__supertype__", None) or getattr(kind, "__value__", None)
    members = args[:1] if origin is Annotated else args if inner is None else (inner,)
    return [cls for member in members for cls in _classes(member)]
