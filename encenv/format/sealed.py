"""Recognise, parse and write the two texts of the wire format, version 1.

    sealed value   encenv:1:<KID>:<base64url(nonce[12] + ciphertext + tag[16])>
    key entry      ENCENV_KEY_<KID>=1:<base64url(commitment[32])>{+context:<key>=<value>}{+<provider>:<wrapped>:<reference>}

Parsing needs no key and reaches no network. It is strict: one text has one meaning, and one meaning one text.
The specification is FORMAT.md beside this file.
"""

import base64
import binascii
import re
from typing import NamedTuple, Self

from encenv.errors import MalformedError

VERSION = "1"
KID_CHARACTERS = 8  # base32 of 5 bytes, RFC 4648 section 6
NONCE_BYTES = 12  # NIST SP 800-38D, 5.2.1.1
TAG_BYTES = 16  # the full tag of NIST SP 800-38D, 5.2.1.2
HEAD_CHARACTERS = len("encenv:1:") + KID_CHARACTERS + 1
PAYLOAD_MIN = NONCE_BYTES + 1 + TAG_BYTES  # the padding mark is never missing
SEALED_MAX = 1_048_576  # characters
ENTRY_MAX = 32_768  # characters
COMMITMENT_BYTES = 32
CONTEXT_MAX = 7  # pairs; with encenv=1 that is the 8 that AWS KMS documents
ITEMS_MAX = 16
AWS_BLOB_MAX = 6144  # bytes, KMS API reference: CiphertextBlob
LOCAL_WRAPPED_BYTES = NONCE_BYTES + 32 + TAG_BYTES
ENTRY_PREFIX = "ENCENV_KEY_"
LOCAL_KEY_NAME = "ENCENV_LOCAL_KEY"  # the variable that may hold a local key; never sealed
ADDED_BY_WRITER = ("encenv-add", "1")  # the one reserved context pair that an entry may hold

# Patterns are texts that `re` compiles on first use: compiling takes longer than decrypting a hundred values.
# The texts that every load parses need no pattern.
_EMBEDDED = r"encenv:[0-9]+:[A-Z2-7]{8}:"
_NEWER = r"[1-9][0-9]*"

_LOWER, _DIGIT = "abcdefghijklmnopqrstuvwxyz", "0123456789"
_LETTERS = _LOWER.upper() + _LOWER
_BASE32 = _LOWER.upper() + "234567"  # RFC 4648, section 6
_BASE64 = _LETTERS + _DIGIT + "-_"  # RFC 4648, section 5
_REFERENCE = _LETTERS + _DIGIT + "_.:/-"  # of references, and of a context's keys and values
_PROVIDER_MAX, _REFERENCE_MAX, _CONTEXT_KEY_MAX, _CONTEXT_VALUE_MAX = 32, 512, 128, 384  # characters
_ARN_FIELDS, _ACCOUNT_CHARACTERS, _AWS_KEY_ID_MAX = 6, 12, 128  # AWS IAM User Guide, "Amazon Resource Names"


def claims(text: str) -> bool:
    """Return whether *text* claims to be a sealed value; it must then be one as a whole."""
    return text.startswith("encenv:") and "0" <= text[7:8] <= "9"


def embeds(text: str) -> bool:
    """Return whether *text* contains a sealed value: quoted, after white space, or pasted into a URL."""
    return "encenv:" in text and re.search(_EMBEDDED, text) is not None


def kid_shown(text: str) -> str:
    """Return the part of *text* where a sealed value has its KID, unchecked; `claims` must be true of *text*."""
    return text[HEAD_CHARACTERS - 1 - KID_CHARACTERS : HEAD_CHARACTERS - 1]


def entry_kid(name: str) -> str | None:
    """Return the KID in *name* if that is the name of a key entry, else None."""
    if not name.startswith(ENTRY_PREFIX):
        return None
    kid = name[len(ENTRY_PREFIX) :]
    return kid if _is_kid(kid) else None


def b64encode(data: bytes) -> str:
    """Encode *data* as base64url without padding, RFC 4648 section 5."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def b64decode(text: str) -> bytes | None:
    """Decode base64url without padding; return None unless `b64encode` would give back exactly *text*."""
    padding, ends = _ENDS[len(text) % 4]
    if text[-1:] in ends and text.isascii():
        try:
            return binascii.a2b_base64(text.encode().translate(_TO_STANDARD) + padding, strict_mode=True)
        except binascii.Error:
            pass
    return None


# For each length modulo 4: the missing padding, and the last characters that leave no stray bits. Length 1 modulo 4 is
# impossible, since one character holds less than a byte.
_ENDS = ((b"", _BASE64), (b"", ""), (b"==", _BASE64[::16]), (b"=", _BASE64[::4]))
# The characters + / = become a byte that strict decoding refuses: base64url has none of them, and no padding here.
_TO_STANDARD = bytes.maketrans(b"-_+/=", b"+/\0\0\0")
COPY_AGAIN = "copy the whole value again, or encrypt it again"


class SealedValue(NamedTuple):
    """A sealed value, parsed but not authenticated.

    Attributes:
        kid: The lookup hint, 8 characters of A-Z2-7.
        payload: nonce (12 bytes), ciphertext (at least 1 byte), tag (16 bytes).
    """

    kid: str
    payload: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse *text*; `claims` must be true of it.

        Raises:
            MalformedError: If it is not a whole sealed value of version 1.
        """
        if len(text) > SEALED_MAX:
            raise MalformedError(
                f"the encrypted value is longer than {SEALED_MAX:,} characters",
                hint="keep it in a file and put the file's path into the variable",
            )
        kid, rest = kid_shown(text), text[HEAD_CHARACTERS:]
        if text[:HEAD_CHARACTERS] != f"encenv:{VERSION}:{kid}:" or not _is_kid(kid) or rest.strip(_BASE64):
            raise _not_sealed(text)
        payload = b64decode(rest)
        if payload is None or len(payload) < PAYLOAD_MIN:
            raise MalformedError("the encrypted value is cut off or changed", hint=COPY_AGAIN)
        return cls(kid, payload)

    def __str__(self) -> str:
        return f"encenv:{VERSION}:{self.kid}:{b64encode(self.payload)}"


def _not_sealed(text: str) -> MalformedError:
    version = text.split(":", 2)[1]
    if _is_newer(version):
        return MalformedError(
            "the encrypted value was made by a newer encenv",
            hint="upgrade encenv where the value is read",
        )
    return MalformedError("the value begins like an encrypted value but is not one", hint=COPY_AGAIN)


class WrappedKey(NamedTuple):
    """One wrapped copy of a data key.

    Attributes:
        provider: The key provider's name, such as ``aws-kms`` or ``local``.
        wrapped: The provider's bytes; opaque.
        reference: The wrapping key that wrapped it: an ARN, or a local key id.
    """

    provider: str
    wrapped: bytes
    reference: str

    @property
    def wrapping_key(self) -> str:
        """The wrapping key that wrapped it, as a person reads it: ``<provider>:<reference>``."""
        return f"{self.provider}:{self.reference}"

    def __str__(self) -> str:
        return f"{self.provider}:{b64encode(self.wrapped)}:{self.reference}"


class KeyEntry(NamedTuple):
    """A key entry, parsed: how to unwrap one data key, and how to verify it.

    Attributes:
        commitment: 32 bytes that identify the data key.
        context: The pairs of the encryption context, without ``encenv=1``, which is implied.
        items: The wrapped copies, in the order of the text.
    """

    commitment: bytes
    context: tuple[tuple[str, str], ...]
    items: tuple[WrappedKey, ...]

    @property
    def kid(self) -> str:
        """The lookup hint that names this entry."""
        return kid_of(self.commitment)

    @property
    def name(self) -> str:
        """The name of the variable that holds this entry."""
        return ENTRY_PREFIX + self.kid

    @classmethod
    def parse(cls, kid: str, text: str) -> Self:
        """Parse the value *text* of the variable ``ENCENV_KEY_<kid>``.

        Raises:
            MalformedError: If it is not a key entry of version 1, or belongs to another KID.
        """
        if len(text) > ENTRY_MAX:
            raise _bad_entry(kid, f"is longer than {ENTRY_MAX:,} characters")
        version, colon, rest = text.partition(":")
        if colon and _is_newer(version):
            raise MalformedError(
                f"{ENTRY_PREFIX}{kid} was made by a newer encenv",
                hint="upgrade encenv where the value is read",
            )
        if version != VERSION or not colon:
            raise _bad_entry(kid, "does not begin with 1:")
        head, *items = rest.split("+")
        commitment = _entry_bytes(kid, head)
        if len(commitment) != COMMITMENT_BYTES:
            raise _bad_entry(kid, "has a commitment of the wrong length")
        if kid_of(commitment) != kid:
            raise _bad_entry(kid, "belongs to another data key than its name says")
        pairs = [item for item in items if item.startswith("context:")]
        if items[: len(pairs)] != pairs:
            raise _bad_entry(kid, "has a context after a wrapped copy")
        entry = cls(
            commitment,
            tuple(_parse_context(kid, pair) for pair in pairs),
            tuple(_parse_item(kid, item) for item in items[len(pairs) :]),
        )
        check_context(entry.context, where=entry.name)
        if not 1 <= len(entry.items) <= ITEMS_MAX:
            raise _bad_entry(kid, f"must hold 1 to {ITEMS_MAX} wrapped copies")
        if len({(item.provider, item.reference) for item in entry.items}) != len(entry.items):
            raise _bad_entry(kid, "names one wrapping key twice")
        return entry

    def __str__(self) -> str:
        pairs = [f"context:{key}={value}" for key, value in sorted(self.context)]
        return "+".join([f"{VERSION}:{b64encode(self.commitment)}", *pairs, *map(str, self.items)])


def kid_of(commitment: bytes) -> str:
    """Return the lookup hint of a data key: base32 of the first 5 bytes of its commitment."""
    return base64.b32encode(commitment[:5]).decode("ascii")


def encryption_context(pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Return the context of every wrap and unwrap: ``encenv=1`` and *pairs*."""
    return {"encenv": VERSION, **dict(pairs)}


def canonical(context: dict[str, str]) -> bytes:
    """Return *context* as bytes: the strings ``key=value``, sorted as bytes, joined with a comma."""
    return b",".join(sorted(f"{key}={value}".encode("ascii") for key, value in context.items()))


def check_context(pairs: tuple[tuple[str, str], ...], *, where: str) -> None:
    """Check an encryption context against the limits of the format.

    Raises:
        MalformedError: If there are too many pairs, a key is reserved, or two keys differ only in case.
    """
    if len(pairs) > CONTEXT_MAX:
        raise _bad_context(where, f"has more than {CONTEXT_MAX} context pairs")
    if len({key.lower() for key, _ in pairs}) != len(pairs):
        raise _bad_context(where, "has the same context key twice (upper and lower case are one)")
    for pair in pairs:
        if not _is_pair(*pair):
            raise _bad_context(
                where,
                "has a context key or value that is empty, too long, or has a character outside A-Za-z0-9_.:/-",
            )
        if pair[0].lower().startswith(("encenv", "aws:")) and pair != ADDED_BY_WRITER:
            raise _bad_context(where, "uses a context key that begins with encenv or aws:, which is reserved")


def aws_region(reference: str) -> str:
    """Return the region of the AWS KMS key ARN *reference*.

    Raises:
        MalformedError: If *reference* is not the full ARN of a KMS key.
    """
    # The whole ARN is checked: no unparsed part of an environment variable ever reaches a host name.
    fields = reference.split(":")
    if len(fields) != _ARN_FIELDS:
        fields = [""] * _ARN_FIELDS
    arn, partition, service, region, account, key = fields
    if (
        (arn, service) == ("arn", "kms")
        and (partition == "aws" or (partition[:4] == "aws-" and _is_of(_LOWER + _DIGIT + "-", partition[4:])))
        and is_region(region)
        and _is_of(_DIGIT, account)
        and len(account) == _ACCOUNT_CHARACTERS
        and key[:4] == "key/"
        and _is_of(_LETTERS + _DIGIT + "-", key[4:], _AWS_KEY_ID_MAX)
    ):
        return region
    raise MalformedError(
        "the name of the AWS KMS key is not its full ARN",
        hint="give arn:aws:kms:<region>:<account>:key/<id>; an alias is resolved when a value is encrypted",
    )


def is_region(text: str) -> bool:
    """Return whether *text* has the form of an AWS region: ``([a-z]+-){2,3}[0-9]+``."""
    *words, number = text.split("-")
    return len(words) in (2, 3) and all(_is_of(_LOWER, word) for word in words) and _is_of(_DIGIT, number)


def _parse_context(kid: str, text: str) -> tuple[str, str]:
    key, _, value = text.removeprefix("context:").partition("=")
    if not _is_pair(key, value):
        raise _bad_entry(kid, "has a context item that is not context:<key>=<value>")
    return key, value


def _parse_item(kid: str, text: str) -> WrappedKey:
    provider, wrapped, reference = [*text.split(":", 2), "", ""][:3]
    if not (
        _is_of(_LOWER, provider[:1])
        and _is_of(_LOWER + _DIGIT + "-", provider, _PROVIDER_MAX)
        and _is_of(_BASE64, wrapped)
        and _is_of(_REFERENCE, reference, _REFERENCE_MAX)
    ):
        raise _bad_entry(kid, "has an item that is not <provider>:<wrapped>:<reference>")
    item = WrappedKey(provider, _entry_bytes(kid, wrapped), reference)
    if item.provider == "aws-kms":
        aws_region(item.reference)
        if len(item.wrapped) > AWS_BLOB_MAX:
            raise _bad_entry(kid, f"has an aws-kms copy of more than {AWS_BLOB_MAX} bytes")
    if item.provider == "local":
        if len(item.wrapped) != LOCAL_WRAPPED_BYTES:
            raise _bad_entry(kid, f"has a local copy that is not {LOCAL_WRAPPED_BYTES} bytes long")
        if not _is_kid(item.reference):
            raise _bad_entry(kid, "has a local copy whose reference is not a local key id")
    return item


def _is_of(alphabet: str, text: str, longest: int = ENTRY_MAX) -> bool:
    """Return whether *text* is 1 to *longest* characters, all of *alphabet*."""
    return 0 < len(text) <= longest and not text.strip(alphabet)


def _is_kid(text: str) -> bool:
    return len(text) == KID_CHARACTERS and not text.strip(_BASE32)


def _is_pair(key: str, value: str) -> bool:
    return _is_of(_REFERENCE, key, _CONTEXT_KEY_MAX) and _is_of(_REFERENCE, value, _CONTEXT_VALUE_MAX)


def _is_newer(version: str) -> bool:
    return version != VERSION and re.fullmatch(_NEWER, version) is not None


def _entry_bytes(kid: str, text: str) -> bytes:
    data = b64decode(text)
    if data is None:
        raise _bad_entry(kid, "has a part that is not canonical base64url")
    return data


def _bad_entry(kid: str, what: str) -> MalformedError:
    return MalformedError(
        f"{ENTRY_PREFIX}{kid} {what}",
        hint="restore its line from git; it is never edited by hand",
    )


def _bad_context(where: str, what: str) -> MalformedError:
    return MalformedError(
        f"{where} {what}",
        hint="give at most 7 pairs KEY=VALUE, with keys that differ and do not begin with encenv or aws:",
    )
