"""A Lambda handler whose settings are sealed values, loaded by encenv."""

from common import FIELDS, checksum
from pydantic import create_model

from encenv import EncryptedSettings

settings = create_model("Settings", __base__=EncryptedSettings, **FIELDS)()


def handler(event, context):
    """Return a checksum of the secrets."""
    return checksum(settings.model_dump().values())
