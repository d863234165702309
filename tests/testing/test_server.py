"""Test that the test KMS answers as AWS KMS does and keeps a log, and its fixtures."""

import base64
import json
import os
import re
import subprocess
import sys
import time

import boto3
import pytest
from botocore.config import Config
from support.kms_client import client_of, refusal, send, signed_headers

from encenv.keys.local import parse_keys
from encenv.testing import Call, KmsServer
from encenv.testing.operations import OPERATIONS

pytest_plugins = ["encenv.testing"]

CONTEXT = {"encenv": "1", "stage": "prod"}
PLAINTEXT = b"canary-plaintext-of-this-file"


# -- the operations


def test_data_key_round_trip(client, key):
    """A generated data key opens from its blob, under the same context, and both answers give the key's ARN."""
    made = client.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext=CONTEXT)
    decrypted = client.decrypt(KeyId=key, CiphertextBlob=made["CiphertextBlob"], EncryptionContext=CONTEXT)
    assert made["Plaintext"] == decrypted["Plaintext"]
    assert len(made["Plaintext"]) == 32
    assert made["KeyId"] == decrypted["KeyId"] == key
    assert decrypted["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"
    assert made["KeyMaterialId"] == decrypted["KeyMaterialId"]


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
    """A data key has the size in the request."""
    assert len(client.generate_data_key(KeyId=key, **size)["Plaintext"]) == length


def test_without_plaintext(client, key):
    """GenerateDataKeyWithoutPlaintext gives the blob only, and the blob opens."""
    made = client.generate_data_key_without_plaintext(KeyId=key, NumberOfBytes=32)
    assert "Plaintext" not in made
    assert len(client.decrypt(CiphertextBlob=made["CiphertextBlob"])["Plaintext"]) == 32


@pytest.mark.parametrize("size", [1, 32, 4096])
def test_encrypt_round_trip(client, key, size):
    """Decrypt returns the plaintext of Encrypt, whether or not the request names the key."""
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
    decrypted = client.decrypt(
        KeyId=other, CiphertextBlob=moved["CiphertextBlob"], EncryptionContext={"stage": "dev"}
    )
    assert decrypted["Plaintext"] == PLAINTEXT
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
    for request, members in cryptographic_calls(client, key, blob):
        assert refusal(request, **members) == ("DisabledException", 400)
    client.enable_key(KeyId=key)
    assert client.decrypt(KeyId=key, CiphertextBlob=blob)["Plaintext"] == PLAINTEXT


def test_schedule_key_deletion(client, key):
    """A key whose deletion is scheduled cannot be used or managed, and can still be described."""
    blob = client.encrypt(KeyId=key, Plaintext=PLAINTEXT)["CiphertextBlob"]
    answer = client.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    assert (answer["KeyId"], answer["KeyState"], answer["PendingWindowInDays"]) == (key, "PendingDeletion", 7)
    assert abs(answer["DeletionDate"].timestamp() - time.time() - 7 * 86_400) < 60
    about = client.describe_key(KeyId=key)["KeyMetadata"]
    assert (about["KeyState"], about["Enabled"]) == ("PendingDeletion", False)
    assert about["DeletionDate"] == answer["DeletionDate"]
    for request, members in cryptographic_calls(client, key, blob):
        assert refusal(request, **members) == ("KMSInvalidStateException", 400)
    for request in (client.enable_key, client.disable_key, client.schedule_key_deletion):
        assert refusal(request, KeyId=key) == ("KMSInvalidStateException", 400)
    assert refusal(client.create_alias, AliasName="alias/a", TargetKeyId=key) == (
        "KMSInvalidStateException",
        400,
    )


def cryptographic_calls(client, key, blob, **more):
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
    """With DryRun nothing is done: the answer says that the request would succeed, or fails as it would fail."""
    blob = client.encrypt(KeyId=key, Plaintext=PLAINTEXT)["CiphertextBlob"]
    for request, members in cryptographic_calls(client, key, blob, DryRun=True):
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
    decrypted = ireland.decrypt(KeyId=copy["Arn"], CiphertextBlob=blob, EncryptionContext=CONTEXT)
    assert (decrypted["Plaintext"], decrypted["KeyId"]) == (PLAINTEXT, copy["Arn"])
    decrypted = ireland.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)
    assert (decrypted["Plaintext"], decrypted["KeyId"]) == (PLAINTEXT, copy["Arn"])
    kinds = {}
    for client, arn in ((virginia, primary["Arn"]), (ireland, copy["Arn"])):
        about = client.describe_key(KeyId=arn)["KeyMetadata"]["MultiRegionConfiguration"]
        kinds[about["MultiRegionKeyType"]] = about["PrimaryKey"], about["ReplicaKeys"]
    expected = {"Arn": primary["Arn"], "Region": "us-east-1"}, [{"Arn": copy["Arn"], "Region": "eu-west-1"}]
    assert kinds == {"PRIMARY": expected, "REPLICA": expected}


def test_replicas_have_their_own_state(kms):
    """A key disabled in one region still works in the other."""
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
    """A primary key waits for the deletion of its replicas."""
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
    """The account is a parameter; a key of another account cannot be used."""
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
    """A blob with a byte changed, removed or added is invalid, whether or not the request names the key."""
    blob = client.encrypt(KeyId=key, Plaintext=bytes(32), EncryptionContext=CONTEXT)["CiphertextBlob"]
    flipped = [bytes(b ^ (i == j) for j, b in enumerate(blob)) for i in range(0, len(blob), 3)]
    for changed in [*flipped, blob[:-1], blob + b"\0", blob[:152], b"x", bytes(184)]:
        members = {"CiphertextBlob": changed, "EncryptionContext": CONTEXT}
        assert refusal(client.decrypt, **members)[0] == "InvalidCiphertextException"
        assert refusal(client.decrypt, KeyId=key, **members)[0] == "InvalidCiphertextException"
    assert kms.count("Decrypt") == 0


def test_wrong_key(kms, client, key):
    """A blob of another key has an error of its own, also if that key is on another server."""
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
    """A key that does not exist, or a text that is not a key, is not found; the log has the name in the request."""
    assert refusal(client.encrypt, KeyId=name, Plaintext=b"x") == ("NotFoundException", 400)
    assert refusal(client.describe_key, KeyId=name) == ("NotFoundException", 400)
    assert {call.key for call in kms.calls} == {name}


def test_key_specs(kms, client):
    """Only a symmetric key encrypts: others can be created and described, but not used."""
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
    """An alias is unique in its region, well-formed and of an existing key, and cannot be used to manage the key."""
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
    """A request outside the limits of the API reference fails and changes nothing."""
    body = json.dumps({"KeyId": key, **members}).encode()
    status, answer, _ = send(kms, signed_headers(kms, operation, body), body)
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
    """A body that is not a JSON object, or has a member of the wrong type, cannot be deserialized."""
    status, answer, _ = send(kms, signed_headers(kms, operation, body), body)
    assert (status, answer["__type"]) == (400, "SerializationException")
    assert "canary" not in json.dumps(answer)


def test_unsupported_members(kms, client, key):
    """A member that this server does not support is an error, not ignored."""
    body = json.dumps({"KeyId": key, "NumberOfBytes": 32, "Recipient": {}}).encode()
    assert (
        send(kms, signed_headers(kms, "GenerateDataKey", body), body)[1]["__type"]
        == "UnsupportedOperationException"
    )


def test_unknown_operations(kms):
    """An unknown operation, another service, another path or another content type is an error."""
    good = signed_headers(kms, "CreateKey", b"{}")
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
    """The log has the key's ARN, whatever name the request used."""
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


# -- the keys, by hand


def test_keys_by_hand(kms, client):
    """A test can change keys without a request, and the log does not show it."""
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
    """With encenv_local_key, ENCENV_LOCAL_KEY holds one well-formed local key."""
    assert os.environ["ENCENV_LOCAL_KEY"] == encenv_local_key
    assert re.fullmatch(r"encenv-local-key:1:[A-Za-z0-9_-]{43}", encenv_local_key)
    assert len(parse_keys(encenv_local_key, "the variable")) == 1


def test_fixtures_in_a_users_project(tmp_path):
    """One line in conftest.py gives the fixtures, even after an import of the server."""
    (tmp_path / "conftest.py").write_text("import encenv.testing\npytest_plugins = ['encenv.testing']\n")
    (tmp_path / "test_it.py").write_text(
        "import os\n"
        "import pytest\n"
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
        "env": {**os.environ, "AWS_PROFILE": "mine", "PYTEST_ADDOPTS": ""},
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
    """Answers and codes are those of moto, an independent KMS server, where moto is faithful to AWS."""
    moto = pytest.importorskip("moto")

    def conversation(client):
        made = client.create_key(Description="d")["KeyMetadata"]
        key = made["KeyId"]
        client.create_alias(AliasName="alias/a", TargetKeyId=key)
        data = client.generate_data_key(KeyId="alias/a", KeySpec="AES_256", EncryptionContext=CONTEXT)
        decrypted = client.decrypt(CiphertextBlob=data["CiphertextBlob"], EncryptionContext=CONTEXT)
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
        yield decrypted["Plaintext"] == data["Plaintext"]
        yield decrypted["KeyId"] == data["KeyId"] == text["KeyId"] == made["Arn"]
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


def test_operations_are_those_of_the_api(client):
    """Every operation is one of botocore's model of KMS."""
    assert set(OPERATIONS) <= set(client.meta.service_model.operation_names)
    assert len(OPERATIONS) == 12
