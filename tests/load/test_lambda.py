"""A function as AWS Lambda runs it: the real runtime client, against a runtime API of our own."""

import json
import os
import threading
from base64 import b64encode

import pytest
from support.credentials_endpoint import ANSWER, CredentialsEndpoint
from support.lambda_runtime import SNAP_START, environment, memory, run
from support.programs import needs_linux

from encenv import decrypt_environ
from encenv.files.encrypt import encrypt
from encenv.files.key_names import KeyName
from encenv.files.writer import Writer
from encenv.format import cipher
from encenv.keys import unwrap as unwrapping
from encenv.keys.session import Session
from encenv.load.dotenv import LoadedFile
from encenv.testing import ACCESS_KEY_ID, SECRET_ACCESS_KEY, KmsServer

pytestmark = needs_linux

HANDLER = """\
from encenv import EncryptedSettings
from pydantic import PostgresDsn, SecretStr

class Settings(EncryptedSettings):
    secret_key: SecretStr
    database_url: PostgresDsn

settings = Settings()

def handler(event, context):
    return {"host": settings.database_url.hosts()[0]["host"], "length": len(Settings().secret_key.get_secret_value())}
"""


def test_a_function_loads_its_settings_once_for_all_its_invocations(tmp_path):
    """A cold start costs one Decrypt, and later invocations none, under the real Lambda runtime client."""
    (tmp_path / "function.py").write_text(HANDLER)
    plain = "SECRET_KEY=0123456789\nDATABASE_URL=postgres://u:p@db.internal/x\n"
    with KmsServer() as kms:
        environ = kms.environ(os.environ)
        sealed = encrypt_with(plain, kms.create_key(), environ)
        kms.clear()
        done = run(tmp_path, "function.handler", {**environ, **sealed}, 3)
        assert done.responses == [{"host": "db.internal", "length": 10}] * 3
        assert kms.count("Decrypt") == 1
        assert "0123456789" not in done.output


# Snapshots

SECRETS = {
    "SECRET_KEY": "canary-of-the-secret-key",
    "DATABASE_URL": "postgres://u:canary-of-the-url@db.internal/x",
    "OPTIONS": '{"token": "canary-of-the-json"}',
    "DOCUMENT": '{"inner": "canary-of-the-document"}',
    "CERTIFICATE": "\n".join(f"canary-of-line-{number:03d} {'x' * 48}" for number in range(60)),
    "KEPT": "canary-of-the-copy",
}
CANARY = b"canary-of-"
# It keeps one copy that encenv cannot clear: the scan has to find that one.
SNAPPED = """\
import gc
from snapshot_restore_py import register_before_snapshot

def held():
    found, seen, waiting = set(), set(), [gc.get_objects()]
    while waiting:
        one = waiting.pop()
        if id(one) not in seen:
            seen.add(id(one))
            text = one.encode(errors="replace") if isinstance(one, str) else one
            if isinstance(text, (bytes, bytearray)) and mark() in text:
                found.add(text.partition(mark())[2][:8].decode())
            waiting += gc.get_referents(one)
    return sorted(found)

def mark():
    return b"-".join([b"canary", b"of", b""])

@register_before_snapshot
def look():  # registered first, called last
    at_snapshot.append(held())

at_snapshot = []

import encenv
encenv.prefetch()
from typing import Any
from encenv import EncryptedSettings
from pydantic import Json, PostgresDsn, SecretStr

class Settings(EncryptedSettings):
    secret_key: SecretStr
    database_url: PostgresDsn
    options: dict[str, str]
    document: Json[Any]
    certificate: SecretStr

class Other(EncryptedSettings):
    kept: str

settings = same = Settings()
OWN = Other().kept

def handler(event, context):
    return {
        "at snapshot": at_snapshot[0],
        "same": settings is same,
        "secret_key": len(settings.secret_key.get_secret_value()),
        "options": len(settings.options["token"]),
        "document": len(settings.document["inner"]),
        "certificate": len(settings.certificate.get_secret_value()),
    }
"""
# With these the C library overwrites freed memory, and Python leaves all memory to it: see samples/lambda/README.md.
WIPING = {
    "PYTHONMALLOC": "malloc",
    "GLIBC_TUNABLES": "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0",
    "LD_BIND_NOW": "1",
}


@pytest.fixture
def function(kms, tmp_path, monkeypatch):
    """What runs a handler from a snapshot: its environment is encrypted, its credentials come from a container endpoint."""
    for name, value in kms.environ().items():
        monkeypatch.setenv(name, value)
    unwrapping.clear_cache()
    plain = "".join(f"{name}='{value}'\n" for name, value in SECRETS.items())
    sealed = encrypt_with(plain, kms.create_key(), {})
    decrypt_environ(sealed)
    keys = [key.expose_key() for key in unwrapping._cache.data_keys.values()]
    unwrapping.clear_cache()
    with CredentialsEndpoint() as endpoint:
        # Those before the snapshot are of another key pair than those after it, which is the KMS's own.
        endpoint.answers = [
            (200, json.dumps({**ANSWER, "SecretAccessKey": "canary-of-the-endpoint"})),
            (200, json.dumps({**ANSWER, "AccessKeyId": ACCESS_KEY_ID, "SecretAccessKey": SECRET_ACCESS_KEY})),
        ]
        thread = threading.Thread(target=endpoint.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        environ = {**kms.environ(), **environment(), **SNAP_START, **sealed}
        del environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"]
        environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = endpoint.url
        environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = "token-of-the-endpoint"

        def start(handler, snapshot=lambda process: None, **more):
            (tmp_path / "function.py").write_text(handler)
            kms.clear()
            return run(tmp_path, "function.handler", {**environ, **more}, 2, snapshot=snapshot)

        start.endpoint, start.keys = endpoint, keys
        yield start
        endpoint.shutdown()
        thread.join()


def test_a_snapshot_holds_nothing_that_encenv_holds(function, kms):
    """Nothing alive holds a secret then, but the application's own copy; the same object has its values again after."""
    before = []
    done = function(SNAPPED, lambda process: before.append(kms.count("Decrypt")))
    assert (
        done.responses
        == [
            {
                "at snapshot": ["the-copy"],
                "same": True,
                "secret_key": len("canary-of-the-secret-key"),
                "options": len("canary-of-the-json"),
                "document": len("canary-of-the-document"),
                "certificate": len(SECRETS["CERTIFICATE"]),
            }
        ]
        * 2
    )
    assert (before, kms.count("Decrypt")) == ([1], 2)
    assert [call.signature for call in kms.calls] == ["wrong", "verified"]  # with the credentials of the time
    assert [token for _, token in function.endpoint.requests] == ["token-of-the-endpoint"] * 2


def test_a_snapshot_with_memory_that_is_wiped(function, kms):
    """With the three variables of the sample no byte of a secret, a key or a credential is in the process's memory."""
    images = []
    done = function(SNAPPED, lambda process: images.append(memory(process)), **WIPING)
    assert len(done.responses) == 2
    (image,) = images
    found = {image[at : at + 24].partition(b"\0")[0] for at in places(CANARY, image)}
    assert found == {b"canary-of-the-copy"}, "only the application's own copy is left"
    (key,) = function.keys
    for secret in (key, b64encode(key)[:40], cipher.derive(key, b"encenv:1:value")):
        assert secret not in image
    assert cipher.derive(key, b"encenv:1:commitment") not in image  # not secret, but it goes with the key


def test_an_unwrap_under_way_at_the_snapshot(function, kms):
    """The snapshot waits for it and keeps nothing of it: after the restore there is another Decrypt."""
    kms.delay(0.5)
    handler = """
import encenv
encenv.prefetch()
def handler(event, context):
    from encenv import EncryptedSettings
    class Settings(EncryptedSettings):
        secret_key: str
    return len(Settings().secret_key)
"""
    images, before = [], []

    def snapshot(process):
        before.append(kms.count("Decrypt"))
        images.append(memory(process))

    done = function(handler, snapshot, **WIPING)
    assert done.responses == [len(SECRETS["SECRET_KEY"])] * 2
    assert (before, kms.count("Decrypt")) == ([1], 2)
    assert not any(secret in images[0] for secret in (*function.keys, CANARY))


def test_a_restore_that_fails_is_reported(function, kms):
    """If the settings cannot be loaded after a restore, the runtime reports a restore error without any secret."""
    done = function(SNAPPED, lambda process: kms.deny())
    ((kind, content),) = done.answers
    assert (kind, content["errorType"], done.code) == ("restore/error", "KeyDeniedError", 65)
    assert "hint: " in content["errorMessage"]
    for text in (json.dumps(content), done.output):
        assert not any(
            canary in text for canary in ("canary-of-", "token-of-the-endpoint", SECRET_ACCESS_KEY)
        )


def places(needle, image):
    """Yield the positions of *needle* in *image*."""
    at = image.find(needle)
    while at >= 0:
        yield at
        at = image.find(needle, at + 1)


def encrypt_with(plain, key, environ):
    """Return the variables of the .env text *plain*, encrypted under the KMS key *key*."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        text = encrypt(plain, Writer((KeyName("aws-kms", key),))).text
    file = LoadedFile(Session({}), text)
    entry = text.split("=", 1)[0]
    return {**{name: file.raw(name) for name in file.last}, entry: text.splitlines()[0].split("=", 1)[1]}
