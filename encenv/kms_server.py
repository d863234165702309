"""What AWS KMS decides, for tests: keys of all regions, the operations on them, the codes it refuses with.

No HTTP, no faults and no log; those are `encenv.testing`, which is where users look. Codes and limits are those of
the AWS KMS API reference; encryption is real, so a changed blob or another context fails as it does there.
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PLAINTEXT_MAX = 4096  # bytes; this and the next four: AWS KMS API reference
BLOB_MAX = 6144  # bytes
DATA_KEY_MAX = 1024  # bytes
DATA_KEY_SPECS = {"AES_256": 32, "AES_128": 16}  # bytes
DELETION_DAYS = range(7, 31)
KEY_USAGES = {  # by key spec, the default first; all but the first key spec are there to be refused
    "SYMMETRIC_DEFAULT": ("ENCRYPT_DECRYPT",),
    "RSA_2048": ("ENCRYPT_DECRYPT", "SIGN_VERIFY"),
    "ECC_NIST_P256": ("SIGN_VERIFY",),
    "HMAC_256": ("GENERATE_VERIFY_MAC",),
}
PARTITIONS = {  # by the region's name without its last two parts; all others are in "aws"
    "cn": "aws-cn",
    "us-gov": "aws-us-gov",
    "us-iso": "aws-iso",
    "us-isob": "aws-iso-b",
    "eu-isoe": "aws-iso-e",
    "us-isof": "aws-iso-f",
    "eusc-de": "aws-eusc",
}
SERVER_FAULTS = {  # HTTP status by error code; every other code is a client's fault, 400
    "DependencyTimeoutException": 500,
    "InternalFailure": 500,
    "KeyUnavailableException": 500,
    "KMSInternalException": 500,
    "ServiceUnavailable": 503,
}
CLIENT_FAULT = 400
DAY_SECONDS = 86_400

# A blob is magic, key material id, checksum, salt, nonce, ciphertext and tag. The first bytes and the whole length
# (184 for a data key of 32) are those of AWS today; the rest is this server's own.
_MAGIC = b"\x01\x02\x03\x00"
_SALT = 56
_NONCE = 12
_HEADER = len(_MAGIC) + 32 + 32
_OVERHEAD = _HEADER + _SALT + _NONCE + 16

_REGION = re.compile(r"(?:[a-z]+-){2,3}[0-9]+")
_ALIAS = re.compile(r"alias/(?!aws/)[A-Za-z0-9/_-]{1,250}")


class Refusal(Exception):  # noqa: N818 (an answer of the protocol, not an error of this code)
    """What the client gets instead of an answer."""

    def __init__(self, code: str | None, message: str = "", status: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.message = message
        self.status = status or SERVER_FAULTS.get(code or "", CLIENT_FAULT)


@dataclass(eq=False)
class Key:
    """A key in one region. Copies of a multi-region key share its id and its material."""

    arn: str
    spec: str
    usage: str
    multi_region: bool
    primary_region: str
    material: bytes = field(default_factory=lambda: os.urandom(32), repr=False)
    material_id: bytes = field(default_factory=lambda: os.urandom(32))
    description: str = ""
    state: str = "Enabled"
    created: float = field(default_factory=time.time)
    deleted: float | None = None

    @property
    def region(self) -> str:
        """The region that the key lives in."""
        return self.arn.split(":")[3]

    @property
    def key_id(self) -> str:
        """The part of the ARN that copies in other regions share."""
        return self.arn.rsplit("/", 1)[1]

    def encrypt(self, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        """Return a blob that only this material and *context* open."""
        named = _MAGIC + self.material_id
        salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
        head = named + hashlib.sha256(named).digest() + salt
        return head + nonce + self._cipher(salt).encrypt(nonce, plaintext, _aad(head, context))

    def decrypt(self, blob: bytes, context: Mapping[str, str]) -> bytes:
        """Return the plaintext of *blob*, of which `material_id` is this key's."""
        head, nonce = blob[: _HEADER + _SALT], blob[_HEADER + _SALT :][:_NONCE]
        try:
            return self._cipher(head[_HEADER:]).decrypt(
                nonce, blob[_HEADER + _SALT + _NONCE :], _aad(head, context)
            )
        except InvalidTag:
            pass
        raise Refusal("InvalidCiphertextException")

    def _cipher(self, salt: bytes) -> AESGCM:
        return AESGCM(hmac.digest(self.material, salt, "sha256"))


def _aad(head: bytes, context: Mapping[str, str]) -> bytes:
    return head + json.dumps(dict(context), sort_keys=True).encode("ascii")


def material_id(blob: bytes) -> bytes:
    """Return which key material encrypted *blob*, before anything is decrypted."""
    named = blob[: len(_MAGIC) + 32]
    # The checksum tells a changed blob from another key's: AWS has a code for each.
    checked = hashlib.sha256(named).digest() == blob[len(named) : _HEADER]
    if checked and named.startswith(_MAGIC) and len(blob) > _OVERHEAD:
        return named[len(_MAGIC) :]
    raise Refusal("InvalidCiphertextException")


@dataclass
class Request:
    """The members of one request, each checked as it is taken; also what the log will say of it."""

    operation: str
    region: str = ""
    members: dict[str, Any] = field(default_factory=dict, repr=False)
    key: str | None = None
    context: dict[str, str] = field(default_factory=dict)

    def read(self, body: bytes) -> None:
        """Take the members from the JSON *body*."""
        try:
            members = json.loads(body or b"{}")
        except ValueError:
            members = None
        if not isinstance(members, dict):
            raise Refusal("SerializationException", "the body is not a JSON object")
        self.members = members
        # Known before anything is judged, so that the log and the faults have them whatever comes of it.
        key = members.get("DestinationKeyId", members.get("KeyId"))
        context = members.get("DestinationEncryptionContext", members.get("EncryptionContext"))
        self.key = key if isinstance(key, str) else None
        self.context = dict(context) if isinstance(context, dict) and _is_text_map(context) else {}
        for name in ("DryRunModifiers", "Recipient"):
            if members.get(name) is not None:
                raise Refusal("UnsupportedOperationException", f"this test KMS has no {name}")

    def text(self, name: str, default: str | None = None) -> str:
        """Return a text that is not empty."""
        value = self._take(name, str, default)
        if not value:
            raise _invalid(name, "must not be null or empty")
        return str(value)

    def whole(self, name: str, default: int | None, allowed: range) -> int:
        """Return a number in *allowed*."""
        value = self._take(name, int, default)
        if value not in allowed:
            raise _invalid(name, f"must be {allowed[0]} to {allowed[-1]}")
        return int(value)

    def flag(self, name: str) -> bool:
        """Return a truth value, false if it is left out."""
        return self._take(name, bool, default=False) is True

    def blob(self, name: str, longest: int) -> bytes:
        """Return 1 to *longest* bytes."""
        try:
            value = base64.b64decode(self._take(name, str, ""), validate=True)
        except (binascii.Error, ValueError):
            value = None
        if value is None:  # raised here, not above: the exception's context would hold the text
            raise Refusal("SerializationException", f"{name} is not base64")
        if not 1 <= len(value) <= longest:
            raise _invalid(name, f"must have 1 to {longest} bytes")
        return value

    def pairs(self, name: str) -> dict[str, str]:
        """Return an encryption context, which is also what the log and the denials go by."""
        value = self._take(name, dict, {})
        if not _is_text_map(value):
            raise Refusal("SerializationException", f"{name} is not a map of strings")
        self.context = dict(value)
        return self.context

    def algorithm(self, name: str) -> None:
        """Refuse every algorithm but the one there is."""
        if self.text(name, "SYMMETRIC_DEFAULT") != "SYMMETRIC_DEFAULT":
            raise Refusal("InvalidKeyUsageException", f"{name} is not an algorithm of a symmetric key")

    def dry_run(self) -> None:
        """End the request here if it was only to be tried."""
        if self.flag("DryRun"):
            raise Refusal("DryRunOperationException", "the request would have succeeded; DryRun is set")

    def _take(self, name: str, kind: type, default: Any) -> Any:
        value = self.members.get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Refusal("SerializationException", f"{name} has the wrong type")
        return value


def _is_text_map(value: dict[Any, Any]) -> bool:
    return all(isinstance(text, str) for text in value.values())


def _invalid(name: str, what: str) -> Refusal:
    return Refusal("ValidationException", f"1 validation error detected: {name} {what}")


Permit = Callable[[Request, Key | None], None]


class Keys:
    """The keys of all regions and the operations on them. No HTTP, no faults."""

    def __init__(self, account: str, permit: Permit) -> None:
        self.account = account
        self.permit = permit
        self.keys: dict[str, Key] = {}
        self.aliases: dict[tuple[str, str], Key] = {}

    def create(self, region: str, *, multi_region: bool, spec: str, usage: str | None) -> Key:
        """Make a key."""
        if not _REGION.fullmatch(region):
            raise _invalid("Region", "is not the name of a region")
        usages = KEY_USAGES.get(spec)
        if usages is None:
            raise Refusal("UnsupportedOperationException", f"this test KMS has no key spec {spec}")
        if usage is not None and usage not in usages:
            raise _invalid("KeyUsage", f"must be one of {', '.join(usages)}")
        key_id = f"mrk-{uuid.uuid4().hex}" if multi_region else str(uuid.uuid4())
        key = Key(self.arn(region, f"key/{key_id}"), spec, usage or usages[0], multi_region, region)
        self.keys[key.arn] = key
        return key

    def copy(self, key: Key, region: str) -> Key:
        """Make the replica of *key* in *region*."""
        if not key.multi_region or key.primary_region != key.region:
            raise Refusal("UnsupportedOperationException", f"{key.arn} is not a multi-Region primary key")
        if not _REGION.fullmatch(region):
            raise _invalid("ReplicaRegion", "is not the name of a region")
        arn = self.arn(region, f"key/{key.key_id}")
        if arn in self.keys:
            raise Refusal("AlreadyExistsException", f"{arn} already exists")
        copy = replace(key, arn=arn, state="Enabled", created=time.time(), deleted=None)
        self.keys[arn] = copy
        return copy

    def name(self, key: Key, alias: str) -> None:
        """Give *key* an alias in its region."""
        if not _ALIAS.fullmatch(alias):
            raise Refusal("InvalidAliasNameException", "an alias is alias/<name>, not alias/aws/<name>")
        if (key.region, alias) in self.aliases:
            raise Refusal("AlreadyExistsException", f"{alias} already exists in {key.region}")
        self.aliases[key.region, alias] = key

    def delete(self, key: Key, days: int) -> None:
        """Schedule the deletion of *key*."""
        replicated = key.region == key.primary_region and len(self.family(key)) > 1
        key.state = "PendingReplicaDeletion" if replicated else "PendingDeletion"
        key.deleted = time.time() + days * DAY_SECONDS

    def arn(self, region: str, resource: str) -> str:
        """Return the ARN of ``key/<id>`` or ``alias/<name>`` in *region*."""
        partition = PARTITIONS.get(region.rsplit("-", 2)[0], "aws")
        return f"arn:{partition}:kms:{region}:{self.account}:{resource}"

    def family(self, key: Key) -> list[Key]:
        """Return *key* and its copies in all regions."""
        return [other for other in self.keys.values() if other.key_id == key.key_id]

    def find(self, request: Request, member: str, *, aliases: bool = True) -> Key:
        """Return the key that *member* names by id, ARN, alias or alias ARN, in the region of the request."""
        text = request.key = request.text(member)
        resource = text if text.startswith("alias/") else f"key/{text}"
        if text.startswith("arn:"):
            head, account, resource = [*text.rsplit(":", 2), "", ""][:3]
            if f"{head}:{self.account}:" != self.arn(request.region, ""):
                raise Refusal("NotFoundException", f"Invalid arn {[*text.split(':'), '', '', ''][3]}")
            if account != self.account:
                raise Refusal("AccessDeniedException", "the key does not exist or is another account's")
        if resource.startswith("alias/") and not aliases:
            raise Refusal("NotFoundException", f"{member} must not be an alias")
        arn = self.arn(request.region, resource)
        key = self.aliases.get((request.region, resource)) or self.keys.get(arn)
        if key is None:
            raise Refusal("NotFoundException", f"{arn} does not exist")
        request.key = key.arn
        return key

    def usable(self, request: Request, key: Key) -> Key:
        """Return *key* if it may encrypt and decrypt, for this caller and in this state."""
        request.key = key.arn
        self.permit(request, key)
        if key.state == "Disabled":
            raise Refusal("DisabledException", f"{key.arn} is disabled")
        if key.state != "Enabled":
            raise Refusal("KMSInvalidStateException", f"{key.arn} is pending deletion")
        if key.spec != "SYMMETRIC_DEFAULT" or key.usage != "ENCRYPT_DECRYPT":
            raise Refusal("InvalidKeyUsageException", f"{key.arn} is not a symmetric encryption key")
        return key

    def managed(self, request: Request, member: str = "KeyId") -> Key:
        """Return the key that a management operation names, unless it is pending deletion."""
        key = self.find(request, member, aliases=False)
        self.permit(request, key)
        if key.state.startswith("Pending"):
            raise Refusal("KMSInvalidStateException", f"{key.arn} is pending deletion")
        return key

    def open(self, request: Request, member: str, context: str) -> tuple[Key, bytes]:
        """Return the plaintext of the request's blob, and the key that opened it."""
        blob = request.blob("CiphertextBlob", BLOB_MAX)
        pairs = request.pairs(context)
        if request.members.get(member) is None:
            key = self.usable(request, self.owner(request, material_id(blob)))
            return key, key.decrypt(blob, pairs)
        key = self.usable(request, self.find(request, member))
        if key.material_id != material_id(blob):
            raise Refusal("IncorrectKeyException", f"{key.arn} did not encrypt the ciphertext")
        return key, key.decrypt(blob, pairs)

    def owner(self, request: Request, material: bytes) -> Key:
        """Return the key in the request's region whose material has this id."""
        for key in self.keys.values():
            if key.region == request.region and key.material_id == material:
                return key
        raise Refusal(
            "AccessDeniedException", "the key of the ciphertext is not in this region, or not yours"
        )

    def metadata(self, key: Key) -> dict[str, Any]:
        """Return what DescribeKey says."""
        about: dict[str, Any] = {
            "AWSAccountId": self.account,
            "KeyId": key.key_id,
            "Arn": key.arn,
            "CreationDate": key.created,
            "Enabled": key.state == "Enabled",
            "Description": key.description,
            "KeyUsage": key.usage,
            "KeyState": key.state,
            "Origin": "AWS_KMS",
            "KeyManager": "CUSTOMER",
            "KeySpec": key.spec,
            "CustomerMasterKeySpec": key.spec,
            "MultiRegion": key.multi_region,
        }
        if key.spec == "SYMMETRIC_DEFAULT":
            about["EncryptionAlgorithms"] = [key.spec]
        if key.state == "PendingDeletion":
            about["DeletionDate"] = key.deleted
        if key.multi_region:
            places = {copy.region: {"Arn": copy.arn, "Region": copy.region} for copy in self.family(key)}
            about["MultiRegionConfiguration"] = {
                "MultiRegionKeyType": "PRIMARY" if key.region == key.primary_region else "REPLICA",
                "PrimaryKey": places.pop(key.primary_region),
                "ReplicaKeys": list(places.values()),
            }
        return about


def _create_key(keys: Keys, request: Request) -> dict[str, Any]:
    keys.permit(request, None)
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
    keys.permit(request, key)
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
        raise _invalid("KeySpec", f"must be one of {', '.join(DATA_KEY_SPECS)}")
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
