"""The keys of a test KMS in all its regions: how they encrypt, how requests name them, what state they are in.

Encryption is real, so a changed blob or another context fails as it does at AWS. Codes and limits are those of the
AWS KMS API reference.
"""

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

from encenv.format.sealed import is_region
from encenv.keys.aws.endpoint import partition_of
from encenv.testing.request import Refusal, Request, invalid

BLOB_MAX = 6144  # bytes: AWS KMS API reference
MATERIAL_BYTES = 32
KEY_USAGES = {  # by key spec, the default first; only the first key spec can be used
    "SYMMETRIC_DEFAULT": ("ENCRYPT_DECRYPT",),
    "RSA_2048": ("ENCRYPT_DECRYPT", "SIGN_VERIFY"),
    "ECC_NIST_P256": ("SIGN_VERIFY",),
    "HMAC_256": ("GENERATE_VERIFY_MAC",),
}
DAY_SECONDS = 86_400

# A blob is magic, key material id, checksum, filler, nonce, ciphertext and tag. The first bytes and the whole length
# (184 for a data key of 32) are those of AWS today; the rest is this server's own.
_MAGIC = b"\x01\x02\x03\x00"
_ID_END = len(_MAGIC) + 32
_FILLER = 56
_HEAD_END = _ID_END + 32 + _FILLER
_NONCE_END = _HEAD_END + 12

_ALIAS = re.compile(r"alias/(?!aws/)[A-Za-z0-9/_-]{1,250}")


@dataclass(eq=False)
class Key:
    """A key in one region. Copies of a multi-region key share its id and its material."""

    arn: str
    spec: str
    usage: str
    multi_region: bool
    primary_region: str
    material: bytes = field(repr=False)
    description: str = ""
    state: str = "Enabled"
    created: float = field(default_factory=time.time)
    deletion_date: float | None = None  # if it is known

    def __post_init__(self) -> None:
        self.region = self.arn.split(":")[3]
        self.key_id = self.arn.rsplit("/", 1)[1]  # copies in other regions share it
        self.material_id = hmac.digest(self.material, b"material id", "sha256")  # in the head of each blob

    def encrypt(self, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        """Return a blob that only this material and *context* decrypt."""
        start = _MAGIC + self.material_id
        head = start + hashlib.sha256(start).digest() + os.urandom(_FILLER)
        nonce = os.urandom(12)
        return head + nonce + AESGCM(self.material).encrypt(nonce, plaintext, _aad(head, context))

    def decrypt(self, blob: bytes, context: Mapping[str, str]) -> bytes:
        """Return the plaintext of *blob*, whose `material_id` is this key's."""
        head, nonce, ciphertext = blob[:_HEAD_END], blob[_HEAD_END:_NONCE_END], blob[_NONCE_END:]
        try:
            return AESGCM(self.material).decrypt(nonce, ciphertext, _aad(head, context))
        except (InvalidTag, ValueError):  # ValueError: no whole nonce
            pass
        raise Refusal("InvalidCiphertextException")


def _aad(head: bytes, context: Mapping[str, str]) -> bytes:
    return head + json.dumps(dict(context), sort_keys=True).encode("ascii")


def material_id(blob: bytes) -> bytes:
    """Return the id of the key material that encrypted *blob*, without decrypting anything."""
    start = blob[:_ID_END]
    # The checksum tells a changed blob from another key's: AWS has a code for each.
    if start.startswith(_MAGIC) and hashlib.sha256(start).digest() == blob[_ID_END : _ID_END + 32]:
        return start[len(_MAGIC) :]
    raise Refusal("InvalidCiphertextException")


class KeyTable:
    """The keys of all regions, and which of them a request may use. No HTTP, no faults."""

    def __init__(self, account: str, check_permission: Callable[[Request], None]) -> None:
        self.account = account
        self.check_permission = check_permission
        self.keys: dict[str, Key] = {}
        self.aliases: dict[tuple[str, str], Key] = {}

    def create(  # noqa: PLR0913 (the members of CreateKey)
        self,
        region: str,
        *,
        multi_region: bool = False,
        spec: str = "SYMMETRIC_DEFAULT",
        usage: str | None = None,
        material: bytes | None = None,
        description: str = "",
    ) -> Key:
        """Make a key. The same *material* gives the same id everywhere."""
        usages = KEY_USAGES.get(spec)
        if usages is None:
            raise Refusal("UnsupportedOperationException", f"this test KMS has no key spec {spec}")
        if usage is not None and usage not in usages:
            raise invalid("KeyUsage", f"must be one of {', '.join(usages)}")
        material = os.urandom(MATERIAL_BYTES) if material is None else material
        if len(material) != MATERIAL_BYTES:
            raise invalid("KeyMaterial", f"must have {MATERIAL_BYTES} bytes")
        unique = uuid.UUID(bytes=hmac.digest(material, b"key id", "sha256")[:16], version=4)
        arn = self.arn(region, f"key/mrk-{unique.hex}" if multi_region else f"key/{unique}")
        return self._add(Key(arn, spec, usage or usages[0], multi_region, region, material, description))

    def copy(self, key: Key, region: str) -> Key:
        """Make the replica of *key* in *region*."""
        if not key.multi_region or key.primary_region != key.region:
            raise Refusal("UnsupportedOperationException", f"{key.arn} is not a multi-Region primary key")
        arn = self.arn(region, f"key/{key.key_id}")
        return self._add(replace(key, arn=arn, state="Enabled", created=time.time(), deletion_date=None))

    def _add(self, key: Key) -> Key:
        if not is_region(key.region):
            raise invalid("Region", "is not the name of a region")
        if self.keys.setdefault(key.arn, key) is not key:
            raise Refusal("AlreadyExistsException", f"{key.arn} already exists")
        return key

    def name(self, key: Key, alias: str) -> None:
        """Give *key* an alias in its region."""
        if not _ALIAS.fullmatch(alias):
            raise Refusal("InvalidAliasNameException", "an alias is alias/<name>, not alias/aws/<name>")
        if (key.region, alias) in self.aliases:
            raise Refusal("AlreadyExistsException", f"{alias} already exists in {key.region}")
        self.aliases[key.region, alias] = key

    def delete(self, key: Key, days: int) -> None:
        """Schedule the deletion of *key*; a primary key waits for the deletion of its replicas."""
        has_replicas = key.region == key.primary_region and len(self.family(key)) > 1
        key.state = "PendingReplicaDeletion" if has_replicas else "PendingDeletion"
        key.deletion_date = None if has_replicas else time.time() + days * DAY_SECONDS

    def arn(self, region: str, resource: str) -> str:
        """Return the ARN of ``key/<id>`` or ``alias/<name>`` in *region*."""
        return f"arn:{partition_of(region) or 'aws'}:kms:{region}:{self.account}:{resource}"

    def family(self, key: Key) -> list[Key]:
        """Return *key* and its copies in all regions."""
        return [other for other in self.keys.values() if other.key_id == key.key_id]

    def lookup(self, region: str, text: str) -> Key | None:
        """Return the key in *region* that has the id, ARN, alias or alias ARN *text*, if there is one."""
        resource = text.removeprefix(self.arn(region, ""))
        if resource.startswith("alias/"):
            return self.aliases.get((region, resource))
        is_arn = resource != text  # one of this region and account
        return self.keys.get(text if is_arn else self.arn(region, f"key/{text}"))

    def find(self, request: Request, member: str, *, aliases: bool = True) -> Key:
        """Return the key that *member* names by id, ARN, alias or alias ARN, in the region of the request."""
        text = request.key = request.text(member)
        own = self.arn(request.region, "")
        if text.startswith("arn:") and not text.startswith(own) and text.split(":")[:4] == own.split(":")[:4]:
            raise Refusal("AccessDeniedException", "the key does not exist or is another account's")
        if not aliases and text.removeprefix(own).startswith("alias/"):
            raise Refusal("NotFoundException", f"{member} must not be an alias")
        key = self.lookup(request.region, text)
        if key is None:
            raise Refusal("NotFoundException", f"{text} does not exist in {request.region}")
        request.key = key.arn
        return key

    def usable(self, request: Request, key: Key) -> Key:
        """Return *key* if it may encrypt and decrypt, for this caller and in this state."""
        self._allow(request, key)
        if key.state == "Disabled":
            raise Refusal("DisabledException", f"{key.arn} is disabled")
        if key.spec != "SYMMETRIC_DEFAULT":
            raise Refusal("InvalidKeyUsageException", f"{key.arn} is not a symmetric encryption key")
        return key

    def manageable(self, request: Request, member: str = "KeyId") -> Key:
        """Return the key that a management operation names, unless it is pending deletion."""
        return self._allow(request, self.find(request, member, aliases=False))

    def _allow(self, request: Request, key: Key) -> Key:
        """Return *key* if this caller may use it and it is not pending deletion."""
        request.key = key.arn
        self.check_permission(request)
        if key.state.startswith("Pending"):
            raise Refusal("KMSInvalidStateException", f"{key.arn} is pending deletion")
        return key

    def encrypt(self, request: Request, plaintext: bytes, side: str = "") -> tuple[Key, bytes]:
        """Return the key that the request names, and *plaintext* encrypted; *side* begins the names of the members."""
        request.check_algorithm(f"{side}EncryptionAlgorithm")
        pairs = request.pairs(f"{side}EncryptionContext")
        key = self.usable(request, self.find(request, f"{side}KeyId"))
        request.end_dry_run()
        return key, key.encrypt(plaintext, pairs)

    def decrypt(self, request: Request, side: str = "") -> tuple[Key, bytes]:
        """Return the key that encrypted the request's blob, and the plaintext; *side* as in `encrypt`."""
        request.check_algorithm(f"{side}EncryptionAlgorithm")
        blob = request.blob("CiphertextBlob", BLOB_MAX)
        pairs = request.pairs(f"{side}EncryptionContext")
        if request.members.get(f"{side}KeyId") is not None:
            key = self.usable(request, self.find(request, f"{side}KeyId"))
            if key.material_id != material_id(blob):
                raise Refusal("IncorrectKeyException", f"{key.arn} did not encrypt the ciphertext")
            return key, key.decrypt(blob, pairs)
        origin = request.region, material_id(blob)
        for key in self.keys.values():
            if (key.region, key.material_id) == origin:
                return self.usable(request, key), key.decrypt(blob, pairs)
        raise Refusal(
            "AccessDeniedException", "the key of the ciphertext is not in this region, or not yours"
        )

    def metadata(self, key: Key) -> dict[str, Any]:
        """Return what DescribeKey answers about *key*; None for a member that it does not have."""
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
            "DeletionDate": key.deletion_date,
            "EncryptionAlgorithms": [key.spec] if key.spec == "SYMMETRIC_DEFAULT" else None,
        }
        if key.multi_region:
            places = {copy.region: {"Arn": copy.arn, "Region": copy.region} for copy in self.family(key)}
            about["MultiRegionConfiguration"] = {
                "MultiRegionKeyType": "PRIMARY" if key.region == key.primary_region else "REPLICA",
                "PrimaryKey": places.pop(key.primary_region),
                "ReplicaKeys": list(places.values()),
            }
        return about
