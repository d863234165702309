"""Which variables must be sealed: by the class, by globs, else all; and how the class is had without its secrets."""

import enum
import json
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

from encenv import EncryptedSettings, PolicyError, UserCodeError
from encenv.policy.project import Project, project
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
    """A type that holds a secret says so; one that can hold none as well; a plain text leaves it open."""
    assert secrecy(kind) is said


class Settings(EncryptedSettings, env_prefix="APP_", env_nested_delimiter="__"):
    """A settings class with everything."""

    secret_key: SecretStr
    debug: bool = False
    title: str
    token: SecretStr = Field(validation_alias=AliasChoices("TOK", "OTHER_TOKEN"))
    level: int = Field(1, alias="LEVEL")
    db: Inner
    limits: dict[str, int]


def test_class():
    """Names are those that the class reads: with its prefix, its aliases, its nested parts, in any case."""
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


def test_class_that_minds_case():
    """With case_sensitive a name in another case is one that the class does not know."""

    class Exact(BaseSettings, case_sensitive=True):
        Debug: bool

    policy = Policy(field_secrecy(Exact))
    assert not policy.requires("Debug")
    assert policy.requires("DEBUG")


def test_globs():
    """``seal`` alone names all there is; with ``plain`` what neither matches must be sealed, and ``seal`` wins."""
    every = Policy()
    assert every.requires("ANYTHING")
    assert not every.requires("ENCENV_KEY_AAAAAAAA")
    only = Policy(seal=("*_key",))
    assert [only.requires(name) for name in ("API_KEY", "DEBUG")] == [True, False]
    both = Policy(seal=("*_KEY",), plain=("PUBLIC_*", "DEBUG"))
    names = ("API_KEY", "PUBLIC_KEY", "PUBLIC_URL", "debug", "OTHER")
    assert [both.requires(name) for name in names] == [True, True, False, False, True]


def test_class_and_globs():
    """The class decides first: ``plain`` frees no SecretStr; it frees a str, and ``seal`` takes in an int."""
    policy = Policy(field_secrecy(Settings), seal=("LEVEL",), plain=("APP_*",))
    names = ("APP_SECRET_KEY", "APP_DB__PASSWORD", "LEVEL", "APP_TITLE", "UNKNOWN", "APP_DEBUG")
    assert [policy.requires(name) for name in names] == [True, True, True, False, True, False]


# The table of pyproject.toml


def written(folder: Path, table: str, **modules: str) -> Path:
    """Write a project with modules of the package app."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(f"[tool.encenv]\n{table}\n")
    (folder / "app").mkdir(exist_ok=True)
    for name, text in {"__init__": "", **modules}.items():
        (folder / "app" / f"{name}.py").write_text(text)
    return folder


def test_project(tmp_path):
    """The table's keys become the project's; what is left out has its default."""
    table = 'keys = ["local"]\ncontext = {b = "2", a = "1"}\nseal = "*_KEY"\nfiles = ["conf/*.env"]'
    found = project(written(tmp_path, table))
    assert found.path == tmp_path / "pyproject.toml"
    assert [key.provider for key in found.keys] == ["local"]
    assert found.context == (("a", "1"), ("b", "2"))
    assert (found.seal, found.plain, found.settings) == (("*_KEY",), (), None)
    assert found.writer().keys == found.keys
    assert found.covers("conf/x.env")
    assert not found.covers("conf/sub/x.env")
    assert not found.covers(".env")


def test_default_files():
    """By default .env, .env.* and *.env in any folder are the project's, but no examples."""
    found = Project(folder=Path("/p"))
    yes = (".env", "sub/.env", ".env.local", "prod.env")
    no = (".env.example", "env", ".envrc", "prod.env.sample", "x.py")
    assert all(found.covers(path) for path in yes)
    assert not any(found.covers(path) for path in no)


def test_nearest_within_the_repository(tmp_path):
    """The nearest table upwards counts, one without it is passed over, and none outside of the repository."""
    written(tmp_path, 'keys = ["local:AAAAAAAA"]')
    top = written(tmp_path / "repo", 'keys = ["local"]')
    deep = top / "a" / "b"
    deep.mkdir(parents=True)
    (top / "a" / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert project(deep).path is None
    (top / ".git").mkdir()
    assert project(deep).path == top / "pyproject.toml"
    (top / "pyproject.toml").unlink()
    assert project(deep) == Project(folder=deep)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("kyes = []", "has the unknown setting 'kyes'"),
        ("keys = 1", "keys has a wrong value"),
        ('settings = "app"', "settings has a wrong value"),
        ('context = {encenv = "x"}', "which is reserved"),
        ('context = {encenv-add = "1"}', "context: the encryption context holds encenv-add=1"),
        ('context = {stage = "a", STAGE = "b"}', "differ only in case"),
        ('context = {stage = "a b"}', "context: the encryption context has a context key or value"),
        ("files = [1]", "files has a wrong value"),
        ('keys = ["nonsense"]', "keys: 'nonsense' does not name a key"),
    ],
)
def test_bad_table(tmp_path, table, message):
    """What is misspelt is refused, with how to write it."""
    with pytest.raises(PolicyError, match=message):
        project(written(tmp_path, table))


CLASS = """
from pydantic import SecretStr
from encenv import EncryptedSettings
class Settings(EncryptedSettings, env_file=".env"):
    secret_key: SecretStr
    debug: bool = False
"""
USES = {
    "nothing else": "",
    "an instance": "settings = Settings()\n",
    "a default of one": "settings = Settings()\nassert settings.debug is False\n",
    "a value of one": "settings = Settings()\nKEY = settings.secret_key.get_secret_value()\n",
    "the environment": "import os\nKEY = os.environ['SECRET_KEY_OF_NOBODY']\n",
    "an exit": "raise SystemExit(3)\n",
    "noise": "print('{}')\nimport sys; print('x', file=sys.stderr)\n",
    "a thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n",
}


@pytest.mark.parametrize("use", USES)
def test_importing_needs_no_secrets(tmp_path, use):
    """The class is had whatever its module goes on to do: make an instance, use its values, fail."""
    (tmp_path / ".env").write_text("SECRET_KEY=encenv:1:AAAAAAAA:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n")
    folder = written(tmp_path, 'settings = "app.config:Settings"', config=CLASS + USES[use])
    policy = project(folder).policy()
    assert policy.requires("SECRET_KEY")
    assert not policy.requires("DEBUG")


def test_importing_comes_before_other_instances(tmp_path):
    """An instance of another class, load_dotenv and a package that imports its settings do not stand in the way."""
    before = """
from encenv import EncryptedSettings, dotenv_values, load_dotenv
from pydantic import SecretStr
load_dotenv()
assert dotenv_values(".env") == {}
class Other(EncryptedSettings):
    needed: SecretStr
    def __init__(self):
        super().__init__()
Other()
"""
    (tmp_path / ".env").write_text("SECRET_KEY=encenv:1:AAAAAAAA:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n")
    modules = {"__init__": "from app.config import settings\nsettings.secret_key\n", "config": before + CLASS}
    modules["config"] += "settings = Settings()\n"
    assert project(written(tmp_path, 'settings = "app.config:Settings"', **modules)).policy().requires("x")
    (tmp_path / "src").mkdir()
    (tmp_path / "app").rename(tmp_path / "src" / "app")
    assert not project(tmp_path).policy().requires("DEBUG")


@pytest.mark.parametrize(
    ("settings", "text", "error", "message"),
    [
        ("nowhere.config:Settings", "", PolicyError, "there is no module nowhere"),
        ("app.config:Nothing", CLASS, PolicyError, "there is no Nothing in app.config"),
        ("app.config:SecretStr", CLASS, PolicyError, "is not a settings class"),
        ("app.config:Settings", "import nope_at_all", PolicyError, "needs the module nope_at_all"),
        ("app.config:Settings", "1 / 0", UserCodeError, "raised ZeroDivisionError at config.py:1"),
        ("app.config:Settings", "def", UserCodeError, "raised SyntaxError at config.py:1"),
        ("app.config:Settings", "import os; os._exit(1)", PolicyError, "ended the process"),
    ],
)
def test_class_that_cannot_be_had(tmp_path, settings, text, error, message):
    """What is wrong is said with what to do; no text of an exception is shown, for it may hold a value."""
    folder = written(tmp_path, f"settings = {json.dumps(settings)}", config=text)
    with pytest.raises(error, match=message):
        project(folder).policy()
