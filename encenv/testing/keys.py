"""The keys of a test KMS in all its regions: how they encrypt, who finds them, what state they are in.

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

from encenv.testing.request import Refusal, Request, invalid

BLOB_MAX = 6144  # bytes: AWS KMS API reference
MATERIAL_BYTES = 32
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
    deleted: float | None = None

    @property
    def material_id(self) -> bytes:
        """What a blob says of the material that encrypted it."""
        return hmac.digest(self.material, b"material id", "sha256")

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


Permit = Callable[[Request], None]


class Keys:
    """The keys of all regions and the operations on them. No HTTP, no faults."""

    def __init__(self, account: str, permit: Permit) -> None:
        self.account = account
        self.permit = permit
        self.keys: dict[str, Key] = {}
        self.aliases: dict[tuple[str, str], Key] = {}

    def create(
        self,
        region: str,
        *,
        multi_region: bool = False,
        spec: str = "SYMMETRIC_DEFAULT",
        usage: str | None = None,
        material: bytes | None = None,
    ) -> Key:
        """Make a key. What is made of given *material* has the same id everywhere."""
        if not _REGION.fullmatch(region):
            raise invalid("Region", "is not the name of a region")
        usages = KEY_USAGES.get(spec)
        if usages is None:
            raise Refusal("UnsupportedOperationException", f"this test KMS has no key spec {spec}")
        if usage is not None and usage not in usages:
            raise invalid("KeyUsage", f"must be one of {', '.join(usages)}")
        material = os.urandom(MATERIAL_BYTES) if material is None else material
        if len(material) != MATERIAL_BYTES:
            raise invalid("KeyMaterial", f"must have {MATERIAL_BYTES} bytes")
        unique = uuid.UUID(bytes=hmac.digest(material, b"key id", "sha256")[:16], version=4)
        key_id = f"mrk-{unique.hex}" if multi_region else str(unique)
        arn = self.arn(region, f"key/{key_id}")
        if arn in self.keys:
            raise Refusal("AlreadyExistsException", f"{arn} already exists")
        key = Key(arn, spec, usage or usages[0], multi_region, region, material)
        self.keys[key.arn] = key
        return key

    def copy(self, key: Key, region: str) -> Key:
        """Make the replica of *key* in *region*."""
        if not key.multi_region or key.primary_region != key.region:
            raise Refusal("UnsupportedOperationException", f"{key.arn} is not a multi-Region primary key")
        if not _REGION.fullmatch(region):
            raise invalid("ReplicaRegion", "is not the name of a region")
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

    def named(self, region: str, text: str) -> Key | None:
        """Return the key in *region* that has the id, ARN, alias or alias ARN *text*, if there is one."""
        if text.startswith("alias/"):
            return self.aliases.get((region, text))
        if text.startswith("arn:"):
            alias = text.removeprefix(self.arn(region, ""))
            return self.keys.get(text) or self.aliases.get((region, alias))
        return self.keys.get(self.arn(region, f"key/{text}"))

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
        key = self.named(request.region, text)
        if key is None:
            raise Refusal("NotFoundException", f"{self.arn(request.region, resource)} does not exist")
        request.key = key.arn
        return key

    def usable(self, request: Request, key: Key) -> Key:
        """Return *key* if it may encrypt and decrypt, for this caller and in this state."""
        request.key = key.arn
        self.permit(request)
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
        self.permit(request)
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
