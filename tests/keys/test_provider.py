"""Test one contract for every key provider: the built-in ones, against our KMS and moto's, and a plug-in.

To test a new provider, add a function under "the providers" that yields a `Case`.
"""

import base64
import os
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass

import boto3
import pytest
from botocore.loaders import create_loader
from moto.server import ThreadedMotoServer

from encenv.errors import EncenvError, KeyDeniedError, KeyRefusedError, KeyUnreachableError
from encenv.format.envelope import DataKey
from encenv.format.sealed import KeyEntry, WrappedKey
from encenv.keys.aws.kms import AwsKms
from encenv.keys.aws.request import KmsHttp
from encenv.keys.local import TEXT_VARIABLE, LocalKeys, generate_key_text, parse_keys
from encenv.keys.provider import KeyProvider, find_provider
from encenv.testing import KmsServer

CONTEXT = {"encenv": "1", "stage": "prod", "app": "shop"}
OTHER_CONTEXTS = [{}, {"encenv": "1"}, {**CONTEXT, "stage": "test"}, {**CONTEXT, "more": "x"}]
DATA_KEY = bytes(range(32))
SECONDS = 10.0
LOADER = create_loader()
FLIPPED = 40  # bytes of a wrapped key that are changed, one at a time, over its whole length

PLUG_IN = """
import hashlib
import os
import time

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from encenv import KeyRefusedError, WrappedKey


class Vault:
    name = "vault"

    def __init__(self, environ):
        self._root = environ["VAULT_ROOT"]

    def generate(self, key, context):
        data_key = os.urandom(32)
        return data_key, self.wrap(data_key, key, context)

    def wrap(self, data_key, key, context):
        nonce = os.urandom(12)
        return WrappedKey("vault", nonce + self._cipher(key).encrypt(nonce, data_key, _aad(context)), key)

    def unwrap(self, item, context, timeout):
        try:
            return self._cipher(item.reference).decrypt(item.wrapped[:12], item.wrapped[12:], _aad(context))
        except InvalidTag:
            pass
        raise KeyRefusedError("the vault refused", hint="ask the vault's owner")

    def _cipher(self, key):
        return AESGCM(hashlib.sha256(f"{self._root}/{key}".encode()).digest())


def _aad(context):
    return repr(sorted(context.items())).encode()
"""


@dataclass
class Case:
    """A provider with two wrapping keys that it can use."""

    provider: KeyProvider
    key: str
    other_key: str


# -- the providers


@contextmanager
def local_keys(request):
    """Two keys in one text."""
    text = f"{generate_key_text()}\n{generate_key_text()}"
    yield Case(LocalKeys({TEXT_VARIABLE: text}), *parse_keys(text, "the test"))


@contextmanager
def aws_kms(request):
    """The KMS of encenv.testing, unwrapping without boto3."""
    monkeypatch = request.getfixturevalue("monkeypatch")
    with KmsServer(check_signatures=True) as kms:
        _set(monkeypatch, kms.environ())
        yield Case(AwsKms(), kms.create_key(), kms.create_key())


@contextmanager
def aws_kms_over_tls(request):
    """The same over TLS."""
    monkeypatch = request.getfixturevalue("monkeypatch")
    with KmsServer(check_signatures=True, tls=True) as kms:
        _set(monkeypatch, kms.environ())
        yield Case(AwsKms(), kms.create_key(), kms.create_key())


@contextmanager
def aws_kms_at_moto(request):
    """The KMS of moto, unwrapping without boto3."""
    monkeypatch = request.getfixturevalue("monkeypatch")
    with KmsServer() as unused:  # only for the rest of its environment
        _set(monkeypatch, unused.environ() | {"AWS_ENDPOINT_URL_KMS": request.getfixturevalue("moto_url")})
    client = boto3.session.Session().client("kms")
    keys = [client.create_key()["KeyMetadata"]["Arn"] for _ in range(2)]
    yield Case(AwsKms(), *keys)


@contextmanager
def aws_kms_through_boto3(request):
    """The KMS of encenv.testing with real boto3, which an AWS configuration file leads to."""
    with aws_kms(request) as case:
        _through_boto3(request)
        yield case


@contextmanager
def aws_kms_at_moto_through_boto3(request):
    """The same with the KMS of moto."""
    with aws_kms_at_moto(request) as case:
        _through_boto3(request)
        yield case


def _through_boto3(request):
    config = request.getfixturevalue("tmp_path") / "config"
    config.touch()
    request.getfixturevalue("monkeypatch").setenv("AWS_CONFIG_FILE", str(config))


@contextmanager
def plug_in(request):
    """A package with an entry point."""
    install(request.getfixturevalue("tmp_path"), request.getfixturevalue("monkeypatch"))
    yield Case(find_provider("vault", {"VAULT_ROOT": "of this test"}), "team/a", "team/b")


LEAN = [aws_kms, aws_kms_over_tls, aws_kms_at_moto]
THROUGH_BOTO3 = [aws_kms_through_boto3, aws_kms_at_moto_through_boto3]
PROVIDERS = [local_keys, *LEAN, *THROUGH_BOTO3, plug_in]


def install(folder, monkeypatch, code=PLUG_IN):
    """Install a package with a provider called vault, as pip would."""
    info = folder / "encenv_vault-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: encenv-vault\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[encenv.providers]\nvault = encenv_vault:Vault\n")
    (folder / "encenv_vault.py").write_text(code)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "encenv_vault", raising=False)


def _set(monkeypatch, environ):
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_MAX_ATTEMPTS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def _one_loader(monkeypatch):
    """Let boto3 read its own model of KMS once, not for each client."""
    monkeypatch.setattr("botocore.session.create_loader", lambda *_: LOADER)


@pytest.fixture(scope="module")
def moto_url():
    """The address of moto's server, over real HTTP."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=PROVIDERS, ids=lambda provider: provider.__name__)
def case(request):
    """Each provider in turn."""
    with request.param(request) as made:
        if isinstance(made.provider, AwsKms):
            assert (KmsHttp.for_key(made.key, os.environ) is not None) == (request.param in LEAN)
        yield made


def refusal_of(case, item, context=CONTEXT):
    """Return the error of an unwrap, which must be one that a user can act on."""
    with pytest.raises(EncenvError) as caught:
        case.provider.unwrap(item, context, SECONDS)
    error = caught.value
    assert type(error) in (KeyDeniedError, KeyRefusedError, KeyUnreachableError)
    assert error.message[0].islower() or error.message.startswith("AWS KMS")
    assert error.hint[0].islower()
    assert error.__cause__ is None
    assert error.__context__ is None
    shown = f"{error} {error!r} {vars(error)}"
    for secret in (DATA_KEY, item.wrapped):
        for text in (base64.b64encode(secret).decode(), secret.hex(), repr(secret)[2:-1]):
            assert text not in shown
    return error


# -- the contract


def test_generate(case):
    """A generated data key has 32 bytes, is new each time, and its wrapped key fits the format and unwraps to it."""
    plain, item = case.provider.generate(case.key, CONTEXT)
    assert len(plain) == 32
    assert case.provider.unwrap(item, CONTEXT, SECONDS) == plain
    commitment = DataKey(plain).commitment
    entry = KeyEntry(commitment, (("app", "shop"), ("stage", "prod")), (item,))
    assert KeyEntry.parse(entry.kid, str(entry)) == entry
    assert item.provider == case.provider.name
    assert plain not in (item.wrapped, case.provider.generate(case.key, CONTEXT)[0])


def test_wrap(case):
    """A data key that is wrapped twice gives two wrapped keys, which both unwrap to it, in any order of the context."""
    items = [case.provider.wrap(DATA_KEY, case.key, CONTEXT) for _ in range(2)]
    assert items[0].wrapped != items[1].wrapped
    assert items[0].reference == items[1].reference
    backwards = dict(reversed(CONTEXT.items()))
    assert [case.provider.unwrap(item, backwards, SECONDS) for item in items] == [DATA_KEY] * 2


def test_two_keys(case):
    """One data key can be wrapped under two wrapping keys, whose references differ."""
    items = [case.provider.wrap(DATA_KEY, key, CONTEXT) for key in (case.key, case.other_key)]
    assert items[0].reference != items[1].reference
    assert [case.provider.unwrap(item, CONTEXT, SECONDS) for item in items] == [DATA_KEY] * 2


@pytest.mark.parametrize("context", OTHER_CONTEXTS, ids=str)
def test_another_context(case, context):
    """A wrapped key does not unwrap with another context."""
    item = case.provider.wrap(DATA_KEY, case.key, CONTEXT)
    assert isinstance(refusal_of(case, item, context), KeyRefusedError)


def test_changed_bytes(case):
    """A wrapped key with any byte changed, or of another length, does not unwrap."""
    item = case.provider.wrap(DATA_KEY, case.key, CONTEXT)
    whole = item.wrapped
    for at in sorted({*range(0, len(whole), max(1, len(whole) // FLIPPED)), len(whole) - 1}):
        changed = bytes([*whole[:at], whole[at] ^ 1, *whole[at + 1 :]])
        refusal_of(case, WrappedKey(item.provider, changed, item.reference))
    for changed in (whole[:-1], whole + b"\x00"):
        refusal_of(case, WrappedKey(item.provider, changed, item.reference))


def test_another_wrapping_key(case):
    """A wrapped key does not unwrap under the name of another wrapping key."""
    items = [case.provider.wrap(DATA_KEY, key, CONTEXT) for key in (case.key, case.other_key)]
    swapped = WrappedKey(items[0].provider, items[0].wrapped, items[1].reference)
    assert isinstance(refusal_of(case, swapped), KeyRefusedError)


def test_many_threads(case):
    """One provider object unwraps from many threads at once."""
    items = [case.provider.wrap(bytes([number]) * 32, case.key, CONTEXT) for number in range(12)]
    found = {}

    def unwrap(number, item):
        found[number] = case.provider.unwrap(item, CONTEXT, SECONDS)

    threads = [threading.Thread(target=unwrap, args=pair) for pair in enumerate(items)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == {number: bytes([number]) * 32 for number in range(12)}


# -- how a provider is found


def test_given_providers_come_first(tmp_path, monkeypatch):
    """The application's own provider is used before a built-in one and a plug-in of the same name."""
    install(tmp_path, monkeypatch)
    given = [LocalKeys({}), AwsKms()]
    assert find_provider("local", {}, given) is given[0]
    assert find_provider("aws-kms", {}, given) is given[1]
    assert type(find_provider("local", {})) is LocalKeys
    assert type(find_provider("vault", {"VAULT_ROOT": "x"}, given)).__name__ == "Vault"


def test_no_plug_in_replaces_a_built_in(tmp_path, monkeypatch):
    """An entry point with the name of a built-in provider is never loaded."""
    install(tmp_path, monkeypatch, code="raise AssertionError('loaded')")
    points = tmp_path / "encenv_vault-1.0.dist-info" / "entry_points.txt"
    points.write_text("[encenv.providers]\nlocal = encenv_vault:Vault\naws-kms = encenv_vault:Vault\n")
    assert type(find_provider("local", {})) is LocalKeys
    assert type(find_provider("aws-kms", {})) is AwsKms


def test_an_unknown_provider():
    """An unknown name is refused, and the hint says what to install."""
    with pytest.raises(KeyRefusedError, match="no key provider is called nobodys") as caught:
        find_provider("nobodys", {})
    assert "install" in caught.value.hint
