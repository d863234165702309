"""What happens when an update of a library renames one of the undocumented names that encenv relies on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import AnyUrl, create_model
from support.canary import sealed
from support.equivalence import KEY_TEXT, KEYS

from encenv.load.pydantic_names import VERSION
from encenv.policy.secret_types import secrecy

# Attributes of a class or of a module, by their module and owner.
NAMES = {
    "pydantic_settings.sources": "ENV_FILE_SENTINEL",
    "pydantic_settings.sources.utils": "parse_env_vars",
    "pydantic_settings:PydanticBaseSettingsSource": (
        "_set_current_state _set_settings_sources_data current_state settings_sources_data"
    ),
    "pydantic_settings:EnvSettingsSource": "_load_env_vars next_field",
    "pydantic_settings.sources:PydanticBaseEnvSettingsSource": "_extract_field_info _apply_case_sensitive",
    "pydantic_settings:DotEnvSettingsSource": "_read_env_files _read_env_file _static_read_env_file",
    "pydantic_settings:SecretsSettingsSource": "find_case_path",
    "pydantic_settings:NestedSecretsSettingsSource": "load_secrets",
    "pydantic:BaseModel": (
        "__pydantic_core_schema__ __pydantic_fields_set__ __pydantic_extra__ __pydantic_private__"
    ),
    "pydantic:RootModel": "__private_attributes__",
}
# Attributes that the `__init__` of a class sets, and one of its arguments.
SET_BY_INIT = {
    "pydantic_settings:EnvSettingsSource": "maxsplit env_vars env_nested_delimiter",
    "pydantic_settings:DotEnvSettingsSource": "env_file env_file_encoding"
    + " dotenv_filtering" * (VERSION >= (2, 14))  # older versions have no such attribute to rely on
    + " env_file_depth" * (VERSION >= (2, 16)),
    "pydantic_settings.sources:PydanticBaseEnvSettingsSource": (
        "env_prefix env_prefix_target env_ignore_empty env_parse_none_str"
    ),
    "pydantic_settings:SecretsSettingsSource": "secrets_dir",
    "pydantic_settings:NestedSecretsSettingsSource": "secrets_paths",
    "pydantic_settings:BaseSettings": "_build_sources",
}
DOTENV_NAMES = {
    "dotenv.parser": "Binding Reader parse_key parse_value parse_stream",
    "dotenv.variables": "Atom Variable parse_variables",
}
# Each name in a process of its own that is forked from one where the libraries are imported already.
SCRIPT = """
import importlib, json, os, sys
import dotenv.parser, dotenv.variables, pydantic, pydantic_settings

def rename(owner, name, is_set_by_init):
    module, _, cls = owner.partition(":")
    target = importlib.import_module(module)
    target = getattr(target, cls) if cls else target
    if not is_set_by_init:
        delattr(target, name)
        return
    code = target.__init__.__code__
    kind = "co_varnames" if target is pydantic_settings.BaseSettings else "co_names"
    names = tuple("renamed" if one == name else one for one in getattr(code, kind))
    target.__init__.__code__ = code.replace(**{kind: names})

def outcome(owner, name, is_set_by_init, function):
    rename(owner, name, is_set_by_init)
    import encenv
    from support.canary import assert_silent
    try:
        value = getattr(encenv, function)
        value() if function == "dotenv_values" else type("Settings", (value,), {"__annotations__": {"a": str}})()
    except BaseException as error:
        if isinstance(error, ImportError):
            assert_silent(error, "Kanarienvogel")
        return type(error).__name__, str(error)
    return "nothing", "was raised"

found = []
for case in json.loads(sys.stdin.read()):
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, json.dumps(outcome(*case)).encode())
        os._exit(0)
    os.close(write)
    with open(read) as pipe:
        found.append(json.loads(pipe.read() or "null"))
    os.wait()
print(json.dumps(found))
"""


def cases(names, *, is_set_by_init, function):
    """Return for each of *names* what the script takes."""
    return [(owner, name, is_set_by_init, function) for owner, text in names.items() for name in text.split()]


CASES = [
    *cases(NAMES, is_set_by_init=False, function="EncryptedSettings"),
    *cases(SET_BY_INIT, is_set_by_init=True, function="EncryptedSettings"),
    *cases(DOTENV_NAMES, is_set_by_init=False, function="dotenv_values"),
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What a first load raises without each of the names, by the name."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        input=json.dumps(CASES),
        env={
            "PYTHONPATH": f"{Path(__file__).parents[1]}:{Path(__file__).parents[2]}",
            "ENCENV_LOCAL_KEY": KEY_TEXT,
            **sealed({"A": "Kanarienvogel"}, provider=KEYS),
        },
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path_factory.mktemp("empty"),
    )
    return dict(zip([(owner, name) for owner, name, *_ in CASES], json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, name, *_ in CASES])
def test_a_name_is_missing(outcomes, owner, name):
    """`import encenv` works, and the first load fails with one sentence that names what is missing, and where."""
    package = {"pydantic": "pydantic", "dotenv": "python-dotenv"}.get(owner.split(":")[0].split(".")[0])
    kind, text = outcomes[owner, name]
    assert kind == "ImportError", text
    sentence, hint = text.split("\n")
    assert sentence.startswith(f"{package or 'pydantic-settings'} ")
    assert sentence.endswith(f".{name}, which encenv relies on")
    assert hint.startswith("  hint: install another version of ")


def test_the_constraints_of_a_url_are_missing(monkeypatch):
    """What only the policy of a settings class reads is named when that is derived."""
    field = create_model("Settings", url=(AnyUrl, ...)).model_fields["url"]
    monkeypatch.delattr(AnyUrl.__mro__[1], "_constraints")
    with pytest.raises(
        ImportError, match=r"pydantic [\d.]+ has no AnyUrl._constraints, which encenv relies on"
    ):
        secrecy(field)
