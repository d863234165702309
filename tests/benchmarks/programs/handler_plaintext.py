"""A Lambda handler whose settings are plaintext variables."""

from common import FIELDS, checksum
from pydantic import create_model
from pydantic_settings import BaseSettings

settings = create_model("Settings", __base__=BaseSettings, **FIELDS)()


def handler(event, context):
    """Return a checksum of the secrets."""
    return checksum(settings.model_dump().values())
