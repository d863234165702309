"""`EncryptedSettings`: a `BaseSettings` whose variables may be sealed.

It wraps two things of pydantic-settings. The hook `settings_customise_sources`, wherever in the MRO it is defined, gets
sources that decrypt, and a last source that stops a failed load before the model sees anything. `__init__` starts the
load and reports its failures. The undocumented names that this relies on are in pydantic_names.py.
"""

import functools
import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from encenv.errors import EncenvError, MalformedError
from encenv.format.sealed import claims, embeds
from encenv.keys.process_safety import has_snapshot, lazily
from encenv.load.environ import OPTIONS, loading
from encenv.load.field_names import model_keys
from encenv.load.pydantic_names import ENV_FILE_SENTINEL
from encenv.load.sources import SettingsLoad, Withheld

if TYPE_CHECKING:
    from encenv.load import safe_errors, snapstart
    from encenv.load.config import EncryptedSettingsConfigDict
else:
    safe_errors = lazily("encenv.load.safe_errors")
    snapstart = lazily("encenv.load.snapstart")


class LastSource(PydanticBaseSettingsSource):
    """The last source of a load gives nothing, and stops the load if it has failed.

    So nothing of the application's own runs on what was loaded in part: no validator, no default factory.
    """

    def __init__(self, load: SettingsLoad) -> None:
        super().__init__(load.settings_cls)
        self.load = load

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 (asked for by the base)
        """Return that there is no value."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return nothing, or raise the first failure; `EncryptedSettings` reports all of them."""
        for key, value in self.current_state.items():
            if _holds_sealed(value) and self._is_used(key):
                self.load.fail(key, _elsewhere())
        if self.load.failures:
            raise self.load.failures[0]
        return {}

    def _is_used(self, key: str) -> bool:
        fields = self.settings_cls.model_fields.items()
        keys = {own.name for name, field in fields for own in model_keys(name, field, self.config)}
        return key in keys or self.config.get("extra") != "ignore"


class EncryptedSettings(BaseSettings):
    """Settings whose variables may be sealed values; where they are not, a `BaseSettings` like any other.

    The options of `EncryptedSettingsConfigDict` stand in `model_config` or as class keywords:

        class Settings(EncryptedSettings, env_file=".env", trusted_keys=["arn:aws:kms:*:111122223333:key/*"]):
            secret_key: SecretStr

    Only variables that the model asks for, and that no earlier source gives, are decrypted. With
    other bases beside it, this one comes first.

    Raises:
        EncenvError: If a sealed value that is asked for cannot be decrypted. All failures are reported together,
            and nothing is loaded.
        ValidationError: As from `BaseSettings`; if anything was decrypted, with the inputs masked.
    """

    # The plain type: a subclass may have a `SettingsConfigDict` as well. What a call of a `TypedDict` gives is a dict.
    model_config: ClassVar[SettingsConfigDict] = {
        "encrypted_prefix": "ENC_",  # type: ignore[typeddict-unknown-key]
        "cache_strings": "none",  # pydantic would keep the texts of a `Json` for as long as the process lives
    }

    def __init_subclass__(cls, **kwargs: "Unpack[EncryptedSettingsConfigDict]") -> None:
        # pydantic has taken the keywords that it knows; the rest are these options, or nobody's.
        for option in OPTIONS & kwargs.keys():
            cls.model_config[option] = kwargs.pop(option)  # type: ignore[literal-required,misc]
        super().__init_subclass__(**kwargs)  # type: ignore[misc]  # none of these options is left
        _wrap_hook(cls)
        if has_snapshot():
            cls.__init__ = snapstart.recorded(cls.__init__)  # type: ignore[method-assign]

    if not TYPE_CHECKING:  # a type checker sees the signatures of BaseSettings

        @classmethod
        def settings_customise_sources(cls, *args: Any, **sources: Any) -> Any:
            """Define the sources and their order, as `BaseSettings.settings_customise_sources`."""
            # Not a hook of its own: bases that stand behind this one in a class may have one.
            return _call_opened(super().settings_customise_sources, cls, args, sources)

        @functools.wraps(BaseSettings.__init__)
        def __init__(__pydantic_self__, *args: Any, **values: Any) -> None:  # noqa: N805 (a field may be called self)
            cls = type(__pydantic_self__)
            is_new = not __pydantic_self__.__dict__  # else it is loaded again in place, and keeps what it has
            _wrap_hook(cls)  # one that was put in place since
            if args:
                values = _named(__pydantic_self__, *args, **values)
            load = _prepared(cls, values)
            raised: BaseException | None = None
            token = loading.set(load)
            try:
                super().__init__(**values)
            except BaseException as error:  # noqa: BLE001 (raised again below, outside of this block and its context)
                raised = error
            finally:
                loading.reset(token)
            failed = load.finish()
            # Ctrl-C, which no failure replaces.
            stopped = raised is not None and not isinstance(raised, Exception)
            if failed is not None and not stopped:
                raised = failed
            elif raised is not None and (
                load.opened if stopped else load.has_decrypted or isinstance(raised, EncenvError)
            ):
                raised = safe_errors.masked(raised, cls, load)
            if raised is not None:
                # The frame of this call is all that the exception keeps of the load; it must not hold values either,
                # nor what its callers hold: the instance, and the sources that `CliApp` built.
                if load.opened:
                    load.forget(_built(values))
                    if is_new:
                        snapstart.clear(__pydantic_self__)
                del __pydantic_self__, args, values, load, token
                raise raised
            if load.has_decrypted and has_snapshot() and snapstart.decrypted_for(__pydantic_self__):
                load.forget(_built(values))  # what `CliApp` hands over is kept for the next load


if has_snapshot():
    # Of a class whose own `__init__` is made otherwise than in `__init_subclass__`, this one is what is called at last.
    EncryptedSettings.__init__ = snapstart.recorded(EncryptedSettings.__init__)  # type: ignore[method-assign]


class _DecryptingHook(classmethod):  # type: ignore[type-arg]  # it is known by its class
    """A `settings_customise_sources` whose sources read encrypted values."""


def _wrap_hook(cls: type[BaseSettings]) -> None:
    """Wrap the hook that *cls* resolves, unless it is wrapped: its own, or that of a mixin unaware of encenv.

    This runs for each instance, because a hook may be assigned to a finished class. The mark is the type of the object
    in the class's dictionary: an attribute of the function inside a `classmethod` is not visible there.
    """
    name = BaseSettings.settings_customise_sources.__name__
    resolver = next(base for base in cls.__mro__ if name in base.__dict__)
    original = resolver.__dict__[name]
    if resolver is EncryptedSettings or isinstance(original, _DecryptingHook):
        return

    @functools.wraps(getattr(cls, name))
    def settings_customise_sources(sub: type[BaseSettings], *args: Any, **sources: Any) -> Any:
        # An inherited hook is looked up at each call, as Python does: it may be replaced in its own class.
        hook = original.__get__(None, sub) if resolver is cls else getattr(super(cls, sub), name)
        return _call_opened(hook, sub, args, sources)

    setattr(cls, name, _DecryptingHook(settings_customise_sources))


def _call_opened(hook: Any, cls: type[BaseSettings], args: tuple[Any, ...], sources: dict[str, Any]) -> Any:
    """Call *hook* so that the sources it is given and those it returns read sealed values."""
    load = loading.get()
    if not isinstance(load, SettingsLoad) or load.settings_cls is not cls:
        load = SettingsLoad(cls)  # CliApp makes the sources before the instance
    outermost, load.in_hook = not load.in_hook, True
    raised: BaseException | None = None
    token = loading.set(load)
    try:
        # Before the hook, so that a source of the application's which wraps one of these reads sealed values too.
        load.adopt([source for source in (*args, *sources.values()) if not isinstance(source, type)])
        ordered = hook(*args, **sources)
        load.adopt(ordered)
    except BaseException as error:  # noqa: BLE001 (raised again below, as in EncryptedSettings.__init__)
        raised = error
    finally:
        loading.reset(token)
        load.in_hook = not outermost
    if raised is None:
        return ordered + (LastSource(load),) if outermost else ordered  # noqa: RUF005 (what is no tuple stays an error)
    if outermost and load.opened:
        raised = safe_errors.masked(raised, cls, load)
        load.forget(())
        del hook, args, sources, load, token
    raise raised


def _named(*args: Any, **values: Any) -> dict[str, Any]:
    """Return the arguments of `BaseSettings.__init__`, except for the instance, by name."""
    named = inspect.signature(BaseSettings.__init__).bind(*args, **values).arguments
    _, *names = named
    return {**{name: named[name] for name in names if name != "values"}, **named.get("values", {})}


def _prepared(cls: type[BaseSettings], values: dict[str, Any]) -> SettingsLoad:
    """Return the load of an instance of *cls* made with the arguments *values*, in which it takes its place."""
    built = values.get("_build_sources")
    if built is None:
        load = SettingsLoad(cls)
        env_file = values.get("_env_file", ENV_FILE_SENTINEL)
        env_file = cls.model_config.get("env_file") if env_file == ENV_FILE_SENTINEL else env_file
        if env_file is not None:
            values["_env_file"] = Withheld(env_file)
        return load
    for source in built[0]:
        if isinstance(source, LastSource) and "load" in vars(source):  # else it was forgotten after that load
            return source.load
    load = SettingsLoad(cls)
    sources = tuple(source for source in built[0] if not isinstance(source, LastSource))
    load.adopt(sources)
    values["_build_sources"] = (*sources, LastSource(load)), built[1]
    return load


def _built(values: Mapping[str, Any]) -> Sequence[Any]:
    """Return the sources that were built before the instance, among the arguments *values* of `BaseSettings.__init__`."""
    built = values.get("_build_sources")
    return () if built is None else built[0]


def _holds_sealed(value: Any) -> bool:
    if isinstance(value, str):
        return "encenv:" in value and (claims(value) or embeds(value))
    if isinstance(value, (SecretStr, SecretBytes)):
        return _holds_sealed(value.get_secret_value())
    if isinstance(value, bytes):
        return b"encenv:" in value and _holds_sealed(value.decode("utf-8", "replace"))
    if isinstance(value, Mapping):
        return any(_holds_sealed(item) for pair in value.items() for item in pair)
    if isinstance(value, BaseModel) or (is_dataclass(value) and not isinstance(value, type)):
        return _holds_sealed(getattr(value, "__dict__", {}))
    return isinstance(value, (list, tuple, set, frozenset)) and any(_holds_sealed(item) for item in value)


def _elsewhere() -> MalformedError:
    return MalformedError(
        "a sealed value came from a source that is not opened",
        hint="put it into an environment variable, a .env file or secrets_dir",
    )


def _names_only(record: logging.LogRecord) -> bool:
    """Take the values out of what PYDANTIC_SETTINGS_DEBUG logs of a load that decrypted something."""
    load = loading.get()
    # With args it is a path that is logged.
    if isinstance(load, SettingsLoad) and load.has_decrypted and not record.args:
        record.msg = load.names_by_source()
    return True


logging.getLogger("pydantic_settings").addFilter(_names_only)
