"""Say which fields of a settings class hold secrets, by their types; as a program, say it as JSON.

``python -m encenv.policy.settings_class module:Class`` runs in the project's folder. Importing the class must not need
the secrets, although a module often makes its ``settings = Settings()`` in the next line. So in this program, and only
here, no settings class loads anything: its instances have their defaults and nothing else, and `load_dotenv`,
`dotenv_values` and `decrypt_environ` find nothing. A module that fails nevertheless, because it goes on to use a value,
is good enough if the class was defined before.
"""

import importlib
import json
import os
import sys
import traceback
import types
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from dataclasses import fields as dataclass_fields
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, Secret, SecretBytes, SecretStr
from pydantic.fields import FieldInfo
from pydantic.networks import UrlConstraints
from pydantic_settings import BaseSettings, EnvSettingsSource

from encenv.errors import place_of
from encenv.load import dotenv, environ
from encenv.load.field_names import ModelNames, model_keys
from encenv.load.pydantic_names import MODEL_SLOTS, url_constraints
from encenv.load.settings import EncryptedSettings
from encenv.policy.rules import FieldSecrecy
from encenv.policy.settings_import import NoAnswer

_SECRET = (SecretStr, SecretBytes, Secret)
# A value of one of these types is one of a few, or says where the service runs.
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
        inner = next((one for name in names if (one := getattr(kind, name, None)) is not None), None)
        yield from [(object, ())] if inner is None else _classes(inner)


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


def main(settings: str) -> None:
    """Write the answer for the class *settings* to standard output, and nothing else."""
    answer_to = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # the application may print anything
        os.dup2(nowhere, stream)
    answer = json.dumps(asdict(_answer(settings))).encode()
    with os.fdopen(answer_to, "wb") as file:
        file.write(answer)
    os._exit(0)  # without waiting for the application's threads and exit handlers


def _answer(settings: str) -> FieldSecrecy | NoAnswer:
    module, _, name = settings.partition(":")
    folder = Path.cwd()
    sys.path[:0] = [str(folder), *([str(folder / "src")] if (folder / "src").is_dir() else [])]
    _disable_loading()
    failure: BaseException | None = None
    try:
        namespace = vars(importlib.import_module(module))
    except BaseException as error:  # noqa: BLE001 (SystemExit as well: a module may end its process)
        failure = error
        namespace = _namespace_at(error, module)
    settings_class: Any = namespace.get(name.partition(".")[0])
    for part in name.split(".")[1:]:
        settings_class = getattr(settings_class, part, None)
    if settings_class is None:
        return _explain(failure, module, name)
    if not (isinstance(settings_class, type) and issubclass(settings_class, BaseSettings)):
        return NoAnswer(
            f"{settings} is not a settings class", "name a subclass of EncryptedSettings or BaseSettings"
        )
    try:
        return field_secrecy(settings_class)
    except Exception as error:  # noqa: BLE001 (a class of the application's may raise anything)
        hint = f"check that all its annotations resolve: python -c 'import {module}'"
        return NoAnswer(f"the fields of {settings} cannot be read: {type(error).__name__}", hint)


def _disable_loading() -> None:
    def inert(__pydantic_self__: BaseSettings, *_: Any, **__: Any) -> None:
        bare = type(__pydantic_self__).model_construct()
        for slot in MODEL_SLOTS:
            object.__setattr__(__pydantic_self__, slot, getattr(bare, slot, None))

    for cls in (BaseSettings, EncryptedSettings):
        cls.__init__ = inert  # type: ignore[method-assign]
    dotenv.load_dotenv = lambda *_, **__: False
    dotenv.dotenv_values = lambda *_, **__: {}
    environ.decrypt_environ = lambda *_, **__: {}


def _namespace_at(error: BaseException, module: str) -> dict[str, Any]:
    """Return what *module* had defined before *error* ended its import."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__") == module:
            return frame.f_globals
    imported = sys.modules.get(module)
    return vars(imported) if isinstance(imported, types.ModuleType) else {}


def _explain(failure: BaseException | None, module: str, name: str) -> NoAnswer:
    """Return why the class is not there, and what to do."""
    if failure is None:
        return NoAnswer(
            f"there is no {name} in {module}", 'write settings = "module:Class" as it is imported'
        )
    missing = failure.name if isinstance(failure, ModuleNotFoundError) else None
    if missing and f"{module}.".startswith(f"{missing}."):
        hint = "name the module as seen from the folder of pyproject.toml (or its src)"
        return NoAnswer(f"there is no module {missing}", hint, "missing")
    if missing:
        return NoAnswer(
            f"{module} needs the module {missing}, which is not installed beside encenv",
            "install encenv into the application's own environment, or the application beside encenv",
            "missing",
        )
    place = place_of(failure)
    if isinstance(failure, SyntaxError):
        place = f"at {Path(failure.filename or '?').name}:{failure.lineno}"
    return NoAnswer(
        f"importing {module} raised {type(failure).__name__} {place}, before {name} was defined",
        f"define {name} above what fails there, or in a module of its own",
        "raised",
    )


if __name__ == "__main__":
    main(sys.argv[1])
