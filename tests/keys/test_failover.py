"""Test several wrapped keys of one data key: which is tried when, and what a late answer changes."""

import math
import os
import threading
import time

import pytest
from botocore.loaders import create_loader
from pydantic import SecretStr
from support.python_process import wait_for_encenv_threads

from encenv import EncryptedSettings, decrypt_environ
from encenv.errors import KeyDeniedError, KeyRefusedError, KeyUnreachableError
from encenv.format.envelope import DataKey
from encenv.format.sealed import KeyEntry, encryption_context
from encenv.keys import unwrap
from encenv.keys.aws.kms import AwsKms
from encenv.keys.aws.request import KmsHttp
from encenv.keys.local import LocalKeys
from encenv.keys.unwrap import clear_cache

pytest_plugins = ["encenv.testing"]

SECONDS = 20.0
LONG = 15.0  # seconds; a load that takes so long has not hedged
HOME, NEAR = "us-east-1", "eu-west-1"
LOADER = create_loader()


@pytest.fixture(autouse=True)
def _one_loader(monkeypatch):
    """Let boto3 read its own model of KMS once."""
    monkeypatch.setattr("botocore.session.create_loader", lambda *_: LOADER)


@pytest.fixture(params=["lean", "boto3"])
def path(request, encenv_kms, monkeypatch, tmp_path):
    """Each way to KMS, with one attempt."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    if request.param == "boto3":
        (tmp_path / "config").touch()
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    yield request.param
    encenv_kms.stop()
    wait_for_encenv_threads()


@pytest.fixture
def keys(path, encenv_kms):
    """A wrapping key in the process's own region and one in another."""
    made = {HOME: encenv_kms.create_key(HOME), NEAR: encenv_kms.create_key(NEAR)}
    assert (KmsHttp.for_key(made[HOME], os.environ) is not None) == (path == "lean")
    return made


@pytest.fixture
def environ(keys, encenv_kms):
    """An environment whose key entry has both keys, that of the other region first."""
    made = environ_of(keys[NEAR], keys[HOME])
    encenv_kms.clear()
    return made


def environ_of(*arns, local=None, name="SECRET"):
    """Return an environment of one variable, whose data key is wrapped under *local* and *arns*."""
    context = encryption_context(())
    data_key = DataKey.generate()
    items = (
        []
        if local is None
        else [LocalKeys({"ENCENV_LOCAL_KEY": local}).wrap(data_key.expose_key(), "", context)]
    )
    items += [AwsKms().wrap(data_key.expose_key(), arn, context) for arn in arns]
    entry = KeyEntry(data_key.commitment, (), tuple(items))
    return {entry.name: str(entry), name: data_key.encrypt(name, "opened")}


def regions(kms):
    """Return the regions in which KMS was called, with the errors."""
    return [(call.region, call.error) for call in kms.calls]


def test_one_decrypt_without_a_hedge(encenv_kms, environ):
    """If nothing fails, only the key in the nearest region is used, with one Decrypt."""
    assert decrypt_environ(environ) == {"SECRET": "opened"}
    assert decrypt_environ(environ) == {"SECRET": "opened"}
    assert regions(encenv_kms) == [(HOME, None)]


def test_a_local_key_comes_first(encenv_kms, keys, encenv_local_key):
    """A local key is used first, wherever it is in the entry, and KMS is not called."""
    environ = environ_of(keys[HOME], keys[NEAR], local=encenv_local_key)
    encenv_kms.clear()
    assert decrypt_environ(environ) == {"SECRET": "opened"}
    assert regions(encenv_kms) == []


def test_a_local_key_that_is_missing(encenv_kms, keys, encenv_local_key, monkeypatch):
    """Without the local key KMS is called at once, in one region."""
    environ = environ_of(keys[HOME], keys[NEAR], local=encenv_local_key)
    monkeypatch.delenv("ENCENV_LOCAL_KEY")
    encenv_kms.clear()
    assert decrypt_environ(environ, hedge_delay=LONG) == {"SECRET": "opened"}
    assert regions(encenv_kms) == [(HOME, None)]


@pytest.mark.parametrize("trouble", ["denied", "fails", "dropped", "reset", "half-answered", "lies"])
def test_a_region_that_is_down(encenv_kms, environ, keys, trouble):
    """However the first region fails, the next is called at once, without the hedging delay."""
    {
        "denied": lambda: encenv_kms.deny(region=HOME),
        "fails": lambda: encenv_kms.fail(code="KMSInternalException", region=HOME),
        "dropped": lambda: encenv_kms.drop(region=HOME),
        "reset": lambda: encenv_kms.drop(region=HOME, reset=True),
        "half-answered": lambda: encenv_kms.half_answer(region=HOME),
        "lies": lambda: encenv_kms.tamper({"Plaintext": bytes(32)}, region=HOME),
    }[trouble]()
    assert decrypt_environ(environ, hedge_delay=LONG, unwrap_timeout=SECONDS) == {"SECRET": "opened"}
    assert [region for region, _ in regions(encenv_kms)] == [HOME, NEAR]
    assert encenv_kms.count("Decrypt") == 1


def test_a_region_nobody_can_connect_to(encenv_kms, environ, monkeypatch):
    """If the first region's host is unknown, the next region is called."""
    from encenv.keys.aws import kms

    ask = kms.KmsHttp.decrypt

    def decrypt(lean, *args):
        if f":{HOME}:" in lean.arn:
            raise KeyUnreachableError("no such host", hint="check the network")
        return ask(lean, *args)

    monkeypatch.setattr(kms.KmsHttp, "decrypt", decrypt)
    assert decrypt_environ(environ, hedge_delay=LONG) == {"SECRET": "opened"}


@pytest.mark.parametrize("seconds", [1.0, LONG, math.inf], ids=["slow", "hanging", "never"])
def test_a_region_that_is_slow(encenv_kms, environ, seconds):
    """If a region has not answered within the delay, the next one is called as well, and the first not again."""
    encenv_kms.delay(seconds, region=HOME)
    assert decrypt_environ(environ, hedge_delay=0.3, unwrap_timeout=SECONDS) == {"SECRET": "opened"}
    assert [region for region, _ in regions(encenv_kms)] == [HOME, NEAR]


def test_a_settings_class(encenv_kms, environ, monkeypatch):
    """A settings class may set the delay."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(unwrap, "HEDGE_SECONDS", LONG)  # as below
    encenv_kms.delay(0.5, region=HOME)

    class Patient(EncryptedSettings, hedge_delay=LONG):
        secret: SecretStr

    class Hasty(EncryptedSettings, hedge_delay=0):
        secret: SecretStr

    class Usual(EncryptedSettings, hedge_delay=None):
        secret: SecretStr

    for kind, expected in ((Patient, [HOME]), (Hasty, [HOME, NEAR]), (Usual, [HOME])):
        wait_for_encenv_threads()
        clear_cache()
        encenv_kms.clear()
        assert kind().secret.get_secret_value() == "opened"
        wait_for_encenv_threads()
        assert sorted(region for region, _ in regions(encenv_kms)) == sorted(expected)


@pytest.mark.parametrize(
    ("delay", "expected"), [(0, [HOME, NEAR]), (0.0, [HOME, NEAR]), (None, [HOME]), (LONG, [HOME])]
)
def test_an_argument(encenv_kms, environ, delay, expected, monkeypatch):
    """The delay may be an argument: 0 calls all regions at once, None waits as long as the default."""
    monkeypatch.setattr(unwrap, "HEDGE_SECONDS", LONG)  # a busy machine may take longer than the real one
    encenv_kms.delay(0.4)
    assert decrypt_environ(environ, hedge_delay=delay) == {"SECRET": "opened"}
    wait_for_encenv_threads()
    assert sorted(region for region, _ in regions(encenv_kms)) == sorted(expected)


def test_the_default_delay(encenv_kms, environ):
    """By default the next region is called well before the deadline."""
    encenv_kms.delay(math.inf, region=HOME)
    assert decrypt_environ(environ) == {"SECRET": "opened"}
    assert [region for region, _ in regions(encenv_kms)] == [HOME, NEAR]


def test_the_deadline_comes_before_the_delay(encenv_kms, environ):
    """A delay longer than the deadline still leaves the other region its share of the time."""
    encenv_kms.delay(math.inf, region=HOME)
    assert decrypt_environ(environ, hedge_delay=1e9, unwrap_timeout=8) == {"SECRET": "opened"}


def test_the_deadline_is_kept(encenv_kms, environ):
    """If no region answers, the load ends at its deadline and names both."""
    encenv_kms.delay(math.inf)
    with pytest.raises(KeyUnreachableError) as caught:
        decrypt_environ(environ, hedge_delay=0, unwrap_timeout=0.5)
    assert HOME in caught.value.message
    assert NEAR in caught.value.message
    encenv_kms.heal()
    clear_cache()
    assert decrypt_environ(environ) == {"SECRET": "opened"}


def test_a_late_answer(encenv_kms, environ):
    """The slower of two answers changes nothing, right or wrong, and is cached if it is right."""
    encenv_kms.delay(0.5, region=HOME)
    assert decrypt_environ(environ, hedge_delay=0) == {"SECRET": "opened"}
    wait_for_encenv_threads()
    assert decrypt_environ(environ) == {"SECRET": "opened"}
    assert [region for region, _ in regions(encenv_kms)] in ([HOME, NEAR], [NEAR, HOME])
    assert encenv_kms.count("Decrypt") == 2


def test_a_late_wrong_answer(encenv_kms, environ):
    """A late answer with another data key decrypts nothing and replaces nothing."""
    encenv_kms.delay(0.5, region=HOME)
    encenv_kms.tamper({"Plaintext": bytes(32)}, region=HOME)
    assert decrypt_environ(environ, hedge_delay=0) == {"SECRET": "opened"}
    wait_for_encenv_threads()
    assert decrypt_environ(environ) == {"SECRET": "opened"}
    assert encenv_kms.count("Decrypt") == 1


def test_all_regions_refuse(encenv_kms, environ, keys):
    """If only permissions are missing, the error says so for each key."""
    encenv_kms.deny()
    with pytest.raises(KeyDeniedError) as caught:
        decrypt_environ(environ)
    for arn in keys.values():
        assert arn in caught.value.message
    encenv_kms.heal()
    encenv_kms.deny(region=HOME)
    encenv_kms.tamper({"Plaintext": bytes(32)}, region=NEAR)
    with pytest.raises(KeyRefusedError, match="does not give the data key"):
        decrypt_environ(environ)


def test_only_trusted_keys_are_tried(encenv_kms, environ, keys):
    """A key that is not trusted is never tried: not first, not as a hedge, not after a failure."""
    assert decrypt_environ(environ, trusted_keys=[keys[NEAR]], hedge_delay=0) == {"SECRET": "opened"}
    clear_cache()
    encenv_kms.deny(region=NEAR)
    with pytest.raises(KeyDeniedError):
        decrypt_environ(environ, trusted_keys=[keys[NEAR]], hedge_delay=0)
    assert {region for region, _ in regions(encenv_kms)} == {NEAR}


def test_five_data_keys(encenv_kms, path):
    """Five data keys are requested before KMS has answered one: one round trip, and five Decrypts."""
    environ = {}
    for number in range(5):
        environ |= environ_of(encenv_kms.create_key(), name=f"V{number}")
    encenv_kms.clear()
    encenv_kms.delay(math.inf)
    failed = []

    def load():
        try:
            decrypt_environ(environ, unwrap_timeout=SECONDS)
        except KeyUnreachableError as error:
            failed.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    deadline = time.monotonic() + SECONDS
    while len(encenv_kms.calls) < 5 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert len(encenv_kms.calls) == 5
    encenv_kms.stop()
    thread.join(SECONDS)
    assert len(failed) == 1
    encenv_kms.heal()
    encenv_kms.clear()
    encenv_kms.start()
    os.environ["AWS_ENDPOINT_URL_KMS"] = encenv_kms.url  # the fixture of the KMS restores it
    assert decrypt_environ(environ) == {f"V{number}": "opened" for number in range(5)}
    assert encenv_kms.count("Decrypt") == 5
