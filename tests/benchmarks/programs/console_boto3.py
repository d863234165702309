"""Decrypt as the Lambda console's example does: one client, and one Decrypt for each variable."""

import os
from base64 import b64decode

import boto3
from common import FIELDS, NAMES, show
from pydantic import create_model
from pydantic_settings import BaseSettings

kms = boto3.client("kms")
for name in NAMES:
    answer = kms.decrypt(
        CiphertextBlob=b64decode(os.environ[name]), EncryptionContext={"LambdaFunctionName": "benchmark"}
    )
    os.environ[name] = answer["Plaintext"].decode()

Settings = create_model("Settings", __base__=BaseSettings, **FIELDS)

show(Settings().model_dump().values())
