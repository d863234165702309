"""AES-256-GCM, HKDF and padding over bytes.

This layer raises the same error whatever is wrong with a ciphertext. The layer above adds the variable.
"""

import hmac

from cryptography.exceptions import InvalidTag

from encenv.errors import AuthenticationError
from encenv.format.sealed import NONCE_BYTES

try:
    # The public module imports all other ciphers and modes as well, which doubles the time. If the class ever moves,
    # the public name below still works.
    from cryptography.hazmat.bindings._rust import openssl

    AESGCM = openssl.aead.AESGCM
except (ImportError, AttributeError):
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32  # AES-256; also the length of every HKDF output here
PAD_TO = 8  # bytes; hides the exact length of short values
_MARK = b"\x80"  # ISO/IEC 7816-4 padding


def derive(key: bytes, info: bytes) -> bytes:
    """Derive 32 bytes from *key* with HKDF-SHA256, RFC 5869, without salt.

    It uses the standard library's `hmac`, which a request to KMS imports anyway; cryptography's HKDF needs three more imports.
    """
    prk = hmac.digest(bytes(KEY_BYTES), key, "sha256")  # 2.2: without a salt, zeros as long as the hash
    return hmac.digest(prk, info + b"\x01", "sha256")  # 2.3: one block suffices; this is its number


def is_derived(key: bytes, info: bytes, expected: bytes) -> bool:
    """Return whether `derive` gives *expected*, in constant time."""
    return hmac.compare_digest(derive(key, info), expected)


def encrypt(cipher: AESGCM, plaintext: bytes, aad: bytes, nonce: bytes) -> bytes:
    """Return *nonce* (12 bytes), ciphertext and tag (16 bytes)."""
    return nonce + cipher.encrypt(nonce, plaintext, aad)


def decrypt(cipher: AESGCM, data: bytes, aad: bytes) -> bytes:
    """Return the plaintext of *data*, which is nonce, ciphertext and tag.

    Raises:
        AuthenticationError: If *data* does not authenticate under this key and *aad*.
    """
    try:
        return cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], aad)
    except InvalidTag:
        pass
    raise unauthentic()


def pad(value: bytes) -> bytes:
    """Append 0x80 and zeros up to a multiple of 8 bytes."""
    marked = value + _MARK
    return marked + bytes(-len(marked) % PAD_TO)


def unpad(padded: bytes) -> bytes:
    """Remove all trailing zeros and then one 0x80 from *padded*.

    Raises:
        AuthenticationError: If there is no 0x80, or the value holds a zero byte.
    """
    value = padded.rstrip(b"\x00")
    if value[-1:] != _MARK or 0 in value:
        raise unauthentic()
    return value[:-1]


def unauthentic() -> AuthenticationError:
    """Return the one error of this layer."""
    return AuthenticationError(
        "the encrypted value was changed, cut off, renamed or swapped with another",
        hint="restore the line from git, or set the value again under this name",
    )
