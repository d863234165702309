"""AES-256-GCM, HKDF and padding over bytes.

This layer is mute: whatever is wrong with a ciphertext, its error says the same. Which variable it was and what
to do is added one layer above.
"""

import hmac

from cryptography.exceptions import InvalidTag

from encenv.errors import AuthenticationError
from encenv.format.sealed import NONCE_BYTES

try:
    # The class that the public module names, from where it has it: with it all other ciphers and modes would be imported,
    # which takes as long again as cryptography itself. Where it is no longer there, the public name holds.
    from cryptography.hazmat.bindings._rust import openssl

    AESGCM = openssl.aead.AESGCM
except (ImportError, AttributeError):
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32  # AES-256; also the length of every HKDF output here
PAD_TO = 8  # bytes; hides the exact length of short values
_MARK = b"\x80"  # ISO/IEC 7816-4 padding


def derive(key: bytes, info: bytes) -> bytes:
    """Derive 32 bytes from *key* with HKDF-SHA256, RFC 5869, without salt.

    With the standard library's `hmac`, which whoever asks KMS has anyway; cryptography's HKDF is three more imports.
    """
    extracted = hmac.digest(bytes(KEY_BYTES), key, "sha256")  # 2.2: no salt is zeros, as long as the hash
    return hmac.digest(extracted, info + b"\x01", "sha256")  # 2.3: one block is all, and this is its number


def derives(key: bytes, info: bytes, expected: bytes) -> bool:
    """Return whether `derive` gives *expected*, in constant time."""
    return hmac.compare_digest(derive(key, info), expected)


def encrypt(cipher: AESGCM, plaintext: bytes, aad: bytes, nonce: bytes) -> bytes:
    """Return *nonce* (12 bytes), ciphertext and tag (16 bytes)."""
    return nonce + cipher.encrypt(nonce, plaintext, aad)


def decrypt(cipher: AESGCM, data: bytes, aad: bytes) -> bytes:
    """Return the plaintext of *data*, which is nonce, ciphertext and tag.

    Raises:
        AuthenticationError: If it does not authenticate under this key and *aad*.
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
    """Take any number of zeros and then 0x80 off the end of *padded*.

    Raises:
        AuthenticationError: If there is no 0x80, or a zero byte stands inside the value.
    """
    value = padded.rstrip(b"\x00")
    if value[-1:] != _MARK or 0 in value:
        raise unauthentic()
    return value[:-1]


def unauthentic() -> AuthenticationError:
    """Return the one error of this layer."""
    return AuthenticationError(
        "the sealed value does not authenticate: it was renamed, swapped, cut off or changed",
        hint="restore the line from version control, or encrypt the value again under this name",
    )
