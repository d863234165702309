"""A Lambda handler with envelope encryption by hand, through boto3."""

import os
from base64 import b64decode

import boto3
from common import FIELDS, NAMES, checksum
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import create_model
from pydantic_settings import BaseSettings

answer = boto3.client("kms").decrypt(CiphertextBlob=b64decode(os.environ["DATA_KEY"]))
cipher = AESGCM(answer["Plaintext"])
for name in NAMES:
    sealed = b64decode(os.environ[name])
    os.environ[name] = cipher.decrypt(sealed[:12], sealed[12:], name.encode()).decode()
settings = create_model("Settings", __base__=BaseSettings, **FIELDS)()


def handler(event, context):
    """Return a checksum of the secrets."""
    return checksum(settings.model_dump().values())
