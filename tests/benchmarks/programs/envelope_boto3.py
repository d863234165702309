"""Envelope encryption by hand: boto3 unwraps one data key, AES-GCM does the rest."""

import os
from base64 import b64decode

import boto3
from common import FIELDS, NAMES, show
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import create_model
from pydantic_settings import BaseSettings

answer = boto3.client("kms").decrypt(CiphertextBlob=b64decode(os.environ["DATA_KEY"]))
cipher = AESGCM(answer["Plaintext"])
for name in NAMES:
    sealed = b64decode(os.environ[name])
    os.environ[name] = cipher.decrypt(sealed[:12], sealed[12:], name.encode()).decode()

Settings = create_model("Settings", __base__=BaseSettings, **FIELDS)

show(Settings().model_dump().values())
