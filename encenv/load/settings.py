"""`EncryptedSettings`: a `BaseSettings` whose variables may be encrypted.

Two functions of pydantic-settings are wrapped. The hook `settings_customise_sources`, wherever in the MRO it is
defined, gets sources that decrypt; its result gets a last source that stops a failed load before any validator runs.
`__init__` starts and ends the load, and raises its errors without the values. Both are public, but that is not enough:
the hook cannot see the `_env_file` of a call, the sources that `CliApp` has built (`_build_sources`), or what one
source hands to the next. Those names are undocumented, and listed in pydantic_names.py.
"""

import functools
import inspect
import logging
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from encenv.errors import EncenvError, MalformedError
from encenv.format.sealed import claims, embeds
from encenv.keys.process_safety import has_snapshot, lazily
from encenv.load.field_names import model_keys
from encenv.load.pydantic_names import ENV_FILE_SENTINEL
from encenv.load.reader_session import OPTIONS, SettingsSession, loading
from encenv.load.sources import HiddenEnvFile, adopt, forget, states

if TYPE_CHECKING:
    from encenv.load import safe_errors, snapstart
    from encenv.load.options import EncryptedSettingsConfigDict
else:
    safe_errors = lazily("encenv.load.safe_errors")
    snapstart = lazily("encenv.load.snapstart")

HAS_SNAPSHOT = has_snapshot()


class LastSource(PydanticBaseSettingsSource):
    """The last source of a load, which gives no values and stops a failed load.

    No validator and no default factory then runs on a part of the values.
    """

    def __init__(self, session: SettingsSession) -> None:
        super().__init__(session.settings_cls)
        self.session = session

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 (the base has it)
        """Return no value."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return nothing, or raise the first failure; `EncryptedSettings` reports all of them."""
        for key, value in self.current_state.items():
            if _holds_encrypted(value) and self._is_used(key):
                failure = MalformedError(
                    "an encrypted value came from a source that encenv does not decrypt",
                    hint="put it into an environment variable, a .env file or secrets_dir",
                )
                self.session.fail(key, failure)
        if self.session.failures:
            raise self.session.failures[0]
        return {}

    def _is_used(self, key: str) -> bool:
        fields = self.settings_cls.model_fields.items()
        keys = {own for name, field in fields for own in model_keys(name, field, self.config)}
        return key in keys or self.config.get("extra") != "ignore"


class EncryptedSettings(BaseSettings):
    """Settings whose variables may be encrypted; where they are not, a `BaseSettings` like any other.

    The options of `EncryptedSettingsConfigDict` are set in `model_config` or as class keywords:

        class Settings(EncryptedSettings, env_file=".env", trusted_keys=["arn:aws:kms:*:111122223333:key/*"]):
            secret_key: SecretStr

    Only variables that the model uses, and that no earlier source gives, are decrypted. If there are
    several base classes, name this one first.

    Raises:
        EncenvError: If an encrypted value that the model uses cannot be decrypted. All failures are reported together,
            and nothing is loaded.
        ValidationError: As from `BaseSettings`; if anything was decrypted, without the inputs.
    """

    # Not `EncryptedSettingsConfigDict`, so that a subclass may use a `SettingsConfigDict` as well.
    model_config: ClassVar[SettingsConfigDict] = {
        "encrypted_prefix": "ENC_",  # type: ignore[typeddict-unknown-key]
        "cache_strings": "none",  # pydantic would keep the texts of a `Json` for as long as the process lives
    }

    def __init_subclass__(cls, **kwargs: "Unpack[EncryptedSettingsConfigDict]") -> None:
        # pydantic has taken the keywords that it knows; the rest are these options, or unknown.
        for option in OPTIONS & kwargs.keys():
            cls.model_config[option] = kwargs.pop(option)  # type: ignore[literal-required,misc]
        super().__init_subclass__(**kwargs)  # type: ignore[misc]  # none of these options is left
        _wrap_hook(cls)
        if HAS_SNAPSHOT:
            cls.__init__ = snapstart.with_record(cls.__init__)  # type: ignore[method-assign]

    if not TYPE_CHECKING:  # a type checker sees the signatures of BaseSettings

        @functools.wraps(BaseSettings.__init__)
        def __init__(__pydantic_self__, *args: Any, **values: Any) -> None:  # noqa: N805 (a field may be called self)
            cls = type(__pydantic_self__)
            is_new = not __pydantic_self__.__dict__  # else it is loaded again in place, and keeps what it has
            _wrap_hook(cls)  # it may have been assigned since the last instance
            if args:
                values = _by_name(__pydantic_self__, *args, **values)
            session = _start_session(cls, values)
            exception: BaseException | None = None
            token = loading.set(session)
            try:
                super().__init__(**values)
            except BaseException as error:  # noqa: BLE001 (raised again below, outside of this block and its context)
                exception = error
            finally:
                loading.reset(token)
            failure = session.end()
            # Ctrl-C, which no failure replaces.
            is_stop = exception is not None and not isinstance(exception, Exception)
            has_values = session.may_hold_values if is_stop else session.has_decrypted
            if failure is not None and not is_stop:
                exception = failure
            elif exception is not None and (has_values or isinstance(exception, EncenvError)):
                exception = safe_errors.safe_error(exception, cls, session)
            if exception is not None:
                # The exception keeps only this frame of the load. The frame must hold no values, nor must the objects
                # that its callers hold: the instance, and the sources that `CliApp` built.
                if session.may_hold_values:
                    forget(session)
                    if is_new:
                        snapstart.clear(__pydantic_self__)
                del __pydantic_self__, args, values, session, token
                raise exception
            if HAS_SNAPSHOT and session.has_decrypted and snapstart.mark_decrypted(__pydantic_self__):
                forget(session)  # what `CliApp` hands over is kept for the next load


if HAS_SNAPSHOT:
    # Also wrap the base `__init__`: not every subclass passes through `__init_subclass__`.
    EncryptedSettings.__init__ = snapstart.with_record(EncryptedSettings.__init__)  # type: ignore[method-assign]


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
    if isinstance(original, _DecryptingHook):
        return

    @functools.wraps(getattr(cls, name))
    def settings_customise_sources(sub: type[BaseSettings], *args: Any, **sources: Any) -> Any:
        # An inherited hook is looked up at each call, as Python does: it may be replaced in its own class.
        hook = original.__get__(None, sub) if resolver is cls else getattr(super(cls, sub), name)
        return _call_hook(hook, sub, args, sources)

    setattr(cls, name, _DecryptingHook(settings_customise_sources))


_wrap_hook(EncryptedSettings)  # it calls the hook of the bases behind it in the MRO


def _call_hook(hook: Any, cls: type[BaseSettings], args: tuple[Any, ...], sources: dict[str, Any]) -> Any:
    """Call *hook* so that the sources it is given and those it returns read encrypted values."""
    session = loading.get()
    if session is None or session.settings_cls is not cls:
        session = SettingsSession(cls)  # CliApp makes the sources before the instance
    is_outermost, session.in_hook = not session.in_hook, True
    exception: BaseException | None = None
    token = loading.set(session)
    try:
        # Before the hook, so that a source of the application's which wraps one of these reads encrypted values too.
        adopt(session, [source for source in (*args, *sources.values()) if not isinstance(source, type)])
        result = hook(*args, **sources)
        adopt(session, result)
    except BaseException as error:  # noqa: BLE001 (raised again below, as in EncryptedSettings.__init__)
        exception = error
    finally:
        loading.reset(token)
        session.in_hook = not is_outermost
    if exception is None:
        return result + (LastSource(session),) if is_outermost else result  # noqa: RUF005 (another type stays an error)
    if is_outermost and session.may_hold_values:
        exception = safe_errors.safe_error(exception, cls, session)
        forget(session)
        del hook, args, sources, session, token
    raise exception


def _by_name(*args: Any, **values: Any) -> dict[str, Any]:
    """Return the arguments of `BaseSettings.__init__`, except for the instance, by name."""
    arguments = inspect.signature(BaseSettings.__init__).bind(*args, **values).arguments
    _, *names = arguments
    return {**{name: arguments[name] for name in names if name != "values"}, **arguments.get("values", {})}


def _start_session(cls: type[BaseSettings], values: dict[str, Any]) -> SettingsSession:
    """Return the session of an instance of *cls*, and change the arguments *values* so that its sources decrypt."""
    pair = values.get("_build_sources")
    if pair is None:
        session = SettingsSession(cls)
        env_file = values.get("_env_file", ENV_FILE_SENTINEL)
        env_file = cls.model_config.get("env_file") if env_file == ENV_FILE_SENTINEL else env_file
        if env_file is not None:
            values["_env_file"] = HiddenEnvFile(env_file)
        return session
    last = next((one for one in pair[0] if isinstance(one, LastSource) and "session" in vars(one)), None)
    if last is not None:
        session = last.session
    else:  # no hook was called, or the sources have served another load
        session = SettingsSession(cls)
        sources = tuple(source for source in pair[0] if not isinstance(source, LastSource))
        adopt(session, sources)
        values["_build_sources"] = (*sources, LastSource(session)), pair[1]
    session.cli_sources = values["_build_sources"][0]
    return session


def _holds_encrypted(value: Any) -> bool:
    if isinstance(value, str):
        return "encenv:" in value and (claims(value) or embeds(value))
    if isinstance(value, (SecretStr, SecretBytes)):
        return _holds_encrypted(value.get_secret_value())
    if isinstance(value, bytes):
        return b"encenv:" in value and _holds_encrypted(value.decode("utf-8", "replace"))
    if isinstance(value, Mapping):
        return any(_holds_encrypted(item) for pair in value.items() for item in pair)
    if isinstance(value, BaseModel) or (is_dataclass(value) and not isinstance(value, type)):
        return _holds_encrypted(getattr(value, "__dict__", {}))
    return isinstance(value, (list, tuple, set, frozenset)) and any(_holds_encrypted(item) for item in value)


def _names_only(record: logging.LogRecord) -> bool:
    """Remove the values from the PYDANTIC_SETTINGS_DEBUG records of a load that decrypted something."""
    session = loading.get()
    # A record with args logs a path.
    if session is not None and session.has_decrypted and not record.args:
        lines = [f"  {name}: {', '.join(state) or 'nothing'}" for name, state in states(session).items()]
        title = f"Resolving settings for {session.settings_cls.__name__!r} (names only, because values were decrypted):"
        record.msg = "\n".join([title, *lines])
    return True


logging.getLogger("pydantic_settings").addFilter(_names_only)
