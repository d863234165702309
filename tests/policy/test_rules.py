"""The types of the settings class and the globs say which variables must be encrypted; without them, all."""

import enum
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Optional

import pytest
from pydantic import (
    AliasChoices,
    AmqpDsn,
    BaseModel,
    Field,
    HttpUrl,
    PostgresDsn,
    RedisDsn,
    Secret,
    SecretBytes,
    SecretStr,
)
from pydantic_settings import BaseSettings

from encenv import EncryptedSettings
from encenv.policy.rules import Policy
from encenv.policy.secret_types import field_secrecy, secrecy


class Color(enum.Enum):
    """A few values."""

    RED = "red"


class Inner(BaseModel):
    """A nested model."""

    password: SecretStr
    port: int = 1
    label: str = ""
    inner: "Inner | None" = None


@dataclass
class Plain:
    """A dataclass without a secret."""

    port: int
    on: bool


Token = NewType("Token", SecretStr)
SECRETS = [
    SecretStr,
    SecretBytes,
    Secret[int],
    PostgresDsn,
    RedisDsn,
    AmqpDsn,
    SecretStr | None,
    Optional[PostgresDsn],  # noqa: UP045 (both spellings are met)
    list[SecretStr],
    dict[str, SecretStr],
    Annotated[SecretStr, Field(min_length=3)],
    Token,
    Inner,
    list[Inner],
    tuple[int, SecretStr],
]
HARMLESS = [
    bool,
    int,
    float,
    Color,
    Literal["a", "b"],
    timedelta,
    Path,
    int | None,
    list[int],
    set[Color],
    dict[str, bool],
    tuple[int, ...],
    Plain,
    Annotated[int, Field(gt=0)],
]
OPEN = [str, bytes, Any, HttpUrl, list[str], str | int, dict[str, str], list, dict]


@pytest.mark.parametrize(
    ("kind", "said"),
    [(kind, said) for kinds, said in ((SECRETS, True), (HARMLESS, False), (OPEN, None)) for kind in kinds],
    ids=str,
)
def test_types(kind, said):
    """A type holds a secret, cannot hold one, or is undecided, as a plain text is."""
    assert secrecy(kind) is said


class Settings(EncryptedSettings, env_prefix="APP_", env_nested_delimiter="__"):
    """A settings class with prefix, aliases and nested models."""

    secret_key: SecretStr
    debug: bool = False
    title: str
    token: SecretStr = Field(validation_alias=AliasChoices("TOK", "OTHER_TOKEN"))
    level: int = Field(1, alias="LEVEL")
    db: Inner
    limits: dict[str, int]


def test_class():
    """Names are those that the class reads: with its prefix, aliases and nested parts, in any case."""
    policy = Policy(field_secrecy(Settings))
    must = {
        name: policy.requires(name)
        for name in (
            "APP_SECRET_KEY",
            "app_secret_key",
            "TOK",
            "OTHER_TOKEN",
            "APP_DB",
            "APP_DB__PASSWORD",
            "APP_DB__INNER__PASSWORD",
            "APP_TITLE",
            "APP_DB__LABEL",
            "SECRET_KEY",
            "APP_DB__TYPO",
        )
    }
    assert all(must.values()), must
    for name in ("APP_DEBUG", "LEVEL", "APP_DB__PORT", "APP_DB__INNER__PORT", "APP_LIMITS", "APP_LIMITS__X"):
        assert not policy.requires(name), name


def test_case_sensitive_class():
    """With case_sensitive, a name in another case is unknown to the class."""

    class Exact(BaseSettings, case_sensitive=True):
        Debug: bool

    policy = Policy(field_secrecy(Exact))
    assert not policy.requires("Debug")
    assert policy.requires("DEBUG")


def test_globs():
    """``seal`` alone names all variables; with ``plain``, others must be encrypted as well, and ``seal`` wins."""
    every = Policy()
    assert every.requires("ANYTHING")
    assert not every.requires("ENCENV_KEY_AAAAAAAA")
    only = Policy(seal=("*_key",))
    assert [only.requires(name) for name in ("API_KEY", "DEBUG")] == [True, False]
    both = Policy(seal=("*_KEY",), plain=("PUBLIC_*", "DEBUG"))
    names = ("API_KEY", "PUBLIC_KEY", "PUBLIC_URL", "debug", "OTHER")
    assert [both.requires(name) for name in names] == [True, True, False, False, True]


def test_class_and_globs():
    """The class decides first: ``plain`` exempts a str but no SecretStr; ``seal`` adds an int."""
    policy = Policy(field_secrecy(Settings), seal=("LEVEL",), plain=("APP_*",))
    names = ("APP_SECRET_KEY", "APP_DB__PASSWORD", "LEVEL", "APP_TITLE", "UNKNOWN", "APP_DEBUG")
    assert [policy.requires(name) for name in names] == [True, True, True, False, True, False]


def test_a_nested_model_with_metadata():
    """The variables of a nested model are judged by their own types, also if `Annotated` adds something to it."""

    class Annotations(EncryptedSettings, env_nested_delimiter="__"):
        db: Annotated[Inner, "the database"] | None = None

    policy = Policy(field_secrecy(Annotations))
    assert policy.requires("DB__PASSWORD")
    assert not policy.requires("DB__PORT")
