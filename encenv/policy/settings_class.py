"""``python -m encenv.policy.settings_class module:Class``: what a settings class says must be sealed, as JSON.

Run in a process of its own, in the project's folder. Importing the class must not need the secrets, and a module
often makes its ``settings = Settings()`` in the next line. So here, and only here, no settings class loads anything:
its instances have their defaults and nothing else, and `load_dotenv`, `dotenv_values` and `decrypt_environ` find
nothing. A module that fails nevertheless (because it goes on to use a value) has done enough, if the class
stood before the failure.
"""

import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic_settings import BaseSettings

from encenv.load import dotenv as envfiles
from encenv.load import environ
from encenv.load.settings import EncryptedSettings
from encenv.policy.secret_types import known_of


def main(settings: str) -> None:
    """Write the answer for the class *settings* to standard output, and nothing else."""
    answer_to = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # what the application prints may be anything
        os.dup2(nowhere, stream)
    answer = json.dumps(_answer(settings)).encode()
    with os.fdopen(answer_to, "wb") as file:
        file.write(answer)
    os._exit(0)  # threads and exit handlers of the application's are not waited for


def _answer(settings: str) -> dict[str, Any]:
    module, _, name = settings.partition(":")
    folder = Path.cwd()
    sys.path[:0] = [str(folder), *([str(folder / "src")] if (folder / "src").is_dir() else [])]
    _make_inert()
    raised: BaseException | None = None
    try:
        namespace = vars(importlib.import_module(module))
    except BaseException as error:  # noqa: BLE001 (SystemExit as well: a module may end its process)
        raised = error
        namespace = _left_behind(error, module)
    found: Any = namespace.get(name.partition(".")[0])
    for part in name.split(".")[1:]:
        found = getattr(found, part, None)
    if found is None:
        return _absent(module, name, raised)
    if not (isinstance(found, type) and issubclass(found, BaseSettings)):
        return {
            "message": f"{settings} is not a settings class",
            "hint": "name a subclass of EncryptedSettings or BaseSettings",
        }
    try:
        names, below, case_sensitive = known_of(found)
    except Exception as error:  # noqa: BLE001 (a class of the application's may raise anything)
        return {
            "message": f"{settings} cannot be understood: {type(error).__name__}",
            "hint": "see that all its annotations can be resolved: python -c 'import " + module + "'",
        }
    return {"names": names, "below": below, "case_sensitive": case_sensitive}


def _make_inert() -> None:
    def inert(__pydantic_self__: BaseSettings, *_: Any, **__: Any) -> None:
        bare = type(__pydantic_self__).model_construct()
        for slot in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
            object.__setattr__(__pydantic_self__, slot, getattr(bare, slot, None))

    for cls in (BaseSettings, EncryptedSettings):
        cls.__init__ = inert  # type: ignore[method-assign]
    envfiles.load_dotenv = lambda *_, **__: False
    envfiles.dotenv_values = lambda *_, **__: {}
    environ.decrypt_environ = lambda *_, **__: {}


def _left_behind(error: BaseException, module: str) -> dict[str, Any]:
    """Return what *module* had defined before *error* ended its import."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__") == module:
            return frame.f_globals
    imported = sys.modules.get(module)
    return vars(imported) if isinstance(imported, ModuleType) else {}


def _absent(module: str, name: str, raised: BaseException | None) -> dict[str, Any]:
    if raised is None:
        return {
            "message": f"there is no {name} in {module}",
            "hint": 'write settings = "module:Class" as it is imported',
        }
    missing = raised.name if isinstance(raised, ModuleNotFoundError) else None
    if missing and f"{module}.".startswith(f"{missing}."):
        return {
            "message": f"there is no module {missing}",
            "hint": "name the module as seen from the folder of pyproject.toml (or its src)",
            "missing": True,
        }
    if missing:
        return {
            "message": f"{module} needs the module {missing}, which is not installed beside encenv",
            "hint": "install encenv into the application's own environment, or the application beside encenv",
            "missing": True,
        }
    return {
        "message": f"importing {module} raised {type(raised).__name__} at {_place(raised)}, before {name} was defined",
        "hint": f"define {name} above what fails there, or in a module of its own",
        "raised": True,
    }


def _place(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{Path(error.filename or '?').name}:{error.lineno}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


if __name__ == "__main__":
    main(sys.argv[1])
