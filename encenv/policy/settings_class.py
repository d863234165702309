"""Say, as JSON, which fields of a settings class hold secrets: ``python -m encenv.policy.settings_class module:Class``.

This program runs in the project's folder. Importing the class must not need the secrets, although a module often
makes its ``settings = Settings()`` in the next line. So here, and only here, no settings class loads anything: its
instances have their defaults and nothing else, and `load_dotenv`, `dotenv_values` and `decrypt_environ` find nothing.
A module that fails, because it uses a value that is missing, is good enough if it has defined the class by then.
"""

import importlib
import json
import os
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic_settings import BaseSettings

from encenv.errors import place_of
from encenv.load import dotenv, environ
from encenv.load.pydantic_names import MODEL_SLOTS
from encenv.load.settings import EncryptedSettings
from encenv.policy.rules import FieldSecrecy
from encenv.policy.secret_types import field_secrecy
from encenv.policy.settings_import import NoAnswer


def main(settings: str) -> None:
    """Write the answer for the class *settings* to standard output, and nothing else."""
    output = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # the application may print anything
        os.dup2(nowhere, stream)
    answer = json.dumps(asdict(_answer(settings))).encode()
    with os.fdopen(output, "wb") as file:
        file.write(answer)
    os._exit(0)  # without waiting for the application's threads and exit handlers


def _answer(settings: str) -> FieldSecrecy | NoAnswer:
    module, _, name = settings.partition(":")
    folder = Path.cwd()
    sys.path[:0] = [str(path) for path in (folder, folder / "src") if path.is_dir()]
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
    return vars(imported) if isinstance(imported, ModuleType) else {}


def _explain(failure: BaseException | None, module: str, name: str) -> NoAnswer:
    """Return why *module* has no class *name*, and what to do."""
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
