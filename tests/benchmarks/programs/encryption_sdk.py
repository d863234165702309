"""The AWS Encryption SDK: one message for each value, data keys cached as its documentation advises."""

import os
from base64 import b64decode

import aws_encryption_sdk
from common import FIELDS, NAMES, show
from pydantic import create_model
from pydantic_settings import BaseSettings

client = aws_encryption_sdk.EncryptionSDKClient()
manager = aws_encryption_sdk.CachingCryptoMaterialsManager(
    master_key_provider=aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(key_ids=[os.environ["KEY_ARN"]]),
    cache=aws_encryption_sdk.LocalCryptoMaterialsCache(capacity=10),
    max_age=600.0,
    max_messages_encrypted=1000,
)
for name in NAMES:
    text, _ = client.decrypt(source=b64decode(os.environ[name]), materials_manager=manager)
    os.environ[name] = text.decode()

Settings = create_model("Settings", __base__=BaseSettings, **FIELDS)

show(Settings().model_dump().values())
