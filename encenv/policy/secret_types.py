"""What the types of a settings class say about its variables: this one holds a secret, that one cannot."""

import types
from collections.abc import Iterable, Mapping
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import PurePath
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, Secret, SecretBytes, SecretStr
from pydantic.fields import FieldInfo
from pydantic.networks import UrlConstraints
from pydantic_settings import BaseSettings, EnvSettingsSource

from encenv.load.field_names import Asked, model_keys

_SECRET = (SecretStr, SecretBytes, Secret)
# A value of one of these is one of a few, or says something of the service's surroundings.
_HARMLESS = (
    bool,
    int,
    float,
    complex,
    Decimal,
    Enum,
    date,
    time,
    timedelta,
    tzinfo,
    PurePath,
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    types.NoneType,
)
_WEB = {
    "http",
    "https",
    "ws",
    "wss",
    "file",
    "ftp",
}  # other schemes lead to a service that asks for a password
_DEPTH_MAX = 8  # of nested models: one may hold itself


Said = dict[str, bool | None]  # True: it holds a secret, False: it cannot, None: either


def known_of(settings_class: type[BaseSettings]) -> tuple[Said, Said, bool]:
    """Return what the types of *settings_class* say about its variables, as `encenv.policy.rules.Known` takes it."""
    source = EnvSettingsSource(settings_class)
    asked = Asked(source)
    names: Said = {}
    below: Said = {}
    for name, field in settings_class.model_fields.items():
        found = asked.fields[name]
        for own in found.names:
            _note(names, own, secrecy(field))
            if found.has_nested and source.env_nested_delimiter:
                _below(source, own, field, names, below, 1)
    return names, below, bool(source.case_sensitive)


def secrecy(  # noqa: PLR0911 (a case a line)
    kind: Any, _seen: frozenset[Any] = frozenset()
) -> bool | None:
    """Return whether the type *kind* holds a secret (True), can hold none (False), or either."""
    if isinstance(kind, FieldInfo):
        return True if _leads_to_service(kind.metadata) else secrecy(kind.annotation, _seen)
    if kind in _seen:
        return False  # a model within itself adds nothing to what is known of it
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return True if _leads_to_service(args[1:]) else secrecy(args[0], _seen)
    if origin is Literal or kind is None:
        return False
    if origin in (Union, types.UnionType):
        return _joined(secrecy(arg, _seen) for arg in args)
    if isinstance(origin or kind, type):
        return _of_class(kind, origin or kind, args, _seen)
    inner = getattr(kind, "__supertype__", None) or getattr(kind, "__value__", None)  # NewType, type X = …
    if inner is None and isinstance(kind, TypeVar):
        inner = kind.__bound__
    return None if inner is None else secrecy(inner, _seen)


def _of_class(kind: Any, cls: type, args: tuple[Any, ...], seen: frozenset[Any]) -> bool | None:
    if issubclass(cls, _SECRET) or _is_dsn(cls):
        return True
    if issubclass(cls, _HARMLESS):
        return False
    parts = _parts(cls)
    if parts is not None:
        return _joined(secrecy(part, seen | {kind}) for part in parts.values())
    if args and issubclass(cls, Mapping):  # the keys of one are names
        key, value = (*args, Any)[:2]
        return True if secrecy(key, seen) else secrecy(value, seen)
    if args and issubclass(cls, Iterable):
        return _joined(secrecy(arg, seen) for arg in args if arg is not ...)
    return None


def _parts(cls: type) -> dict[str, Any] | None:
    """Return the parts of a model, a dataclass, a TypedDict or a NamedTuple, by name."""
    if issubclass(cls, BaseModel):
        return dict(cls.model_fields)
    if is_dataclass(cls) or (issubclass(cls, (dict, tuple)) and hasattr(cls, "__annotations__")):
        try:
            hints = get_type_hints(cls, include_extras=True)
        except Exception:  # noqa: BLE001 (a forward reference that leads nowhere: then nothing is known)
            return {"": Any}
        if is_dataclass(cls):
            hints = {one.name: hints[one.name] for one in dataclass_fields(cls)}
        return hints or None
    return None


def _is_dsn(cls: type) -> bool:
    constraints = getattr(cls, "_constraints", None)
    return any(base.__name__.endswith("Dsn") or "MultiHostUrl" in base.__name__ for base in cls.__mro__) or (
        _leads_to_service([constraints])
    )


def _leads_to_service(metadata: Iterable[Any]) -> bool:
    """Return whether a URL with the constraints in *metadata* is a DSN, as pydantic before 2.10 declares them."""
    return any(
        isinstance(one, UrlConstraints) and bool({*(one.allowed_schemes or ())} - _WEB) for one in metadata
    )


def _joined(found: Iterable[bool | None]) -> bool | None:
    """One secret makes a secret of the whole; the whole is harmless if every part is."""
    every = [*found]
    return True if True in every else None if None in every or not every else False


def _note(into: Said, name: str, said: bool | None) -> None:
    into[name] = _joined([into[name], said]) if name in into else said


def _below(  # noqa: PLR0913, PLR0917 (what is gathered goes along)
    source: EnvSettingsSource,
    prefix: str,
    kind: Any,
    names: Said,
    below: Said,
    depth: int,
) -> None:
    """Note the variables ``<prefix>__<part>`` of the nested type *kind*, and those below them."""
    prefix += source.env_nested_delimiter or ""
    kind = kind.annotation if isinstance(kind, FieldInfo) else kind
    for cls, args in _classes(kind):
        parts = _parts(cls)
        if parts is None:
            if issubclass(cls, Mapping):
                _note(below, prefix, secrecy(args[-1]) if args else None)
            continue
        for name, part in parts.items():
            keys = {name}
            if isinstance(part, FieldInfo) and issubclass(cls, BaseModel):
                keys |= {key.name for key in model_keys(name, part, cls.model_config)}
            for key in keys if source.case_sensitive else {key.lower() for key in keys}:
                _note(names, prefix + key, secrecy(part))
                if depth < _DEPTH_MAX and (source.maxsplit < 0 or depth <= source.maxsplit):
                    _below(source, prefix + key, part, names, below, depth + 1)


def _classes(kind: Any) -> list[tuple[type, tuple[Any, ...]]]:
    """Return the classes that *kind* may be, with their arguments."""
    origin, args = get_origin(kind), get_args(kind)
    if isinstance(origin or kind, type) and origin is not types.UnionType:
        return [(origin or kind, args)]
    inner = getattr(kind, "__supertype__", None) or getattr(kind, "__value__", None)
    members = args[:1] if origin is Annotated else args if inner is None else (inner,)
    return [found for member in members for found in _classes(member)]
