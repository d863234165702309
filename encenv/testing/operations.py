"""The operations of a test KMS: from the members of a request to those of its answer, which are bytes or JSON."""

import os
from collections.abc import Callable
from typing import Any

from encenv.testing.keys import KeyTable
from encenv.testing.request import Refusal, Request, invalid

PLAINTEXT_MAX = 4096  # bytes; this and the next three: AWS KMS API reference
DATA_KEY_MAX = 1024  # bytes
DATA_KEY_SPECS = {"AES_256": 32, "AES_128": 16}  # bytes
DELETION_DAYS = range(7, 31)
ALGORITHM = "SYMMETRIC_DEFAULT"

Members = dict[str, Any]


def _create_key(keys: KeyTable, request: Request) -> Members:
    keys.check_permission(request)
    key = keys.create(
        request.region,
        multi_region=request.flag("MultiRegion"),
        spec=request.text("KeySpec", request.text("CustomerMasterKeySpec", "SYMMETRIC_DEFAULT")),
        usage=request.text("KeyUsage") if "KeyUsage" in request.members else None,
        description=request.members.get("Description") or "",
    )
    request.key = key.arn
    return {"KeyMetadata": keys.metadata(key)}


def _create_alias(keys: KeyTable, request: Request) -> Members:
    keys.name(keys.manageable(request, "TargetKeyId"), request.text("AliasName"))
    return {}


def _describe_key(keys: KeyTable, request: Request) -> Members:
    key = keys.find(request, "KeyId")
    keys.check_permission(request)
    return {"KeyMetadata": keys.metadata(key)}


def _enable_or_disable_key(keys: KeyTable, request: Request) -> Members:
    keys.manageable(request).state = "Enabled" if request.operation == "EnableKey" else "Disabled"
    return {}


def _schedule_key_deletion(keys: KeyTable, request: Request) -> Members:
    days = request.number("PendingWindowInDays", 30, DELETION_DAYS)
    key = keys.manageable(request)
    keys.delete(key, days)
    return {
        "KeyId": key.arn,
        "KeyState": key.state,
        "PendingWindowInDays": days,
        "DeletionDate": key.deletion_date,
    }


def _replicate_key(keys: KeyTable, request: Request) -> Members:
    key = keys.manageable(request)
    if key.state == "Disabled":
        raise Refusal("DisabledException", f"{key.arn} is disabled")
    copy = keys.copy(key, request.text("ReplicaRegion"))
    return {"ReplicaKeyMetadata": keys.metadata(copy), "ReplicaTags": []}


def _generate_data_key(keys: KeyTable, request: Request) -> Members:
    has_size, has_spec = (request.members.get(name) is not None for name in ("NumberOfBytes", "KeySpec"))
    if has_size == has_spec:
        raise Refusal("ValidationException", "give either NumberOfBytes or KeySpec")
    if has_size:
        size = request.number("NumberOfBytes", None, range(1, DATA_KEY_MAX + 1))
    elif (size := DATA_KEY_SPECS.get(request.text("KeySpec"), 0)) == 0:
        raise invalid("KeySpec", f"must be one of {', '.join(DATA_KEY_SPECS)}")
    plaintext = os.urandom(size)
    key, blob = keys.encrypt(request, plaintext)
    return {
        "KeyId": key.arn,
        "KeyMaterialId": key.material_id.hex(),
        "CiphertextBlob": blob,
        "Plaintext": plaintext if request.operation == "GenerateDataKey" else None,
    }


def _encrypt(keys: KeyTable, request: Request) -> Members:
    key, blob = keys.encrypt(request, request.blob("Plaintext", PLAINTEXT_MAX))
    return {"KeyId": key.arn, "CiphertextBlob": blob, "EncryptionAlgorithm": ALGORITHM}


def _decrypt(keys: KeyTable, request: Request) -> Members:
    key, plaintext = keys.decrypt(request)
    request.end_dry_run()
    return {
        "KeyId": key.arn,
        "Plaintext": plaintext,
        "EncryptionAlgorithm": ALGORITHM,
        "KeyMaterialId": key.material_id.hex(),
    }


def _re_encrypt(keys: KeyTable, request: Request) -> Members:
    source, plaintext = keys.decrypt(request, "Source")
    key, blob = keys.encrypt(request, plaintext, "Destination")
    return {
        "KeyId": key.arn,
        "CiphertextBlob": blob,
        "SourceKeyId": source.arn,
        "SourceEncryptionAlgorithm": ALGORITHM,
        "DestinationEncryptionAlgorithm": ALGORITHM,
        "SourceKeyMaterialId": source.material_id.hex(),
        "DestinationKeyMaterialId": key.material_id.hex(),
    }


OPERATIONS: dict[str, Callable[[KeyTable, Request], Members]] = {
    "CreateKey": _create_key,
    "CreateAlias": _create_alias,
    "DescribeKey": _describe_key,
    "DisableKey": _enable_or_disable_key,
    "EnableKey": _enable_or_disable_key,
    "ScheduleKeyDeletion": _schedule_key_deletion,
    "ReplicateKey": _replicate_key,
    "GenerateDataKey": _generate_data_key,
    "GenerateDataKeyWithoutPlaintext": _generate_data_key,
    "Encrypt": _encrypt,
    "Decrypt": _decrypt,
    "ReEncrypt": _re_encrypt,
}
