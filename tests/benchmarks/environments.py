"""The same secrets in each of the forms that the programs read."""

import json
import os
import zlib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from encenv.format.envelope import DataKey
from encenv.format.sealed import KeyEntry, WrappedKey, encryption_context

LENGTH = 32  # characters of a secret


class Secrets:
    """A number of secrets, in the form that each program reads.

    Args:
        count: How many.
        kms: A boto3 client of the test KMS.
        key: The ARN of the wrapping key.
    """

    def __init__(self, count: int, kms: Any, key: str) -> None:
        self.values = {f"SECRET_{number:03}": os.urandom(LENGTH // 2).hex() for number in range(count)}
        self.expected = str(zlib.crc32("\n".join(self.values.values()).encode()))
        self.count = count
        self._kms = kms
        self._key = key

    def forms(self) -> dict[str, dict[str, str]]:
        """Return all forms by their names."""
        return {
            "plaintext": self._with(self.values),
            "elsewhere": self._with({}),
            "sealed": self.sealed(),
            "envelope": self.envelope(),
            "per variable": self.per_variable(),
            "messages": self.messages(),
        }

    def _with(self, variables: dict[str, str]) -> dict[str, str]:
        return {"BENCH_COUNT": str(self.count), **variables}

    def sealed(self) -> dict[str, str]:
        """Return the secrets as encenv's sealed values, with their key entry."""
        context = encryption_context(())
        raw = os.urandom(32)
        answer = self._kms.encrypt(KeyId=self._key, Plaintext=raw, EncryptionContext=context)
        data_key = DataKey(raw)
        entry = KeyEntry(
            data_key.commitment, (), (WrappedKey("aws-kms", answer["CiphertextBlob"], self._key),)
        )
        sealed = {name: data_key.encrypt(name, text) for name, text in self.values.items()}
        return self._with({entry.name: str(entry), **sealed})

    def per_variable(self) -> dict[str, str]:
        """Return each secret encrypted by KMS itself, as the Lambda console does it."""
        context = {"LambdaFunctionName": "benchmark"}
        return self._with(
            {
                name: b64encode(
                    self._kms.encrypt(KeyId=self._key, Plaintext=text.encode(), EncryptionContext=context)[
                        "CiphertextBlob"
                    ]
                ).decode()
                for name, text in self.values.items()
            }
        )

    def envelope(self) -> dict[str, str]:
        """Return the secrets encrypted by hand under one data key: AES-GCM with the nonce in front."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        raw = os.urandom(32)
        cipher = AESGCM(raw)
        sealed = {}
        for name, text in self.values.items():
            nonce = os.urandom(12)
            sealed[name] = b64encode(nonce + cipher.encrypt(nonce, text.encode(), name.encode())).decode()
        blob = self._kms.encrypt(KeyId=self._key, Plaintext=raw)["CiphertextBlob"]
        return self._with({"DATA_KEY": b64encode(blob).decode(), **sealed})

    def messages(self) -> dict[str, str]:
        """Return the secrets as messages of the AWS Encryption SDK, all under one data key. The environment names the
        KMS.
        """
        import aws_encryption_sdk as sdk

        manager = sdk.CachingCryptoMaterialsManager(
            master_key_provider=sdk.StrictAwsKmsMasterKeyProvider(key_ids=[self._key]),
            cache=sdk.LocalCryptoMaterialsCache(capacity=10),
            max_age=600.0,
            max_messages_encrypted=1000,
        )
        client = sdk.EncryptionSDKClient()
        made = {
            name: b64encode(client.encrypt(source=text, materials_manager=manager)[0]).decode()
            for name, text in self.values.items()
        }
        return self._with({"KEY_ARN": self._key, **made})

    def document(self) -> str:
        """Return the secrets as one JSON text by the names of the fields, for AWS Secrets Manager."""
        return json.dumps({name.lower(): text for name, text in self.values.items()})


@contextmanager
def of_this_process(environ: Mapping[str, str]) -> Iterator[None]:
    """Replace the variables about AWS in this process with *environ*, for as long as the block lasts."""
    before = dict(os.environ)
    for name in before:
        if name.startswith("AWS_"):
            del os.environ[name]
    os.environ.update(environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
