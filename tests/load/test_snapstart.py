"""Settings are emptied before a snapshot of AWS Lambda, and loaded again after it."""

import subprocess
import sys

import pytest
from support.programs import needs_linux
from support.workspace import CANARY

SNAP_START = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}

# The program never holds the canary itself: neither as a constant nor in a variable that outlives a call.
BEGINNING = """
import contextlib, gc, hashlib, os, sys, types, weakref
from functools import cached_property, partial
from typing import Annotated, Any
from awslambdaric.lambda_runtime_hooks_runner import run_after_restore, run_before_snapshot
from pydantic import (
    AfterValidator, BaseModel, ConfigDict, Field, Json, PostgresDsn, PrivateAttr, SecretStr, ValidationInfo,
    computed_field, field_validator, model_validator,
)
from pydantic_settings import BaseSettings, CliApp
import encenv
from encenv import EncryptedSettings

def canary():
    return "-".join(["hunter2", "the", "canary"])

def holders():
    \"\"\"Return what kinds of objects that are alive hold the canary.\"\"\"
    found, seen, waiting = [], set(), [o for o in gc.get_objects() if not isinstance(o, types.FrameType)]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or one is seen:
            continue
        seen.add(id(one))
        if isinstance(one, str) and canary() in one or isinstance(one, (bytes, bytearray)) and canary().encode() in one:
            found.append(type(one).__name__)
        waiting += gc.get_referents(one)
    return found

def shown(value):
    \"\"\"Return a text that says whether *value* is what it was, and not what it is.\"\"\"
    text = getattr(value, "get_secret_value", lambda: str(value))()
    assert canary() in text, "the canary is not in it"
    return hashlib.sha256(text.encode()).hexdigest()

def is_gone(look):
    try:
        look()
    except AttributeError:
        return True
    return False
"""
ENDING = """
before = [shown(look()) for look in looks]
assert holders(), "the walk finds nothing even while the settings are alive"
run_before_snapshot()
assert all(is_gone(look) for look in looks)
assert not holders(), holders()
run_after_restore()
assert [shown(look()) for look in looks] == before
"""
SHAPES = {
    "fields": """
class Settings(EncryptedSettings):
    a: SecretStr
    b: str
    debug: bool = False
settings = Settings()
looks = [lambda: settings.a, lambda: settings.b]
""",
    "frozen": """
class Settings(EncryptedSettings, frozen=True):
    a: str
settings = Settings()
looks = [lambda: settings.a]
""",
    "extra": """
class Settings(EncryptedSettings, extra="allow", env_file=".env"):
    a: str
settings = Settings()
looks = [lambda: settings.a, lambda: settings.more]
""",
    "nested": """
class Part(BaseModel):
    c: str
class Settings(EncryptedSettings, env_nested_delimiter="__"):
    part: Part
settings = Settings()
looks = [lambda: settings.part.c]
""",
    "json": """
class Settings(EncryptedSettings):
    items: dict[str, str]
settings = Settings()
looks = [lambda: settings.items]
""",
    "another base takes the hook of subclasses": """
class Quiet:
    def __init_subclass__(cls, **options):
        pass
class Settings(Quiet, EncryptedSettings):
    a: str
settings = Settings()
looks = [lambda: settings.a]
""",
    "a base takes it": """
class Base(EncryptedSettings):
    def __init_subclass__(cls, **options):
        pass
class Settings(Base):
    a: str
    def __init__(self, **values):
        EncryptedSettings.__init__(self, **values)
settings = Settings()
looks = [lambda: settings.a]
""",
    "an init that came later": """
class Settings(EncryptedSettings):
    a: str
def init(self, **values):
    super(Settings, self).__init__(**values)
Settings.__init__ = init
settings = Settings()
looks = [lambda: settings.a]
""",
    "cached property": """
class Settings(EncryptedSettings):
    a: str
    @cached_property
    def url(self):
        return f"https://{self.a}@h"
    @computed_field
    @cached_property
    def other(self) -> str:
        return f"http://{self.a}@h"
settings = Settings()
looks = [lambda: settings.url, lambda: settings.other]
""",
    "private": """
class Settings(EncryptedSettings):
    a: str
    _own: str = PrivateAttr("")
    _rest: int = PrivateAttr(7)
    def model_post_init(self, context):
        self._own = f"own {self.a}"
settings = Settings()
looks = [lambda: f"{settings._own} {settings._rest}"]
""",
    "validators": """
class Settings(EncryptedSettings):
    a: str
    copy_a: str = Field("", validate_default=True)
    third: Annotated[str, AfterValidator(lambda value, info=None: value)] = ""
    fourth: str = Field(default_factory=lambda data: data["a"] + "!")
    @field_validator("copy_a")
    @classmethod
    def _copied(cls, value, info):
        return f"copy of {info.data['a']}"
    @model_validator(mode="after")
    def _third(self):
        self.third = self.a + "?"
        return self
settings = Settings()
looks = [lambda: settings.a, lambda: settings.copy_a, lambda: settings.third, lambda: settings.fourth]
""",
    "annotated validator": """
def mixed(value: str, info: ValidationInfo) -> str:
    return f"{value}{info.data['a']}"
class Settings(EncryptedSettings):
    a: str
    plain: Annotated[str, AfterValidator(mixed), Field(validate_default=True)] = "plain"
settings = Settings()
looks = [lambda: settings.plain]
""",
    "own __init__": """
class Base(EncryptedSettings):
    a: str
    def __init__(self, greeting, /, **values):
        super().__init__(**values)
        self.__dict__["greeted"] = f"{greeting} {self.a}"
class Settings(Base):
    debug: bool = False
    def __init__(self, times):
        super().__init__("hello " * times)
settings = Settings(2)
looks = [lambda: settings.a, lambda: settings.greeted]
""",
    "a mixin's __init__": """
class Mixin:
    def __init__(self, **values):
        super().__init__(**values)
        object.__setattr__(self, "noted", "noted " + self.a)
class Settings(Mixin, EncryptedSettings):
    a: str
settings = Settings()
looks = [lambda: settings.noted]
""",
    "arguments": """
class Settings(EncryptedSettings, extra="ignore"):
    a: str
    b: str
settings = Settings(_env_file=".env", b="given")
other = Settings(None, None, None, None, "more.env")
looks = [lambda: settings.a, lambda: other.b]
assert settings.b == "given"
""",
    "CliApp": """
class Settings(EncryptedSettings):
    a: str
    port: int = 0
settings = CliApp.run(Settings, cli_args=["--port", "7"])
looks = [lambda: f"{settings.a} {settings.port}"]
""",
    "several classes": """
class One(EncryptedSettings):
    a: str
class Two(EncryptedSettings):
    b: SecretStr
one, two, again = One(), Two(), One()
looks = [lambda: one.a, lambda: two.b, lambda: again.a]
""",
    "settings within settings": """
class Inner(EncryptedSettings):
    a: str
class Settings(EncryptedSettings):
    inner: Inner = Field(default_factory=Inner)
    b: str
settings = Settings()
looks = [lambda: settings.inner.a, lambda: settings.b]
""",
    "a hook with a source that the application keeps": """
kept = []
class Settings(EncryptedSettings):
    a: str
    @classmethod
    def settings_customise_sources(cls, settings_cls, init_settings, env_settings, **others):
        kept.append(env_settings)
        return kept[0], init_settings
settings = Settings()
looks = [lambda: settings.a]
""",
}
PARTS = {
    "A": CANARY,
    "B": f"{CANARY} and more",
    "PART__C": CANARY,
    "ITEMS": '{"key": "' + CANARY + '"}',
    "MORE": f"{CANARY} more",
}


@pytest.fixture
def process(workspace):
    """What runs a program in the workspace's folder, its environment encrypted under a local key."""
    assert workspace.call("keygen").code == 0
    lines = [f"{name}='{value}'\n" for name, value in PARTS.items()]
    workspace.write("process.env", "".join(lines[:-1]))
    workspace.write(".env", lines[-1])
    workspace.write("more.env", lines[1])
    for name in ("process.env", ".env", "more.env"):
        assert workspace.call("encrypt", "--key", "local", name).code == 0
    from encenv.files.document import parse

    found = parse((workspace.folder / "process.env").read_text()).bindings
    sealed = {one.name: one.value for one in found if one.name and one.value}

    def run(program, environ=SNAP_START):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=workspace.folder,
            env={**workspace.environ, **sealed, **environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert CANARY not in done.stdout + done.stderr
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@needs_linux
@pytest.mark.parametrize("shape", SHAPES)
def test_a_snapshot_holds_no_secret_and_a_restore_loads_it(process, shape):
    """Whatever a settings class is made of: nothing alive holds its secret at the snapshot; the object has it after."""
    process(BEGINNING + SHAPES[shape] + ENDING)


@needs_linux
def test_settings_that_the_application_drops_are_not_kept(process):
    """A settings object that nothing else refers to goes at once, and one in a cycle is not loaded again."""
    process(
        BEGINNING
        + """
class Settings(EncryptedSettings):
    a: str
    me: Any = None
    def __init__(self):
        loads.append(1)
        super().__init__()
loads = []
one, two = Settings(), Settings()
gone, in_cycle = weakref.ref(one), weakref.ref(two)
del one
assert gone() is None
two.me = two
del two
assert in_cycle() is not None
gc.disable()
dropped = types.SimpleNamespace(text=Settings().a)
dropped.me = dropped
del dropped
run_before_snapshot()
assert in_cycle() is None and not holders()
run_after_restore()
assert loads == [1, 1, 1]
"""
    )


@needs_linux
@pytest.mark.parametrize(
    "read", ["encenv.decrypt_environ", "partial(encenv.dotenv_values, '.env')"], ids=["environ", "file"]
)
def test_a_snapshot_holds_no_data_key_without_settings(process, read):
    """A program that reads variables with a function holds no data key in a snapshot, and reads again after it."""
    process(
        BEGINNING
        + f"""
from encenv.format.envelope import DataKey
def keys():
    return [one for one in gc.get_objects() if type(one) is dict and any(type(o) is DataKey for o in one.values())]
read = {read}
before = hashlib.sha256(repr(read()).encode()).digest()
assert keys()
run_before_snapshot()
assert not keys() and not holders()
run_after_restore()
assert hashlib.sha256(repr(read()).encode()).digest() == before
"""
    )


@needs_linux
def test_settings_without_an_encrypted_value_are_unchanged(process):
    """Settings that needed no key are neither emptied nor loaded again."""
    process(
        BEGINNING
        + """
class Settings(EncryptedSettings):
    debug: bool = False
settings = Settings()
settings.debug = True
run_before_snapshot()
assert settings.debug
run_after_restore()
assert settings.debug
"""
    )


@needs_linux
def test_hooks_of_the_application(process):
    """A hook that is registered after encenv was imported finds the settings whole, before and after."""
    process(
        BEGINNING
        + """
from snapshot_restore_py import register_after_restore, register_before_snapshot
class Settings(EncryptedSettings):
    a: str
seen = []
@register_before_snapshot
@register_after_restore
def look():
    seen.append(shown(settings.a))
settings = Settings()
run_before_snapshot()
assert is_gone(lambda: settings.a)
run_after_restore()
assert len(seen) == 2 and len(set(seen)) == 1
"""
    )


@needs_linux
def test_a_load_that_fails_after_a_restore(process):
    """The failure is the one of an ordinary load, and the object stays empty."""
    process(
        BEGINNING
        + """
class Settings(EncryptedSettings):
    a: str
    b: str
settings = Settings()
run_before_snapshot()
os.environ["A"] = os.environ["B"]
try:
    run_after_restore()
except encenv.AuthenticationError as error:
    assert error.variables == ("A",)
    assert canary() not in str(error)
else:
    raise AssertionError
assert is_gone(lambda: settings.b)
gc.collect()
assert not holders()
"""
    )


def test_without_a_snapshot_nothing_is_registered_or_tracked(process):
    """In any other process AWS's module is not even imported, and no object is known."""
    program = """
import sys
from encenv import EncryptedSettings
class Settings(EncryptedSettings):
    a: str
    def __init__(self): super().__init__()
own = Settings.__init__
settings = Settings()
from encenv.load import snapstart
assert not hasattr(EncryptedSettings.__init__, "_encenv_records") and not hasattr(own, "_encenv_records")
assert not snapstart._objects
assert "snapshot_restore_py" not in sys.modules
"""
    process(program, {})
    process(program, {"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand"})


def test_a_runtime_without_hooks(process):
    """Where AWS's module is missing, settings load as ever."""
    process("""
import sys
sys.modules["snapshot_restore_py"] = None
import encenv
encenv.prefetch()
class Settings(encenv.EncryptedSettings):
    a: str
assert len(Settings().a) == 18
""")
