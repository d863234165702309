"""Test that the test KMS fails when, how and for which requests a test says."""

import contextlib
import http.client
import json
import math
import threading
import time

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    HTTPClientError,
)
from support.kms_client import client_of, refusal, send, signed_headers

from encenv.testing import Call

CONTEXT = {"encenv": "1", "stage": "prod"}
PLAINTEXT = b"canary-plaintext-of-this-file"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("KMSInternalException", 500),
        ("DependencyTimeoutException", 500),
        ("KeyUnavailableException", 500),
        ("InternalFailure", 500),
        ("ServiceUnavailable", 503),
        ("ThrottlingException", 400),
        ("ExpiredTokenException", 400),
    ],
)
def test_fail(kms, client, key, code, status):
    """A fault has the code of the test, and the HTTP status that AWS uses for it."""
    kms.fail("Describe*", code=code)
    assert refusal(client.describe_key, KeyId=key) == (code, status)
    assert kms.calls == [Call("DescribeKey", key, "us-east-1", {}, code)]
    assert client.encrypt(KeyId=key, Plaintext=b"x")
    kms.heal()
    assert client.describe_key(KeyId=key)


def test_fail_as_a_proxy(kms, client, key):
    """A fault may be a bare status without AWS's body."""
    kms.fail(code=None, status=502)
    assert refusal(client.describe_key, KeyId=key) == ("502", 502)
    assert kms.calls[0].error == "502"


@pytest.mark.parametrize("code", ["ThrottlingException", "KMSInternalException", "ServiceUnavailable"])
def test_fail_some_times(kms, key, code, monkeypatch):
    """After a fault that happens twice, boto3's third attempt succeeds; the log has all three."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    kms.fail(code=code, times=2)
    client = client_of(kms, attempts=3)
    assert client.describe_key(KeyId=key)
    assert [call.error for call in kms.calls] == [code, code, None]


def test_faults_of_one_region(kms):
    """A fault can be restricted to one region."""
    primary = kms.create_key(multi_region=True)
    copy = kms.replicate(primary, "eu-west-1")
    kms.fail("Decrypt", code="ServiceUnavailable", region="us-east-1")
    kms.drop("Encrypt", region="eu-west-1")
    virginia, ireland = client_of(kms), client_of(kms, "eu-west-1")
    blob = virginia.encrypt(KeyId=primary, Plaintext=PLAINTEXT)["CiphertextBlob"]
    assert refusal(virginia.decrypt, KeyId=primary, CiphertextBlob=blob) == ("ServiceUnavailable", 503)
    assert ireland.decrypt(KeyId=copy, CiphertextBlob=blob)["Plaintext"] == PLAINTEXT
    with pytest.raises(ConnectionClosedError):
        ireland.encrypt(KeyId=copy, Plaintext=PLAINTEXT)


def test_delay(kms, client, key):
    """An answer is late by the delay; the request is performed and logged at once."""
    kms.delay(0.15, "DescribeKey", times=1)
    start = time.perf_counter()
    client.describe_key(KeyId=key)
    assert 0.15 <= time.perf_counter() - start < 2
    start = time.perf_counter()
    client.describe_key(KeyId=key)
    assert time.perf_counter() - start < 0.15
    kms.clear()
    kms.delay(30, times=1)
    with pytest.raises(HTTPClientError, match=r"[Rr]ead timeout"):
        client_of(kms, read_timeout=0.1).describe_key(KeyId=key)
    assert kms.count("DescribeKey") == 1


def test_delays_do_not_add_up(kms, client, key):
    """A slow answer does not delay other answers."""
    kms.delay(0.2)
    threads = [threading.Thread(target=client.describe_key, kwargs={"KeyId": key}) for _ in range(10)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.2 <= time.perf_counter() - start < 1.5
    assert kms.count() == 10


def test_drop(kms, client):
    """A dropped connection has no answer and nothing was done; boto3's next attempt gets through."""
    kms.drop("CreateKey", times=2)
    with pytest.raises(ConnectionClosedError):
        client.create_key()
    assert kms.calls == [Call("CreateKey", None, "us-east-1", {}, "dropped")]
    key = client_of(kms, attempts=2).create_key()["KeyMetadata"]["Arn"]
    assert list(kms._keys.keys) == [key]
    assert kms.count() == 1


def test_half_answer(kms, client, key):
    """The request is performed, and half of its answer arrives, with the length of the whole.

    boto3 does not compare lengths: to its caller the answer is a success without members.
    """
    kms.half_answer(times=2)
    body = json.dumps({"KeyId": key}).encode()
    with pytest.raises(http.client.IncompleteRead) as caught:
        send(kms, signed_headers(kms, "DescribeKey", body), body)
    assert caught.value.partial.startswith(b'{"KeyMetadata"')
    answer = client.generate_data_key(KeyId=key, NumberOfBytes=32)
    assert set(answer) == {"ResponseMetadata"}
    assert [call.error for call in kms.calls] == ["half-answered"] * 2
    assert kms.count() == 0
    assert client.generate_data_key(KeyId=key, NumberOfBytes=32)["KeyId"] == key


def test_deny(kms, client, key):
    """An operation is denied for every key or for one, until `heal`; other operations and keys work."""
    other = kms.create_key()
    blob = client.encrypt(KeyId=key, Plaintext=PLAINTEXT)["CiphertextBlob"]
    kms.deny("Decrypt")
    kms.deny("GenerateDataKey*", key=other)
    assert refusal(client.decrypt, KeyId=key, CiphertextBlob=blob) == ("AccessDeniedException", 400)
    assert refusal(client.decrypt, CiphertextBlob=blob) == ("AccessDeniedException", 400)
    assert refusal(client.generate_data_key, KeyId=other, NumberOfBytes=32) == ("AccessDeniedException", 400)
    assert client.generate_data_key(KeyId=key, NumberOfBytes=32)
    assert client.encrypt(KeyId=other, Plaintext=b"x")
    assert client.describe_key(KeyId=other)
    kms.heal()
    assert client.decrypt(KeyId=key, CiphertextBlob=blob)["Plaintext"] == PLAINTEXT


def test_deny_unless_context(kms, client, key):
    """A denial can except requests with certain pairs in their context, as a key policy can."""
    kms.deny("GenerateDataKey", unless_context={"encenv-add": "1"})
    size = {"KeyId": key, "NumberOfBytes": 32}
    assert refusal(client.generate_data_key, **size, EncryptionContext=CONTEXT) == (
        "AccessDeniedException",
        400,
    )
    assert (
        refusal(client.generate_data_key, **size, EncryptionContext={"encenv-add": "0"})[0]
        == "AccessDeniedException"
    )
    assert client.generate_data_key(**size, EncryptionContext={**CONTEXT, "encenv-add": "1"})


def test_deny_on_re_encrypt(kms, client, key):
    """ReEncrypt needs permission for both of its keys, each with its own context."""
    other = kms.create_key()
    blob = client.encrypt(KeyId=key, Plaintext=PLAINTEXT, EncryptionContext=CONTEXT)["CiphertextBlob"]
    move = {"CiphertextBlob": blob, "SourceEncryptionContext": CONTEXT, "DestinationKeyId": other}
    for denied in (key, other):
        kms.deny("ReEncrypt", key=denied)
        assert refusal(client.re_encrypt, **move) == ("AccessDeniedException", 400)
        kms.heal()
    kms.deny("ReEncrypt", key=key, unless_context={"stage": "prod"})
    assert client.re_encrypt(**move)["KeyId"] == other
    kms.deny("ReEncrypt", key=other, unless_context={"stage": "prod"})
    assert refusal(client.re_encrypt, **move)[0] == "AccessDeniedException"


@pytest.mark.parametrize("act", ["fail", "drop", "half_answer", "deny"])
def test_misspelt_operations(kms, act):
    """A fault for an operation that does not exist is an error at once, not a fault that never happens."""
    with pytest.raises(ValueError, match="no operation is called Decypt"):
        getattr(kms, act)("Decypt")
    with pytest.raises(ValueError, match="no operation is called Decypt"):
        kms.delay(1, "Decypt")


def test_reset(kms, key):
    """A connection can also be reset, as by a host that goes down."""
    body = json.dumps({"KeyId": key}).encode()
    kinds = []
    for reset in (True, False):
        kms.drop(reset=reset, times=1)
        with pytest.raises(ConnectionResetError) as caught:
            send(kms, signed_headers(kms, "DescribeKey", body), body)
        kinds.append(caught.type)
    assert kinds == [ConnectionResetError, http.client.RemoteDisconnected]
    assert [call.error for call in kms.calls] == ["dropped"] * 2


def test_never(kms, key):
    """A request with an infinite delay gets no answer, and the server can be stopped all the same."""
    kms.delay(math.inf, "DescribeKey")
    with pytest.raises(HTTPClientError, match=r"[Rr]ead timeout"):
        client_of(kms, read_timeout=0.1).describe_key(KeyId=key)
    assert kms.count("DescribeKey") == 1
    kms.stop()
    assert not [thread for thread in threading.enumerate() if "_serve" in thread.name]


@pytest.mark.parametrize("operation", ["Decrypt", "GenerateDataKey"])
def test_tampered_members(kms, client, key, operation):
    """Members of an answer can be changed or removed; the request is performed all the same."""
    other = kms.create_key()
    blob = client.encrypt(KeyId=key, Plaintext=PLAINTEXT)["CiphertextBlob"]
    kms.tamper({"KeyId": other, "Plaintext": b"short"}, operation, times=1)
    kms.tamper({"Plaintext": None}, operation, times=1)
    members = {"CiphertextBlob": blob} if operation == "Decrypt" else {"NumberOfBytes": 32}

    def ask():
        return (
            client.decrypt(**members)
            if operation == "Decrypt"
            else client.generate_data_key(KeyId=key, **members)
        )

    changed, lacking, right = ask(), ask(), ask()
    assert (changed["KeyId"], changed["Plaintext"]) == (other, b"short")
    assert lacking["KeyId"] == key
    assert "Plaintext" not in lacking
    assert (right["KeyId"], len(right["Plaintext"]) > 5) == (key, True)
    assert [call.error for call in kms.calls[1:]] == ["tampered", "tampered", None]
    assert kms.count(operation) == 1


def test_tampered_body(kms, key):
    """The body of an answer can be replaced; an error is not changed."""
    kms.tamper(b"<html>", times=1)
    body = json.dumps({"KeyId": key}).encode()
    wrong = json.dumps({"KeyId": "none"}).encode()
    assert send(kms, signed_headers(kms, "DescribeKey", wrong), wrong)[1]["__type"] == "NotFoundException"
    assert send(kms, signed_headers(kms, "DescribeKey", body), body)[:2] == (200, b"<html>")
    assert send(kms, signed_headers(kms, "DescribeKey", body), body)[1]["KeyMetadata"]["Arn"] == key


def test_faults_of_one_key(kms, client, key):
    """Every fault can be restricted to one key, whatever name a request uses for it."""
    other = kms.create_key(alias="alias/other")
    acts = (
        lambda **only: kms.fail("DescribeKey", code="ThrottlingException", **only),
        lambda **only: kms.drop("DescribeKey", **only),
        lambda **only: kms.half_answer("DescribeKey", **only),
        lambda **only: kms.tamper({}, "DescribeKey", **only),
        lambda **only: kms.deny("DescribeKey", **only),
    )
    errors = ["ThrottlingException", "dropped", "half-answered", "tampered", "AccessDeniedException"]
    for act, error in zip(acts, errors, strict=True):
        for name in (other, other.rsplit("/", 1)[1], "alias/other"):
            kms.heal()
            act(key=other)
            assert client.describe_key(KeyId=key)["KeyMetadata"]["Arn"] == key
            with contextlib.suppress(ClientError, ConnectionClosedError):
                client.describe_key(KeyId=name)
            assert kms.calls[-1] == Call("DescribeKey", other, "us-east-1", {}, error)


def test_one_key_is_slow(kms, key):
    """A delay can be restricted to one key."""
    other = kms.create_key()
    kms.delay(math.inf, key=other)
    client = client_of(kms, read_timeout=0.5)
    assert client.describe_key(KeyId=key)
    with pytest.raises(HTTPClientError, match=r"[Rr]ead timeout"):
        client.describe_key(KeyId=other)
