"""What an error of a load shows: all that is plaintext, and nothing that was decrypted."""

import copy
import json
import pickle
import re
import threading
import typing
import warnings
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Literal

import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, PydanticKnownError, core_schema
from pydantic_settings import BaseSettings, InitSettingsSource, SettingsError, TomlConfigSettingsSource
from support.canary import CANARY, assert_silent, caught, sealed

from encenv import EncryptedSettings, errors
from encenv.errors import (
    EncenvError,
    KeyEntryError,
    KeyRefusedError,
    MalformedError,
    PolicyError,
    UserCodeError,
)
from encenv.keys.local import generate_key_text
from encenv.keys.unwrap import clear_cache
from encenv.load import safe_errors
from encenv.load.reader_session import SettingsSession
from encenv.load.safe_errors import MASK, WITHHELD, safe_error

SECRET = {"SECRET": "open sesame"}


@pytest.fixture(autouse=True)
def _local_key(monkeypatch, tmp_path):
    monkeypatch.setenv("ENCENV_LOCAL_KEY", generate_key_text())
    monkeypatch.chdir(tmp_path)
    clear_cache()


@pytest.fixture
def environ(monkeypatch):
    """Put plain variables, and those in *secrets* encrypted, into the process environment."""

    def put(secrets=SECRET, **plain):
        for name, value in {**plain, **(sealed(secrets) if secrets else {})}.items():
            monkeypatch.setenv(name, value)

    return put


class Color(Enum):
    """The values of a field."""

    RED = "red"
    BLUE = "blue"


class Database(BaseModel):
    """A field of fields."""

    host: str
    port: int


class Settings(EncryptedSettings, env_nested_delimiter="__"):
    """One field that is encrypted in these tests, and many that are plain."""

    secret: SecretStr = SecretStr("")
    port: int = 1
    number: Annotated[int, Field(gt=10, le=999)] = 11
    price: Annotated[Decimal, Field(max_digits=4, decimal_places=2)] = Decimal(1)
    day: Annotated[date, Field(ge=date(2020, 2, 29))] = date(2024, 1, 1)
    span: Annotated[timedelta, Field(lt=timedelta(hours=1))] = timedelta(minutes=1)
    word: Annotated[str, Field(pattern=re.compile(r"^[a-f]+!$"), max_length=8)] = "a!"
    token: Annotated[SecretStr, Field(min_length=30)] = SecretStr("x" * 30)
    names: list[str] = Field(default=["a", "b"], min_length=2, max_length=3)
    color: Color = Color.RED
    mode: Literal["fast", "slow"] = "fast"
    either: int | list[int] = 1
    limits: dict[str, int] = Field(default={})
    database: Database = Database(host="localhost", port=5432)


def errors_of(settings=Settings, **values):
    """Return the lines of the `ValidationError` that *settings* raises."""
    error = caught(settings, **values)
    assert isinstance(error, ValidationError), error
    return error.errors()


PLAIN = [  # a plaintext variable that is not valid, and whether the error is about its whole text
    ("PORT", "eighty", True),
    ("NUMBER", "3", True),
    ("NUMBER", "1000", True),
    ("DAY", "1999-07-09", True),
    ("DAY", "1999-17-09", True),
    ("WORD", "xyz", True),
    ("WORD", "abcdefabcdef!", True),
    ("NAMES", '["a", "b", "c", "d"]', False),
    ("COLOR", "green", True),
    ("MODE", "middling", True),
    ("EITHER", '["a"]', False),
    ("LIMITS", '{"cpu": "two"}', False),
    ("LIMITS__CPU", "two", True),
    ("DATABASE", '{"port": 1}', False),
    ("DATABASE__PORT", "one", True),
]


@pytest.mark.parametrize("source", ["environ", "env_file"])
@pytest.mark.parametrize("plain", PLAIN, ids=str)
def test_plain_variables_are_shown_beside_a_decrypted_one(plain, source, environ, tmp_path):
    """An error about a plaintext variable is pydantic's own, except for inputs that are only a part of its text."""
    name, text, own = plain
    environ({})
    (tmp_path / ".env").write_text(f"{name}='{text}'\n", encoding="utf-8")
    try:
        expected = errors_of(_env_file=".env")
    except AssertionError:
        pytest.skip("an older pydantic-settings does not read this plain variable either")
    if source == "environ":
        environ(**{name: text})
        got = errors_of()
    else:
        environ()
        got = errors_of(_env_file=".env")
    assert [_without_parts(line) for line in got] == [_without_parts(line) for line in expected]
    for line, one in zip(got, expected, strict=True):
        whole = own and one["input"] == text
        assert line["input"] in ((one["input"],) if whole else (one["input"], MASK))


def _without_parts(line):
    ctx = {key: value for key, value in line.get("ctx", {}).items() if key not in ("error", "actual_length")}
    msg = line["msg"] if len(ctx) == len(line.get("ctx", {})) else None  # else it says these, too
    return line | {"ctx": ctx, "msg": msg, "input": None}


def test_plaintext_beside_encrypted_in_another_source(environ, tmp_path):
    """A plain variable of the process is shown if the encrypted one is in a file, and the other way round."""
    (tmp_path / "sealed.env").write_text(
        "".join(f"{name}={value}\n" for name, value in sealed(SECRET).items()), encoding="utf-8"
    )
    (tmp_path / "plain.env").write_text("PORT=eighty\n", encoding="utf-8")
    environ({}, NUMBER="3")
    files = ("sealed.env", "plain.env")
    assert {line["input"] for line in errors_of(_env_file=files)} == {"eighty", "3"}
    assert {line["input"] for line in errors_of(_env_file="sealed.env")} == {"3"}
    environ()
    assert {line["input"] for line in errors_of(_env_file="plain.env")} == {"eighty", "3"}


def test_init_arguments_are_shown(environ):
    """Texts and places of init arguments are the caller's own and are shown."""
    environ()
    lines = errors_of(port="eighty", limits={"cpu": "two"}, either=[1, "x"])
    assert {line["loc"] for line in lines} >= {("port",), ("limits", "cpu"), ("either", "list[int]", 1)}
    assert lines[0]["input"] == "eighty"


def test_a_file_of_plain_settings_is_shown(environ, tmp_path):
    """Texts and places from pydantic-settings' own file sources are shown, too."""
    (tmp_path / "settings.toml").write_text('port = "eighty"\n[limits]\ncpu = "two"\n', encoding="utf-8")

    class FromToml(Settings, toml_file="settings.toml"):
        @classmethod
        def settings_customise_sources(cls, settings_cls, env_settings, **others):
            return env_settings, TomlConfigSettingsSource(settings_cls)

    environ()
    lines = errors_of(FromToml)
    assert [(line["loc"], line["input"]) for line in lines] == [
        (("port",), "eighty"),
        (("limits", "cpu"), "two"),
    ]


def test_nothing_decrypted_is_left_as_it_is(environ):
    """An error of a load that decrypted nothing is exactly pydantic's own, context, cause and all."""

    class Ours(Settings):
        @model_validator(mode="after")
        def _check(self):
            raise ValueError("x") from KeyError("y")

    class Theirs(BaseSettings, env_nested_delimiter="__"):
        limits: dict[str, int]
        port: int

    environ({}, PORT="eighty", LIMITS='{"cpu": "two"}')
    ours = caught(Settings, number=5)
    theirs = caught(
        lambda: create_model("Settings", __base__=Theirs, number=(Annotated[int, Field(gt=10)], 1))(number=5)
    )
    key = lambda line: line["loc"]  # noqa: E731 (a sort key)
    assert sorted(ours.errors(), key=key) == sorted(theirs.errors(), key=key)
    assert ours.title == theirs.title
    environ({"UNUSED": "x"}, PORT="1", LIMITS="{}")
    error = caught(Ours)
    assert isinstance(error.errors()[0]["ctx"]["error"].__cause__, KeyError)


def test_type_url_title_and_the_place_up_to_the_field_are_kept(environ):
    """An error keeps what does not depend on the input: its type, URL and title, and the name of the field."""

    class Other(EncryptedSettings, title="Of another name"):
        secret: int
        blob: dict[str, Database] = Field(validation_alias="SECRET_BLOB")

    environ({"SECRET": CANARY, "SECRET_BLOB": json.dumps({CANARY: {"port": CANARY}})})
    error = caught(Other)
    assert error.title == "Of another name"
    assert [(line["type"], line["loc"], line["input"]) for line in error.errors()] == [
        ("int_parsing", ("secret",), MASK),
        ("missing", ("SECRET_BLOB", MASK), MASK),
        ("int_parsing", ("SECRET_BLOB", MASK), MASK),
    ]
    assert all(line["url"].endswith("/v/" + line["type"]) for line in error.errors())
    assert_silent(error, CANARY)


@pytest.mark.parametrize("hide", [True, False])
def test_hide_input_in_errors_is_honoured(environ, hide):
    """The text of an error shows no input at all where the model says so."""

    class Hiding(Settings, hide_input_in_errors=hide):
        pass

    environ(PORT="eighty")
    error = caught(Hiding)
    assert ("eighty" not in str(error)) is hide
    assert ("input_value" not in str(error)) is hide


def test_texts_of_the_schema_are_kept_for_an_encrypted_value(environ):
    """A message that depends on the schema alone is pydantic's own, though the value is encrypted."""
    bad = {
        "NUMBER": "3",
        "DAY": "1999-07-09",
        "WORD": "xyz",
        "COLOR": "green",
        "MODE": "middling",
        "TOKEN": "short",
        "PORT": "eighty",
        "NAMES": '["a"]',
        "PRICE": "1.234",
    }
    environ(bad)
    assert {line["loc"][0]: line["msg"] for line in errors_of()} == {
        "number": "Input should be greater than 10",
        "day": "Input should be greater than or equal to 2020-02-29",
        "word": "String should match pattern '^[a-f]+!$'",
        "color": "Input should be 'red' or 'blue'",
        "mode": "Input should be 'fast' or 'slow'",
        "token": "Value should have at least 30 items after validation",
        "port": "Input should be a valid integer, unable to parse string as an integer",
        "names": "List should have at least 2 items after validation",
        "price": "Decimal input should have no more than 2 decimal places",
    }


def test_lengths_are_left_out(environ):
    """How long an encrypted list or text is does not show."""
    environ({"NAMES": json.dumps(["a"] * 7123), "TOKEN": "x" * 29, "WORD": "a" * 7123 + "!"})
    error = caught(Settings)
    assert_silent(error, "7123", "7124", "29 ")
    assert "actual_length" not in error.errors()[1].get("ctx", {})


@pytest.mark.parametrize("kind", sorted(typing.get_args(core_schema.ErrorType)))
def test_every_error_type_is_rebuilt_without_the_input(kind, environ):
    """Each error that pydantic knows keeps its type, and nothing of its context that comes from the input."""
    ctx = {
        **dict.fromkeys(("attribute", "error", "encoding_error", "tag"), CANARY),
        **dict.fromkeys(("actual_length", "tz_actual"), 70_123),
        **dict.fromkeys(("expected_version", "tz_expected"), 4),
        **dict.fromkeys(("max_digits", "decimal_places", "whole_digits", "min_length", "max_length"), 2),
        **dict.fromkeys(("gt", "ge", "lt", "le", "multiple_of"), 10),
        **dict.fromkeys(("class", "class_name"), "Settings"),
        **dict.fromkeys(("expected", "expected_tags", "expected_schemes"), "'fast' or 'slow'"),
        **dict.fromkeys(("discriminator", "method_name"), "port"),
        **dict(field_type="List", pattern=r"^[a-f]+!$", encoding="utf8"),  # noqa: C408 (as those above)
    }
    if kind in ("value_error", "assertion_error"):
        ctx = {"error": ValueError(CANARY)}
    line = InitErrorDetails(type=kind, loc=("secret", CANARY, 7), input=CANARY, ctx=ctx)
    error = ValidationError.from_exception_data("Settings", [line])
    load = SettingsSession(Settings)
    load.decrypted_keys.add("secret")
    made = safe_error(error, Settings, load)
    assert isinstance(made, ValidationError)
    assert [(one["type"], one["loc"], one["input"]) for one in made.errors()] == [
        (kind, ("secret", MASK), MASK)
    ]
    assert_silent(made, CANARY, "70123")


def test_error_types_that_this_pydantic_does_not_know(environ):
    """An error type of the application's, or of another pydantic, gets a plain sentence and stays of that type."""

    def check(value):
        raise PydanticCustomError("of_the_year_2199", "no {x}", {"x": value, CANARY: 1, "gt": value})

    class Odd(EncryptedSettings):
        secret: Annotated[str, BeforeValidator(check)]

    environ()
    assert errors_of(Odd) == [
        {
            "type": "of_the_year_2199",
            "loc": ("secret",),
            "msg": f"Input is not valid ({WITHHELD})",
            "input": MASK,
        }
    ]


@pytest.mark.parametrize(
    "kind", ["literal_error", "greater_than", "too_short", "missing", "value_error", "too_long"]
)
def test_a_custom_error_under_a_known_name(environ, kind):
    """A validator's own error that borrows the name of one of pydantic's cannot bring text or context in."""

    def check(value):
        raise PydanticCustomError(kind, f"no {value}", {value: value, "gt": value, "field_type": value})

    class Odd(EncryptedSettings):
        secret: Annotated[str, BeforeValidator(check)]

    environ({"SECRET": CANARY})
    error = caught(Odd)
    assert error.errors()[0]["type"] == kind
    assert_silent(error, CANARY)


def test_known_errors_raised_with_values(environ):
    """Of pydantic's own error that a validator raises about a value, only texts of the schema are kept."""

    def check(value):
        raise PydanticKnownError("greater_than", {"gt": value})

    class Odd(EncryptedSettings):
        secret: Annotated[int, Field(gt=10), BeforeValidator(check)]
        port: Annotated[int, Field(gt=10)] = 11

    environ({"SECRET": "70123"}, PORT="7")
    error = caught(Odd)
    assert [line["ctx"]["gt"] for line in error.errors()] == [WITHHELD, 10]
    assert_silent(error, "70123")


def test_places_that_a_validator_made_up(environ):
    """Keys of a decrypted mapping do not get into places by way of a validator that moves or checks them."""

    class Odd(EncryptedSettings, extra="forbid"):
        secret: str
        moved: dict[str, int] | None = None
        checked: int = Field(default=1, validate_default=True)

        @model_validator(mode="before")
        @classmethod
        def _move(cls, data):
            values = json.loads(data["secret"])
            return {**data, **values, "moved": values}

        @field_validator("checked")
        @classmethod
        def _check(cls, value):
            TypeAdapter(dict[int, int]).validate_python({70_123: "x"})

    # Some keys are like the labels that pydantic puts into a place.
    environ({"SECRET": json.dumps(dict.fromkeys([CANARY, "!", "--", "secret!", "[[]]"], CANARY))})
    error = caught(Odd)
    assert {line["loc"] for line in error.errors()} == {(MASK,), ("moved", MASK), ("checked", MASK)}
    assert_silent(error, CANARY, "70123")


def test_a_nested_error_from_a_validator(environ):
    """A `ValidationError` that a validator lets through is masked as the rest of its load is."""

    class Odd(EncryptedSettings):
        secret: str
        plain: str = "x"

        @model_validator(mode="after")
        def _check(self):
            create_model("Inner", **{CANARY: (int, ...)}, port=(int, ...))(port=self.secret)

    environ({"SECRET": CANARY}, PLAIN="y")
    error = caught(Odd)
    assert {line["loc"] for line in error.errors()} == {(MASK,)}
    assert_silent(error, CANARY)


def test_an_error_of_an_inner_load(environ):
    """A load inside of another one reports its failures as one of its own: which variables, and why each."""

    class Inner(EncryptedSettings):
        a: str
        b: str

    class Outer(EncryptedSettings):
        secret: str
        inner: Inner = Field(default_factory=Inner)

    environ(A="encenv:1:nonsense", B=sealed({"B": CANARY})["B"])
    error = caught(Outer)
    assert {*error.variables} == {"A", "B"}
    assert {type(one) for one in error.failures} == {MalformedError, KeyEntryError}
    assert_silent(error, CANARY, SECRET["SECRET"])


def test_two_fields_read_one_variable(environ):
    """What is decrypted for one field is masked as well where another field reads the same variable."""

    class Odd(EncryptedSettings):
        first: int = Field(validation_alias=AliasChoices("one", "blob"))
        second: dict[str, int] = Field(validation_alias=AliasChoices("two", "blob"))
        third: int = Field(validation_alias=AliasPath("blob", "port"))

    environ({"BLOB": json.dumps({CANARY: CANARY, "port": CANARY})})
    error = caught(Odd)
    assert_silent(error, CANARY)
    assert len(error.errors()) >= 3


def test_settings_errors_keep_field_and_source(environ):
    """Text that cannot be parsed is reported with field and source, as pydantic-settings does, but not its text."""

    class Odd(EncryptedSettings):
        blob: dict[str, int]

    environ({"BLOB": CANARY})
    error = caught(Odd)
    assert type(error) is SettingsError
    assert str(error) == 'error parsing value for field "blob" from source "EnvSettingsSource"'
    assert error.__cause__ is error.__context__ is None
    assert_silent(error, CANARY)


@pytest.mark.parametrize(
    "text",
    [
        f"{CANARY}",
        f'error parsing value for field "blob" from source "{CANARY}"',
        f'error parsing value for field "{CANARY}" from source "EnvSettingsSource"',
        f'error parsing value for field "blob" from source "EnvSettingsSource": {CANARY}',
    ],
)
def test_settings_errors_of_the_application(environ, text):
    """A `SettingsError` with a text of its own is raised without that text."""

    class Odd(EncryptedSettings):
        secret: str
        blob: dict[str, int] | None = None

        @classmethod
        def settings_customise_sources(cls, settings_cls, env_settings, **others):
            def source():
                raise SettingsError(text)

            return env_settings, source

    environ()
    error = caught(Odd)
    assert type(error) is SettingsError
    assert WITHHELD in str(error)
    assert_silent(error, CANARY)


def test_an_error_of_the_application_is_named_and_placed(environ):
    """Another exception from a validator becomes an `EncenvError` with its class, file and line."""

    def check(value):
        raise LookupError(value)  # this line

    class Odd(EncryptedSettings):
        secret: Annotated[str, BeforeValidator(check)]

    environ({"SECRET": CANARY})
    error = caught(Odd)
    assert type(error) is UserCodeError
    line = check.__code__.co_firstlineno + 1
    assert error.message == f"LookupError was raised at {__file__}:{line}; its text is {WITHHELD}"
    assert_silent(error, CANARY)


def test_the_place_is_the_applications_and_not_the_librarys(environ):
    """The line that is named is the application's, also where a library it called has raised."""

    def check(value):
        return copy.deepcopy([value, threading.Lock()])  # a TypeError of the standard library's

    class Odd(EncryptedSettings):
        secret: Annotated[str, BeforeValidator(check)]

    environ({"SECRET": CANARY})
    error = caught(Odd)
    line = check.__code__.co_firstlineno + 1
    assert error.message.startswith(f"TypeError was raised at {__file__}:{line};")
    assert_silent(error, CANARY)


def test_without_frames_of_the_application():
    """An exception that no code of the application's is to blame for is still named."""
    load = SettingsSession(Settings)
    load.decrypted_count = 1
    made = safe_error(RuntimeError(CANARY), Settings, load)
    assert made.message == f"RuntimeError was raised in the application's code; its text is {WITHHELD}"


def test_an_object_that_cannot_be_read(environ):
    """An error is masked even if an object of the application in it raises when it is read."""

    class Rude:
        def __getattr__(self, name):
            if name == "__qualname__":
                raise RuntimeError(CANARY)
            raise AttributeError(name)

    environ({"SECRET": CANARY, "PORT": CANARY})
    error = caught(Settings, limits=Rude())
    assert type(error) is UserCodeError
    assert error.message.startswith("ValidationError was raised ")
    assert_silent(error, CANARY)


def test_errors_of_encenv_stay_what_they_are(environ):
    """An error that encenv raised inside of a validator keeps class, message and hint, but no notes."""

    def check(value):
        try:
            Inner(_env_file=None)
        except EncenvError as error:
            error.add_note(value)
            error.extra = value
            raise

    class Inner(EncryptedSettings):
        other: str

    class Odd(EncryptedSettings):
        secret: Annotated[str, BeforeValidator(check)]

    environ({"SECRET": CANARY}, OTHER="encenv:1:AAAAAAAA:AAAA")
    error = caught(Odd)
    assert type(error) is errors.MalformedError
    assert error.message == "OTHER: the encrypted value is cut off or changed"
    assert_silent(error, CANARY)


@pytest.mark.parametrize("secrets", [SECRET, {}], ids=["decrypted", "plain"])
def test_errors_of_encenv_that_the_application_raised(environ, secrets):
    """The application's own use of an encenv class is not taken for encenv's word, if there is a value to tell."""

    class OwnError(PolicyError):
        def __init__(self, text):
            super().__init__(text, hint=text)

    def check(value):
        raise OwnError(CANARY)

    class Odd(EncryptedSettings):
        secret: str = ""
        port: Annotated[str, BeforeValidator(check)]

    environ(secrets, PORT="1")
    error = caught(Odd)
    assert type(error) is (UserCodeError if secrets else OwnError)
    if secrets:
        assert_silent(error, CANARY)


@pytest.mark.parametrize("code", [3, None])
def test_an_exit_stays_an_exit(environ, code):
    """A validator that ends the program ends it with its code."""

    def check(value):
        raise SystemExit(code)

    class Odd(EncryptedSettings):
        secret: Annotated[str, BeforeValidator(check)]

    environ({"SECRET": CANARY})
    error = caught(Odd)
    assert type(error) is SystemExit
    assert error.code == code
    assert_silent(error, CANARY)


def test_warnings_as_errors_are_named(environ):
    """A warning that is an error by configuration is treated like any exception of the application."""

    def check(value):
        warnings.warn(value, stacklevel=1)

    class Odd(EncryptedSettings):
        secret: Annotated[str, BeforeValidator(check)]

    environ({"SECRET": CANARY})
    error = caught(Odd)
    assert error.message.startswith("UserWarning was raised at ")
    assert_silent(error, CANARY)


def test_an_error_survives_copying_and_pickling(environ):
    """A masked error can go through a queue or a copy and says the same there."""
    environ({"PORT": CANARY})
    error = caught(Settings)
    for other in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert other.errors() == error.errors()
        assert_silent(other, CANARY)


def test_pydantic_is_asked_which_errors_it_knows():
    """No list of error types is kept that would age: another pydantic's types must not break a load."""
    assert not hasattr(safe_errors, "_KNOWN")
    load = SettingsSession(Settings)
    line = InitErrorDetails(type=PydanticCustomError("fraction_parsing_v9", "x"), loc=("secret",), input=1)
    made = safe_error(ValidationError.from_exception_data("S", [line]), Settings, load)
    assert made.errors()[0]["type"] == "fraction_parsing_v9"


def test_a_source_of_the_application_is_not_taken_for_plain(environ):
    """Values from a source of the application are masked: they may have been made from decrypted ones."""

    class Mine(InitSettingsSource):
        def __call__(self):
            return {"limits": {self.current_state["secret"]: "x"}, "port": self.current_state["secret"]}

    class Odd(Settings):
        @classmethod
        def settings_customise_sources(cls, settings_cls, env_settings, **others):
            return env_settings, Mine(settings_cls, {})

    environ({"SECRET": CANARY})
    error = caught(Odd)
    assert {line["loc"] for line in error.errors()} == {("port",), ("limits", MASK)}
    assert_silent(error, CANARY)


def test_a_refusal_is_not_masked(environ, monkeypatch):
    """A load that could not decrypt says which variable and why, not that something was withheld."""
    environ()
    monkeypatch.setenv("ENCENV_LOCAL_KEY", generate_key_text())
    error = caught(Settings)
    assert isinstance(error, EncenvError)
    assert not isinstance(error, (UserCodeError, KeyRefusedError))
    assert "SECRET: the local key " in error.message
