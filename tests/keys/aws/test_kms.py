"""Test AWS KMS as a key provider: the error for each failure, the region that is called, the checks on answers."""

import base64
import logging
import os
import re
import socket
import subprocess
import sys
import textwrap
import threading
import time
import traceback

import boto3
import pytest
from botocore.loaders import create_loader
from support.kms_client import client_of
from support.python_process import wait_until
from support.workspace import without_coverage

from encenv import decrypt_environ
from encenv.errors import (
    EncenvError,
    KeyDeniedError,
    KeyRefusedError,
    KeyUnreachableError,
    MalformedError,
    PolicyError,
)
from encenv.format.envelope import DataKey
from encenv.format.sealed import KeyEntry, WrappedKey, encryption_context
from encenv.keys.aws import client as client_module
from encenv.keys.aws import kms
from encenv.keys.aws import request as kms_http
from encenv.keys.aws.client import ClientPool
from encenv.keys.aws.kms import AwsKms
from encenv.keys.aws.request import KmsHttp
from encenv.keys.trust import Trust
from encenv.keys.unwrap import HEDGE_SECONDS, UnwrapRequest, clear_cache, unwrap
from encenv.testing import ACCESS_KEY_ID, SECRET_ACCESS_KEY

pytest_plugins = ["encenv.testing"]

CONTEXT = {"encenv": "1", "stage": "prod"}
DATA_KEY = b"canary-data-key-of-the-kms-tests"
SECONDS = 10.0
LOADER = create_loader()
ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
HOME, NEAR = "us-east-1", "eu-west-1"  # the regions of a multi-region key and of its replica


@pytest.fixture(autouse=True)
def _one_loader(monkeypatch):
    """Let boto3 read its own model of KMS once, not for each of a hundred clients."""
    monkeypatch.setattr("botocore.session.create_loader", lambda *_: LOADER)


@pytest.fixture(params=["lean", "boto3"])
def path(request, encenv_kms, monkeypatch, tmp_path):
    """Each way to KMS: with the standard library, and with boto3, which an AWS configuration file leads to."""
    if request.param == "boto3":
        (tmp_path / "config").write_text("[default]\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert (KmsHttp.for_key(ARN, os.environ) is not None) == (request.param == "lean")
    return request.param


@pytest.fixture
def once(monkeypatch):
    """Call KMS once."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


@pytest.fixture
def no_waiting(monkeypatch):
    """Do not wait between attempts."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    monkeypatch.setattr("encenv.keys.aws.request._random", lambda: 0.0)


@pytest.fixture
def item(path, encenv_kms, encenv_kms_key):
    """DATA_KEY, wrapped; the log of KMS is empty afterwards."""
    made = AwsKms().wrap(DATA_KEY, encenv_kms_key, CONTEXT)
    encenv_kms.clear()
    return made


@pytest.fixture
def replicated(path, encenv_kms):
    """DATA_KEY, wrapped under a multi-region key."""
    key = encenv_kms.create_key(HOME, multi_region=True)
    made = AwsKms().wrap(DATA_KEY, key, CONTEXT)
    encenv_kms.clear()
    return made


def failure(request, *arguments):
    """Return the error of *request*, whose text and frames hold no data key."""
    with pytest.raises(EncenvError) as caught:
        request(*arguments)
    error = caught.value
    assert error.hint[0].islower()
    assert (error.__cause__, error.__context__) == (None, None)
    frames = traceback.TracebackException.from_exception(error, capture_locals=True).stack
    shown = f"{error} {vars(error)}" + "".join(
        repr(frame.locals) for frame in frames if frame.filename != __file__
    )
    assert DATA_KEY.decode() not in shown
    assert base64.b64encode(DATA_KEY).decode() not in shown
    return error


def unwrap_fails(item, provider=None, seconds=SECONDS):
    """Return the error of unwrapping *item*."""
    return failure((provider or AwsKms()).unwrap, item, CONTEXT, seconds)


def load(item, seconds=SECONDS, hedge_delay=HEDGE_SECONDS):
    """Return what a load unwraps *item* to, perhaps by a replica."""
    copy = UnwrapRequest(item, (("stage", "prod"),), DataKey(DATA_KEY).commitment)
    (found,) = unwrap([[copy]], lambda _: AwsKms(), seconds, hedge_delay)
    if isinstance(found, EncenvError):
        raise found
    return found.key.expose_key()


def regions(kms):
    """Return the regions in which KMS was called, with the errors."""
    return [(call.region, call.error) for call in kms.calls]


# -- what AWS says


CODES = [
    # code, error class for who must act, words of the hint
    ("AccessDeniedException", KeyDeniedError, "allow kms:Decrypt"),
    ("DisabledException", KeyRefusedError, "enable the key"),
    ("IncorrectKeyException", KeyRefusedError, "restore the key entry"),
    ("InvalidCiphertextException", KeyRefusedError, "restore the key entry"),
    ("InvalidKeyUsageException", KeyRefusedError, "symmetric"),
    ("KMSInvalidStateException", KeyRefusedError, "deletion"),
    ("NotFoundException", KeyRefusedError, "account and region"),
    ("InvalidArnException", KeyRefusedError, "full ARN"),
    ("ValidationException", KeyRefusedError, "full ARN"),
    ("CustomKeyStoreInvalidStateException", KeyRefusedError, "key store"),
    ("NotAuthorized", KeyDeniedError, "allow kms:Decrypt"),
    ("SomethingNewException", KeyRefusedError, "API reference"),
    ("DependencyTimeoutException", KeyUnreachableError, "try again"),
    ("KeyUnavailableException", KeyUnreachableError, "try again"),
    ("KMSInternalException", KeyUnreachableError, "try again"),
    ("InternalFailure", KeyUnreachableError, "try again"),
    ("ServiceUnavailable", KeyUnreachableError, "try again"),
    ("ThrottlingException", KeyUnreachableError, "quota"),
    ("TooManyRequestsException", KeyUnreachableError, "quota"),
    ("RequestLimitExceeded", KeyUnreachableError, "quota"),
    ("ExpiredTokenException", KeyUnreachableError, "sign in again"),
    ("UnrecognizedClientException", KeyUnreachableError, "access key"),
    ("InvalidClientTokenId", KeyUnreachableError, "access key"),
    ("InvalidSignatureException", KeyUnreachableError, "clock"),
    ("RequestExpired", KeyUnreachableError, "clock"),
    ("IncompleteSignatureException", KeyUnreachableError, "credentials"),
    ("MissingAuthenticationTokenException", KeyUnreachableError, "credentials"),
    ("OptInRequired", KeyUnreachableError, "region"),
]


@pytest.mark.usefixtures("once")
@pytest.mark.parametrize("row", CODES, ids=[code for code, *_ in CODES])
def test_error_codes(encenv_kms, item, row):
    """Each error code of AWS has the error class for who must act, one line with the key, and its own hint."""
    code, kind, remedy = row
    encenv_kms.fail("Decrypt", code=code)
    error = unwrap_fails(item)
    assert type(error) is kind
    assert code in error.message
    assert item.reference in error.message
    assert remedy in error.hint
    assert "a fault that the test ordered" not in str(error)  # AWS's text is not shown
    for text in (error.message, error.hint):
        assert re.fullmatch(r"[^\n]+[^.\n]", text)


@pytest.mark.usefixtures("once")
@pytest.mark.parametrize(
    "row",
    [
        (None, 502, KeyUnreachableError, "502"),
        (None, 503, KeyUnreachableError, "503"),
        (None, 429, KeyUnreachableError, "429"),
        (None, 403, KeyRefusedError, "403"),
        ("SomethingNewException", 500, KeyUnreachableError, "SomethingNewException"),
        ("com.amazonaws.kms#DisabledException:http://x/", 400, KeyRefusedError, "DisabledException"),
        ("canary text\nof somebody else's", 400, KeyRefusedError, "KMS"),
    ],
)
def test_answers_of_other_servers(encenv_kms, item, row):
    """The error for an answer of a proxy, or for a code that is written in another way, says as much as is known."""
    code, status, kind, shown = row
    encenv_kms.fail("Decrypt", code=code, status=status)
    error = unwrap_fails(item)
    assert type(error) is kind
    assert shown in error.message
    assert "canary text" not in str(error)
    assert "\n" not in error.message


@pytest.mark.parametrize("operation", ["Encrypt", "GenerateDataKey"])
def test_failures_of_writing_calls(encenv_kms, encenv_kms_key, operation):
    """An error of a writing call names the permission that is missing."""
    encenv_kms.deny(operation)
    provider = AwsKms()
    if operation == "Encrypt":
        error = failure(provider.wrap, bytes(32), encenv_kms_key, CONTEXT)
    else:
        error = failure(provider.generate, encenv_kms_key, CONTEXT)
    assert type(error) is KeyDeniedError
    assert f"kms:{operation}" in error.hint


@pytest.mark.parametrize("key_spec", ["RSA_2048", "HMAC_256"])
def test_a_key_that_cannot_wrap(encenv_kms, key_spec):
    """An asymmetric or HMAC key is refused as a wrapping key, and the hint says which kind to name."""
    key = encenv_kms.create_key(key_spec=key_spec)
    for error in (
        failure(AwsKms().generate, key, CONTEXT),
        failure(AwsKms().wrap, bytes(32), key, CONTEXT),
    ):
        assert type(error) is KeyRefusedError
        assert "symmetric" in error.hint


def test_states_of_a_key(encenv_kms, encenv_kms_key, item):
    """A disabled key and one that is to be deleted have different errors, and an enabled one works again."""
    provider = AwsKms()
    encenv_kms.disable(encenv_kms_key)
    assert "DisabledException" in unwrap_fails(item, provider).message
    encenv_kms.schedule_deletion(encenv_kms_key)
    assert "KMSInvalidStateException" in unwrap_fails(item, provider).message
    encenv_kms.enable(encenv_kms_key)
    assert provider.unwrap(item, CONTEXT, SECONDS) == DATA_KEY


# -- credentials, settings, network


@pytest.mark.parametrize(
    "row",
    [
        (
            {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None},
            "no AWS credentials found",
            "give AWS credentials",
        ),
        (
            {"AWS_SECRET_ACCESS_KEY": None},
            "a part of the AWS credentials is missing",
            "complete the AWS credentials",
        ),
        ({"AWS_PROFILE": "nobodys"}, "the AWS profile does not exist", "set AWS_PROFILE"),
        ({"AWS_ENDPOINT_URL_KMS": "not a url"}, "AWS KMS could not be called", "check the AWS settings"),
        ({"AWS_MAX_ATTEMPTS": "many"}, "AWS KMS could not be called", "check the AWS settings"),
        ({"AWS_MAX_ATTEMPTS": "-1"}, "AWS KMS could not be called", "check"),
    ],
    ids=["no credentials", "half", "profile", "endpoint", "attempts", "negative"],
)
def test_bad_settings(encenv_kms, item, monkeypatch, row):
    """The error about missing credentials or a wrong setting says in words what to do, and KMS is not called."""
    environ, cause, remedy = row
    for name, value in environ.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    error = unwrap_fails(item)
    assert type(error) is KeyUnreachableError
    assert remedy in error.hint
    assert error.message == f"{cause} (kms:Decrypt on {item.reference})"
    assert encenv_kms.calls == []


def test_a_credential_process_that_fails(encenv_kms, item, monkeypatch, tmp_path):
    """What a credential process prints when it fails is not shown."""
    config = tmp_path / "config"
    config.write_text("[profile p]\ncredential_process = sh -c 'echo canary-of-the-process >&2; exit 3'\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "p")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    error = unwrap_fails(item)
    assert type(error) is KeyUnreachableError
    assert "the AWS sign-in gave no credentials" in error.message
    assert "sign in" in error.hint
    assert "canary" not in str(error)


def test_no_region(encenv_kms, monkeypatch):
    """An alias without a region has its own error; a full ARN needs no other region."""
    key = encenv_kms.create_key(alias="alias/app")
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    error = failure(AwsKms().generate, "alias/app", CONTEXT)
    assert type(error) is KeyUnreachableError
    assert error.message == "no AWS region is set (kms:GenerateDataKey on alias/app)"
    assert "AWS_REGION" in error.hint
    assert AwsKms().generate(key, CONTEXT)
    assert AwsKms().generate(f"arn:aws:kms:{HOME}:111122223333:alias/app", CONTEXT)[1].reference == key


@pytest.mark.parametrize("key", ["", "x" * 3000, "alias/a\nb"])
def test_a_name_that_cannot_be_a_key(encenv_kms, key):
    """A text that cannot be the name of a key is refused in one short line."""
    error = failure(AwsKms().generate, key, CONTEXT)
    assert type(error) is KeyRefusedError
    assert len(error.message) < 500
    assert "\n" not in error.message


def test_nobody_listens(encenv_kms, item, path, once):
    """A port that nobody listens on is an error about the network."""
    encenv_kms.stop()
    error = unwrap_fails(item)
    assert type(error) is KeyUnreachableError
    assert {"lean": "connection refused", "boto3": "no connection"}[path] in error.message
    assert "check the network" in error.hint


def test_a_dropped_connection(encenv_kms, item, path, once):
    """A connection that is closed without an answer is an error about the network."""
    encenv_kms.drop("Decrypt")
    error = unwrap_fails(item)
    assert type(error) is KeyUnreachableError
    assert "the connection was closed" in error.message


def test_a_half_answer(encenv_kms, item, once):
    """Half an answer is an error, although boto3 may call it a success."""
    encenv_kms.half_answer("Decrypt", times=1)
    provider = AwsKms()
    assert type(unwrap_fails(item, provider)) is KeyUnreachableError
    assert provider.unwrap(item, CONTEXT, SECONDS) == DATA_KEY


def test_an_answer_that_comes_too_late(encenv_kms, item, path, once, monkeypatch):
    """An answer is waited for until the read timeout."""
    monkeypatch.setattr(kms, "READ_SECONDS", 0.2)
    monkeypatch.setattr(kms_http, "READ_SECONDS", 0.2)
    encenv_kms.delay(5)
    started = time.monotonic()
    error = unwrap_fails(item)
    assert time.monotonic() - started < 3
    assert type(error) is KeyUnreachableError
    assert "no answer in time" in error.message


@pytest.mark.parametrize("code", ["KMSInternalException", "ThrottlingException", "ServiceUnavailable"])
def test_a_fault_that_passes(encenv_kms, item, no_waiting, code):
    """After two faults of AWS the third attempt succeeds."""
    encenv_kms.fail("Decrypt", code=code, times=2)
    assert AwsKms().unwrap(item, CONTEXT, SECONDS) == DATA_KEY
    assert [call.error for call in encenv_kms.calls] == [code, code, None]


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(("attempts", "calls"), [("1", 1), ("2", 2), ("4", 4), (None, 3)])
def test_attempts(encenv_kms, item, monkeypatch, attempts, calls):
    """KMS is called as often as AWS_MAX_ATTEMPTS says; three times if it is not set."""
    monkeypatch.delenv("AWS_MAX_ATTEMPTS", raising=False)
    if attempts:
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", attempts)
    encenv_kms.fail("Decrypt", code="ThrottlingException")
    assert "ThrottlingException" in unwrap_fails(item).message
    assert len(encenv_kms.calls) == calls


def test_a_refusal_is_not_tried_again(encenv_kms, item):
    """A call that KMS refuses is not repeated."""
    encenv_kms.deny("Decrypt")
    unwrap_fails(item)
    assert len(encenv_kms.calls) == 1


# -- the user's own session or client


def test_a_given_session(encenv_kms, encenv_kms_key, item, monkeypatch):
    """A given session's credentials are used, where the environment has none."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    session = boto3.session.Session(ACCESS_KEY_ID, SECRET_ACCESS_KEY)
    assert AwsKms(session=session).unwrap(item, CONTEXT, SECONDS) == DATA_KEY
    assert "no AWS credentials found" in unwrap_fails(item).message


def test_a_given_client(encenv_kms, item, monkeypatch):
    """A given client is used for its region's keys, and no other client is made."""
    client = client_of(encenv_kms)
    monkeypatch.setattr(ClientPool, "client", None)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")
    provider = AwsKms(client=client)
    assert provider.unwrap(item, CONTEXT, SECONDS) == DATA_KEY
    encenv_kms.create_key(alias="alias/app")
    assert provider.generate("alias/app", CONTEXT)
    ireland = encenv_kms.create_key(NEAR)
    error = failure(provider.generate, ireland, CONTEXT)
    assert type(error) is KeyRefusedError
    assert HOME in error.message
    assert "session" in error.hint


def test_a_given_client_in_a_load(encenv_kms, encenv_kms_key):
    """A settings class or decrypt_environ that is given a provider uses it."""
    provider = AwsKms(client=client_of(encenv_kms))
    environ = environ_of(provider, encenv_kms_key)
    assert decrypt_environ(environ, key_providers=[provider]) == {"SECRET": "opened"}


def environ_of(provider, key, *others, context=()):
    """Return an environment of one variable, whose data key is wrapped under *key* and *others*."""
    whole = encryption_context(context)
    plain, first = provider.generate(key, whole)
    items = (first, *(provider.wrap(plain, other, whole) for other in others))
    data_key = DataKey(plain)
    entry = KeyEntry(data_key.commitment, context, items)
    return {entry.name: str(entry), "SECRET": data_key.encrypt("SECRET", "opened")}


# -- what an answer must be


def test_the_answer_of_another_key(encenv_kms, encenv_kms_key, item):
    """An answer for another key than the one in the request is refused."""
    client = client_of(encenv_kms)
    other = encenv_kms_key[:-1] + ("1" if encenv_kms_key.endswith("0") else "0")
    client.meta.events.register("after-call.kms", lambda parsed, **_: parsed.update(KeyId=other))
    provider = AwsKms(client=client)
    for error in (
        unwrap_fails(item, provider),
        failure(provider.generate, encenv_kms_key, CONTEXT),
        failure(provider.wrap, bytes(32), encenv_kms_key, CONTEXT),
    ):
        assert type(error) is KeyRefusedError
        assert "answered for another key" in error.message


@pytest.mark.parametrize(
    "part",
    [
        {"Plaintext": None},
        {"Plaintext": b""},
        {"Plaintext": DATA_KEY[:31]},
        {"Plaintext": DATA_KEY + b"\0"},
        {"KeyId": None},
        {"KeyId": 5},
        {"KeyId": "arn:aws:kms:evil.example/:111122223333:key/x"},
        {"CiphertextBlob": b""},
    ],
    ids=str,
)
def test_incomplete_answers(encenv_kms, encenv_kms_key, item, part):
    """An answer without a data key of 32 bytes, its blob or a usable ARN is refused, and its frames hold no key."""
    encenv_kms.create_key(alias="alias/app")
    client = client_of(encenv_kms)
    client.meta.events.register(
        "after-call.kms", lambda parsed, **_: parsed.update({"Plaintext": DATA_KEY} | part)
    )
    error = failure(AwsKms(client=client).generate, "alias/app", CONTEXT)
    assert type(error) in (KeyRefusedError, KeyUnreachableError)
    if "CiphertextBlob" not in part:
        assert type(unwrap_fails(item, AwsKms(client=client))) in (KeyRefusedError, KeyUnreachableError)


def test_another_plaintext_than_a_data_key(encenv_kms, encenv_kms_key):
    """A plaintext that is not 32 bytes long is refused."""
    blob = client_of(encenv_kms).encrypt(
        KeyId=encenv_kms_key, Plaintext=b"a password", EncryptionContext=CONTEXT
    )
    error = unwrap_fails(WrappedKey("aws-kms", blob["CiphertextBlob"], encenv_kms_key))
    assert type(error) is KeyRefusedError
    assert "not 32 bytes long" in error.message


@pytest.mark.parametrize(
    "name",
    ["alias/app", f"arn:aws:kms:{NEAR}:111122223333:alias/app", "{id}", "{arn}"],
    ids=["alias", "alias ARN", "key id", "ARN"],
)
def test_how_a_key_may_be_named(encenv_kms, monkeypatch, name):
    """However a key is named, the reference is the full ARN that KMS answered with."""
    key = encenv_kms.create_key(NEAR, alias="alias/app")
    monkeypatch.setenv("AWS_REGION", NEAR)
    name = name.format(id=key.rsplit("/", 1)[1], arn=key)
    plain, item = AwsKms().generate(name, CONTEXT)
    assert item.reference == key
    assert AwsKms().wrap(plain, name, CONTEXT).reference == key
    assert AwsKms().unwrap(item, CONTEXT, SECONDS) == plain
    assert {call.region for call in encenv_kms.calls} == {NEAR}


# -- which host is called


@pytest.mark.parametrize(
    ("arn", "url"),
    [
        ("arn:aws:kms:eu-central-1:111122223333:key/x", "https://kms.eu-central-1.amazonaws.com"),
        ("arn:aws-cn:kms:cn-north-1:111122223333:key/x", "https://kms.cn-north-1.amazonaws.com.cn"),
        (
            "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/x",
            "https://kms.us-gov-west-1.amazonaws.com",
        ),
        ("arn:aws-eusc:kms:eusc-de-east-1:111122223333:key/x", "https://kms.eusc-de-east-1.amazonaws.eu"),
        ("arn:aws-iso:kms:us-iso-east-1:111122223333:key/x", "https://kms.us-iso-east-1.c2s.ic.gov"),
        ("arn:aws:kms:mars-north-1:111122223333:key/x", "https://kms.mars-north-1.amazonaws.com"),
    ],
)
def test_endpoints(encenv_kms, monkeypatch, arn, url):
    """The region of the ARN decides which host is called, in every partition and whatever AWS_REGION says."""
    monkeypatch.delenv("AWS_ENDPOINT_URL_KMS")
    assert AwsKms()._client_for(arn).meta.endpoint_url == url


HOSTILE = [
    "arn:aws:kms:evil.example/:111122223333:key/x",
    "arn:aws:kms:evil.example:111122223333:key/x",
    "arn:aws:kms:us-east-1.evil.example#:111122223333:key/x",
    "arn:aws:kms:us-east-1@evil.example:111122223333:key/x",
    "arn:aws:kms::111122223333:key/x",
    "arn:aws:kms:US-EAST-1:111122223333:key/x",
    "arn:aws:kms:us-east-1:111122223333:key/x:key/mrk-y",
    "arn:aws:s3:us-east-1:111122223333:key/x",
]


@pytest.mark.parametrize("arn", HOSTILE)
def test_a_region_that_is_a_host_name(monkeypatch, arn):
    """An ARN whose region is a host name is refused when it is parsed, and no connection is opened."""

    def connect(*_, **__):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "getaddrinfo", connect)
    monkeypatch.setattr(socket.socket, "connect", connect)
    data_key = DataKey(bytes(32))
    entry = KeyEntry(data_key.commitment, (), (WrappedKey("aws-kms", b"blob", arn),))
    with pytest.raises(MalformedError):
        decrypt_environ({entry.name: str(entry), "SECRET": data_key.encrypt("SECRET", "x")})
    for request in (
        lambda: AwsKms().unwrap(entry.items[0], CONTEXT, SECONDS),
        lambda: AwsKms().generate(arn, CONTEXT),
        lambda: AwsKms().wrap(bytes(32), arn, CONTEXT),
    ):
        assert isinstance(failure(request), EncenvError)


@pytest.mark.parametrize(
    ("environ", "region"),
    [
        ({}, None),
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "us-east-1"}, "eu-west-1"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "us-east-1"}, "us-east-1"),
        ({"AWS_REGION": "evil.example"}, None),
        ({"AWS_REGION": "us-gov-west-1"}, "us-gov-west-1"),
    ],
)
def test_own_region(environ, region):
    """The process's own region is AWS_REGION, else AWS_DEFAULT_REGION, if that is a region's name."""
    assert AwsKms(environ).own_region() == region


def test_own_region_of_a_session_or_client(encenv_kms):
    """The region of a given client or session comes before that of the environment."""
    environ = {"AWS_REGION": HOME}
    assert AwsKms(environ, client=client_of(encenv_kms, NEAR)).own_region() == NEAR
    assert AwsKms(environ, session=boto3.session.Session(region_name=NEAR)).own_region() == NEAR


# -- multi-region keys


def test_a_replica_in_the_own_region(encenv_kms, replicated, monkeypatch):
    """A replica in the process's own region is tried first."""
    encenv_kms.replicate(replicated.reference, NEAR)
    monkeypatch.setenv("AWS_REGION", NEAR)
    assert load(replicated) == DATA_KEY
    assert load(replicated) == DATA_KEY  # it is cached for the wrapped key of the key entry
    assert [(call.region, call.key) for call in encenv_kms.calls] == [
        (NEAR, replicated.reference.replace(HOME, NEAR))
    ]


@pytest.mark.parametrize(
    "trouble", ["no replica", "denied", "disabled", "throttled", "dropped", "half-answered"]
)
def test_trouble_in_the_own_region(encenv_kms, replicated, once, monkeypatch, trouble):
    """Whatever fails in the process's own region, the region of the key entry is tried next."""
    monkeypatch.setenv("AWS_REGION", NEAR)
    if trouble != "no replica":
        copy = encenv_kms.replicate(replicated.reference, NEAR)
        {
            "denied": lambda: encenv_kms.deny("Decrypt", region=NEAR, key=copy),
            "disabled": lambda: encenv_kms.disable(copy),
            "throttled": lambda: encenv_kms.fail("Decrypt", code="ThrottlingException", region=NEAR),
            "dropped": lambda: encenv_kms.drop("Decrypt", region=NEAR),
            "half-answered": lambda: encenv_kms.half_answer("Decrypt", region=NEAR),
        }[trouble]()
    assert load(replicated) == DATA_KEY
    (near, trouble_there), home = regions(encenv_kms)
    assert near == NEAR
    assert trouble_there
    assert home == (HOME, None)


@pytest.mark.parametrize(("delay", "calls"), [(0.0, 2), (SECONDS, 1)])
def test_hedging(encenv_kms, replicated, monkeypatch, delay, calls):
    """Another region is called as well after the hedging delay, and not before; the first answer counts."""
    encenv_kms.replicate(replicated.reference, NEAR)
    monkeypatch.setenv("AWS_REGION", NEAR)
    encenv_kms.delay(0.5, "Decrypt", region=NEAR)
    assert load(replicated, hedge_delay=delay) == DATA_KEY
    wait_until(
        lambda: len(regions(encenv_kms)) >= calls
    )  # the slow region may have been called only just now
    assert sorted(region for region, _ in regions(encenv_kms)) == sorted([NEAR, HOME][:calls])


def test_an_own_region_that_hangs(encenv_kms, replicated, monkeypatch):
    """If the process's own region does not answer, enough time is left for the other one."""
    encenv_kms.replicate(replicated.reference, NEAR)
    monkeypatch.setenv("AWS_REGION", NEAR)
    encenv_kms.delay(30, "Decrypt", region=NEAR)
    assert load(replicated, 2, 0.1) == DATA_KEY
    assert (HOME, None) in regions(encenv_kms)


def test_an_own_region_that_is_slow(encenv_kms, replicated, once, monkeypatch):
    """A slow replica is still used if the region of the key entry is down."""
    encenv_kms.replicate(replicated.reference, NEAR)
    monkeypatch.setenv("AWS_REGION", NEAR)
    encenv_kms.delay(0.5, "Decrypt", region=NEAR)
    encenv_kms.fail("Decrypt", code="ServiceUnavailable", region=HOME)
    assert load(replicated, 2, 0.1) == DATA_KEY


def test_no_region_unwraps_it(encenv_kms, replicated, path, once, monkeypatch):
    """If no region unwraps the key, the error has both reasons and both hints."""
    encenv_kms.replicate(replicated.reference, NEAR)
    monkeypatch.setenv("AWS_REGION", NEAR)
    encenv_kms.deny("Decrypt", region=NEAR)
    encenv_kms.drop("Decrypt", region=HOME)
    error = failure(load, replicated)
    assert type(error) is KeyRefusedError
    assert "the connection was closed" in error.message
    assert "AccessDeniedException" in error.message
    assert "allow kms:Decrypt" in error.hint
    assert "check the network" in error.hint


@pytest.mark.parametrize("own", [HOME, "cn-north-1", "us-gov-west-1", "eusc-de-east-1"])
def test_regions_that_cannot_have_a_replica(encenv_kms, replicated, monkeypatch, own):
    """No replica is sought in the key's own region or in another partition."""
    monkeypatch.setenv("AWS_REGION", own)
    assert load(replicated) == DATA_KEY
    assert regions(encenv_kms) == [(HOME, None)]


def test_a_single_region_key(encenv_kms, item, monkeypatch):
    """A single-region key is called for in its own region only, wherever the process is."""
    monkeypatch.setenv("AWS_REGION", NEAR)
    assert load(item) == DATA_KEY
    assert regions(encenv_kms) == [(HOME, None)]


def test_a_pinned_multi_region_key(encenv_kms, monkeypatch):
    """A reader who trusts a multi-region key in one region accepts and unwraps an entry under its replica in another."""
    primary = encenv_kms.create_key(HOME, multi_region=True)
    copy = encenv_kms.replicate(primary, NEAR)
    environ = environ_of(AwsKms(), copy)
    assert decrypt_environ(environ, trusted_keys=[primary]) == {"SECRET": "opened"}
    with pytest.raises(PolicyError):
        decrypt_environ(environ, trusted_keys=[encenv_kms.create_key(HOME, multi_region=True)])
    assert Trust.of([primary]).trusts(WrappedKey("aws-kms", b"x", copy))


def test_two_wrapping_keys(encenv_kms, path, no_waiting):
    """With keys in two regions, either region is enough."""
    keys = [encenv_kms.create_key(HOME), encenv_kms.create_key(NEAR)]
    environ = environ_of(AwsKms(), *keys)
    for broken in (HOME, NEAR):
        encenv_kms.fail("Decrypt", code="ServiceUnavailable", region=broken)
        clear_cache()
        assert decrypt_environ(environ) == {"SECRET": "opened"}
        encenv_kms.heal()


# -- clients, threads, logs


def test_clients_are_not_shared_over_a_fork(encenv_kms, encenv_kms_key):
    """A forked child has its own clients, even if the parent was making one at the fork."""
    code = """
    import os, signal, sys
    from encenv.keys.aws.kms import AwsKms

    provider, key = AwsKms(), sys.argv[1]
    plain, _ = provider.generate(key, {"encenv": "1"})
    own = provider._client_for(key)
    assert provider._client_for(key) is own
    with provider._pool._lock:  # as in another thread that makes a client
        child = os.fork()
        if not child:
            signal.alarm(20)
            assert provider._client_for(key) is not own
            assert provider.wrap(plain, key, {"encenv": "1"}).reference == key
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert provider._client_for(key) is own
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), encenv_kms_key],
        env=encenv_kms.environ(os.environ),
        timeout=30,
        check=True,
    )


def test_one_client_for_many_threads(encenv_kms, item, path, monkeypatch, caplog):
    """32 threads that start together make one boto3 client, if any, with enough connections for all of them."""
    made = []
    make = boto3.session.Session.client
    monkeypatch.setattr(
        boto3.session.Session, "client", lambda *args, **kwargs: made.append(1) or make(*args, **kwargs)
    )
    encenv_kms.delay(0.3)  # so that all calls overlap
    provider = AwsKms()
    data_keys = []
    threads = [
        threading.Thread(target=lambda: data_keys.append(provider.unwrap(item, CONTEXT, SECONDS)))
        for _ in range(32)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert data_keys == [DATA_KEY] * 32
    assert made == {"lean": [], "boto3": [1]}[path]
    assert "pool is full" not in caplog.text


def test_the_debug_log(encenv_kms, encenv_kms_key, item, caplog):
    """With all logging on, many threads log no data key, and boto3's log works as before outside of the calls."""
    caplog.set_level(logging.DEBUG)
    wrapped = base64.b64encode(item.wrapped).decode()
    provider = AwsKms()
    found = []

    def use():
        provider.unwrap(item, CONTEXT, SECONDS)
        provider.wrap(DATA_KEY, encenv_kms_key, CONTEXT)
        found.append(provider.generate(encenv_kms_key, CONTEXT)[0])

    threads = [threading.Thread(target=use) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert len(found) == 16
    for secret in (DATA_KEY, *found):
        assert base64.b64encode(secret).decode() not in caplog.text
        assert repr(secret)[2:-1] not in caplog.text
    assert wrapped not in caplog.text
    caplog.clear()
    client_of(encenv_kms).describe_key(KeyId=encenv_kms_key)
    assert "Making request for OperationModel(name=DescribeKey)" in caplog.text


def test_the_quiet_loggers(encenv_kms, encenv_kms_key, caplog):
    """The quiet loggers are all those that log a request's parameters, headers or answers."""
    caplog.set_level(logging.DEBUG)
    client = client_of(encenv_kms)
    encenv_kms.fail("Encrypt", code="ThrottlingException", times=1)
    caplog.clear()
    with pytest.raises(Exception, match="Throttling"):
        client.encrypt(KeyId=encenv_kms_key, Plaintext=DATA_KEY)
    client.encrypt(KeyId=encenv_kms_key, Plaintext=DATA_KEY)
    texts = (repr(DATA_KEY)[2:-1], base64.b64encode(DATA_KEY).decode())
    telling = {r.name for r in caplog.records if any(text in r.getMessage() for text in texts)}
    assert telling
    assert telling <= set(client_module._LOGGERS)


def test_nothing_is_imported_early():
    """Making a provider, and failing its first checks, does not import boto3."""
    code = (
        "import sys; from encenv import AwsKms; from encenv.keys.trust import Trust\n"
        "AwsKms().own_region(); Trust.of(['111122223333'])\n"
        "assert not {'boto3', 'botocore'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], env=without_coverage(os.environ), timeout=30, check=True)
