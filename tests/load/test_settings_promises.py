"""EncryptedSettings: only values that the model needs are decrypted, and a load that fails gives nothing at all."""

import json
import os
import threading

import pytest
from pydantic import (
    AliasChoices,
    BaseModel,
    Field,
    SecretBytes,
    SecretStr,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    CliApp,
    EnvSettingsSource,
    InitSettingsSource,
    JsonConfigSettingsSource,
    NestedSecretsSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from support.encrypted_variables import env_text
from support.equivalence import KEYS, CountingKeys, Environment, process, raised

from encenv import (
    AuthenticationError,
    ConflictError,
    EncenvError,
    EncryptedSettings,
    FileError,
    KeyEntryError,
    KeyRefusedError,
    LoadError,
    MalformedError,
    PolicyError,
)


class Part(BaseModel):
    """A part of a model."""

    host: str = "nowhere"
    password: str = "none"


def made(keys=None, **config):
    """Return a class with two texts and a part that reads .env and .env.local, with the key provider *keys*, if any."""
    options = {"env_file": (".env", ".env.local"), "extra": "ignore", "env_nested_delimiter": "__"}
    options |= {"key_providers": [keys]} if keys else {}
    return create_model(
        "Made",
        __base__=EncryptedSettings,
        __cls_kwargs__=options | config,
        a=(str, "default"),
        b=(str, "default"),
        part=(Part, Part()),
        choice=(str, Field("default", validation_alias=AliasChoices("one", "two"))),
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def no_entry(name):
    """Seal a value and leave its key entry out."""
    return Environment().seal(**{name: "canary"})


def another_name(name):
    """Give a value that was encrypted under another name."""
    environment = Environment()
    return environment.entry_variable | {name: environment.seal(ELSE="canary")["ELSE"]}


def changed(name):
    """Change one character of an encrypted value."""
    sealed = Environment().sealed(**{name: "canary"})
    last = sealed[name][-9]
    return sealed | {name: sealed[name][:-9] + ("A" if last != "A" else "B") + sealed[name][-8:]}


def another_key(name):
    """Give the key entry of another data key under this one's name."""
    environment, other = Environment(), Environment()
    return {environment.entry.name: str(other.entry)} | environment.seal(**{name: "canary"})


def cut_off(name):
    """Give a value of which only the beginning is left."""
    return {name: "encenv:1:ABCDEFGH:AAAA"}


def newer(name):
    """Give a value of a later version of the format."""
    return {name: "encenv:2:whatever"}


def embedded(name):
    """Put an encrypted value into other text."""
    sealed = Environment().sealed(**{name: "canary"})
    return sealed | {name: f"x{sealed[name]}"}


def untrusted(name):
    """Seal a value in another encryption context."""
    return Environment({"env": "test"}).sealed(**{name: "canary"})


BROKEN = {
    no_entry: KeyEntryError,
    another_name: AuthenticationError,
    changed: AuthenticationError,
    another_key: MalformedError,
    cut_off: MalformedError,
    newer: MalformedError,
    embedded: MalformedError,
}
broken = pytest.mark.parametrize("breaks", BROKEN, ids=lambda breaks: breaks.__name__)


def by_init(cls, unreadable):
    """Both are init arguments."""
    (cls.folder / ".env").write_text(env_text(unreadable("B")))
    with process(unreadable("A")):
        return cls(a="given", b="given")


def by_command_line(cls, unreadable):
    """Both are command-line arguments."""
    with process(unreadable("A"), unreadable("B")):
        return cls(_cli_parse_args=["-a", "given", "-b=given"])


def by_command_line_app(cls, unreadable):
    """One is a command-line argument of CliApp, the other an init argument."""
    with process(unreadable("A"), unreadable("B")):
        return CliApp.run(cls, cli_args=["-a", "given"], b="given")


def by_process(cls, unreadable):
    """Both are process variables, the unreadable ones lines of a .env."""
    (cls.folder / ".env").write_text(env_text(unreadable("A"), unreadable("B")))
    with process(A="given", b="given"):
        return cls()


def by_later_file(cls, unreadable):
    """Both are lines of a later .env."""
    (cls.folder / ".env").write_text(env_text(unreadable("A"), unreadable("b")))
    (cls.folder / ".env.local").write_text(env_text(a="given", B="given"))
    with process():
        return cls()


def by_later_line(cls, unreadable):
    """Both are later lines of the same .env, the one in another case."""
    (cls.folder / ".env").write_text(
        env_text(unreadable("A"), unreadable("B")) + env_text(A="given", b="given")
    )
    with process():
        return cls()


def by_environment_over_secrets(cls, unreadable):
    """One is a process variable, one a line of a .env, the unreadable ones secret files."""
    (cls.folder / "secrets").mkdir()
    for name, text in (unreadable("a") | unreadable("B")).items():
        (cls.folder / "secrets" / name).write_text(text)
    (cls.folder / ".env").write_text(env_text(B="given"))
    with process(A="given"):
        return cls(_secrets_dir="secrets")


def by_whole_part(cls, unreadable):
    """A whole part is an init argument, the unreadable ones are variables of its parts."""
    with process(unreadable("PART__PASSWORD"), unreadable("PART"), A="given", B="given"):
        return cls(part=Part(host="given"))


def by_part_of_part(cls, unreadable):
    """A part's part is a process variable, the unreadable one a line of a .env."""
    (cls.folder / ".env").write_text(env_text(unreadable("PART__PASSWORD")))
    with process(PART__PASSWORD="given", A="given", B="given"):
        return cls()


def by_first_choice(cls, unreadable):
    """The first choice is a process variable, the unreadable ones are its second, and both in a .env."""
    (cls.folder / ".env").write_text(env_text(unreadable("ONE"), unreadable("TWO")))
    with process(unreadable("TWO"), ONE="given", A="given", B="given"):
        return cls()


def by_source_of_their_own(cls, unreadable):
    """Both are from a source of the application."""

    class Hooked(cls):
        @classmethod
        def settings_customise_sources(cls, settings_cls, init_settings, **sources):
            return (
                init_settings,
                InitSettingsSource(settings_cls, {"a": "given", "b": "given"}),
                *sources.values(),
            )

    (cls.folder / ".env").write_text(env_text(unreadable("B")))
    with process(unreadable("A")):
        return Hooked()


def as_unused(cls, unreadable):
    """Nothing in the model has the names of the unreadable ones."""
    (cls.folder / ".env").write_text(env_text(unreadable("OTHER"), unreadable("A__X"), X="${OTHER}"))
    with process(unreadable("ANOTHER"), unreadable("A__B"), a="given", b="given"):
        return cls()


def as_unused_reference(cls, unreadable):
    """Lines that refer to the unreadable ones are themselves shadowed."""
    (cls.folder / ".env").write_text(env_text(unreadable("OTHER"), A="${OTHER}-${FROM}", B="${A}"))
    with process(unreadable("FROM"), a="given", b="given"):
        return cls()


SHADOWS = [
    by_init,
    by_command_line,
    by_command_line_app,
    by_process,
    by_later_file,
    by_later_line,
    by_environment_over_secrets,
    by_whole_part,
    by_part_of_part,
    by_first_choice,
    by_source_of_their_own,
    as_unused,
    as_unused_reference,
]


@pytest.mark.parametrize("shadow", SHADOWS, ids=lambda shadow: shadow.__name__)
@pytest.mark.parametrize(
    "unreadable", [no_entry, another_name, cut_off], ids=lambda unreadable: unreadable.__name__
)
def test_shadowed_values_do_not_matter(folder, shadow, unreadable):
    """A value that a higher source gives, or that the model does not use, may be unreadable; no key is unwrapped."""
    keys = CountingKeys()
    cls = made(keys)
    cls.folder = folder
    loaded = shadow(cls, unreadable)
    assert (loaded.a, loaded.b) == ("given", "given")
    assert keys.unwraps == 0


def test_shadowed_by_an_argument_while_another_is_decrypted(folder):
    """A key that only a shadowed value needs is not unwrapped beside those that are needed."""
    keys = CountingKeys()
    (folder / ".env").write_text(env_text(Environment().sealed(A="file")))
    (folder / ".env.local").write_text(env_text(Environment().sealed(PART__HOST="file")))
    with process(Environment().sealed(B="process")):
        loaded = made(keys)(a="given", part=Part(host="given"))
    assert (loaded.a, loaded.b, loaded.part.host) == ("given", "process", "given")
    assert keys.unwraps == 1


def test_only_the_keys_that_are_needed(folder):
    """Each data key that a value of the model needs is unwrapped once, the others not at all."""
    keys = CountingKeys()
    (folder / ".env").write_text(env_text(Environment().sealed(A="file"), Environment().sealed(OTHER="file")))
    with process(Environment().sealed(B="process"), Environment().sealed(MORE="process")):
        loaded = made(keys)()
        made(keys)()
    assert (loaded.a, loaded.b) == ("file", "process")
    assert keys.unwraps == 2


def test_keys_of_several_sources_are_unwrapped_side_by_side(folder):
    """The data keys of all sources are unwrapped together, before the first value is decrypted."""
    together = threading.Barrier(3, timeout=10)

    class Waiting(CountingKeys):
        def unwrap(self, item, context, timeout):
            together.wait()
            return super().unwrap(item, context, timeout)

    (folder / ".env").write_text(env_text(Environment().sealed(A="file")))
    (folder / ".env.local").write_text(env_text(Environment().sealed(PART__HOST="local")))
    with process(Environment().sealed(B="process")):
        loaded = made(Waiting())()
    assert (loaded.a, loaded.b, loaded.part.host) == ("file", "process", "local")


def test_rules_are_checked_before_the_first_unwrap(folder):
    """Where a lower source breaks the reader's rules, no key of a higher one is unwrapped either."""
    keys = CountingKeys()
    (folder / ".env").write_text(env_text(untrusted("A")))
    with process(Environment({"env": "prod"}).sealed(B="process")):
        error = raised(made(keys, encryption_context={"env": "prod"}))
    assert isinstance(error, PolicyError)
    assert set(error.variables) == {"A", "B"}
    assert keys.unwraps == 0


@pytest.mark.parametrize("extra", ["ignore", "forbid", "allow"])
def test_unused_lines(folder, extra):
    """An unused encrypted line is dropped, reported by its name, or, where extra ones are kept, decrypted."""
    keys = CountingKeys()
    (folder / ".env").write_text(
        env_text(Environment().sealed(A="file"), Environment().sealed(OTHER="canary"))
    )
    with process():
        if extra == "forbid":
            error = raised(made(keys, extra=extra))
            (line,) = error.errors()
            assert (line["type"], line["loc"], line["input"]) == ("extra_forbidden", ("other",), "**********")
        else:
            loaded = made(keys, extra=extra)()
            assert loaded.model_extra == ({"other": "canary"} if extra == "allow" else None)
    assert keys.unwraps == (2 if extra == "allow" else 1)


def test_unused_unreadable_lines(folder):
    """An unused line that cannot be decrypted is a failure only where extra ones are kept."""
    (folder / ".env").write_text(env_text(no_entry("OTHER")))
    with process():
        assert made()().a == "default"
        assert raised(made(extra="forbid")).error_count() == 1
        assert isinstance(raised(made(extra="allow")), KeyEntryError)


def in_process(cls, unreadable, lower):
    """The process variable fails over a line of a .env."""
    (cls.folder / ".env").write_text(env_text(lower("A")))
    with process(unreadable("A")):
        return raised(cls)


def in_file(cls, unreadable, lower):
    """The line of a later .env fails over that of an earlier one."""
    (cls.folder / ".env").write_text(env_text(lower("A")))
    (cls.folder / ".env.local").write_text(env_text(unreadable("A")))
    with process():
        return raised(cls)


def in_folder(cls, unreadable, lower):
    """The secret file in a later folder fails over that in an earlier one."""
    for name, variables in (("high", unreadable("a")), ("low", lower("A"))):
        (cls.folder / name).mkdir()
        for file, text in variables.items():
            (cls.folder / name / file).write_text(text)
    with process():
        return raised(lambda: cls(_secrets_dir=["low", "high"]))


def in_folders_of_parts(cls, unreadable, lower):
    """The same, with NestedSecretsSettingsSource."""

    class Hooked(cls):
        @classmethod
        def settings_customise_sources(cls, settings_cls, file_secret_settings, **sources):
            return (NestedSecretsSettingsSource(file_secret_settings),)

    for name, variables in (("high", unreadable("a")), ("low", lower("A"))):
        (cls.folder / name).mkdir()
        for file, text in variables.items():
            (cls.folder / name / file).write_text(text)
    with process():
        return raised(lambda: Hooked(_secrets_dir=["low", "high"]))


def in_part(cls, unreadable, lower):
    """The process variable of a part fails over a line of a .env, for that part and for the whole."""
    (cls.folder / ".env").write_text(env_text(lower("PART__HOST"), PART='{"host": "lower"}'))
    with process(unreadable("PART__HOST")):
        return raised(cls)


def in_reference(cls, unreadable, lower):
    """A line fails that another one refers to."""
    (cls.folder / ".env").write_text(env_text(lower("A")))
    (cls.folder / ".env.local").write_text(env_text(unreadable("OTHER"), A="x-${OTHER}"))
    with process():
        return raised(cls)


def in_referred_process_variable(cls, unreadable, lower):
    """A process variable fails that a line refers to."""
    (cls.folder / ".env").write_text(env_text(lower("A")))
    (cls.folder / ".env.local").write_text(env_text(A="x-${FROM}"))
    with process(unreadable("FROM")):
        return raised(cls)


def plain(name):
    """Give a plain value below the one that fails."""
    return {name: "lower"}


def sealed(name):
    """Give an encrypted value below the one that fails."""
    return Environment().sealed(**{name: "lower"})


def nothing(name):
    """Give nothing below the one that fails."""
    return {}


FAILS = [
    in_process,
    in_file,
    in_folder,
    in_folders_of_parts,
    in_part,
    in_reference,
    in_referred_process_variable,
]


@pytest.mark.parametrize("fails", FAILS, ids=lambda fails: fails.__name__)
@pytest.mark.parametrize("lower", [plain, sealed, nothing, no_entry], ids=lambda lower: lower.__name__)
@broken
def test_failures_stop_the_load(folder, fails, breaks, lower):
    """A value that cannot be decrypted is never replaced by a default, a lower source or its own text."""
    cls = made()
    cls.folder = folder
    error = fails(cls, breaks, lower)
    assert isinstance(error, EncenvError)
    assert isinstance(error, BROKEN[breaks])
    assert len(error.variables) == 1
    assert "canary" not in str(error)


@pytest.mark.parametrize("place", ["class", "inner class"])
@broken
def test_failures_run_no_code_of_the_application(breaks, place):
    """In a load that fails, no validator, default factory or post-init of the application runs."""
    ran = []

    class Watching(EncryptedSettings):
        a: str = "default"
        b: str = Field(default_factory=lambda: ran.append("factory") or "b")

        @model_validator(mode="before")
        @classmethod
        def _before(cls, data):
            ran.append("before")
            return data

        @model_validator(mode="wrap")
        @classmethod
        def _wrap(cls, data, handler):
            ran.append("wrap")
            return handler(data)

        @model_validator(mode="after")
        def _after(self):
            ran.append("after")
            return self

        @field_validator("a", mode="before")
        @classmethod
        def _field(cls, value):
            ran.append("field")
            return value

        def model_post_init(self, context):
            ran.append("post")

    class Outer(EncryptedSettings):
        inner: Watching = Field(default_factory=Watching)

        def model_post_init(self, context):
            ran.append("outer")

    with process(breaks("A")):
        error = raised(Watching if place == "class" else Outer)
    assert isinstance(error, BROKEN[breaks])
    assert not ran
    with process():
        (Watching if place == "class" else Outer)()
    assert ran


def test_all_failures_are_reported_together(folder):
    """One error names every variable that failed, of every source, and what to do about each."""
    (folder / ".env").write_text(env_text(no_entry("B"), changed("PART__HOST")))
    (folder / "secrets").mkdir()
    (folder / "secrets" / "one").write_text("encenv:1:nonsense")
    with process(another_name("A")):
        error = raised(lambda: made()(_secrets_dir="secrets"))
    assert isinstance(error, LoadError)
    assert set(error.variables) == {"A", "B", "PART__HOST", "one"}
    assert {type(failure) for failure in error.failures} == {
        AuthenticationError,
        KeyEntryError,
        MalformedError,
    }
    assert error.__context__ is None
    assert error.__cause__ is None


def test_a_failure_of_the_provider():
    """The error of the key provider is the failure of each variable; there is one unwrap."""

    class Refusing(CountingKeys):
        def unwrap(self, item, context, timeout):
            super().unwrap(item, context, timeout)
            raise KeyRefusedError("no", hint="ask")

    keys = Refusing()
    with process(Environment().sealed(A="1", B="2")):
        error = raised(made(keys))
    assert isinstance(error, KeyRefusedError)
    assert error.variables == ("A", "B")
    assert keys.unwraps == 1


def test_no_other_name_is_used_after_a_failure(folder):
    """If the value of the first name cannot be decrypted, the other names are neither used nor reported."""
    (folder / ".env").write_text(env_text(no_entry("TWO")))
    with process(changed("ONE"), no_entry("TWO")):
        error = raised(made())
    assert error.variables == ("ONE",)


def test_command_line_app_fails_alike(folder):
    """CliApp reports the failures of a load as the class itself does, files included."""
    if "env_file_depth" not in SettingsConfigDict.__annotations__:
        pytest.skip("CliApp of this pydantic-settings reads no .env")
    (folder / ".env").write_text(env_text(no_entry("B"), ENCENV_LOCAL_KEY="in the file"))
    with process(no_entry("A")):
        one, two = raised(made()), raised(lambda: CliApp.run(made(), cli_args=[]))
    assert type(one) is type(two)
    assert str(one) == str(two)
    assert "ENCENV_LOCAL_KEY" in str(one)


def test_an_undecodable_file(folder):
    """The error about a .env in another encoding names file and line, and holds nothing of the content."""
    (folder / ".env").write_bytes(b"A=canary\xff\n")
    with process():
        error = raised(made())
    assert isinstance(error, FileError)
    assert "canary" not in str(error)


@pytest.mark.parametrize("inside", ["process", "file", "folder"])
def test_prefixed_names(folder, inside):
    """ENC_NAME, encrypted under that whole name, supplies NAME, before env_prefix and in parts, in every source."""
    variables = Environment().sealed(ENC_APP_A="1", ENC_APP_PART='{"host": "h"}')
    (folder / "secrets").mkdir()
    if inside == "file":
        (folder / ".env").write_text(env_text(variables))
    for name, text in variables.items() if inside == "folder" else ():
        (folder / "secrets" / name).write_text(text)
    with process(variables if inside == "process" else {}):
        loaded = made(env_prefix="app_", secrets_dir="secrets")()
    assert (loaded.a, loaded.part.host) == ("1", "h")


@pytest.mark.parametrize("inside", ["process", "file", "folder"])
@pytest.mark.parametrize("other", ["A", "a"])
def test_both_names_set(folder, inside, other):
    """NAME and ENC_NAME in one source are a conflict that names both; of two sources the higher one wins."""
    variables = Environment().sealed(ENC_A="sealed") | {other: "plain"}
    (folder / "secrets").mkdir()
    if inside == "file":
        (folder / ".env").write_text(env_text(variables))
    for name, text in variables.items() if inside == "folder" else ():
        (folder / "secrets" / name).write_text(text)
    with process(variables if inside == "process" else {}):
        error = raised(made(secrets_dir="secrets"))
        assert made(secrets_dir="secrets")(a="given").a == "given"
    assert isinstance(error, ConflictError)
    assert "ENC_A" in str(error)
    assert other in error.variables


def test_a_line_without_a_value_is_not_a_duplicate(folder):
    """A line without a value is not in conflict with ENC_NAME, but takes away the value of an ENC_NAME above it."""
    sealed = env_text(Environment().sealed(ENC_A="sealed"))
    with process():
        (folder / ".env").write_text(f"{sealed}\nA\n")
        assert made()().a == "default"
        (folder / ".env").write_text(f"A\n{sealed}\n")
        assert made()().a == "sealed"


def test_prefixed_names_between_sources(folder):
    """Of NAME in one source and ENC_NAME in another, the higher source wins, and nothing lower is decrypted."""
    keys = CountingKeys()
    (folder / ".env").write_text(env_text(Environment().sealed(ENC_A="file")))
    with process(A="process"):
        assert made(keys)().a == "process"
    assert keys.unwraps == 0
    (folder / ".env").write_text(env_text(A="file"))
    with process(Environment().sealed(ENC_A="process")):
        assert made(keys)().a == "process"
    (folder / ".env").write_text(env_text(Environment().sealed(ENC_A="file")))
    (folder / ".env.local").write_text(env_text(A="local"))
    with process():
        assert made(keys)().a == "local"
    assert keys.unwraps == 1


def test_names_that_only_look_prefixed():
    """ENC_NAME is an ordinary name if the model has it, if its value is plaintext, or if the prefix is turned off."""
    fields = {"enc_a": (str, "default"), "a": (str, "default")}
    both = create_model("Both", __base__=EncryptedSettings, **fields)
    with process(Environment().sealed(ENC_A="1")):
        assert both().model_dump() == {"enc_a": "1", "a": "default"}
    with process(ENC_B="plain"):
        assert made()().b == "default"
    with process(Environment().sealed(ENC_B="1")):
        assert made(encrypted_prefix="")().b == "default"
        assert made(encrypted_prefix=None)().b == "default"
    with process(Environment().sealed(S_B="1")):
        assert made(encrypted_prefix="S_")().b == "1"


def test_a_prefixed_value_is_bound_to_its_whole_name():
    """A value encrypted as NAME does not decrypt as ENC_NAME, nor the other way round."""
    environment = Environment()
    for sealed_as, called in (("A", "ENC_A"), ("ENC_A", "A")):
        with process(environment.entry_variable, {called: environment.seal(**{sealed_as: "1"})[sealed_as]}):
            error = raised(made())
        assert isinstance(error, AuthenticationError)
        assert error.variables == (called,)


PLACES = ["process", "file", "folder"]


@pytest.mark.parametrize("value", PLACES)
@pytest.mark.parametrize("entry", [*PLACES, "nested folder"])
def test_key_entries_of_other_sources(folder, value, entry):
    """A value's key entry is found in any of the sources."""
    environment = Environment()
    class_ = made(secrets_dir="secrets")
    if entry == "nested folder":

        class Hooked(class_):
            @classmethod
            def settings_customise_sources(cls, settings_cls, file_secret_settings, **sources):
                nested = NestedSecretsSettingsSource(file_secret_settings)
                return sources["env_settings"], sources["dotenv_settings"], nested

        class_, entry = Hooked, "folder"
    (folder / "secrets").mkdir()
    environ = {}
    for place, variables in ((value, environment.seal(A="canary")), (entry, environment.entry_variable)):
        if place == "process":
            environ |= variables
        elif place == "file":
            (folder / ".env").write_text((folder / ".env").read_text() if (folder / ".env").exists() else "")
            with (folder / ".env").open("a") as file:
                file.write(env_text(variables))
        else:
            for name, text in variables.items():
                (folder / "secrets" / name).write_text(text + "\n")
    with process(environ):
        assert class_().a == "canary"


@pytest.mark.parametrize("extra", ["ignore", "forbid", "allow"])
@pytest.mark.parametrize("is_sealed", [True, False])
def test_key_entries_do_not_reach_the_model(folder, extra, is_sealed):
    """A key entry is no extra variable, nor a part of a field that is called so, even where nothing is encrypted."""
    environment = Environment()
    values = environment.seal(A="1") if is_sealed else {"A": "1"}
    (folder / ".env").write_text(env_text(environment.entry_variable, values))
    seen = []

    class Made(EncryptedSettings):
        model_config = SettingsConfigDict(env_file=".env", extra=extra, env_nested_delimiter="_")
        a: str
        encenv: dict[str, object] = {}  # noqa: RUF012 (pydantic copies it)

        @model_validator(mode="before")
        @classmethod
        def _before(cls, data):
            seen.append(dict(data))
            return data

    with process(environment.entry_variable):
        loaded = Made()
    assert (loaded.a, list(loaded.encenv)) == ("1", ["local"])  # the local key is a variable like any other
    assert environment.entry.kid.lower() not in str(seen).lower()


def wrapped_in(text):
    """Yield *text* in all the ways in which an argument can hold it."""
    yield text
    yield f"postgresql://{text}@host/db"
    yield SecretStr(text)
    yield SecretBytes(text.encode())
    yield text.encode()
    yield [text]
    yield {"deep": [{"er": text}]}
    yield {text: 1}
    yield Part(host=text)


@pytest.mark.parametrize("number", range(9))
def test_encrypted_text_from_other_sources(folder, number):
    """Encrypted text that comes as an argument, or from a file of another kind, is refused, however it is wrapped."""
    environment = Environment()
    value = list(wrapped_in(environment.seal(A="canary")["A"]))[number]
    cls = create_model("Made", __base__=EncryptedSettings, a=(object, None))
    ignoring = create_model("Made", __base__=cls, __cls_kwargs__={"extra": "ignore"})
    with process(environment.entry_variable):
        for error in (raised(lambda: cls(a=value)), raised(lambda: cls.model_validate({"a": value}))):
            assert isinstance(error, MalformedError)
            assert error.variables == ("a",)
        assert isinstance(raised(lambda: cls(other=value)), MalformedError)
        assert ignoring(other=value).a is None


@pytest.mark.parametrize("kind", ["json", "toml", "function"])
def test_encrypted_text_in_files_of_other_kinds(folder, kind):
    """Encrypted text in a JSON or TOML file, or from a source of the application's, is an error and not handed on."""
    environment = Environment()
    text = environment.seal(A="canary")["A"]
    (folder / "f.json").write_text(json.dumps({"a": text}))
    (folder / "f.toml").write_text(f'a = "{text}"\n')

    class Made(EncryptedSettings):
        a: str = "default"

        @classmethod
        def settings_customise_sources(cls, settings_cls, env_settings, **sources):
            source = {
                "json": lambda: JsonConfigSettingsSource(settings_cls, json_file="f.json"),
                "toml": lambda: TomlConfigSettingsSource(settings_cls, toml_file="f.toml"),
                "function": lambda: lambda: {"a": text},
            }[kind]()
            return env_settings, source

    with process(environment.entry_variable):
        error = raised(Made)
    with process(A="given"):
        assert Made().a == "given"
    assert isinstance(error, MalformedError)
    assert error.variables == ("a",)


def test_a_source_inside_another():
    """The values of a source that encenv does not know are not decrypted, and an encrypted one is refused."""

    def source():
        return EnvSettingsSource(Made)()

    class Made(EncryptedSettings):
        a: str = "default"

        @classmethod
        def settings_customise_sources(cls, settings_cls, **sources):
            return (source,)

    with process(Environment().sealed(A="canary")):
        assert isinstance(raised(Made), MalformedError)


def test_defaults_and_assignments_are_left_alone():
    """Encrypted text that the application itself puts into a default or an attribute is its own affair."""
    text = Environment().seal(A="canary")["A"]
    with process():
        loaded = create_model("Made", __base__=EncryptedSettings, a=(str, text))()
        assert loaded.a == text
        loaded.a = text
        assert loaded.model_copy(update={"a": text}).a == text


def test_the_environment_is_not_written():
    """A load leaves os.environ as it was."""
    with process(Environment().sealed(A="canary")):
        before = dict(os.environ)
        assert made()().a == "canary"
        assert dict(os.environ) == before


def test_a_replaced_environment(monkeypatch):
    """Where os.environ itself is replaced, as some tests do, values and keys come from the new one."""
    environment = Environment()
    with process():
        replaced = dict(os.environ) | environment.sealed(A="canary")
        monkeypatch.setattr(os, "environ", replaced)
        del replaced["ENCENV_LOCAL_KEY"]
        assert isinstance(raised(made()), EncenvError)
        assert made(KEYS)().a == "canary"


def test_log_record(caplog):
    """A load that decrypted something says so once, with numbers and key ids and no value."""
    environment = Environment()
    with process(environment.sealed(A="canary", B="canary")), caplog.at_level("INFO", "encenv"):
        made()()
        (record,) = caplog.records
    assert record.getMessage().startswith(
        f"decrypted 2 variables under data keys {environment.key.kid}: 1 unwrapped"
    )
    with process(A="plain"), caplog.at_level("INFO", "encenv"):
        caplog.clear()
        made()()
    assert not caplog.records
