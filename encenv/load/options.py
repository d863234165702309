"""The options that every reader takes, and what `model_config` of a settings class may hold."""

from collections.abc import Mapping, Sequence

from pydantic_settings import SettingsConfigDict
from typing_extensions import TypedDict  # as SettingsConfigDict uses: both are bases of one class

from encenv.keys.provider import KeyProvider


class ReaderOptions(TypedDict, total=False):
    """A reader's own rules; each may be left out.

    Attributes:
        trusted_keys: Patterns of the wrapping keys that this reader accepts: an ARN with ``*`` inside its
            fields, an account id of 12 digits, ``local:<id>``. Any key that the process may use, if left out.
        encryption_context: Pairs that a key entry's encryption context must carry.
        encrypted_prefix: An encrypted variable ``<prefix>NAME`` supplies ``NAME``. ``ENC_`` for a settings class,
            else none; an empty text turns it off.
        key_providers: Providers to use instead of the built-in ones of their names, for example
            ``[AwsKms(session=my_session)]``.
        unwrap_timeout: Seconds that all unwraps of a load may take together; 10 if left out.
        hedge_delay: Seconds after which another wrapped copy of a data key (another region, a replica) is unwrapped
            as well, if the one before it has not answered; 1 if left out.
    """

    trusted_keys: str | Sequence[str] | None
    encryption_context: Mapping[str, str] | None
    encrypted_prefix: str | None
    key_providers: Sequence[KeyProvider] | None
    unwrap_timeout: float | None
    hedge_delay: float | None


class EncryptedSettingsConfigDict(SettingsConfigDict, ReaderOptions, total=False):
    """`SettingsConfigDict` with the reader's own options, see `ReaderOptions`."""
