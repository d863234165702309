"""`EncryptedSettings`: a `BaseSettings` whose variables may be sealed.

Three seams of pydantic-settings are used, all public: the hook that orders the sources (whoever defines it: it is
wrapped where a class resolves it), a validator before the model's own, and the call that makes an instance. What
happens in between is in sources.py.
"""

import functools
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from pydantic import SecretBytes, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.sources import ENV_FILE_SENTINEL

from encenv.errors import EncenvError, MalformedError
from encenv.format.sealed import claims, embeds
from encenv.load.asked import model_keys
from encenv.load.masking import masked
from encenv.load.options import ReaderOptions
from encenv.load.sources import SettingsLoad, Withheld

if TYPE_CHECKING:
    from typing import Self

    from pydantic import ModelWrapValidatorHandler  # not in the oldest pydantic that pydantic-settings allows

_loading: ContextVar[SettingsLoad | None] = ContextVar("encenv_loading", default=None)
_OPTIONS = frozenset(ReaderOptions.__annotations__)


class EncryptedSettingsConfigDict(SettingsConfigDict, ReaderOptions, total=False):
    """`SettingsConfigDict` with the reader's own options, see `ReaderOptions`."""


def _opened(hook: Any) -> Any:
    """Wrap a `settings_customise_sources` so that the sources it is given and returns read sealed values."""

    @functools.wraps(hook)
    def settings_customise_sources(
        cls: type[BaseSettings], *args: Any, **sources: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        load = _loading.get() or SettingsLoad(cls.model_config)
        # Before the hook, so that a source of the application's which wraps one of these reads sealed values too.
        load.adopt([source for source in (*args, *sources.values()) if not isinstance(source, type)])
        ordered: tuple[PydanticBaseSettingsSource, ...] = hook(cls, *args, **sources)
        load.adopt(ordered)
        return ordered

    settings_customise_sources._encenv_opens = True  # type: ignore[attr-defined]  # noqa: SLF001
    return classmethod(settings_customise_sources)


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

    model_config: ClassVar[EncryptedSettingsConfigDict] = EncryptedSettingsConfigDict(encrypted_prefix="ENC_")

    def __init_subclass__(cls, **kwargs: Unpack[EncryptedSettingsConfigDict]) -> None:
        # pydantic has taken the keywords that it knows; the rest are these options, or nobody's.
        for option in _OPTIONS & kwargs.keys():
            cls.model_config[option] = kwargs.pop(option)  # type: ignore[literal-required,misc]
        super().__init_subclass__(**kwargs)  # type: ignore[misc]  # none of these options is left
        hook = cls.settings_customise_sources
        if not getattr(
            hook, "_encenv_opens", False
        ):  # the class's own, or a mixin's that knows nothing of encenv
            # This also covers EncryptedSettings' own, BaseSettings': no instance is ever made of this class itself.
            cls.settings_customise_sources = _opened(getattr(hook, "__func__", hook))  # type: ignore[method-assign]

    if not TYPE_CHECKING:  # a type checker sees the signature of BaseSettings

        @functools.wraps(BaseSettings.__init__)
        def __init__(__pydantic_self__, *args: Any, **values: Any) -> None:  # noqa: N805 (a field may be called self)
            cls = type(__pydantic_self__)
            is_new = not __pydantic_self__.__dict__  # else it is loaded again in place, and keeps what it has
            outer = _loading.get()
            load = _load_of(values.get("_build_sources")) or SettingsLoad(cls.model_config)
            if not args and values.get("_build_sources") is None:
                env_file = values.get("_env_file", ENV_FILE_SENTINEL)
                env_file = cls.model_config.get("env_file") if env_file == ENV_FILE_SENTINEL else env_file
                if env_file is not None:
                    values["_env_file"] = Withheld(env_file)
            raised: BaseException | None = None
            token = _loading.set(load)
            try:
                super().__init__(*args, **values)
            except BaseException as error:  # noqa: BLE001 (raised again below, outside of this block and its context)
                raised = error
            finally:
                _loading.reset(token)
            failed = load.finish()
            stopped = not isinstance(raised, Exception) and raised is not None  # Ctrl-C, which no failure replaces
            if failed is not None and not stopped:
                raised = failed
            elif raised is not None and (load.opened if stopped else load.decrypted or isinstance(raised, EncenvError)):
                raised = masked(raised, cls, load)
            if outer is not None:
                outer.decrypted += load.decrypted
            if raised is not None:
                # The frame of this call is all that the exception keeps of the load; it must not hold values either,
                # nor what its callers hold: the instance, and the sources that `CliApp` built.
                if load.decrypted:
                    load.forget((values.get("_build_sources") or [()])[0])
                    if is_new:
                        _empty(__pydantic_self__)
                del __pydantic_self__, args, values, load, outer, token
                raise raised

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_what_is_still_sealed(cls, data: Any, handler: "ModelWrapValidatorHandler[Self]") -> "Self":
        """Stop before the model sees anything, if the load has failed or sealed text came from elsewhere."""
        load = _loading.get()
        if load is not None and isinstance(data, Mapping):
            used = {
                key
                for name, field in cls.model_fields.items()
                for key in model_keys(name, field, cls.model_config)
            }
            for key, value in data.items():
                if (key in used or cls.model_config.get("extra") != "ignore") and _holds_sealed(value):
                    load.fail(str(key), _elsewhere())
            if load.failures:
                raise load.failures[0]  # __init__ reports all of them
        return handler(data)


def _empty(instance: BaseSettings) -> None:
    """Take the values out of a half-made instance, which a subclass's `__init__` holds as ``self``."""
    instance.__dict__.clear()
    for slot in ("__pydantic_extra__", "__pydantic_private__"):
        object.__setattr__(instance, slot, None)


def _load_of(built: Any) -> SettingsLoad | None:
    """Return the load that `CliApp` began when it built the sources *built*, if it did."""
    for source in built[0] if built else ():
        load = getattr(source, "encenv_load", None)
        if isinstance(load, SettingsLoad):
            return load
    return None


def _holds_sealed(value: Any) -> bool:
    if isinstance(value, str):
        return claims(value) or embeds(value)
    if isinstance(value, (SecretStr, SecretBytes)):
        return _holds_sealed(value.get_secret_value())
    if isinstance(value, bytes):
        return b"encenv:" in value and _holds_sealed(value.decode("utf-8", "replace"))
    if isinstance(value, Mapping):
        return any(_holds_sealed(item) for pair in value.items() for item in pair)
    return isinstance(value, (list, tuple, set, frozenset)) and any(_holds_sealed(item) for item in value)


def _elsewhere() -> MalformedError:
    return MalformedError(
        "a sealed value came from a source that is not opened",
        hint="put it into an environment variable, a .env file or secrets_dir",
    )


def _names_only(record: logging.LogRecord) -> bool:
    """Take the values out of what PYDANTIC_SETTINGS_DEBUG logs of a load that decrypted something."""
    load = _loading.get()
    if load is not None and load.decrypted and not record.args:  # with args it is a path that is logged
        record.msg = load.names_by_source()
    return True


logging.getLogger("pydantic_settings").addFilter(_names_only)
