"""The test KMS answers as AWS KMS does: to real boto3, to raw requests, and when it is told to fail."""

import base64
import datetime as dt
import http.client
import ipaddress
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    HTTPClientError,
    SSLError,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from encenv.keys.local import parse_keys
from encenv.testing import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Call, KmsServer, signature
from encenv.testing.operations import OPERATIONS

pytest_plugins = ["encenv.testing"]

CONTEXT = {"encenv": "1", "stage": "prod"}
PLAINTEXT = b"canary-plaintext-of-this-file"
_session = boto3.session.Session(aws_access_key_id=ACCESS_KEY_ID, aws_secret_access_key=SECRET_ACCESS_KEY)


def client_of(kms, region="us-east-1", *, attempts=1, read_timeout=5, **options):
    """Return a real boto3 client of this server in *region*."""
    config = Config(
        retries={"total_max_attempts": attempts, "mode": "standard"},
        connect_timeout=5,
        read_timeout=read_timeout,
    )
    return _session.client("kms", region, endpoint_url=kms.url, config=config, **options)


def refusal(request, **members):
    """Return the error code and HTTP status that *request* is refused with."""
    with pytest.raises(ClientError) as caught:
        request(**members)
    return caught.value.response["Error"]["Code"], caught.value.response["ResponseMetadata"]["HTTPStatusCode"]


def signed(
    kms,
    operation,
    body,
    *,
    secret=SECRET_ACCESS_KEY,
    key=ACCESS_KEY_ID,
    region="us-east-1",
    service="kms",
    **extra,
):
    """Return the headers of a request that botocore's own signer signed."""
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": f"TrentService.{operation}",
        **extra,
    }
    request = AWSRequest("POST", kms.url + "/", headers, body)
    SigV4Auth(Credentials(key, secret), service, region).add_auth(request)
    return dict(request.headers)


def send(kms, headers, body=b"{}", path="/", method="POST"):
    """Send a raw request and return its status, the answer's JSON and its headers."""
    connection = http.client.HTTPConnection("127.0.0.1", int(kms.url.rsplit(":", 1)[1]), timeout=5)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if content[:1] == b"{" else content, answer.headers
    finally:
        connection.close()


@pytest.fixture
def kms():
    """A fresh server."""
    with KmsServer() as server:
        yield server


@pytest.fixture
def client(kms):
    """A boto3 client of it in us-east-1 that tries once."""
    return client_of(kms)


@pytest.fixture
def key(kms):
    """The ARN of a symmetric key on it in us-east-1."""
    return kms.create_key()


# -- the operations


def test_data_key_round_trip(client, key):
    """A generated data key opens from its blob, under the same context, and both answers give the key's ARN."""
    made = client.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext=CONTEXT)
    opened = client.decrypt(KeyId=key, CiphertextBlob=made["CiphertextBlob"], EncryptionContext=CONTEXT)
    assert made["Plaintext"] == opened["Plaintext"]
    assert len(made["Plaintext"]) == 32
    assert made["KeyId"] == opened["KeyId"] == key
    assert opened["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"
    assert made["KeyMaterialId"] == opened["KeyMaterialId"]


def test_blob_length(client, key):
    """The blob of a 32-byte data key has the 184 bytes that it has at AWS today, and no two are alike."""
    blobs = [
        client.generate_data_key_without_plaintext(KeyId=key, NumberOfBytes=32)["CiphertextBlob"]
        for _ in range(3)
    ]
    assert [len(blob) for blob in blobs] == [184] * 3
    assert len(set(blobs)) == 3
    assert base64.b64encode(blobs[0]).startswith(b"AQIDA")


@pytest.mark.parametrize(
    ("size", "length"),
    [({"KeySpec": "AES_128"}, 16), ({"NumberOfBytes": 1}, 1), ({"NumberOfBytes": 1024}, 1024)],
)
def test_data_key_sizes(client, key, size, length):
    """A data key has the size that was asked for."""
    assert len(client.generate_data_key(KeyId=key, **size)["Plaintext"]) == length


def test_without_plaintext(client, key):
    """GenerateDataKeyWithoutPlaintext gives the blob only, and the blob opens."""
    made = client.generate_data_key_without_plaintext(KeyId=key, NumberOfBytes=32)
    assert "Plaintext" not in made
    assert len(client.decrypt(CiphertextBlob=made["CiphertextBlob"])["Plaintext"]) == 32


@pytest.mark.parametrize("size", [1, 32, 4096])
def test_encrypt_round_trip(client, key, size):
    """What Encrypt takes, Decrypt gives back, with and without naming the key."""
    plaintext = os.urandom(size)
    made = client.encrypt(KeyId=key, Plaintext=plaintext, EncryptionContext=CONTEXT)
    assert made["KeyId"] == key
    for named in ({}, {"KeyId": key}):
        answer = client.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=CONTEXT, **named)
        assert (answer["Plaintext"], answer["KeyId"]) == (plaintext, key)


def test_re_encrypt(kms, client, key):
    """ReEncrypt moves a blob to another key and context; the old blob still opens under the old ones."""
    other = kms.create_key()
    blob = client.encrypt(KeyId=key, Plaintext=PLAINTEXT, EncryptionContext=CONTEXT)["CiphertextBlob"]
    moved = client.re_encrypt(
        CiphertextBlob=blob,
        SourceEncryptionContext=CONTEXT,
        SourceKeyId=key,
        DestinationKeyId=other,
        DestinationEncryptionContext={"stage": "dev"},
    )
    assert (moved["SourceKeyId"], moved["KeyId"]) == (key, other)
    opened = client.decrypt(
        KeyId=other, CiphertextBlob=moved["CiphertextBlob"], EncryptionContext={"stage": "dev"}
    )
    assert opened["Plaintext"] == PLAINTEXT
    assert client.decrypt(KeyId=key, CiphertextBlob=blob, EncryptionContext=CONTEXT)["Plaintext"] == PLAINTEXT
    assert kms.calls[1] == Call("ReEncrypt", other, "us-east-1", {"stage": "dev"}, None)
    wrong = {"CiphertextBlob": blob, "DestinationKeyId": other, "SourceEncryptionContext": CONTEXT}
    assert refusal(client.re_encrypt, SourceKeyId=other, **wrong) == ("IncorrectKeyException", 400)
    assert refusal(client.re_encrypt, CiphertextBlob=blob, DestinationKeyId=other) == (
        "InvalidCiphertextException",
        400,
    )


def test_create_and_describe(client):
    """CreateKey makes an enabled symmetric key, and DescribeKey says so by id, ARN, alias and alias ARN."""
    made = client.create_key(Description="for tests")["KeyMetadata"]
    assert re.fullmatch(r"arn:aws:kms:us-east-1:111122223333:key/[0-9a-f-]{36}", made["Arn"])
    client.create_alias(AliasName="alias/app/prod", TargetKeyId=made["KeyId"])
    alias_arn = made["Arn"].rsplit(":", 1)[0] + ":alias/app/prod"
    for name in (made["KeyId"], made["Arn"], "alias/app/prod", alias_arn):
        about = client.describe_key(KeyId=name)["KeyMetadata"]
        assert about == made
        assert client.generate_data_key(KeyId=name, NumberOfBytes=32)["KeyId"] == made["Arn"]
    assert (about["KeyState"], about["Enabled"], about["KeySpec"]) == ("Enabled", True, "SYMMETRIC_DEFAULT")
    assert (about["KeyUsage"], about["Description"], about["MultiRegion"]) == (
        "ENCRYPT_DECRYPT",
        "for tests",
        False,
    )
    assert abs(about["CreationDate"].timestamp() - time.time()) < 60


def test_disable_and_enable(client, key):
    """A disabled key refuses to work until it is enabled again, and can be described meanwhile."""
    blob = client.encrypt(KeyId=key, Plaintext=PLAINTEXT)["CiphertextBlob"]
    client.disable_key(KeyId=key)
    assert client.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Disabled"
    for request, members in cryptographic(client, key, blob):
        assert refusal(request, **members) == ("DisabledException", 400)
    client.enable_key(KeyId=key)
    assert client.decrypt(KeyId=key, CiphertextBlob=blob)["Plaintext"] == PLAINTEXT


def test_schedule_key_deletion(client, key):
    """A key that is to be deleted refuses to work and to be managed, and can still be described."""
    blob = client.encrypt(KeyId=key, Plaintext=PLAINTEXT)["CiphertextBlob"]
    answer = client.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    assert (answer["KeyId"], answer["KeyState"], answer["PendingWindowInDays"]) == (key, "PendingDeletion", 7)
    assert abs(answer["DeletionDate"].timestamp() - time.time() - 7 * 86_400) < 60
    about = client.describe_key(KeyId=key)["KeyMetadata"]
    assert (about["KeyState"], about["Enabled"]) == ("PendingDeletion", False)
    assert about["DeletionDate"] == answer["DeletionDate"]
    for request, members in cryptographic(client, key, blob):
        assert refusal(request, **members) == ("KMSInvalidStateException", 400)
    for request in (client.enable_key, client.disable_key, client.schedule_key_deletion):
        assert refusal(request, KeyId=key) == ("KMSInvalidStateException", 400)
    assert refusal(client.create_alias, AliasName="alias/a", TargetKeyId=key) == (
        "KMSInvalidStateException",
        400,
    )


def cryptographic(client, key, blob, **more):
    """Return every operation that uses a key to encrypt or decrypt, ready to be called."""
    return [
        (client.encrypt, {"KeyId": key, "Plaintext": b"x", **more}),
        (client.decrypt, {"KeyId": key, "CiphertextBlob": blob, **more}),
        (client.decrypt, {"CiphertextBlob": blob, **more}),
        (client.generate_data_key, {"KeyId": key, "NumberOfBytes": 32, **more}),
        (client.generate_data_key_without_plaintext, {"KeyId": key, "NumberOfBytes": 32, **more}),
        (client.re_encrypt, {"CiphertextBlob": blob, "DestinationKeyId": key, **more}),
    ]


def test_dry_run(kms, client, key):
    """DryRun says that a request would have succeeded and does nothing; what would fail, fails as it would have."""
    blob = client.encrypt(KeyId=key, Plaintext=PLAINTEXT)["CiphertextBlob"]
    for request, members in cryptographic(client, key, blob, DryRun=True):
        assert refusal(request, **members) == ("DryRunOperationException", 400)
    assert kms.count() == 1
    other = kms.create_key()
    assert (
        refusal(client.decrypt, KeyId=other, CiphertextBlob=blob, DryRun=True)[0] == "IncorrectKeyException"
    )
    kms.disable(key)
    assert (
        refusal(client.generate_data_key, KeyId=key, NumberOfBytes=32, DryRun=True)[0] == "DisabledException"
    )
    kms.deny("Decrypt")
    assert refusal(client.decrypt, KeyId=key, CiphertextBlob=blob, DryRun=True)[0] == "AccessDeniedException"


# -- regions


def test_region_is_that_of_the_signature(kms):
    """One server plays every region: a key lives in the region that CreateKey was signed for, and in no other."""
    ireland, virginia = client_of(kms, "eu-west-1"), client_of(kms)
    key = ireland.create_key()["KeyMetadata"]["Arn"]
    assert key.startswith("arn:aws:kms:eu-west-1:")
    blob = ireland.encrypt(KeyId=key, Plaintext=PLAINTEXT)["CiphertextBlob"]
    assert refusal(virginia.decrypt, KeyId=key, CiphertextBlob=blob) == ("NotFoundException", 400)
    assert refusal(virginia.describe_key, KeyId=key.rsplit("/", 1)[1]) == ("NotFoundException", 400)
    assert refusal(virginia.decrypt, CiphertextBlob=blob) == ("AccessDeniedException", 400)
    assert [call.region for call in kms.calls] == ["eu-west-1"] * 2 + ["us-east-1"] * 3


def test_multi_region_key(kms):
    """A blob made in one region opens in the other, under that region's ARN of the same key."""
    virginia, ireland = client_of(kms), client_of(kms, "eu-west-1")
    primary = virginia.create_key(MultiRegion=True)["KeyMetadata"]
    assert re.fullmatch(r"mrk-[0-9a-f]{32}", primary["KeyId"])
    copy = virginia.replicate_key(KeyId=primary["KeyId"], ReplicaRegion="eu-west-1")["ReplicaKeyMetadata"]
    assert copy["KeyId"] == primary["KeyId"]
    assert copy["Arn"] == primary["Arn"].replace("us-east-1", "eu-west-1")
    blob = virginia.encrypt(KeyId=primary["Arn"], Plaintext=PLAINTEXT, EncryptionContext=CONTEXT)[
        "CiphertextBlob"
    ]
    opened = ireland.decrypt(KeyId=copy["Arn"], CiphertextBlob=blob, EncryptionContext=CONTEXT)
    assert (opened["Plaintext"], opened["KeyId"]) == (PLAINTEXT, copy["Arn"])
    opened = ireland.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)
    assert (opened["Plaintext"], opened["KeyId"]) == (PLAINTEXT, copy["Arn"])
    kinds = {}
    for client, arn in ((virginia, primary["Arn"]), (ireland, copy["Arn"])):
        about = client.describe_key(KeyId=arn)["KeyMetadata"]["MultiRegionConfiguration"]
        kinds[about["MultiRegionKeyType"]] = about["PrimaryKey"], about["ReplicaKeys"]
    expected = {"Arn": primary["Arn"], "Region": "us-east-1"}, [{"Arn": copy["Arn"], "Region": "eu-west-1"}]
    assert kinds == {"PRIMARY": expected, "REPLICA": expected}


def test_replicas_have_their_own_state(kms):
    """Disabling the key in one region leaves it at work in the other."""
    primary = kms.create_key(multi_region=True)
    copy = kms.replicate(primary, "eu-central-1")
    kms.disable(primary)
    assert refusal(client_of(kms).encrypt, KeyId=primary, Plaintext=b"x") == ("DisabledException", 400)
    assert client_of(kms, "eu-central-1").encrypt(KeyId=copy, Plaintext=b"x")["KeyId"] == copy
    assert (
        refusal(client_of(kms).replicate_key, KeyId=primary, ReplicaRegion="eu-west-2")[0]
        == "DisabledException"
    )


def test_replicate_refusals(kms, client, key):
    """Only the primary of a multi-region key is replicated, once to each other region."""
    primary = kms.create_key(multi_region=True)
    copy = kms.replicate(primary, "eu-west-1")
    replicate = client.replicate_key
    assert refusal(replicate, KeyId=key, ReplicaRegion="eu-west-1") == ("UnsupportedOperationException", 400)
    assert refusal(replicate, KeyId=primary, ReplicaRegion="eu-west-1") == ("AlreadyExistsException", 400)
    assert refusal(replicate, KeyId=primary, ReplicaRegion="us-east-1") == ("AlreadyExistsException", 400)
    assert refusal(replicate, KeyId=primary, ReplicaRegion="nowhere") == ("ValidationException", 400)
    again = client_of(kms, "eu-west-1").replicate_key
    assert refusal(again, KeyId=copy, ReplicaRegion="eu-west-2") == ("UnsupportedOperationException", 400)


def test_primary_waits_for_its_replicas(kms, client):
    """A primary key with replicas is not deleted before them."""
    primary = kms.create_key(multi_region=True)
    kms.replicate(primary, "eu-west-1")
    assert client.schedule_key_deletion(KeyId=primary)["KeyState"] == "PendingReplicaDeletion"
    assert refusal(client.encrypt, KeyId=primary, Plaintext=b"x") == ("KMSInvalidStateException", 400)


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("us-east-1", "aws"),
        ("cn-north-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("us-iso-east-1", "aws-iso"),
    ],
)
def test_partitions(kms, region, partition):
    """The ARN of a key has the partition of its region, and is found there."""
    key = kms.create_key(region)
    assert key.startswith(f"arn:{partition}:kms:{region}:")
    assert client_of(kms, region).describe_key(KeyId=key)["KeyMetadata"]["Arn"] == key


def test_account():
    """The account is a parameter; an ARN of another account is not ours to use."""
    with KmsServer("999900001111") as kms:
        key = kms.create_key()
        assert ":999900001111:key/" in key
        foreign = key.replace("999900001111", "111122223333")
        assert refusal(client_of(kms).encrypt, KeyId=foreign, Plaintext=b"x") == (
            "AccessDeniedException",
            400,
        )


# -- what AWS refuses


@pytest.mark.parametrize(
    "context", [{}, {"encenv": "1"}, {**CONTEXT, "more": "1"}, {"encenv": "1", "stage": "Prod"}]
)
def test_another_context(client, key, context):
    """A blob opens under exactly the context it was made with."""
    blob = client.encrypt(KeyId=key, Plaintext=PLAINTEXT, EncryptionContext=CONTEXT)["CiphertextBlob"]
    code = refusal(client.decrypt, KeyId=key, CiphertextBlob=blob, EncryptionContext=context)
    assert code == ("InvalidCiphertextException", 400)


def test_tampered_blob(kms, client, key):
    """A blob with any byte changed, cut off or added is refused as invalid, never opened, whether the key is named."""
    blob = client.encrypt(KeyId=key, Plaintext=bytes(32), EncryptionContext=CONTEXT)["CiphertextBlob"]
    flipped = [bytes(b ^ (i == j) for j, b in enumerate(blob)) for i in range(0, len(blob), 3)]
    for changed in [*flipped, blob[:-1], blob + b"\0", blob[:152], b"x", bytes(184)]:
        members = {"CiphertextBlob": changed, "EncryptionContext": CONTEXT}
        assert refusal(client.decrypt, **members)[0] == "InvalidCiphertextException"
        assert refusal(client.decrypt, KeyId=key, **members)[0] == "InvalidCiphertextException"
    assert kms.count("Decrypt") == 0


def test_wrong_key(kms, client, key):
    """A blob of another key is refused as such, also if that key is another server's."""
    blob = client.encrypt(KeyId=kms.create_key(), Plaintext=PLAINTEXT)["CiphertextBlob"]
    assert refusal(client.decrypt, KeyId=key, CiphertextBlob=blob) == ("IncorrectKeyException", 400)
    with KmsServer() as elsewhere:
        foreign = client_of(elsewhere)
        blob = foreign.encrypt(KeyId=elsewhere.create_key(), Plaintext=PLAINTEXT)["CiphertextBlob"]
    assert refusal(client.decrypt, KeyId=key, CiphertextBlob=blob) == ("IncorrectKeyException", 400)
    assert refusal(client.decrypt, CiphertextBlob=blob) == ("AccessDeniedException", 400)


@pytest.mark.parametrize(
    "name",
    [
        "00000000-0000-0000-0000-000000000000",
        "alias/none",
        "arn:aws:kms:us-east-1:111122223333:key/none",
        "arn:aws:kms:us-east-1:111122223333:alias/none",
        "arn:aws:kms:eu-west-1:111122223333:key/none",
        "arn:aws-cn:kms:us-east-1:111122223333:key/none",
        "arn:aws:s3:us-east-1:111122223333:key/none",
        "arn:",
    ],
)
def test_not_found(kms, client, name):
    """A key that does not exist, and what is no key at all, is not found; the log says what was asked for."""
    assert refusal(client.encrypt, KeyId=name, Plaintext=b"x") == ("NotFoundException", 400)
    assert refusal(client.describe_key, KeyId=name) == ("NotFoundException", 400)
    assert {call.key for call in kms.calls} == {name}


def test_key_specs(kms, client):
    """Only a symmetric key wraps: others can be made and described, and refuse to be used."""
    for spec, usage in (
        ("RSA_2048", "ENCRYPT_DECRYPT"),
        ("ECC_NIST_P256", "SIGN_VERIFY"),
        ("HMAC_256", "GENERATE_VERIFY_MAC"),
    ):
        key = client.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["Arn"]
        about = client.describe_key(KeyId=key)["KeyMetadata"]
        assert (about["KeySpec"], about["KeyUsage"]) == (spec, usage)
        made = client.generate_data_key
        assert refusal(made, KeyId=key, NumberOfBytes=32) == ("InvalidKeyUsageException", 400)
    usable = kms.create_key()
    algorithm = {"EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}
    code = refusal(client.encrypt, KeyId=usable, Plaintext=b"x", **algorithm)
    assert code == ("InvalidKeyUsageException", 400)
    assert refusal(client.create_key, KeySpec="SM2") == ("UnsupportedOperationException", 400)
    assert refusal(client.create_key, KeyUsage="SIGN_VERIFY") == ("ValidationException", 400)


def test_aliases(client, key):
    """An alias is unique in its region, well-formed, of an existing key, and no name for managing the key."""
    client.create_alias(AliasName="alias/a", TargetKeyId=key)
    create = client.create_alias
    assert refusal(create, AliasName="alias/a", TargetKeyId=key) == ("AlreadyExistsException", 400)
    for name in ("a", "alias/", "alias/aws/a"):
        assert refusal(create, AliasName=name, TargetKeyId=key) == ("InvalidAliasNameException", 400)
    assert refusal(create, AliasName="alias/b", TargetKeyId="none") == ("NotFoundException", 400)
    assert refusal(client.disable_key, KeyId="alias/a") == ("NotFoundException", 400)


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("GenerateDataKey", {}),
        ("GenerateDataKey", {"KeySpec": "AES_256", "NumberOfBytes": 32}),
        ("GenerateDataKey", {"KeySpec": "AES_512"}),
        ("GenerateDataKey", {"NumberOfBytes": 0}),
        ("GenerateDataKey", {"NumberOfBytes": 1025}),
        ("GenerateDataKey", {"NumberOfBytes": 32, "KeyId": None}),
        ("GenerateDataKey", {"NumberOfBytes": 32, "KeyId": ""}),
        ("Encrypt", {}),
        ("Encrypt", {"Plaintext": base64.b64encode(bytes(4097)).decode()}),
        ("Decrypt", {"CiphertextBlob": base64.b64encode(bytes(6145)).decode()}),
        ("ScheduleKeyDeletion", {"PendingWindowInDays": 6}),
        ("ScheduleKeyDeletion", {"PendingWindowInDays": 31}),
    ],
)
def test_validation(kms, key, operation, members):
    """A request that is out of the limits of the API reference is refused before anything is done."""
    body = json.dumps({"KeyId": key, **members}).encode()
    status, answer, _ = send(kms, signed(kms, operation, body), body)
    assert (status, answer["__type"]) == (400, "ValidationException")


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("Decrypt", b"{"),
        ("Decrypt", b"[]"),
        ("Decrypt", b"\xff"),
        ("Decrypt", b'{"CiphertextBlob": "%%%"}'),
        ("Decrypt", b'{"CiphertextBlob": 1}'),
        ("Encrypt", b'{"Plaintext": "Y2FuYXJ5LXBsYWludGV4dA=\xc3\xa9"}'),
        ("Encrypt", b'{"Plaintext": "eA==", "EncryptionContext": {"a": 1}}'),
        ("Encrypt", b'{"Plaintext": "eA==", "EncryptionContext": {"a": null}}'),
        ("Encrypt", b'{"Plaintext": "eA==", "EncryptionContext": ["a"]}'),
        ("GenerateDataKey", b'{"NumberOfBytes": true}'),
        ("GenerateDataKey", b'{"NumberOfBytes": "32"}'),
    ],
)
def test_malformed_bodies(kms, operation, body):
    """A body that is no JSON object, or has a member of the wrong type, is refused as such."""
    status, answer, _ = send(kms, signed(kms, operation, body), body)
    assert (status, answer["__type"]) == (400, "SerializationException")
    assert "canary" not in json.dumps(answer)


def test_unsupported_members(kms, client, key):
    """What would change the answer and is not played here is refused, not ignored."""
    body = json.dumps({"KeyId": key, "NumberOfBytes": 32, "Recipient": {}}).encode()
    assert (
        send(kms, signed(kms, "GenerateDataKey", body), body)[1]["__type"] == "UnsupportedOperationException"
    )


def test_unknown_operations(kms):
    """An operation that is not there, another service's, another path and another content type are refused."""
    good = signed(kms, "CreateKey", b"{}")
    assert send(kms, good)[0] == 200
    for changed, path in (
        ({"X-Amz-Target": "TrentService.Sign"}, "/"),
        ({"X-Amz-Target": "DynamoDB_20120810.CreateKey"}, "/"),
        ({"X-Amz-Target": "CreateKey"}, "/"),
        ({"X-Amz-Target": "TrentService.__init__"}, "/"),
        ({"Content-Type": "application/json"}, "/"),
        ({}, "/elsewhere"),
    ):
        status, answer, _ = send(kms, {**good, **changed}, path=path)
        assert (status, answer["__type"]) == (400, "UnknownOperationException")
    assert send(kms, good, method="GET")[0] == 501


# -- the wire


def test_request_ids(kms, client, key):
    """Every answer carries its own request id, also a refusal."""
    ids = {client.describe_key(KeyId=key)["ResponseMetadata"]["RequestId"]}
    with pytest.raises(ClientError) as caught:
        client.describe_key(KeyId="none")
    ids.add(caught.value.response["ResponseMetadata"]["RequestId"])
    ids.add(send(kms, {})[2]["x-amzn-RequestId"])
    assert len(ids) == 3
    assert all(re.fullmatch(r"[0-9a-f-]{36}", id_) for id_ in ids)


def test_authentication(kms):
    """A request without a well-formed AWS signature for KMS is refused."""
    good = signed(kms, "CreateKey", b"{}")
    none = {name: value for name, value in good.items() if name != "Authorization"}
    assert send(kms, none)[1]["__type"] == "MissingAuthenticationTokenException"
    for text in (
        "Bearer x",
        "",
        good["Authorization"][:-1],
        good["Authorization"].replace("aws4_request", "aws5"),
    ):
        status, answer, _ = send(kms, {**good, "Authorization": text})
        assert (status, answer["__type"]) == (400, "IncompleteSignatureException")
    scoped = signed(kms, "CreateKey", b"{}", service="s3")
    assert send(kms, scoped)[1]["__type"] == "InvalidSignatureException"
    assert [call.region for call in kms.calls] == [""] * 6


def test_signatures_are_checked_if_asked():
    """With check_signatures, boto3's signature passes and one with anything changed does not."""
    with KmsServer(check_signatures=True) as kms:
        key = kms.create_key("eu-west-1")
        assert client_of(kms, "eu-west-1").generate_data_key(KeyId=key, NumberOfBytes=32)["KeyId"] == key
        good = signed(kms, "CreateKey", b"{}")
        assert send(kms, good)[0] == 200

        def code(headers, body=b"{}"):
            return send(kms, headers, body)[1]["__type"]

        assert code(signed(kms, "CreateKey", b"{}", key="AKIAOTHER")) == "UnrecognizedClientException"
        for headers, body in (
            (signed(kms, "CreateKey", b"{}", secret="other"), b"{}"),  # the secret
            (good, b"{ }"),  # the body
            ({**good, "X-Amz-Target": "TrentService.Encrypt"}, b"{}"),  # a signed header
            ({**good, "X-Amz-Security-Token": "added"}, b"{}"),  # a header that had to be signed
            (
                {**good, "Authorization": good["Authorization"].replace("us-east-1", "eu-west-1")},
                b"{}",
            ),  # the scope
            ({**good, "X-Amz-Date": "20200101T000000Z"}, b"{}"),  # the time
            ({**good, "X-Amz-Date": "now"}, b"{}"),
        ):
            assert code(headers, body) == "InvalidSignatureException"


def test_old_signatures(monkeypatch):
    """With check_signatures, a request that was rightly signed an hour ago is refused."""
    with KmsServer(check_signatures=True) as kms:
        headers = signed(kms, "CreateKey", b"{}")

        class Later(dt.datetime):
            @classmethod
            def now(cls, tz=None):
                return super().now(tz) + dt.timedelta(hours=1)

        monkeypatch.setattr(signature, "datetime", Later)
        assert send(kms, headers)[1]["__type"] == "InvalidSignatureException"


def test_keep_alive(kms, key):
    """Many requests go over one connection, each without the 40 ms that a delayed acknowledgement costs."""
    body = json.dumps({"KeyId": key, "NumberOfBytes": 32}).encode()
    headers = signed(kms, "GenerateDataKey", body)
    connection = http.client.HTTPConnection("127.0.0.1", int(kms.url.rsplit(":", 1)[1]), timeout=5)
    connection.connect()
    own = connection.sock.getsockname()
    took = []
    for _ in range(20):
        start = time.perf_counter()
        connection.request("POST", "/", body, headers)
        assert connection.getresponse().read()
        took.append(time.perf_counter() - start)
        assert connection.sock.getsockname() == own
    connection.close()
    assert sorted(took)[10] < 0.03


def test_lengths(kms):
    """A request without a length, or far too long, ends its connection and nothing else."""
    for headers in ({"Transfer-Encoding": "chunked"}, {"Content-Length": "9999999999"}):
        connection = http.client.HTTPConnection("127.0.0.1", int(kms.url.rsplit(":", 1)[1]), timeout=5)
        connection.putrequest("POST", "/")
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        assert connection.getresponse().status == 411
        connection.close()
    assert send(kms, signed(kms, "CreateKey", b"{}"))[0] == 200


def test_listens_on_loopback_only(kms):
    """The server is bound to 127.0.0.1."""
    assert kms.url.startswith("http://127.0.0.1:")
    with socket.create_connection(("127.0.0.1", int(kms.url.rsplit(":", 1)[1]))):
        pass
    assert kms._listener.socket.getsockname()[0] == "127.0.0.1"


def test_stop_is_quick_and_leaves_nothing(kms, key):
    """Stopping ends idle connections, waiting answers and all threads at once; then nobody listens."""
    before = set(threading.enumerate())
    server = KmsServer()
    server.start()
    server.start()
    arn, client = server.create_key(), client_of(server, read_timeout=30)
    client.describe_key(KeyId=arn)  # its connection stays open
    server.delay(60)

    def refused_connection():
        with pytest.raises(HTTPClientError):
            client.describe_key(KeyId=arn)

    waiting = threading.Thread(target=refused_connection)
    waiting.start()
    while len(server.calls) < 2:
        time.sleep(0.001)
    start = time.perf_counter()
    server.stop()
    server.stop()
    waiting.join(5)
    assert time.perf_counter() - start < 2
    assert set(threading.enumerate()) <= before
    with pytest.raises(EndpointConnectionError):
        client.describe_key(KeyId=arn)
    server.heal()
    with server:
        assert client_of(server).describe_key(KeyId=arn)["KeyMetadata"]["Arn"] == arn


def test_url_before_start():
    """A server that is not started says so instead of giving an address."""
    with pytest.raises(RuntimeError, match="not started"):
        KmsServer().environ()


def test_many_threads(kms, key):
    """Requests of many threads are all answered and all logged."""
    client = client_of(kms)
    threads = [
        threading.Thread(target=client.generate_data_key, kwargs={"KeyId": key, "NumberOfBytes": 32})
        for _ in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kms.count("GenerateDataKey") == len(kms.calls) == 40


def test_tls(tmp_path):
    """With a certificate the server speaks TLS, to clients that trust it and to no others."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test KMS")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
    addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = builder.add_extension(addresses, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate = tmp_path / "certificate.pem"
    unencrypted = serialization.NoEncryption()
    certificate.write_bytes(
        builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        + private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, unencrypted)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with KmsServer(tls=context) as kms:
        assert kms.url.startswith("https://127.0.0.1:")
        key, client = kms.create_key(), client_of(kms, verify=str(certificate))
        assert client.generate_data_key(KeyId=key, NumberOfBytes=32)["KeyId"] == key
        with pytest.raises(SSLError):
            client_of(kms, verify=True).describe_key(KeyId=key)
        # Someone who connects and says nothing keeps nobody else waiting.
        with socket.create_connection(("127.0.0.1", int(kms.url.rsplit(":", 1)[1]))):
            assert client_of(kms, verify=str(certificate)).describe_key(KeyId=key)
        kms.drop(times=1)
        with pytest.raises(HTTPClientError):
            client.describe_key(KeyId=key)
        assert client.describe_key(KeyId=key)["KeyMetadata"]["Arn"] == key


# -- the log


def test_log(kms, client, key):
    """The log has every request in order, with key, region, context and outcome."""
    made = client.generate_data_key(KeyId=key, NumberOfBytes=32, EncryptionContext=CONTEXT)
    blob = made["CiphertextBlob"]
    client.decrypt(KeyId=key, CiphertextBlob=blob, EncryptionContext=CONTEXT)
    refusal(client.decrypt, CiphertextBlob=blob)
    refusal(client.decrypt, CiphertextBlob=b"x")
    assert kms.calls == [
        Call("GenerateDataKey", key, "us-east-1", CONTEXT, None),
        Call("Decrypt", key, "us-east-1", CONTEXT, None),
        Call("Decrypt", key, "us-east-1", {}, "InvalidCiphertextException"),
        Call("Decrypt", None, "us-east-1", {}, "InvalidCiphertextException"),
    ]
    assert (kms.count(), kms.count("Decrypt"), kms.count("GenerateDataKey*"), kms.count("Encrypt")) == (
        2,
        1,
        1,
        0,
    )
    kms.calls.clear()
    assert len(kms.calls) == 4
    kms.clear()
    assert kms.calls == []
    assert kms.count() == 0


def test_log_has_the_key_behind_an_alias(kms, client):
    """The log gives the key's ARN however the request named the key."""
    key = kms.create_key(alias="alias/app")
    client.generate_data_key(KeyId="alias/app", NumberOfBytes=32)
    kms.deny()
    refusal(client.generate_data_key, KeyId="alias/app", NumberOfBytes=32)
    assert [call.key for call in kms.calls] == [key, key]


def test_no_plaintext_stays(kms, client, key):
    """Neither the log nor any repr has a plaintext, a blob or key material, also after refusals."""
    blob = client.encrypt(KeyId=key, Plaintext=PLAINTEXT)["CiphertextBlob"]
    client.decrypt(CiphertextBlob=blob)
    made = client.generate_data_key(KeyId=key, NumberOfBytes=32)
    refusal(client.encrypt, KeyId="none", Plaintext=PLAINTEXT)
    refusal(client.encrypt, KeyId=key, Plaintext=PLAINTEXT, DryRun=True)
    shown = repr(kms) + repr(kms.calls) + repr(vars(kms)) + repr(vars(kms._keys))
    for secret in (PLAINTEXT, made["Plaintext"], blob, kms._keys.keys[key].material):
        assert repr(secret)[2:-1] not in shown
        assert base64.b64encode(secret).decode() not in shown
        assert secret.hex() not in shown
    assert "1 keys, 5 calls" in repr(kms)


# -- faults


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
    """A fault has the code that was asked for and the status that AWS gives it."""
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
    """A fault that happens twice is survived by boto3's own third attempt, and the log has all three."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    kms.fail(code=code, times=2)
    client = client_of(kms, attempts=3)
    assert client.describe_key(KeyId=key)
    assert [call.error for call in kms.calls] == [code, code, None]


def test_faults_of_one_region(kms):
    """A fault may be of one region only."""
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
    """An answer comes later by what was asked for; the request is done and logged at once."""
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
    """A slow answer keeps no other waiting."""
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
    """Half of an answer arrives, with the length of the whole, though the request was done; the next is whole.

    boto3 does not compare lengths: to its caller the answer is a success without members.
    """
    kms.half_answer(times=2)
    body = json.dumps({"KeyId": key}).encode()
    with pytest.raises(http.client.IncompleteRead) as caught:
        send(kms, signed(kms, "DescribeKey", body), body)
    assert caught.value.partial.startswith(b'{"KeyMetadata"')
    answer = client.generate_data_key(KeyId=key, NumberOfBytes=32)
    assert set(answer) == {"ResponseMetadata"}
    assert [call.error for call in kms.calls] == ["half-answered"] * 2
    assert kms.count() == 0
    assert client.generate_data_key(KeyId=key, NumberOfBytes=32)["KeyId"] == key


def test_deny(kms, client, key):
    """A denied operation is refused for every key or for one, until healed; the others are let through."""
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
    """A denial may let through what has the pairs of a condition in its context, as a key policy does."""
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
    """ReEncrypt is judged twice, as from one key and to another, each with its own context."""
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


# -- the keys, by hand


def test_keys_by_hand(kms, client):
    """What the API does to keys can be done without a request, and leaves no trace in the log."""
    key = kms.create_key(alias="alias/app")
    kms.disable(key)
    kms.clear()
    assert refusal(client.encrypt, KeyId="alias/app", Plaintext=b"x")[0] == "DisabledException"
    kms.enable(key)
    assert client.encrypt(KeyId="alias/app", Plaintext=b"x")
    kms.schedule_deletion(key)
    assert refusal(client.encrypt, KeyId="alias/app", Plaintext=b"x")[0] == "KMSInvalidStateException"
    kms.enable(key)
    assert client.encrypt(KeyId="alias/app", Plaintext=b"x")
    assert {call.operation for call in kms.calls} == {"Encrypt"}
    spec = client.describe_key(KeyId=kms.create_key(key_spec="RSA_2048"))["KeyMetadata"]["KeySpec"]
    assert spec == "RSA_2048"


def test_mistakes_by_hand(kms, key):
    """A mistake in a test is a ValueError that says what is wrong."""
    for mistake in (
        lambda: kms.disable("arn:aws:kms:us-east-1:111122223333:key/none"),
        lambda: kms.replicate(key, "eu-west-1"),
        lambda: kms.create_key("nowhere"),
        lambda: kms.create_key(key_spec="none"),
        lambda: kms.create_key(alias="app"),
    ):
        with pytest.raises(ValueError, match=r"no key|multi-Region|region|key spec|alias"):
            mistake()


# -- the environment and the fixtures


def test_environ_in_a_child(kms, key):
    """A child process with this environment uses the server and nothing of a developer's own AWS configuration."""
    own = {
        "PATH": os.environ.get("PATH", ""),
        "AWS_PROFILE": "mine",
        "AWS_SESSION_TOKEN": "mine",
        "KEPT": "yes",
    }
    environ = kms.environ(own)
    assert environ["KEPT"] == "yes"
    assert "AWS_PROFILE" not in environ
    code = (
        "import boto3, sys; print(boto3.client('kms').describe_key(KeyId=sys.argv[1])['KeyMetadata']['Arn'])"
    )
    child = subprocess.run(
        [sys.executable, "-c", code, key], env=environ, capture_output=True, text=True, check=True
    )
    assert child.stdout.strip() == key
    assert kms.count("DescribeKey") == 1


def test_no_pytest_needed():
    """KmsServer can be imported and used where pytest and boto3 are not installed."""
    code = (
        "import sys; sys.modules['pytest'] = sys.modules['boto3'] = sys.modules['botocore'] = None\n"
        "from encenv.testing import KmsServer\n"
        "with KmsServer() as kms: print(kms.create_key())"
    )
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert child.stdout.startswith("arn:aws:kms:us-east-1:111122223333:key/")
    assert child.stderr == ""


def test_fixture_kms(encenv_kms, encenv_kms_key, monkeypatch):
    """With encenv_kms a plain boto3 client reaches the server, and the key of encenv_kms_key is on it."""
    assert os.environ["AWS_ENDPOINT_URL_KMS"] == encenv_kms.url
    client = boto3.session.Session().client("kms")
    assert client.describe_key(KeyId=encenv_kms_key)["KeyMetadata"]["KeyState"] == "Enabled"
    assert encenv_kms.count() == 1


def test_fixture_local_key(encenv_local_key):
    """With encenv_local_key the variable holds one well-formed local key."""
    assert os.environ["ENCENV_LOCAL_KEY"] == encenv_local_key
    assert re.fullmatch(r"encenv-local-key:1:[A-Za-z0-9_-]{43}", encenv_local_key)
    assert len(parse_keys(encenv_local_key, "the variable")) == 1


def test_fixtures_in_a_users_project(tmp_path):
    """One line in conftest.py gives the fixtures, also where the server was imported before."""
    (tmp_path / "conftest.py").write_text("import encenv.testing\npytest_plugins = ['encenv.testing']\n")
    (tmp_path / "test_it.py").write_text(
        "import os\n"
        "import pytest\n"
        "from encenv.keys import datakeys\n"
        "def test_kms(encenv_kms, encenv_kms_key, encenv_local_key):\n"
        "    assert 'AWS_PROFILE' not in os.environ\n"
        "    assert encenv_kms.url and encenv_kms_key\n"
        "def test_after():\n"
        "    assert os.environ['AWS_PROFILE'] == 'mine'\n"
        "    assert 'ENCENV_LOCAL_KEY' not in os.environ\n"
    )
    run = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-W",
        "error",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-c",
        os.devnull,
    ]
    options = {
        "cwd": tmp_path,
        "env": {**os.environ, "AWS_PROFILE": "mine"},
        "capture_output": True,
        "text": True,
    }
    child = subprocess.run([*run, "--rootdir", str(tmp_path), str(tmp_path)], **options, check=False)
    assert "2 passed" in child.stdout, child.stdout + child.stderr


def test_fixtures_are_documented(request):
    """Each fixture says in `pytest --fixtures` what it does."""
    for name in ("encenv_kms", "encenv_kms_key", "encenv_local_key"):
        (fixture,) = request.session._fixturemanager.getfixturedefs(name, request.node)
        assert re.match(r"(A|The) .{20,}\.", fixture.func.__doc__)


# -- against another KMS


def test_agrees_with_moto(kms):
    """Where moto, a KMS server of others, is faithful to AWS, the answers and codes are the same."""
    moto = pytest.importorskip("moto")

    def conversation(client):
        made = client.create_key(Description="d")["KeyMetadata"]
        key = made["KeyId"]
        client.create_alias(AliasName="alias/a", TargetKeyId=key)
        data = client.generate_data_key(KeyId="alias/a", KeySpec="AES_256", EncryptionContext=CONTEXT)
        opened = client.decrypt(CiphertextBlob=data["CiphertextBlob"], EncryptionContext=CONTEXT)
        text = client.encrypt(KeyId=made["Arn"], Plaintext=PLAINTEXT)
        fixed = (
            "KeyState",
            "Enabled",
            "KeySpec",
            "CustomerMasterKeySpec",
            "Origin",
            "KeyManager",
            "Description",
        )
        yield {name: made[name] for name in fixed}
        yield opened["Plaintext"] == data["Plaintext"]
        yield opened["KeyId"] == data["KeyId"] == text["KeyId"] == made["Arn"]
        yield made["EncryptionAlgorithms"]
        yield refusal(client.describe_key, KeyId="alias/none")
        yield refusal(client.decrypt, CiphertextBlob=data["CiphertextBlob"])
        yield refusal(client.create_alias, AliasName="alias/a", TargetKeyId=key)
        yield refusal(client.generate_data_key, KeyId=key)
        yield refusal(client.generate_data_key, KeyId=key, NumberOfBytes=2048)

    ours = list(conversation(client_of(kms)))
    with moto.mock_aws():
        config = Config(retries={"total_max_attempts": 1})
        theirs = list(conversation(boto3.session.Session().client("kms", "us-east-1", config=config)))
    assert ours == theirs


def test_operations_are_those_of_the_api():
    """Every operation is one of botocore's model of KMS, and every code a test sees above is written as AWS does."""
    model = _session.client("kms", "us-east-1").meta.service_model
    assert set(OPERATIONS) <= set(model.operation_names)
    assert len(OPERATIONS) == 12
