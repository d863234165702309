"""Checked by mypy in test_settings_sources.py, never run."""

from pydantic import PostgresDsn, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from encenv import AwsKms, EncryptedSettings, EncryptedSettingsConfigDict, LocalKeys


class ByKeyword(
    EncryptedSettings, env_file=".env", trusted_keys=["123456789012"], encryption_context={"env": "prod"}
):
    """Options as class keywords."""

    secret_key: SecretStr
    database_url: PostgresDsn
    debug: bool = False


class ByConfig(EncryptedSettings):
    """Options in model_config."""

    model_config = EncryptedSettingsConfigDict(
        env_file=".env",
        extra="ignore",
        trusted_keys="local:ABCDEFGH",
        encryption_context={"env": "prod"},
        encrypted_prefix="",
        key_providers=[AwsKms(), LocalKeys()],
        unwrap_timeout=2.5,
    )
    secret_key: SecretStr


class ByPlainConfig(EncryptedSettings):
    """The config and the hook of a plain settings class."""

    model_config = SettingsConfigDict(env_prefix="APP_")
    secret_key: SecretStr

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the file first."""
        return dotenv_settings, env_settings


class Child(ByKeyword, unwrap_timeout=1):
    """An option added to those of a parent class."""


key: SecretStr = ByKeyword().secret_key
other: SecretStr = ByConfig(_env_file=None, _env_prefix="X_").secret_key
child: bool = Child(debug=True).debug

wrong_type: int = ByKeyword().secret_key  # type: ignore[assignment]
EncryptedSettingsConfigDict(unwrap_timeout="soon")  # type: ignore[typeddict-item]
EncryptedSettingsConfigDict(no_such_option=True)  # type: ignore[typeddict-unknown-key]
