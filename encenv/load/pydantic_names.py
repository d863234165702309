"""Every private or undocumented name of pydantic-settings and pydantic that encenv relies on, read in one place.

Each is read here, at import, without a default. If an update has renamed one, loading settings fails before anything
is decrypted, with an error that names it: never with a guard that compares None with None, or an AttributeError
beside a decrypted value. Names that only some versions have are chosen by the version.

encenv also relies on two things without a name: the text of a `SettingsError` (`SETTINGS_ERROR`; another text is
withheld), and that pydantic-settings logs values in records without arguments.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pydantic
from pydantic import BaseModel, RootModel
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    sources,
    version,
)
from pydantic_settings.sources import utils

from encenv.errors import missing_name

Methods = Mapping[str, Callable[..., Any]]

# A pattern as a text: it is compiled where a load has failed, and not at each start.
SETTINGS_ERROR = r'error (?:getting|parsing) value for field "(\w+)" from source "(\w+)"'
# The slots that make an instance of a model, besides its class.
MODEL_SLOTS = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")


def version_of(text: str) -> tuple[int, ...]:
    """Return the first two numbers of a version."""
    return tuple(int(number) for number in text.split(".")[:2])


def _read_attributes() -> None:
    """Read every attribute of a source or a model that encenv uses, in this file and in others."""
    dotenv = DotEnvSettingsSource(BaseSettings, env_file=None)
    secrets = SecretsSettingsSource(BaseSettings)
    nested = NestedSecretsSettingsSource(secrets)
    _ = (
        (dotenv._set_current_state, dotenv._set_settings_sources_data),
        (dotenv.current_state, dotenv.settings_sources_data, dotenv.maxsplit, dotenv.next_field),
        (dotenv.env_vars, dotenv.env_file, dotenv.env_file_encoding, dotenv.env_prefix),
        (dotenv.env_nested_delimiter, dotenv.env_ignore_empty, dotenv.env_parse_none_str),
        (dotenv.case_sensitive, nested.secrets_paths, nested.load_secrets),
        (secrets.secrets_dir, secrets.find_case_path, secrets.env_prefix_target),
        (BaseModel.__pydantic_core_schema__, RootModel.__private_attributes__),
        (BaseModel.__pydantic_fields_set__, BaseModel.__pydantic_extra__, BaseModel.__pydantic_private__),
        version_of(version.VERSION) < (2, 14) or dotenv.dotenv_filtering,
        version_of(version.VERSION) < (2, 16) or dotenv.env_file_depth,
    )


_missing = None
try:
    VERSION = version_of(version.VERSION)
    ENV_FILE_SENTINEL = sources.ENV_FILE_SENTINEL  # the `_env_file` of a call that names none
    parse_env_vars = utils.parse_env_vars

    # How a source says which variables it reads a field from.
    RULES: Methods = {
        "get_field_value": EnvSettingsSource.get_field_value,
        "prepare_field_value": EnvSettingsSource.prepare_field_value,
        "_extract_field_info": EnvSettingsSource._extract_field_info,
        "_apply_case_sensitive": EnvSettingsSource._apply_case_sensitive,
    }
    # How each kind of source reads its variables: a subclass with one of its own reads from elsewhere.
    LOADERS: Mapping[type[EnvSettingsSource], Methods] = {
        NestedSecretsSettingsSource: {"_load_env_vars": NestedSecretsSettingsSource._load_env_vars},
        DotEnvSettingsSource: {
            "_load_env_vars": DotEnvSettingsSource._load_env_vars,
            "_read_env_files": DotEnvSettingsSource._read_env_files,
            "_read_env_file": DotEnvSettingsSource._read_env_file,
            "_static_read_env_file": DotEnvSettingsSource._static_read_env_file,
        },
        EnvSettingsSource: {"_load_env_vars": EnvSettingsSource._load_env_vars},
    }

    _read_attributes()
    if "_build_sources" not in BaseSettings.__init__.__code__.co_varnames:
        raise AttributeError(name="_build_sources", obj=BaseSettings.__init__)  # noqa: TRY301 (as if read)
except AttributeError as error:
    _missing = missing_name(error)
if _missing is not None:
    raise _missing

# From 2.14 on, a source passes a value on under the field's first alias, whichever alias names its variable.
PREFERS_FIRST_KEY = VERSION >= (2, 14)
HAS_FILTERING = VERSION >= (2, 14)  # `dotenv_filtering` of a source
HAS_DEPTH = VERSION >= (2, 16)  # `env_file_depth` of a source


def field_info(source: EnvSettingsSource, field: FieldInfo, name: str) -> list[tuple[str, str, bool]]:
    """Return what *source* says of each variable of a field: its key, its name, whether its value is a container."""
    return source._extract_field_info(field, name)


def clear_state(source: PydanticBaseSettingsSource) -> None:
    """Remove from *source* the values that other sources gave."""
    source._set_current_state({})
    source._set_settings_sources_data({})


def url_constraints(cls: type) -> object:
    """Return the constraints of the URL type *cls*; None if it is not `AnyUrl`, and before pydantic 2.10."""
    # Read here and not above: its module is not imported where no field is a URL.
    if version_of(pydantic.VERSION) < (2, 10) or not issubclass(cls, pydantic.AnyUrl):
        return None
    try:
        return cls._constraints
    except AttributeError as error:
        missing = missing_name(error)
    raise missing
