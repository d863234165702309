"""What `model_config` of a settings class may hold: pydantic-settings' own keys and the reader's options."""

from pydantic_settings import SettingsConfigDict

from encenv.load.options import ReaderOptions


class EncryptedSettingsConfigDict(SettingsConfigDict, ReaderOptions, total=False):
    """`SettingsConfigDict` with the reader's own options, see `ReaderOptions`."""
