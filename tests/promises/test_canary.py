"""Test that nothing a failing load leaves behind holds a secret: each one is a canary, a text to search for."""

import _thread
import contextlib
import copy
import functools
import gc
import http.client
import inspect
import io
import json
import logging
import os
import pickle
import re
import sys
import threading
import time as time_module
import types
import typing
import uuid
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import (
    AfterValidator,
    AnyUrl,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ByteSize,
    Discriminator,
    Field,
    FilePath,
    ImportString,
    IPvAnyAddress,
    Json,
    NaiveDatetime,
    PostgresDsn,
    PrivateAttr,
    RedisDsn,
    SecretBytes,
    SecretStr,
    Strict,
    StringConstraints,
    Tag,
    TypeAdapter,
    UrlConstraints,
    ValidationError,
    WrapValidator,
    create_model,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import PydanticCustomError, PydanticKnownError
from pydantic_settings import (
    BaseSettings,
    CliApp,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsError,
)
from support.canary import CANARY, SHORT, assert_silent, assert_unsaid, caught, said_by, sealed

import encenv
from encenv import EncryptedSettings
from encenv.errors import (
    AuthenticationError,
    EncenvError,
    FileError,
    KeyRefusedError,
    KeyUnreachableError,
    MalformedError,
    frameless,
)
from encenv.export import final_values
from encenv.files.writer import Writer
from encenv.format.envelope import DataKey
from encenv.format.sealed import KeyEntry, SealedValue, WrappedKey
from encenv.keys import unwrap as unwrapping
from encenv.keys.aws.kms import AwsKms
from encenv.keys.aws.request import KmsHttp
from encenv.keys.local import LocalKeys, generate_key_text
from encenv.keys.unwrap import clear_cache
from encenv.load.reader_session import ReaderSession, SettingsSession
from encenv.load.safe_errors import MASK
from encenv.testing import KmsServer

SURROGATE = f"{CANARY}\ud800"  # no file and no environment can hold it


@pytest.fixture(autouse=True)
def local_key(monkeypatch, tmp_path):
    """The text of a fresh local key in the environment, and an empty folder to work in."""
    text = generate_key_text()
    monkeypatch.setenv("ENCENV_LOCAL_KEY", text)
    monkeypatch.chdir(tmp_path)
    clear_cache()
    return text


@pytest.fixture
def environ(monkeypatch):
    """Set plain variables, and *secrets* encrypted, in the process environment."""

    def put(secrets, **plain):
        for name, value in {**plain, **sealed(secrets)}.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.fixture(autouse=True)
def _everything_is_logged(caplog, capfd, monkeypatch, local_key):
    """Record every log at the lowest level, and both outputs: the canary must not be there in any test."""
    monkeypatch.setenv("PYDANTIC_SETTINGS_DEBUG", "1")
    caplog.set_level(1)
    secrets = (CANARY, local_key.rpartition(":")[2])
    yield
    assert_unsaid(said_by(caplog.get_records("call")), *secrets)
    assert_unsaid(capfd.readouterr(), *secrets)


class Color(Enum):
    """The type of a field that has one of these values."""

    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    """A member of a union."""

    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    """Another member."""

    kind: Literal["dog"]
    legs: int


class Closed(BaseModel, extra="forbid"):
    """A nested model that forbids other fields."""

    port: int


@dataclass
class Plain:
    """A dataclass of the standard library."""

    port: int


@pydantic_dataclass
class Checked:
    """A dataclass of pydantic."""

    port: int


class Pair(typing.NamedTuple):
    """Two numbers."""

    one: int
    two: int


def _custom(value):
    raise PydanticCustomError("own_type", "no {value}", {"value": value, "gt": value, value: value})


def _formatted(value):
    raise PydanticCustomError("own_text", f"no {value}")


def _borrowed(value):
    raise PydanticCustomError("literal_error", f"no {value}", {"expected": value})


def _known(value):
    raise PydanticKnownError("greater_than", {"gt": value})


def _nested(value):
    TypeAdapter(dict[str, int]).validate_python({value: value})


def _noted(value):
    error = ValueError(f"no {value}")
    error.add_note(value)
    raise error from RuntimeError(value)


def _asserting(value):
    assert value == "other", f"no {value}"


def _wrapping(value, handler):
    try:
        handler(value)
    except ValidationError as error:
        raise ValueError(f"no {value}") from error


def _unicode(value):
    value.encode("ascii", "strict") and f"{value}\udcff".encode()


_TAGGED = Annotated[Cat | Dog, Field(discriminator="kind")]
_BY_CALL = Annotated[
    Annotated[Cat, Tag("cat")] | Annotated[Dog, Tag("dog")], Discriminator(lambda value: next(iter(value)))
]

VALIDATIONS = {  # a field's type, and a text that is not valid; {} is the place of the secret
    "int": (int, "{}"),
    "int, digits": (int, "9{}9"),
    "float": (float, "{}"),
    "bool": (bool, "{}"),
    "decimal": (Decimal, "{}"),
    "complex": (complex, "{}"),
    "uuid": (uuid.UUID, "{}"),
    "uuid, almost": (uuid.UUID, "12345678-1234-1234-1234-1234567890{}"),
    "url": (AnyUrl, "{}"),
    "url, port": (AnyUrl, "http://{}:port"),
    "url, scheme": (PostgresDsn, "http://{}@host/{}"),
    "url, redis": (RedisDsn, "http://host/{}"),
    "url, long": (Annotated[AnyUrl, UrlConstraints(max_length=10)], "http://{}.example"),
    "date": (date, "{}"),
    "date, almost": (date, "2020-13-{}"),
    "datetime": (datetime, "{}"),
    "datetime, almost": (datetime, "2020-01-02T{}"),
    "datetime, naive": (NaiveDatetime, "{}"),
    "datetime, aware": (AwareDatetime, "{}"),
    "time": (time, "{}"),
    "time, almost": (time, "12:{}"),
    "timedelta": (timedelta, "{}"),
    "timedelta, almost": (timedelta, "P{}"),
    "pattern": (Annotated[str, Field(pattern="^[a-f]+$")], "{}"),
    "ascii": (Annotated[str, StringConstraints(pattern=r"^\d$", to_upper=True)], "{}é"),
    "short": (Annotated[str, Field(min_length=999)], "{}"),
    "long": (Annotated[str, Field(max_length=1)], "{}"),
    "secret, short": (Annotated[SecretStr, Field(min_length=999)], "{}"),
    "secret, long": (Annotated[SecretStr, Field(max_length=1)], "{}"),
    "secret bytes, short": (Annotated[SecretBytes, Field(min_length=999)], "{}"),
    "bytes, long": (Annotated[bytes, Field(max_length=1)], "{}"),
    "literal": (Literal["one", "two"], "{}"),
    "enum": (Color, "{}"),
    "list": (list[int], '["{}"]'),
    "list, long": (Annotated[list[str], Field(max_length=1)], '["{}", "{}"]'),
    "list, short": (Annotated[list[str], Field(min_length=9)], '["{}"]'),
    "list, of another kind": (list[int], '{{"{}": "{}"}}'),
    "tuple": (tuple[int, int], '["{}"]'),
    "set": (set[int], '["{}"]'),
    "frozenset": (frozenset[int], '["{}"]'),
    "dict": (dict[str, int], '{{"{}": "{}"}}'),
    "dict, keys": (dict[int, int], '{{"{}": 1}}'),
    "dict, deep": (dict[str, dict[str, list[int]]], '{{"{}": {{"{}": [1, "{}"]}}}}'),
    "dict, of another kind": (dict[str, int], '["{}"]'),
    "json": (Json, "[{}"),
    "json, inside": (Json[dict[str, int]], '{{"{}": "{}"}}'),
    "json, of a list": (list[Json], '["[{}"]'),
    "model": (Closed, '{{"port": "{}"}}'),
    "model, extra": (Closed, '{{"{}": 1, "port": 1}}'),
    "model, missing": (Cat, '{{"{}": 1}}'),
    "model, of another kind": (Cat, '["{}"]'),
    "dataclass": (Plain, '{{"port": "{}"}}'),
    "dataclass, missing": (Plain, '{{"{}": 1}}'),
    "dataclass of pydantic's": (Checked, '{{"port": "{}"}}'),
    "named tuple": (Pair, '["{}", 1]'),
    "union": (int | list[int] | dict[str, int], '{{"{}": "{}"}}'),
    "union of numbers": (int | float, "{}"),
    "tag, wrong": (_TAGGED, '{{"kind": "{}"}}'),
    "tag, missing": (_TAGGED, '{{"{}": 1}}'),
    "tag, member": (_TAGGED, '{{"kind": "cat", "lives": "{}"}}'),
    "tag, by a function": (_BY_CALL, '{{"{}": 1}}'),
    "strict": (Annotated[int, Strict()], "{}"),
    "strict date": (Annotated[date, Strict()], "{}"),
    "ip": (IPv4Address, "{}"),
    "any ip": (IPvAnyAddress, "{}"),
    "regular expression": (re.Pattern, "({}"),
    "bytes, how many": (ByteSize, "12{}"),
    "bytes, no number": (ByteSize, "{}"),
    "file": (FilePath, "{}"),
    "import": (ImportString, "{}"),
    "import, of a member": (ImportString, "os:{}"),
    "custom error": (Annotated[str, BeforeValidator(_custom)], "{}"),
    "custom text": (Annotated[str, BeforeValidator(_formatted)], "{}"),
    "custom error, borrowed name": (Annotated[str, BeforeValidator(_borrowed)], "{}"),
    "known error": (Annotated[str, AfterValidator(_known)], "{}"),
    "nested error": (Annotated[str, BeforeValidator(_nested)], "{}"),
    "value error": (Annotated[str, AfterValidator(_noted)], "{}"),
    "value error, wrapping": (Annotated[int, WrapValidator(_wrapping)], "{}"),
    "value error, unicode": (Annotated[str, AfterValidator(_unicode)], "{}"),
    "assertion error": (Annotated[str, AfterValidator(_asserting)], "{}"),
}


def settings_of(annotation, **config):
    """Return a settings class with a field of the type *annotation*, a secret, and a field without a value."""
    return type(
        "Settings",
        (EncryptedSettings,),
        {
            "__annotations__": {"field": annotation, "sibling": SecretStr, "absent": str},
            "__module__": __name__,
        },
        **config,
    )


@pytest.mark.parametrize("secret", [CANARY, SHORT], ids=["long", "short"])
@pytest.mark.parametrize("case", VALIDATIONS)
def test_a_value_that_is_not_valid(case, secret, environ):
    """No part of an error holds the decrypted value that caused it, whatever its kind, and however short the value is."""
    annotation, text = VALIDATIONS[case]
    environ({"FIELD": text.format(*[secret] * 9), "SIBLING": secret})
    error = caught(settings_of(annotation))
    assert isinstance(error, ValidationError), error
    assert {line["loc"][0] for line in error.errors()} == {"field", "absent"}
    assert_silent(error, secret)


@pytest.mark.parametrize("case", VALIDATIONS)
def test_two_values_make_the_same_error(case, environ):
    """Two secrets that are wrong in the same way give the same error: without lengths, positions or characters."""
    annotation, text = VALIDATIONS[case]
    reports = []
    for secret in (CANARY, "Zaunkönig-und-noch-mehr", "!"):
        clear_cache()
        environ({"FIELD": text.format(*[secret] * 9), "SIBLING": secret})
        error = caught(settings_of(annotation))
        lines = error.errors() if isinstance(error, ValidationError) else []
        reports.append(
            [(line["type"], [str(error), error.json(), [*map(_told, lines)]]) for line in lines[:1]]
        )
    same_type = [lines for lines in reports if lines and lines[0][0] == reports[0][0][0]]
    assert len(same_type) > 1
    assert all(lines == same_type[0] for lines in same_type)


def _told(line):
    return {**line, "ctx": {key: str(value) for key, value in line.get("ctx", {}).items()}}


NOT_JSON = {
    "bad JSON": ({"LIST": "[{}"}, {}),
    "bad JSON below a name": ({"MODEL__LIMITS": "[{}"}, {}),
    "bad JSON in an alias": ({"ALIAS": "{}"}, {}),
    "a text with more below it": ({"MODEL": "[{}", "MODEL__PORT": "{}"}, {}),
    "a bad option": ({"NONE": "{}"}, {"_env_parse_none_str": "null", "_env_parse_enums": True}),
}


@pytest.mark.parametrize("secret", [CANARY, SHORT], ids=["long", "short"])
@pytest.mark.parametrize("case", NOT_JSON)
def test_a_text_that_cannot_be_parsed(case, secret, environ):
    """A `SettingsError` about a decrypted text holds neither the text nor the parser's error, which has all of it."""

    class Inner(BaseModel):
        port: int
        limits: dict[str, int]

    class Settings(EncryptedSettings, env_nested_delimiter="__"):
        list: list[int]
        model: Inner
        other: dict[str, int] = Field(validation_alias="ALIAS")
        none: Color

    secrets, arguments = NOT_JSON[case]
    environ({name: text.format(secret) for name, text in secrets.items()})
    error = caught(Settings, **arguments)
    assert isinstance(error, (SettingsError, ValidationError))
    assert_silent(error, secret)


class CustomError(Exception):
    """An application's error that keeps a value in an attribute."""

    def __init__(self, value):
        super().__init__(value)
        self.value = {"deep": [value]}


class CustomBaseError(BaseException):
    """The same, but not an `Exception`."""

    def __init__(self, value):
        super().__init__(value)
        self.value = value


def _raise_chained(value):
    try:
        _raising(KeyError)(value)
    except KeyError as error:
        raise RuntimeError(value) from error


def _raise_in_context(value):
    try:
        _raising(KeyError)(value)
    except KeyError:
        raise RuntimeError("x") from None


def _raise_noted(value):
    error = RuntimeError("x")
    error.add_note(value)
    raise error


def _raising(cls):
    def raising(value):
        raise cls(value)

    return raising


def _raise_group(value):
    raise ExceptionGroup(value, [ValueError(value), KeyError(value)])


def _raise_base_group(value):
    raise BaseExceptionGroup(value, [KeyboardInterrupt(value), KeyError(value)])


def _raise_unicode(value):
    f"{value}\ud800".encode()


def _raise_json(value):
    json.loads("[" + value)


def _raise_attribute(value):
    return getattr(value, value)


def _raise_interrupt(value):
    error = KeyboardInterrupt(value)
    error.add_note(value)
    raise error from KeyError(value)


RAISERS = {
    "RuntimeError": _raising(RuntimeError),
    "TypeError": _raising(TypeError),
    "KeyError": _raising(KeyError),
    "OSError": _raising(lambda value: OSError(2, value, value)),
    "SyntaxError": _raising(lambda value: SyntaxError(value, (value, 1, 1, value))),
    "StopIteration": _raising(StopIteration),
    "SettingsError": _raising(SettingsError),
    "an own error": _raising(CustomError),
    "an own base error": _raising(CustomBaseError),
    "SystemExit": _raising(SystemExit),
    "GeneratorExit": _raising(GeneratorExit),
    "KeyboardInterrupt": _raise_interrupt,
    "cause": _raise_chained,
    "context": _raise_in_context,
    "note": _raise_noted,
    "group": _raise_group,
    "base group": _raise_base_group,
    "unicode": _raise_unicode,
    "json": _raise_json,
    "attribute": _raise_attribute,
    "encenv's class": _raising(lambda value: MalformedError(value, hint=value, variables=[value])),
    "validation error": _raising(lambda value: caught(lambda: create_model("M", x=(int, ...))(x=value))),
}


def _in_validator(raising):
    class Settings(EncryptedSettings):
        secret: SecretStr

        @field_validator("secret", mode="after")
        @classmethod
        def _check(cls, value):
            raising(value.get_secret_value())

    return Settings


def _in_after_validator(raising):
    class Settings(EncryptedSettings, extra="allow"):
        secret: str
        _kept: str = PrivateAttr("")

        @model_validator(mode="after")
        def _check(self):
            self._kept = self.secret
            raising(self.secret)

    return Settings


def _in_wrap_validator(raising):
    class Settings(EncryptedSettings):
        secret: str

        @model_validator(mode="wrap")
        @classmethod
        def _check(cls, data, handler):
            made = handler(data)
            raising(made.secret)

    return Settings


def _in_before_validator(raising):
    class Settings(EncryptedSettings):
        secret: str

        @model_validator(mode="before")
        @classmethod
        def _check(cls, data):
            raising(data["secret"])

    return Settings


def _in_default_factory(raising):
    class Settings(EncryptedSettings):
        secret: str
        made: str = Field(default_factory=lambda: raising(CANARY))

    return Settings


def _in_post_init(raising):
    class Settings(EncryptedSettings):
        secret: str
        _kept: str = PrivateAttr("")

        def model_post_init(self, context, /):
            self._kept = self.secret
            raising(self.secret)

    return Settings


def _in_init(raising):
    class Settings(EncryptedSettings, extra="allow"):
        secret: str
        _kept: str = PrivateAttr("")

        @model_validator(mode="after")
        def _check(self):
            self._kept = self.more = self.secret
            raising(self.secret)

        def __init__(self, **values):
            super().__init__(**values)

    return Settings


def _in_source(raising):
    class Source(PydanticBaseSettingsSource):
        def get_field_value(self, field, field_name):
            return None, field_name, False

        def __call__(self):
            raising(self.current_state["secret"])

    class Settings(EncryptedSettings):
        secret: str
        other: str

        @classmethod
        def settings_customise_sources(cls, settings_cls, env_settings, **others):
            return env_settings, Source(settings_cls)

    return Settings


def _in_subclass_of_a_source(raising):
    class Source(EnvSettingsSource):
        def prepare_field_value(self, field_name, field, value, value_is_complex):
            return raising(value)

    class Settings(EncryptedSettings):
        secret: str

        @classmethod
        def settings_customise_sources(cls, settings_cls, env_settings, **others):
            return (Source(settings_cls),)

    return Settings


def _in_hook(raising):
    class Settings(EncryptedSettings):
        secret: str

        @classmethod
        def settings_customise_sources(cls, settings_cls, env_settings, **others):
            raising(env_settings.env_vars["secret"])

    return Settings


def _in_hook_of_cli_app(raising):
    settings = _in_hook(raising)
    return lambda: CliApp.run(settings, cli_args=[])


def _in_nested_settings(raising):
    class Inner(EncryptedSettings):
        secret: str

        @model_validator(mode="after")
        def _check(self):
            raising(self.secret)

    class Settings(EncryptedSettings):
        inner: Inner = Field(default_factory=Inner)

    return Settings


def _in_validation_of_another(raising):
    class Settings(EncryptedSettings):
        secret: str

        @field_validator("secret")
        @classmethod
        def _check(cls, value):
            raising(value)

    return lambda: Settings.model_validate({})


def _in_cli_app(raising):
    settings = _in_after_validator(raising)
    return lambda: CliApp.run(settings, cli_args=[])


PLACES = {
    "validator": _in_validator,
    "after validator": _in_after_validator,
    "wrap validator": _in_wrap_validator,
    "before validator": _in_before_validator,
    "default factory": _in_default_factory,
    "post init": _in_post_init,
    "init": _in_init,
    "source": _in_source,
    "subclass of a source": _in_subclass_of_a_source,
    "hook": _in_hook,
    "hook of CliApp": _in_hook_of_cli_app,
    "nested settings": _in_nested_settings,
    "model_validate": _in_validation_of_another,
    "CliApp": _in_cli_app,
}


# Every raiser in three of the places, and three of them in every place.
RAISED = [
    (raiser, place)
    for raiser in RAISERS
    for place in PLACES
    if place in ("after validator", "source", "CliApp")
    or raiser in ("RuntimeError", "cause", "validation error")
]


@pytest.mark.parametrize(("raiser", "place"), RAISED)
def test_an_exception_of_the_application(raiser, place, environ):
    """Whatever the application's code raises in a load, and wherever, the error of the load does not hold its value."""
    environ({"SECRET": CANARY, "UNUSED": "x"})
    error = caught(PLACES[place](RAISERS[raiser]))
    assert not isinstance(error, CustomError)
    assert_silent(error, CANARY)


@pytest.mark.parametrize("place", PLACES)
def test_an_exception_about_a_short_secret(place, environ):
    """The error does not hold a secret of two characters either."""
    environ({"SECRET": SHORT})
    error = caught(PLACES[place](lambda _: _raise_chained(SHORT)))
    assert isinstance(error, EncenvError | SettingsError | ValidationError)
    assert_silent(error, SHORT)


@pytest.mark.parametrize("cls", [KeyboardInterrupt, GeneratorExit, CustomBaseError])
def test_an_interrupt_is_the_same_object(cls, environ):
    """An exception that stops the program is raised as the same object, which then holds no value."""
    raised = []

    def raising(value):
        raised.append(cls(value))
        raise raised[0]

    environ({"SECRET": CANARY})
    error = caught(_in_after_validator(raising))
    assert error is raised[0]
    assert_silent(error, CANARY)


@pytest.mark.parametrize("cause", [True, False])
def test_causes_that_pydantic_adds(cause, environ):
    """If a model asks for the causes of its errors, they are left out all the same."""

    class Settings(EncryptedSettings, validation_error_cause=cause):
        secret: Annotated[str, AfterValidator(_noted)]

    environ({"SECRET": CANARY})
    error = caught(Settings)
    assert error.__cause__ is error.__context__ is None
    assert_silent(error, CANARY)


@pytest.mark.parametrize("source", ["environ", "env_file", "secrets_dir"])
def test_every_source(source, environ, tmp_path):
    """An error does not hold a value that was decrypted from the process, a file or secret files."""

    class Settings(EncryptedSettings):
        secret: int
        sibling: SecretStr
        absent: str

    variables = sealed({"SECRET": CANARY, "SIBLING": CANARY})
    if source == "env_file":
        text = "".join(f"{name}={value}\n" for name, value in variables.items()) + "SECRET=${SIBLING}\n"
        (tmp_path / ".env").write_text(text, encoding="utf-8")
        error = caught(Settings, _env_file=".env")
    elif source == "secrets_dir":
        for name, value in variables.items():
            (tmp_path / name).write_text(value + "\n", encoding="utf-8")
        error = caught(Settings, _secrets_dir=tmp_path)
    else:
        environ({"SECRET": CANARY, "SIBLING": CANARY})
        error = caught(Settings)
    assert isinstance(error, ValidationError)
    assert_silent(error, CANARY)


@pytest.mark.parametrize("extra", ["allow", "ignore", "forbid"])
@pytest.mark.parametrize("failing", [True, False])
def test_lines_that_are_not_fields(extra, failing, environ, tmp_path):
    """An error about encrypted lines that the model does not name holds neither plaintext nor encrypted text."""

    class Settings(EncryptedSettings, extra=extra):
        secret: int
        __pydantic_extra__: dict[str, int]

    variables = sealed({"SECRET": CANARY if failing else "1", "MORE": CANARY})
    text = "".join(f"{name}={value}\n" for name, value in variables.items())
    (tmp_path / ".env").write_text(text, encoding="utf-8")
    if not failing and extra == "ignore":
        assert Settings(_env_file=".env").secret == 1
        return
    error = caught(Settings, _env_file=".env")
    assert isinstance(error, ValidationError)
    places = {line["loc"] for line in error.errors()}
    assert places == ({("secret",)} if failing else set()) | ({("more",)} if extra != "ignore" else set())
    assert_silent(error, CANARY)
    assert_silent(error, variables["MORE"])


@pytest.mark.parametrize(
    "spoil", ["tampered", "renamed", "cut", "quoted", "newer", "wrong key", "no entry", "bad entry"]
)
def test_a_value_that_cannot_be_decrypted(spoil, monkeypatch, local_key):
    """The error about a value that does not open holds neither the data key nor the values that did open."""
    key = DataKey.generate()
    variables = sealed({"SECRET": CANARY, "OTHER": CANARY}, key=key)
    entry = next(name for name in variables if name.startswith("ENCENV_KEY_"))
    text = variables["SECRET"]
    spoilt = {
        "tampered": {"SECRET": text[:-3] + ("AAA" if text[-3:] != "AAA" else "BBB")},
        "renamed": {"SECRET": variables["OTHER"]},
        "cut": {"SECRET": text[:30]},
        "quoted": {"SECRET": f'"{text}"'},
        "newer": {"SECRET": text.replace(":1:", ":2:")},
        "no entry": {entry: ""},
        "bad entry": {entry: variables[entry].replace("local:", "local:A")},
    }
    variables.update(spoilt.get(spoil, {}))
    if spoil == "wrong key":
        monkeypatch.setenv("ENCENV_LOCAL_KEY", generate_key_text())
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    class Settings(EncryptedSettings):
        secret: str
        other: str

    secrets = (CANARY, key.expose_key(), local_key)
    error = caught(Settings)
    assert isinstance(error, EncenvError)
    assert "SECRET" in error.variables
    assert_silent(error, *secrets)
    for failure in error.failures:
        assert_silent(failure, *secrets)
    assert_silent(caught(encenv.decrypt_environ, dict(variables)), *secrets)
    assert_silent(caught(encenv.dotenv_values, stream=_stream(variables)), *secrets)
    assert_silent(caught(encenv.load_dotenv, stream=_stream(variables), override=True), *secrets)


def _stream(variables):
    return io.StringIO("".join(f"{name}='{value}'\n" for name, value in variables.items()))


def test_another_context(monkeypatch, local_key):
    """A key entry whose context was changed is refused, and the error holds no key."""
    key = DataKey.generate()
    variables = sealed({"SECRET": CANARY}, key=key)
    entry = next(name for name in variables if name.startswith("ENCENV_KEY_"))
    variables[entry] = variables[entry].replace("+local:", "+context:env=prod+local:")
    error = caught(encenv.decrypt_environ, variables)
    assert isinstance(error, KeyRefusedError)
    assert_silent(error, CANARY, key.expose_key(), local_key)


@pytest.mark.parametrize(
    "cls", [RuntimeError, KeyError, CustomError, CustomBaseError, SystemExit, ExceptionGroup]
)
def test_a_key_provider_that_raises_the_data_key(cls, monkeypatch):
    """A plug-in that raises an exception with the data key in its text is reported by the place alone."""
    key = DataKey.generate()
    reported = []
    monkeypatch.setattr(threading, "excepthook", reported.append)

    class Talkative(LocalKeys):
        def unwrap(self, item, context, timeout):
            text = f"{CANARY} {key.expose_key().hex()}"
            arguments = (text, [ValueError(text)]) if cls is ExceptionGroup else (text,)
            raise cls(*arguments) from RuntimeError(key.expose_key())

    variables = sealed({"SECRET": CANARY}, key=key)
    error = caught(encenv.decrypt_environ, variables, key_providers=[Talkative()])
    assert isinstance(error, KeyRefusedError)
    assert "its key provider failed at test_canary.py:" in str(error)
    assert_silent(error, CANARY, key.expose_key())
    assert not reported


@pytest.mark.parametrize("answer", ["short", "none", "another", "text"])
def test_a_key_provider_that_answers_wrongly(answer):
    """An error does not hold what a plug-in unwraps, whether it is a data key or not."""
    key = DataKey.generate()
    wrong = {
        "short": CANARY.encode(),
        "none": None,
        "another": CANARY.encode().ljust(32, b"!"),
        "text": CANARY,
    }

    class Wrong(LocalKeys):
        def unwrap(self, item, context, timeout):
            return wrong[answer]

    error = caught(encenv.decrypt_environ, sealed({"S": "x"}, key=key), key_providers=[Wrong()])
    assert isinstance(error, KeyRefusedError)
    assert_silent(error, CANARY, key.expose_key())


def test_a_bad_local_key_is_not_shown(monkeypatch):
    """The error about a text that is not a local key does not quote it."""
    variables = sealed({"SECRET": "x"})
    monkeypatch.setenv("ENCENV_LOCAL_KEY", f"encenv-local-key:1:{CANARY}")
    error = caught(encenv.decrypt_environ, variables)
    assert isinstance(error, MalformedError)
    assert_silent(error, CANARY)


@pytest.mark.parametrize("reader", ["load_dotenv", "dotenv_values", "settings"])
def test_a_local_key_in_the_file_it_opens(reader, tmp_path):
    """A local key in a `.env` is refused, and the error does not quote it."""
    text = generate_key_text()
    (tmp_path / ".env").write_text(f"ENCENV_LOCAL_KEY={text}\nSECRET=x\n", encoding="utf-8")
    read = {
        "load_dotenv": lambda: encenv.load_dotenv(".env"),
        "dotenv_values": lambda: encenv.dotenv_values(".env"),
        "settings": lambda: settings_of(str)(_env_file=".env"),
    }
    error = caught(read[reader])
    assert isinstance(error, EncenvError)
    assert_silent(error, text)


@pytest.mark.parametrize("reader", ["load_dotenv", "dotenv_values", "settings", "stream"])
def test_a_file_in_another_encoding(reader, tmp_path):
    """The error about a file that cannot be decoded holds no byte of it; a `UnicodeDecodeError` holds all of them."""
    (tmp_path / ".env").write_bytes(f"SECRET={CANARY}\n".encode() + b"OTHER=\xff\n")

    def stream():
        with Path(".env").open(encoding="utf-8") as file:
            encenv.dotenv_values(stream=file)

    read = {
        "load_dotenv": lambda: encenv.load_dotenv(".env"),
        "dotenv_values": lambda: encenv.dotenv_values(".env"),
        "settings": lambda: settings_of(str)(_env_file=".env"),
        "stream": stream,
    }
    error = caught(read[reader])
    assert isinstance(error, FileError)
    for one in (error, *error.failures):
        assert_silent(one, CANARY)


def test_a_value_that_cannot_be_encrypted():
    """A text that is not Unicode, or holds a NUL, is refused; no attribute, cause or context of the error holds it."""
    key = DataKey.generate()
    for error in (caught(key.encrypt, "NAME", SURROGATE), caught(key.encrypt, "NAME", CANARY + "\0")):
        assert isinstance(error, MalformedError)
        assert error.__cause__ is error.__context__ is None
        assert_silent(error.with_traceback(None), CANARY, key.expose_key())


def test_a_name_that_is_not_unicode():
    """A name that no environment can hold is refused, and the error does not hold the value."""
    key = DataKey.generate()
    error = caught(key.encrypt, "NAME\ud800", CANARY)
    assert isinstance(error, MalformedError)
    assert_silent(error.with_traceback(None), CANARY, key.expose_key())
    value = SealedValue.parse(key.encrypt("NAME", CANARY))
    assert_silent(caught(key.decrypt, "OTHER\ud800", value).with_traceback(None), CANARY)
    assert_silent(caught(key.decrypt, "OTHER", value).with_traceback(None), CANARY)


def test_a_value_that_the_process_cannot_hold(monkeypatch):
    """A decrypted value that the locale cannot encode is refused without the `UnicodeEncodeError`, which holds it."""
    monkeypatch.setattr(os, "fsencode", lambda text: text.encode("ascii"))
    variables = sealed({"SECRET": f"{CANARY}ä"})
    error = caught(encenv.load_dotenv, stream=_stream(variables))
    assert isinstance(error, MalformedError)
    assert_silent(error, CANARY)
    assert "SECRET" not in os.environ


def test_plaintext_beside_a_failure_is_not_in_the_frames():
    """If one of two variables does not open, no frame of the error holds the other's plaintext or the data key."""
    key = DataKey.generate()
    variables = sealed({"GOOD": CANARY, "BAD": "x"}, key=key)
    variables["BAD"] = variables["GOOD"]
    for reader in (
        lambda: encenv.decrypt_environ(variables),
        lambda: encenv.dotenv_values(stream=_stream(variables)),
        lambda: encenv.load_dotenv(stream=_stream(variables)),
    ):
        error = caught(reader)
        assert isinstance(error, AuthenticationError)
        assert_silent(error, CANARY, key.expose_key())


def test_errors_in_a_thread(environ, monkeypatch):
    """The hook for exceptions in threads gets an error without the values of the load."""
    reported = []
    monkeypatch.setattr(threading, "excepthook", reported.append)
    environ({"FIELD": CANARY, "SIBLING": CANARY})
    thread = threading.Thread(target=settings_of(int))
    thread.start()
    thread.join()
    assert isinstance(reported[0].exc_value, ValidationError)
    assert_silent(reported[0].exc_value, CANARY)


@pytest.mark.skipif(
    not hasattr(BaseSettings, "_settings_log_debug"), reason="this pydantic-settings has no such log"
)
def test_what_the_debug_log_shows(environ, caplog):
    """PYDANTIC_SETTINGS_DEBUG shows names only, and not one value, if any value was decrypted."""

    class Settings(EncryptedSettings):
        secret: str
        plain: str

    environ({"SECRET": CANARY}, PLAIN="plain text")
    assert Settings().secret == CANARY
    debug = [record for record in caplog.records if record.name == "pydantic_settings"]
    assert any("secret, plain" in record.getMessage() for record in debug)
    assert_unsaid(said_by(debug), CANARY, "plain text")


@pytest.mark.parametrize("style", ["class", "CliApp", "parse"])
def test_the_command_line_source(style, environ, monkeypatch):
    """An error of a program whose settings also come from the command line holds no secret either."""

    class Settings(EncryptedSettings, cli_parse_args=style == "class", cli_exit_on_error=False):
        secret: str
        sibling: SecretStr
        port: int = 1

        @model_validator(mode="after")
        def _check(self):
            raise ValueError(self.secret)

    monkeypatch.setattr(sys, "argv", ["program", "--port", "7"])
    environ({"SECRET": CANARY, "SIBLING": CANARY})
    run = {
        "class": Settings,
        "CliApp": lambda: CliApp.run(Settings, cli_args=["--port", "7"]),
        "parse": lambda: Settings(_cli_parse_args=["--port", "7"]),
    }
    error = caught(run[style])
    assert isinstance(error, ValidationError)
    assert_silent(error, CANARY)


def test_a_value_that_cannot_be_decrypted_under_the_command_line(monkeypatch):
    """The error leads to no data key, not even through the sources that `CliApp` made before the load failed."""
    key = DataKey.generate()
    variables = sealed({"SECRET": CANARY, "OTHER": CANARY}, key=key)
    variables["OTHER"] = variables["SECRET"]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    class Settings(EncryptedSettings):
        secret: str
        other: str

    for cls in (Settings, create_model("OtherOnly", __base__=EncryptedSettings, other=(str, ...))):
        error = caught(CliApp.run, cls, cli_args=[])
        assert isinstance(error, AuthenticationError)
        assert_silent(error, CANARY, key.expose_key())


@pytest.mark.parametrize("reader", ["decrypt_environ", "settings", "CliApp"])
def test_an_interrupt_while_a_key_is_unwrapped(reader, monkeypatch):
    """Ctrl-C while a key provider unwraps one data key leaves neither this one nor another that is unwrapped already."""
    kept, key = DataKey.generate(), DataKey.generate()
    variables = sealed({"SECRET": CANARY}, key=kept) | sealed({"OTHER": CANARY}, key=key)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    class Interrupted(LocalKeys):
        def unwrap(self, item, context, timeout):
            plain = super().unwrap(item, context, timeout)
            if plain == key.expose_key():
                time_module.sleep(0.02)
                _thread.interrupt_main()
                time_module.sleep(0.02)
            return plain

    class Settings(EncryptedSettings, key_providers=[Interrupted()]):
        secret: str
        other: str

    read = {
        "decrypt_environ": functools.partial(
            encenv.decrypt_environ, variables, key_providers=[Interrupted()]
        ),
        "settings": Settings,
        "CliApp": functools.partial(CliApp.run, Settings, cli_args=[]),
    }
    error = caught(read[reader])
    assert isinstance(error, KeyboardInterrupt)
    assert_silent(error, CANARY, kept.expose_key(), key.expose_key())


def test_an_interrupt_is_not_replaced(environ):
    """Ctrl-C stops the program even if a value did not open before."""

    class Source(PydanticBaseSettingsSource):
        def get_field_value(self, field, field_name):
            return None, field_name, False

        def __call__(self):
            raise KeyboardInterrupt(self.current_state["secret"])

    class Settings(EncryptedSettings):
        secret: str
        other: str

        @classmethod
        def settings_customise_sources(cls, settings_cls, env_settings, **others):
            return env_settings, Source(settings_cls)

    environ({"SECRET": CANARY}, OTHER="encenv:1:")
    error = caught(Settings)
    assert isinstance(error, KeyboardInterrupt)
    assert_silent(error, CANARY)


@pytest.mark.parametrize(
    "kind",
    [MalformedError, KeyError, UnicodeError, KeyboardInterrupt, SystemExit, MemoryError, GeneratorExit],
)
def test_what_a_frameless_function_raises(kind):
    """A frameless function raises every kind of exception without frames, cause and context."""

    @frameless
    def read(text):
        value = text + "!"
        try:
            raise KeyError(value)  # noqa: TRY301 (its frame is looked at)
        except KeyError as error:
            raise (MalformedError("x", hint="y") if kind is MalformedError else kind("x")) from error

    error = caught(lambda: read(f"A={CANARY}"))
    assert type(error) is kind
    assert_silent(error, CANARY)


def export_of(text):
    """Return the error of exporting what *text* returns, so that no frame of the test holds the file."""
    nothing = Writer((), environ={})
    return caught(lambda: final_values.final_values(text(), ".env", nothing, bool, bool, "plaintext"))


def test_a_failing_export_keeps_no_file(monkeypatch):
    """An exception of an export, whatever it is, does not hold the text of the file."""

    def text():
        return f"A={CANARY}\nB=encenv:1:damaged\n"

    error = export_of(text)
    assert isinstance(error, EncenvError)
    assert_silent(error, CANARY)

    def raising(*_):
        raise LookupError

    monkeypatch.setattr(final_values, "LoadedFile", raising)
    error = export_of(text)
    assert type(error) is LookupError
    assert_silent(error, CANARY)


def test_help_shows_no_decrypted_value(environ, capfd):
    """The help of a command line names variables and shows none of their values."""

    class Settings(EncryptedSettings, cli_parse_args=["--help"]):
        secret: str = ""

    environ({"SECRET": CANARY})
    option = "_cli_show_env_vars"  # which an older pydantic-settings lacks
    shown = {option} & inspect.signature(BaseSettings.__init__).parameters.keys()
    assert isinstance(caught(Settings, **dict.fromkeys(shown, True)), SystemExit)
    assert CANARY not in capfd.readouterr().out


def test_loading_again_in_place(environ):
    """A failed load in place leaves the instance unchanged, because the application uses its values."""

    class Settings(EncryptedSettings):
        secret: str
        port: int

    environ({"SECRET": CANARY}, PORT="1")
    settings = Settings()
    environ({"SECRET": CANARY}, PORT="x")
    error = caught(settings.__init__)
    assert isinstance(error, ValidationError)
    assert settings.secret == CANARY
    assert settings.port == 1
    assert_silent(error, CANARY)


def test_nested_loads(environ):
    """An error of an outer load is masked even if only a load inside it decrypted something."""

    class Inner(EncryptedSettings):
        secret: str

    class Outer(EncryptedSettings):
        port: int
        inner: Inner = Field(default_factory=Inner)

        @model_validator(mode="after")
        def _check(self):
            raise ValueError(self.inner.secret)

        def __init__(self, **values):
            super().__init__(**values)

    environ({"SECRET": CANARY}, PORT="1")
    assert_silent(caught(Outer), CANARY)


@pytest.mark.parametrize("reader", ["decrypt_environ", "dotenv_values"])
def test_values_that_a_source_has_decrypted_itself(reader, tmp_path, caplog):
    """If the application decrypts the values of a source, an error of the load does not show them either."""
    variables = sealed({"secret": CANARY, "port": CANARY, "limits": CANARY})
    (tmp_path / ".env").write_text("".join(f"{n}={v}\n" for n, v in variables.items()), encoding="utf-8")

    class Settings(EncryptedSettings, extra="ignore"):
        secret: str
        port: int
        limits: dict[str, int]

        @classmethod
        def settings_customise_sources(cls, settings_cls, **others):
            if reader == "dotenv_values":
                values = encenv.dotenv_values(".env")
            else:
                values = encenv.decrypt_environ(variables)
            values["limits"] = {CANARY: CANARY}
            return (InitSettingsSource(settings_cls, values),)

    for call in (Settings, functools.partial(CliApp.run, Settings, cli_args=[])):
        error = caught(call)
        assert {line["loc"] for line in error.errors()} == {("port",), ("limits", MASK)}
        assert_silent(error.with_traceback(None), CANARY)
    assert_silent(caught(Settings), CANARY)


def test_an_inner_error_holds_nothing_of_the_outer_load(environ):
    """The error of a load inside a validator leads to no value that the outer load decrypted."""
    inner_errors = []

    class Inner(EncryptedSettings):
        other: int

    class Outer(EncryptedSettings):
        secret: str
        port: int = Field(default=0, validate_default=True)

        @field_validator("port")
        @classmethod
        def _check(cls, value):
            inner_errors.append(caught(Inner))
            return value

    environ({"SECRET": CANARY, "OTHER": CANARY})
    assert Outer().secret == CANARY
    assert_silent(inner_errors[0], CANARY)


def test_the_repr_of_objects(environ, local_key):
    """The repr of a key, load, provider or source holds no value and no key."""
    key = DataKey.generate()
    seen = []

    class Settings(EncryptedSettings):
        secret: str

        @classmethod
        def settings_customise_sources(cls, settings_cls, **sources):
            seen.extend(sources.values())
            return tuple(sources.values())

    environ({"SECRET": CANARY})
    Settings()
    copies = list(unwrapping._cache.data_keys.items())
    load = SettingsSession(Settings)
    shown = [
        key,
        copies,
        load,
        ReaderSession({}),
        LocalKeys(),
        AwsKms(),
        seen,
        [vars(source).get("env_vars") for source in seen],
    ]
    assert_unsaid(map(repr, shown), CANARY, key.expose_key(), local_key)
    assert_unsaid(map(str, shown), CANARY, key.expose_key(), local_key)


@pytest.mark.parametrize("act", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, vars])
def test_a_data_key_cannot_be_copied(act):
    """A data key cannot be pickled or copied, and shows no attributes."""
    key = DataKey.generate()
    error = caught(lambda: act(key))
    assert isinstance(error, TypeError)
    assert_unsaid([str(error), repr(error)], key.expose_key())


ERRORS = [
    cls for cls in vars(encenv.errors).values() if isinstance(cls, type) and issubclass(cls, EncenvError)
]


@pytest.mark.parametrize("cls", ERRORS)
@pytest.mark.parametrize("act", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_can_be_pickled_and_copied(cls, act):
    """An error of encenv keeps its class, message, hint, variables and failures when it is pickled or copied."""
    failures = [
        MalformedError("one", hint="do", variables=["A"]),
        FileError("two", hint="do", variables=["B"]),
    ]
    error = cls("what happened", hint="do it", variables=["A", "B"], failures=failures)
    error.add_note("a note")
    other = act(error)
    assert type(other) is cls
    assert (str(other), other.message, other.hint, other.variables) == (
        str(error),
        "what happened",
        "do it",
        ("A", "B"),
    )
    assert [(type(one), str(one)) for one in other.failures] == [(type(one), str(one)) for one in failures]
    assert other.args == error.args
    assert other.__notes__ == ["a note"]
    single = act(cls("x", hint="y"))
    assert single.failures == (single,)


def test_no_object_is_left(environ):
    """After a failed load no object of it exists any more that holds a decrypted value."""

    class Settings(EncryptedSettings):
        secret: str
        sibling: SecretStr
        absent: str

        @model_validator(mode="wrap")
        @classmethod
        def _check(cls, data, handler):
            return handler(data)

    environ({"SECRET": CANARY, "SIBLING": CANARY})
    with contextlib.suppress(ValidationError):
        Settings()
    gc.collect()
    holders = [
        one
        for one in gc.get_objects()
        if isinstance(one, Settings)
        or (isinstance(one, SettingsSession) and one.settings_cls is Settings)
        or (type(one) is dict and one.get("secret") == CANARY)
    ]
    assert holders == []


@pytest.mark.parametrize("path", ["lean", "boto3"])
@pytest.mark.parametrize("outcome", ["opens", "denied", "half", "drop", "wrong"])
def test_the_debug_log_of_aws_kms(outcome, path, monkeypatch, caplog, tmp_path):
    """With every logger at DEBUG, neither data key nor value is logged, whatever AWS KMS answers."""
    key = DataKey.generate()
    with KmsServer() as kms:
        for name, value in kms.environ().items():
            monkeypatch.setenv(name, value)
        if path == "boto3":
            (tmp_path / "config").touch()
            monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        arn = kms.create_key()
        variables = sealed({"FIELD": CANARY, "SIBLING": CANARY}, key=key, provider=AwsKms(), arn=arn)
        {
            "opens": lambda: None,
            "wrong": lambda: None,
            "denied": lambda: kms.deny("Decrypt"),
            "half": lambda: kms.half_answer("Decrypt"),
            "drop": lambda: kms.drop("Decrypt"),
        }[outcome]()
        if outcome == "wrong":
            monkeypatch.setattr(DataKey, "matches", lambda *_: False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        error = caught(settings_of(int))
    assert isinstance(error, ValidationError if outcome == "opens" else EncenvError)
    assert_silent(error, CANARY, key.expose_key())
    assert_unsaid(said_by(caplog.records), CANARY, key.expose_key())
    # After the calls botocore can log again.
    logging.getLogger("botocore.parsers").debug("heard")
    assert any(record.message == "heard" for record in caplog.records)


TOKENS = tuple(f"canary-of-the-{kind}-0123456789" for kind in ("secret-key", "session-token", "agent"))


@pytest.fixture
def lean(monkeypatch):
    """A KMS that is called without boto3 and with canaries as credentials, while http.client prints what it does."""
    with KmsServer() as kms:
        for name, value in kms.environ().items():
            monkeypatch.setenv(name, value)
        key = DataKey.generate()
        variables = sealed({"FIELD": CANARY}, key=key, provider=AwsKms(), arn=kms.create_key())
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", TOKENS[0])
        monkeypatch.setenv("AWS_SESSION_TOKEN", TOKENS[1])
        monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
        yield kms, key, next(value for name, value in variables.items() if name.startswith("ENCENV_KEY_"))


LEAN = {
    "opens": lambda *_: None,
    "denied": lambda kms, _: kms.deny("Decrypt"),
    "half": lambda kms, _: kms.half_answer("Decrypt"),
    "dropped": lambda kms, _: kms.drop("Decrypt"),
    "reset": lambda kms, _: kms.drop("Decrypt", reset=True),
    "another key": lambda kms, _: kms.tamper(
        {"KeyId": "arn:aws:kms:us-east-1:111122223333:key/1"}, "Decrypt"
    ),
    "short": lambda kms, _: kms.tamper({"Plaintext": TOKENS[0].encode()}, "Decrypt"),
    "no JSON": lambda kms, _: kms.tamper(TOKENS[0].encode(), "Decrypt"),
    "deep JSON": lambda kms, _: kms.tamper(b'["' + TOKENS[0].encode() + b'",' + b"[" * 50_000, "Decrypt"),
    "no base64": lambda kms, _: kms.tamper(b'{"Plaintext": "!%s"}' % TOKENS[0].encode(), "Decrypt"),
    "a token in two lines": lambda _, env: env.setenv("AWS_SESSION_TOKEN", f"{TOKENS[1]}\n X-Evil: 1"),
    "a token that is no text": lambda _, env: env.setenv("AWS_SESSION_TOKEN", f"{TOKENS[1]}\udcff"),
    "a key that is no text": lambda _, env: env.setenv("AWS_SECRET_ACCESS_KEY", f"{TOKENS[0]}\udcff"),
    "no agent": lambda _, env: _agent(env, "http://127.0.0.1:1/"),
    "an agent that is KMS": lambda kms, env: _agent(env, f"{kms.url}/{TOKENS[2]}"),
    "an agent's token in two lines": lambda kms, env: _agent(env, kms.url, f"{TOKENS[2]}\r\n X-Evil: 1"),
}


def _agent(env, url, token=TOKENS[2]):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        env.delenv(name)
    env.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
    env.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", token)


@pytest.mark.parametrize("outcome", LEAN)
def test_aws_kms_without_boto3(outcome, lean, monkeypatch, caplog, capfd):
    """What a load or a provider raises, logs or prints holds neither the data key nor the credentials."""
    kms, key, entry = lean
    LEAN[outcome](kms, monkeypatch)
    secrets = (CANARY, key.expose_key(), *TOKENS)
    (item,) = KeyEntry.parse(key.kid, entry).items
    error = caught(settings_of(int))
    assert isinstance(error, ValidationError if outcome == "opens" else EncenvError)
    assert_silent(error, *secrets)
    if outcome != "opens":
        error = caught(AwsKms().unwrap, item, {"encenv": "1"}, 10.0)
        assert isinstance(error, EncenvError)
        assert_silent(error, *secrets)
    lean_path = KmsHttp.for_key(item.reference, os.environ)
    assert_unsaid(
        [repr(lean_path), str(lean_path), *said_by(caplog.records), *capfd.readouterr()], *secrets[:2]
    )
    assert not any(token in repr(lean_path) for token in TOKENS[:2])
    assert "botocore" not in {
        record.name.partition(".")[0] for record in caplog.records if "Decrypt" in record.message
    }


@pytest.mark.parametrize("answer", ["another key", "short", "no key"])
def test_a_refused_answer_of_aws_kms(answer):
    """If an answer with a data key is refused, no frame of the error holds the key."""
    key = DataKey.generate().expose_key()
    arn = "arn:aws:kms:eu-west-1:111122223333:key/1"

    class Client:
        meta = types.SimpleNamespace(region_name="eu-west-1")

        def decrypt(self, **request):
            content = {"KeyId": arn, "Plaintext": key, "CiphertextBlob": b"x"}
            changes = {
                "another key": {"KeyId": arn + "2"},
                "short": {"Plaintext": key[:31]},
                "no key": {"KeyId": ""},
            }
            return content | changes[answer]

        generate_data_key = decrypt

    provider = AwsKms(client=Client())
    for error in (
        caught(provider.generate, arn, {}),
        caught(provider.unwrap, WrappedKey("aws-kms", b"x", arn), {}, 1.0),
    ):
        assert isinstance(error, KeyRefusedError | KeyUnreachableError)
        assert_silent(error, key, key[:31])


def test_the_debug_log_of_generating(monkeypatch, caplog):
    """A data key that AWS KMS generates is not logged."""
    with KmsServer() as kms:
        for name, value in kms.environ().items():
            monkeypatch.setenv(name, value)
        key, _ = AwsKms().generate(kms.create_key(), {"encenv": "1"})
    assert any(record.name.startswith("botocore") for record in caplog.records)
    assert_unsaid(said_by(caplog.records), key)


def test_the_debug_log_without_thread_names(monkeypatch, caplog):
    """Debug records are suppressed even if the application turned `logging.logThreads` off."""
    monkeypatch.setattr(logging, "logThreads", False)
    with KmsServer() as kms:
        for name, value in kms.environ().items():
            monkeypatch.setenv(name, value)
        key, _ = AwsKms().generate(kms.create_key(), {"encenv": "1"})
    assert_unsaid(said_by(caplog.records), key)


def test_this_test_would_see_a_leak():
    """The search for a canary finds it wherever an error can hold it."""

    class Holder:
        __slots__ = ("value",)

    def raising(value):
        held = Holder()
        held.value = {"deep": (value,)}
        raise ValueError("x")

    def chained(value):
        try:
            _raising(KeyError)(value)
        except KeyError as error:
            raise ValueError("x") from error

    def noted(value):
        error = ValueError("x")
        error.add_note(value)
        raise error

    def attribute(value):
        error = ValueError("x")
        error.value = [{"y": value.encode()}]
        raise error

    def invalid(value):
        create_model("M", x=(int, ...))(x=value)

    def texts(value):
        raise ValueError(value.encode().hex())

    for leak in (raising, chained, noted, attribute, invalid, texts):
        error = caught(lambda leak=leak: leak(CANARY))
        if leak is not raising:
            error = error.with_traceback(None)
        with pytest.raises(AssertionError, match="has a secret in"):
            assert_silent(error, CANARY)
