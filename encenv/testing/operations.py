"""The operations of a test KMS: from the members of a request to those of its answer."""

import base64
import os
from collections.abc import Callable, Mapping
from typing import Any

from encenv.testing.keys import Key, Keys
from encenv.testing.request import Refusal, Request, invalid

PLAINTEXT_MAX = 4096  # bytes; this and the next three: AWS KMS API reference
DATA_KEY_MAX = 1024  # bytes
DATA_KEY_SPECS = {"AES_256": 32, "AES_128": 16}  # bytes
DELETION_DAYS = range(7, 31)


def _create_key(keys: Keys, request: Request) -> dict[str, Any]:
    keys.permit(request)
    spec = request.text("KeySpec", request.text("CustomerMasterKeySpec", "SYMMETRIC_DEFAULT"))
    usage = request.text("KeyUsage") if "KeyUsage" in request.members else None
    key = keys.create(request.region, multi_region=request.flag("MultiRegion"), spec=spec, usage=usage)
    key.description = request.members.get("Description") or ""
    request.key = key.arn
    return {"KeyMetadata": keys.metadata(key)}


def _create_alias(keys: Keys, request: Request) -> dict[str, Any]:
    keys.name(keys.managed(request, "TargetKeyId"), request.text("AliasName"))
    return {}


def _describe_key(keys: Keys, request: Request) -> dict[str, Any]:
    key = keys.find(request, "KeyId")
    keys.permit(request)
    return {"KeyMetadata": keys.metadata(key)}


def _disable_key(keys: Keys, request: Request) -> dict[str, Any]:
    keys.managed(request).state = "Disabled"
    return {}


def _enable_key(keys: Keys, request: Request) -> dict[str, Any]:
    keys.managed(request).state = "Enabled"
    return {}


def _schedule_key_deletion(keys: Keys, request: Request) -> dict[str, Any]:
    days = request.whole("PendingWindowInDays", 30, DELETION_DAYS)
    key = keys.managed(request)
    keys.delete(key, days)
    answer = {"KeyId": key.arn, "KeyState": key.state, "PendingWindowInDays": days}
    return answer | ({"DeletionDate": key.deleted} if key.state == "PendingDeletion" else {})


def _replicate_key(keys: Keys, request: Request) -> dict[str, Any]:
    key = keys.managed(request)
    if key.state == "Disabled":
        raise Refusal("DisabledException", f"{key.arn} is disabled")
    copy = keys.copy(key, request.text("ReplicaRegion"))
    return {"ReplicaKeyMetadata": keys.metadata(copy), "ReplicaTags": []}


def _generate_data_key(keys: Keys, request: Request) -> dict[str, Any]:
    sizes = [name for name in ("KeySpec", "NumberOfBytes") if request.members.get(name) is not None]
    if len(sizes) != 1:
        raise Refusal("ValidationException", "give either NumberOfBytes or KeySpec")
    if sizes == ["NumberOfBytes"]:
        size = request.whole("NumberOfBytes", None, range(1, DATA_KEY_MAX + 1))
    else:
        size = DATA_KEY_SPECS.get(request.text("KeySpec"), 0)
    if not size:
        raise invalid("KeySpec", f"must be one of {', '.join(DATA_KEY_SPECS)}")
    pairs = request.pairs("EncryptionContext")
    key = keys.usable(request, keys.find(request, "KeyId"))
    request.dry_run()
    plaintext = os.urandom(size)
    return _encrypted(key, plaintext, pairs) | {"Plaintext": _b64(plaintext)}


def _generate_data_key_without_plaintext(keys: Keys, request: Request) -> dict[str, Any]:
    answer = _generate_data_key(keys, request)
    del answer["Plaintext"]
    return answer


def _encrypt(keys: Keys, request: Request) -> dict[str, Any]:
    plaintext, pairs = request.blob("Plaintext", PLAINTEXT_MAX), request.pairs("EncryptionContext")
    request.algorithm("EncryptionAlgorithm")
    key = keys.usable(request, keys.find(request, "KeyId"))
    request.dry_run()
    answer = _encrypted(key, plaintext, pairs) | {"EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}
    del answer["KeyMaterialId"]
    return answer


def _decrypt(keys: Keys, request: Request) -> dict[str, Any]:
    request.algorithm("EncryptionAlgorithm")
    key, plaintext = keys.open(request, "KeyId", "EncryptionContext")
    request.dry_run()
    return {
        "KeyId": key.arn,
        "Plaintext": _b64(plaintext),
        "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "KeyMaterialId": key.material_id.hex(),
    }


def _re_encrypt(keys: Keys, request: Request) -> dict[str, Any]:
    request.algorithm("SourceEncryptionAlgorithm")
    request.algorithm("DestinationEncryptionAlgorithm")
    source, plaintext = keys.open(request, "SourceKeyId", "SourceEncryptionContext")
    pairs = request.pairs("DestinationEncryptionContext")
    key = keys.usable(request, keys.find(request, "DestinationKeyId"))
    request.dry_run()
    answer = _encrypted(key, plaintext, pairs)
    return {
        "CiphertextBlob": answer["CiphertextBlob"],
        "KeyId": key.arn,
        "SourceKeyId": source.arn,
        "SourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "DestinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "SourceKeyMaterialId": source.material_id.hex(),
        "DestinationKeyMaterialId": key.material_id.hex(),
    }


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _encrypted(key: Key, plaintext: bytes, pairs: Mapping[str, str]) -> dict[str, Any]:
    blob = key.encrypt(plaintext, pairs)
    return {"KeyId": key.arn, "CiphertextBlob": _b64(blob), "KeyMaterialId": key.material_id.hex()}


OPERATIONS: dict[str, Callable[[Keys, Request], dict[str, Any]]] = {
    "CreateKey": _create_key,
    "CreateAlias": _create_alias,
    "DescribeKey": _describe_key,
    "DisableKey": _disable_key,
    "EnableKey": _enable_key,
    "ScheduleKeyDeletion": _schedule_key_deletion,
    "ReplicateKey": _replicate_key,
    "GenerateDataKey": _generate_data_key,
    "GenerateDataKeyWithoutPlaintext": _generate_data_key_without_plaintext,
    "Encrypt": _encrypt,
    "Decrypt": _decrypt,
    "ReEncrypt": _re_encrypt,
}
