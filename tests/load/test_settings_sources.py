"""EncryptedSettings among the application's own hooks, sources, base classes, command lines and threads."""

import copy
import json
import logging
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Generic, TypeVar

import pytest
from pydantic import BaseModel, Field, SecretStr, TypeAdapter, ValidationError, create_model
from pydantic_settings import (
    BaseSettings,
    CliApp,
    CliSettingsSource,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from support.equivalence import (
    KEY_TEXT,
    Case,
    CountingKeys,
    Environment,
    assert_equivalent,
    debug_texts,
    process,
    raised,
)

from encenv import EncryptedSettings, EncryptedSettingsConfigDict, PolicyError, UserCodeError

T = TypeVar("T")
FILE = {".env": "A=file\nB=file\nC=file\nX_A=other\nLIST=1,2\nPART__HOST=file\n"}
ENVIRON = {"A": "process", "X_A": "x", "X_B": "x"}


class Part(BaseModel):
    """A part of a model."""

    host: str = "nowhere"
    port: int = 1


def fields(base):
    """Return a class of three texts over *base*, that reads a .env and ignores the rest of it."""

    class Made(base):
        model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_nested_delimiter="__")
        a: str = "none"
        b: str = "none"
        c: str = "none"

    return Made


class Upper(EnvSettingsSource):
    """A source with its own idea of how a value is prepared."""

    def prepare_field_value(self, field_name, field, value, value_is_complex):
        """Split a list at its commas, and write everything else in capitals."""
        if field_name == "list":
            return [int(part) for part in value.split(",")] if value else value
        value = super().prepare_field_value(field_name, field, value, value_is_complex)
        return value.upper() if isinstance(value, str) else value


class Wrapping(PydanticBaseSettingsSource):
    """A source that reads another one and changes its values."""

    def __init__(self, settings_cls, inner):
        super().__init__(settings_cls)
        self.inner = inner

    def get_field_value(self, field, field_name):
        """Put the other source's value into brackets."""
        value, key, is_complex = self.inner.get_field_value(field, field_name)
        return value and f"<{value}>", key, is_complex

    def __call__(self):
        """Return the values of the other source."""
        return {
            key: value
            for name, field in self.settings_cls.model_fields.items()
            for value, key, _ in [self.get_field_value(field, name)]
            if value is not None
        }


class Overwritten(EnvSettingsSource):
    """A source that changes its variables after it has read them."""

    def __init__(self, settings_cls):
        super().__init__(settings_cls)
        self.env_vars = {**self.env_vars, "b": "overwritten"}


class Elsewhere(EnvSettingsSource):
    """A source that reads no environment at all."""

    def _load_env_vars(self):
        return {"a": "elsewhere"}


class OtherFile(DotEnvSettingsSource):
    """A source with its own reading of files."""

    def _read_env_file(self, file_path):
        return {"a": f"{file_path.name} read elsewhere"}


def a_plain_function(settings_cls, init_settings, env_settings, dotenv_settings, file_secret_settings):
    """Order the sources without being a class method."""
    return init_settings, dotenv_settings, env_settings, file_secret_settings


HOOKS = {
    "file over process": lambda cls, i, e, d, s: (i, d, e, s),
    "process over init": lambda cls, i, e, d, s: (e, i, d),
    "only init": lambda cls, i, e, d, s: (i,),
    "nothing": lambda cls, i, e, d, s: (),
    "no file": lambda cls, i, e, d, s: (i, e, s),
    "a function": lambda cls, i, e, d, s: (i, lambda: {"b": "function"}, e, d),
    "constants between": lambda cls, i, e, d, s: (i, e, InitSettingsSource(cls, {"b": "constant"}), d),
    "another prefix": lambda cls, i, e, d, s: (i, EnvSettingsSource(cls, env_prefix="X_"), e, d),
    "a prefix for the file": lambda cls, i, e, d, s: (i, DotEnvSettingsSource(cls, env_prefix="X_"), e, d),
    "another file": lambda cls, i, e, d, s: (i, DotEnvSettingsSource(cls, env_file="other"), e, d),
    "own preparation": lambda cls, i, e, d, s: (i, Upper(cls), d),
    "wrapped": lambda cls, i, e, d, s: (i, Wrapping(cls, e), d),
    "wrapped file": lambda cls, i, e, d, s: (i, e, Wrapping(cls, d)),
    "own variables": lambda cls, i, e, d, s: (i, Overwritten(cls), d),
    "own loader": lambda cls, i, e, d, s: (i, Elsewhere(cls), e, d),
    "own file reader": lambda cls, i, e, d, s: (i, OtherFile(cls), e, d),
    "called": lambda cls, i, e, d, s: (i, InitSettingsSource(cls, e()), d),
    "called and returned": lambda cls, i, e, d, s: (e() and i, e, d),
    "looked at": lambda cls, i, e, d, s: (
        i,
        InitSettingsSource(cls, {"c": f"{e.env_vars.get('a')} {'b' in d.env_vars} {d.env_vars['b']}"}),
        e,
    ),
    "chosen by a variable": lambda cls, i, e, d, s: (i, e, d) if e.env_vars.get("a") == "process" else (i, d),
    "the same twice": lambda cls, i, e, d, s: (i, e, d, e),
}


@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize("place", ["class", "parent", "mixin before", "mixin after"])
def test_hooks(tmp_path, name, place):
    """settings_customise_sources works the same on the class, a parent or a mixin, whatever it does with the sources."""

    def hook(cls, settings_cls, **sources):
        return HOOKS[name](settings_cls, *sources.values())

    def load(base):
        made = fields(base)
        hooked = {"settings_customise_sources": classmethod(hook)}
        if place == "class":
            return type("Hooked", (made,), hooked)(c="init")
        if place == "parent":
            return type("Child", (type("Hooked", (made,), hooked),), {})(c="init")
        mixin = type("Mixin", () if place == "mixin before" else (BaseSettings,), hooked)
        bases = (mixin, made) if place == "mixin before" else (made, mixin)
        return type("Mixed", bases, {"model_config": made.model_config})(c="init")  # not the mixin's

    case = Case(load, ENVIRON, {**FILE, "other": "B=other\n"})
    assert_equivalent(tmp_path, case, singly=place == "class")


def test_hooks_that_call_the_next_one(tmp_path):
    """super().settings_customise_sources returns four sources, or those of the next class in order."""

    def load(base):
        class Mixin(BaseSettings):
            @classmethod
            def settings_customise_sources(cls, settings_cls, **sources):
                init, env, dotenv, files = super().settings_customise_sources(settings_cls, **sources)
                return init, lambda: {"b": "mixin"}, dotenv, env, files

        class Parent(fields(base)):
            @classmethod
            def settings_customise_sources(cls, settings_cls, **sources):
                first, *others = super().settings_customise_sources(settings_cls, **sources)
                return (*others, first)

        class Child(Parent, Mixin):
            model_config = Parent.model_config

            @classmethod
            def settings_customise_sources(cls, settings_cls, *args, **sources):
                return super().settings_customise_sources(settings_cls, *args, **sources)[:-1]

        return Parent(c="init").model_dump(), Child(c="init").model_dump()

    parent, child = assert_equivalent(tmp_path, Case(load, ENVIRON, FILE))
    assert parent == {"a": "process", "b": "file", "c": "file"}
    assert child == {"a": "file", "b": "mixin", "c": "file"}


def test_hook_of_a_mixin_behind_a_parent_without_one(tmp_path):
    """A parent class without a hook does not hide the hook of a later base."""

    def load(base):
        class Mixin(BaseSettings):
            @classmethod
            def settings_customise_sources(cls, settings_cls, init_settings, dotenv_settings, **sources):
                return init_settings, dotenv_settings

        parent = fields(base)
        return type("Both", (parent, Mixin), {"model_config": parent.model_config})()

    assert assert_equivalent(tmp_path, Case(load, ENVIRON, FILE))[1]["a"] == "file"


def test_hook_put_in_place_later(tmp_path, monkeypatch):
    """A hook that a test puts onto a finished class reads encrypted values as well."""

    def load(base):
        made = fields(base)
        assert made().a == "process"
        made.settings_customise_sources = classmethod(
            lambda cls, settings_cls, dotenv_settings, **sources: (dotenv_settings,)
        )
        return made()

    assert assert_equivalent(tmp_path, Case(load, ENVIRON, FILE))[1]["a"] == "file"


def test_hook_that_fills_the_environment(tmp_path):
    """A source that a hook makes reads the variables that the hook has set before."""
    names_given = {*ENVIRON, *(f"ENC_{name}" for name in ENVIRON)}

    def load(base):
        names = [name for name in os.environ if name.startswith("ENCENV_KEY_") or name in names_given]
        kept = {name: os.environ.pop(name) for name in names}

        class Filled(fields(base)):
            @classmethod
            def settings_customise_sources(cls, settings_cls, init_settings, **sources):
                os.environ.update(kept)
                return init_settings, EnvSettingsSource(settings_cls)

        return Filled(c="init")

    assert assert_equivalent(tmp_path, Case(load, ENVIRON))[1]["a"] == "process"


def test_static_hook(tmp_path):
    """A hook may be a static method."""

    def load(base):
        return type(
            "Hooked", (fields(base),), {"settings_customise_sources": staticmethod(a_plain_function)}
        )()

    assert_equivalent(tmp_path, Case(load, ENVIRON, FILE), singly=False)


@pytest.mark.parametrize("kind", [list, iter])
def test_hook_that_returns_no_tuple(tmp_path, kind):
    """A hook that does not return a tuple is the TypeError that it was, and loads nothing."""

    def load(base):
        hook = {
            "settings_customise_sources": classmethod(lambda cls, *_, **sources: kind(list(sources.values())))
        }
        return type(raised(type("Hooked", (fields(base),), hook)))

    assert assert_equivalent(tmp_path, Case(load, {"A": "1"})) is TypeError


def test_sources_that_the_application_keeps(tmp_path, monkeypatch):
    """A source object that serves several loads reads, and fails, again in each of them."""
    monkeypatch.chdir(tmp_path)
    kept = {}

    class Hooked(fields(EncryptedSettings)):
        @classmethod
        def settings_customise_sources(cls, settings_cls, file_secret_settings, **sources):
            kept.setdefault("env", EnvSettingsSource(settings_cls))
            kept.setdefault("dotenv", DotEnvSettingsSource(settings_cls))
            kept.setdefault("files", file_secret_settings)
            return tuple(kept.values())

    (tmp_path / "secrets").mkdir()
    for text in ("1", "2"):
        environment = Environment()
        (tmp_path / "secrets" / "c").write_text(environment.seal(c=text)["c"])
        (tmp_path / ".env").write_text(f"B={environment.seal(B=text)['B']}\n")
        with process(environment.sealed(A=text)):
            assert set(Hooked(_secrets_dir="secrets").model_dump().values()) == {text}
        with process(environment.seal(A=text)):
            assert set(raised(lambda: Hooked(_secrets_dir="secrets")).variables) == {"A", "B", "c"}


def test_sources_built_beforehand(tmp_path):
    """An instance made from sources of the application's own reads encrypted values from them."""

    def load(base):
        made = fields(base)
        return made(_build_sources=((EnvSettingsSource(made), DotEnvSettingsSource(made)), {}))

    assert_equivalent(tmp_path, Case(load, ENVIRON, FILE), singly=False)


def test_hook_that_looks_at_the_sources(tmp_path):
    """A hook finds the attributes of the sources unchanged: files, prefixes, names, and the class."""

    def load(base):
        seen = []

        class Hooked(fields(base)):
            @classmethod
            def settings_customise_sources(cls, settings_cls, **sources):
                seen.extend((name, type(source).__name__) for name, source in sources.items())
                seen.append(sources["dotenv_settings"].env_file)
                seen.append(sorted(sources["dotenv_settings"].env_vars))
                return tuple(sources.values())

        return Hooked(_env_file=".env").model_dump(), seen

    assert_equivalent(tmp_path, Case(load, {}, {".env": "A=1\nB=2\n"}))


NESTED_SECRETS = {
    "delimiter": (
        {"secrets_nested_delimiter": "__"},
        {"s/a": " 1 \n", "s/part__host": "h", "s/part__port": "3"},
    ),
    "folders": ({"secrets_nested_subdir": True}, {"s/a": "1", "s/part/host": "h", "s/part/port": "3"}),
    "prefix": ({"secrets_prefix": "p_"}, {"s/p_a": "1", "s/a": "2"}),
    "two folders": ({"secrets_dir": ["s", "t"]}, {"s/a": "1", "s/B": "2", "t/A": "3"}),
    "case-sensitive": ({"secrets_case_sensitive": True}, {"s/a": "1", "s/B": "2"}),
    "empty": ({}, {"s/a": "", "s/b": " "}),
    "others": ({}, {"s/a": "1", "s/other": "2"}),
}


@pytest.mark.parametrize("name", NESTED_SECRETS)
def test_nested_secret_files(tmp_path, name):
    """NestedSecretsSettingsSource gives the same from encrypted files; they are called as their path in the folder."""
    config, secrets = NESTED_SECRETS[name]

    def load(base):
        class Hooked(base):
            model_config = SettingsConfigDict(**{"secrets_dir": "s", **config})
            a: str = "none"
            b: str = "none"
            part: Part = Part()

            @classmethod
            def settings_customise_sources(cls, settings_cls, env_settings, file_secret_settings, **sources):
                return env_settings, NestedSecretsSettingsSource(file_secret_settings)

        return Hooked()

    assert_equivalent(tmp_path, Case(load, {"B": "process"}, secrets=secrets))


COMMAND_LINES = {
    "an argument": ["-a", "argument"],
    "a long one": ["--long", "argument"],
    "a part": ["--part.host", "argument"],
    "a whole": ["--part", '{"port": 5}'],
    "nothing": [],
    "unknown": ["--unknown", "x"],
    "a wrong one": ["--part.port", "x"],
    "help": ["--help"],
}


@pytest.mark.parametrize("name", COMMAND_LINES)
@pytest.mark.parametrize("how", ["call", "class", "app", "source", "hook"])
def test_command_line(tmp_path, name, how, capsys):
    """Command-line arguments win over encrypted variables as over plaintext ones."""
    arguments = COMMAND_LINES[name]

    def load(base):
        class Made(fields(base)):
            part: Part = Part()
            long: str = "none"

            def cli_cmd(self):
                self.__dict__["c"] = "ran"

        if how == "call":
            return Made(_cli_parse_args=arguments)
        if how == "class":
            return create_model("Child", __base__=Made, __cls_kwargs__={"cli_parse_args": arguments})()
        if how == "app":
            return CliApp.run(Made, cli_args=arguments)
        if how == "source":
            return CliApp.run(Made, cli_args=arguments, cli_settings_source=CliSettingsSource(Made), b="init")

        class Hooked(Made):
            @classmethod
            def settings_customise_sources(cls, settings_cls, env_settings, dotenv_settings, **sources):
                return (
                    env_settings,
                    CliSettingsSource(settings_cls, cli_parse_args=arguments),
                    dotenv_settings,
                )

        return Hooked()

    files = {".env": "A=file\nB=file\nC=file\nLONG=file\nPART__HOST=file\nPART__PORT=7\n"}
    assert_equivalent(
        tmp_path, Case(load, {"B": "process", "PART__HOST": "process"}, files), singly=how == "call"
    )


def test_command_line_with_commands(tmp_path):
    """CliApp runs the commands of an encrypted class as those of a plain one."""
    from pydantic_settings import CliSubCommand

    class Push(BaseModel):
        where: str

        def cli_cmd(self):
            self.where += " pushed"

    def load(base):
        class Made(fields(base)):
            push: CliSubCommand[Push]

            def cli_cmd(self):
                CliApp.run_subcommand(self)

        return CliApp.run(Made, cli_args=["push", "--where=there"])

    assert_equivalent(tmp_path, Case(load, ENVIRON, FILE), singly=False)


def inherited(base):
    """A field is inherited, one overridden, one added."""

    class Child(fields(base)):
        b: int = 0
        d: str = Field("none", alias="X_A")

    return Child()


def generic(base):
    """A generic class with its parameter."""

    class Box(base, Generic[T]):
        a: T
        b: T

    return Box[int]()


def inner(base):
    """A settings class as the default of another's field."""

    class Database(base):
        model_config = SettingsConfigDict(env_prefix="DB_")
        host: str
        password: SecretStr = SecretStr("")

    class Outer(base):
        database: Database = Field(default_factory=Database)
        a: str

    return Outer()


def inner_from_parts(base):
    """A settings class as a field whose parts are variables."""

    class Database(base):
        model_config = SettingsConfigDict(env_prefix="DB_")
        host: str
        password: str = ""

    class Outer(base):
        model_config = SettingsConfigDict(env_nested_delimiter="__")
        database: Database

    return Outer()


def inner_fails(base):
    """A settings class that fails inside of another one."""

    class Database(base):
        model_config = SettingsConfigDict(env_prefix="DB_")
        host: int

    class Outer(base):
        database: Database = Field(default_factory=Database)

    return Outer()


def validated(base):
    """All the ways to make an instance but the call."""
    made = fields(base)
    return [
        made.model_validate({"a": "given"}).model_dump(),
        made.model_validate_json('{"b": "given"}').model_dump(),
        TypeAdapter(made).validate_python({"c": "given"}).model_dump(),
        TypeAdapter(list[made]).validate_python([{}])[0].model_dump(),
        made.model_construct(a="constructed").model_dump(),
    ]


def assigned(base):
    """Assignments are validated."""

    class Made(fields(base), validate_assignment=True):
        n: int = Field(0, alias="N")

    made = Made()
    made.n = "8"
    made.a = "assigned"
    return made.model_dump(), type(raised(lambda: setattr(made, "n", "x")))


def copied(base):
    """Copies and dumps of an instance."""
    made = fields(base)()
    return [
        copy.copy(made) == made,
        copy.deepcopy(made).model_dump(),
        made.model_copy(update={"a": "copy"}).model_dump(),
        vars(made),
        json.loads(made.model_dump_json()),
    ]


def reloaded(base):
    """An instance is loaded again in place."""
    made = fields(base)()
    os.environ["B"] = "reloaded"
    made.__init__()
    return made


def own_init(base):
    """A class with its own constructor."""

    class Made(fields(base)):
        def __init__(self, name, **values):
            super().__init__(c=name, **values)

    return Made("own")


def private(base):
    """A class with private attributes and a post-init."""

    class Made(fields(base)):
        _seen: list = []  # noqa: RUF012 (pydantic copies it)

        def model_post_init(self, context):
            self._seen = [self.a, self.b]

    return Made()._seen


def dropped_fields(base):
    """A class with options of pydantic's own."""

    class Made(fields(base)):
        model_config = SettingsConfigDict(frozen=True, str_to_upper=True, title="Other")

    return Made()


def a_field_called_self(base):
    """A field with the name of a parameter."""
    return create_model("Made", __base__=base, self=(str, "none"))(self="given")


CLASSES = [
    inherited,
    generic,
    inner,
    inner_from_parts,
    inner_fails,
    validated,
    assigned,
    copied,
    reloaded,
    own_init,
    private,
    dropped_fields,
    a_field_called_self,
]


@pytest.mark.parametrize("load", CLASSES, ids=lambda load: load.__name__)
def test_classes_and_instances(tmp_path, load):
    """Subclasses, generic and nested classes, and everything an instance can do, are as over BaseSettings."""
    environ = {
        "A": "1",
        "B": "2",
        "N": "7",
        "DB_HOST": "db",
        "DB_PASSWORD": "p",
        "DATABASE__HOST": "part",
        "SELF": "s",
    }
    assert_equivalent(tmp_path, Case(load, environ, {".env": "C=3\nX_A=4\n"}))


def test_settings_cached(tmp_path):
    """settings_cached gives one instance, decrypted once."""
    if not hasattr(BaseSettings, "settings_cached"):
        pytest.skip("this pydantic-settings has no settings_cached")

    def load(base):
        made = fields(base)
        return made.settings_cached() is made.settings_cached(), made.settings_cached().model_dump()

    assert_equivalent(tmp_path, Case(load, ENVIRON, FILE))


class Pickled(EncryptedSettings):
    """A class at module level, as pickle wants it."""

    token: SecretStr


def test_pickle():
    """An instance is pickled and comes back without the environment it came from."""
    with process(Environment().sealed(TOKEN="canary")):
        data = pickle.dumps(Pickled())
    with process():
        assert pickle.loads(data).token.get_secret_value() == "canary"


def test_threads():
    """Twenty threads that construct at once get the same, and the data key is unwrapped once."""
    keys, environment = CountingKeys(), Environment()

    class Made(EncryptedSettings):
        model_config = EncryptedSettingsConfigDict(key_providers=[keys])
        token: str

    with process(environment.sealed(TOKEN="canary")), ThreadPoolExecutor(20) as pool:
        made = list(pool.map(lambda _: Made(), range(100)))
    assert {one.token for one in made} == {"canary"}
    assert keys.unwraps == 1


def as_keywords(**options):
    """Give options as class keywords."""

    class Made(EncryptedSettings, **options):
        token: str

    return Made


def as_config(**options):
    """Give options in model_config."""

    class Made(EncryptedSettings):
        model_config = EncryptedSettingsConfigDict(**options)
        token: str

    return Made


def as_dict(**options):
    """Give options in a plain dict."""

    class Made(EncryptedSettings):
        model_config = options
        token: str

    return Made


def as_created(**options):
    """Give options to create_model."""
    return create_model("Made", __base__=EncryptedSettings, __cls_kwargs__=options, token=(str, ...))


def as_parent(**options):
    """Give options on a parent class."""

    class Made(as_keywords(**options)):
        pass

    return Made


def as_override(**options):
    """Give options over those of a parent class."""

    class Made(
        as_keywords(trusted_keys=["local:*"], encryption_context={"env": "prod"}, encrypted_prefix="S_")
    ):
        model_config = EncryptedSettingsConfigDict(**options)

    return Made


WAYS = [as_keywords, as_config, as_dict, as_created, as_parent, as_override]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_options(way):
    """The reader's options hold as class keywords, in model_config, inherited and overridden."""
    environment = Environment({"env": "prod"})
    with process(environment.sealed(TOKEN="canary")):
        assert way(trusted_keys="local:*", encryption_context={"env": "prod"})().token == "canary"
        with pytest.raises(PolicyError, match="TOKEN"):
            way(trusted_keys=["123456789012"])()
        with pytest.raises(PolicyError, match="TOKEN"):
            way(encryption_context={"env": "test"})()
    with process(environment.sealed(MY_TOKEN="canary")):
        assert way(encrypted_prefix="MY_")().token == "canary"
        with pytest.raises(ValidationError, match="Field required"):
            way(encrypted_prefix="")()
    with process(environment.sealed(TOKEN="canary")):
        keys = CountingKeys()
        assert way(key_providers=[keys], unwrap_timeout=5)().token == "canary"
        assert keys.unwraps == 1


def test_options_do_not_leak():
    """An option of a subclass is not its parent's, and an unknown class keyword is refused as it was."""
    parent = as_keywords()

    class Child(parent, trusted_keys=["123456789012"]):
        pass

    with process(Environment().sealed(TOKEN="canary")):
        assert parent().token == "canary"
        with pytest.raises(PolicyError):
            Child()
    with pytest.raises(TypeError):
        as_keywords(trusted_key=["123456789012"])
    with process(), pytest.raises(PolicyError, match="trusted_keys has 'nonsense'"):
        as_keywords(trusted_keys=["nonsense"])()


@pytest.mark.parametrize("flag", ["1", ""])
def test_debug_log(tmp_path, caplog, monkeypatch, flag):
    """PYDANTIC_SETTINGS_DEBUG shows the files, and only the names of decrypted values."""
    (tmp_path / ".env").write_text("".join(f"{n}={v}\n" for n, v in Environment().sealed(A="canary").items()))
    monkeypatch.chdir(tmp_path)

    class Made(fields(EncryptedSettings)):
        model_config = SettingsConfigDict(env_file=[".env", "missing"])

    with (
        caplog.at_level(logging.DEBUG, "pydantic_settings"),
        process(PYDANTIC_SETTINGS_DEBUG=flag, B="plain"),
    ):
        Made(c="canary too")
    said = debug_texts([record for record in caplog.records if record.name == "pydantic_settings"])
    assert "canary" not in said
    if flag and "Resolving" in said:  # not in pydantic-settings 2.13
        assert "Resolving settings for 'Made'" in said
        assert "EnvSettingsSource: b" in said
        assert f"Loading env file: {tmp_path / '.env'}" in said
        assert f"Env file not found, skipping: {tmp_path / 'missing'}" in said
    assert flag or not said


def test_debug_log_of_plain_settings(caplog):
    """Where nothing was decrypted, PYDANTIC_SETTINGS_DEBUG shows values, as it did."""
    with caplog.at_level(logging.DEBUG, "pydantic_settings"), process(PYDANTIC_SETTINGS_DEBUG="1", B="plain"):
        fields(EncryptedSettings)()
    said = debug_texts(caplog.records)
    assert "{'b': 'plain'}" in said or "Resolving" not in said


def test_plaintext_costs_nothing(tmp_path):
    """A load with nothing encrypted imports neither cryptography nor boto3 nor click, nor ssl."""
    (tmp_path / ".env").write_text("A=1\nB=2\n")
    script = (
        "import sys, pydantic_settings\n"
        "before = set(sys.modules)\n"
        "from encenv import EncryptedSettings\n"
        "class Made(EncryptedSettings, env_file='.env'):\n"
        "    a: str\n"
        "    b: str\n"
        "assert Made().model_dump() == {'a': '1', 'b': '2'}\n"
        "heavy = {'cryptography', 'boto3', 'botocore', 'click', 'http.client'}\n"
        "print((set(sys.modules) - before) & heavy)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"ENCENV_LOCAL_KEY": KEY_TEXT},
        text=True,
        capture_output=True,
        check=False,
    )
    assert ran.stdout == "set()\n", ran.stderr


def test_types():
    """Classes, options and errors type-check, strictly and with pydantic's plug-in, and wrong ones do not."""
    pytest.importorskip("mypy")
    here = Path(__file__).parent
    config = here.parents[1] / "pyproject.toml"
    # With the project's options and cache, and where coverage does not trace mypy's plug-ins.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    command = [sys.executable, "-m", "mypy", "--config-file", config, here / "typing" / "settings.py"]
    ran = subprocess.run(command, cwd=config.parent, env=environ, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_user_code_that_raises(tmp_path):
    """Once anything was decrypted, an exception of a validator or source becomes an error that names its place."""

    def hook(cls, settings_cls, env_settings, **sources):
        def source():
            raise RuntimeError("canary")

        return env_settings, source

    made = type("Made", (fields(EncryptedSettings),), {"settings_customise_sources": classmethod(hook)})
    with process(A="plain"):
        assert str(raised(made)) == "canary"
    with process(Environment().sealed(A="canary")):
        error = raised(made)
    assert isinstance(error, UserCodeError)
    assert "RuntimeError was raised at" in str(error)
    assert "canary" not in str(error)
