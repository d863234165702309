"""The data key of one environment: it encrypts and decrypts values, each under its own name only."""

import os
from typing import NoReturn, Self

from encenv.errors import ConflictError, KeyRefusedError, MalformedError
from encenv.format import cipher
from encenv.format.sealed import (
    HEAD_CHARACTERS,
    LOCAL_KEY_NAME,
    NONCE_BYTES,
    PAYLOAD_MIN,
    SEALED_MAX,
    VERSION,
    SealedValue,
    b64decode,
    claims,
    embeds,
    entry_kid,
    kid_of,
)


class DataKey:
    """32 bytes that encrypt values, with the commitment that identifies them.

    Args:
        key: The data key K, exactly 32 bytes.

    Attributes:
        commitment: 32 bytes, ``HKDF(K, "encenv:1:commitment")``.
        kid: The lookup hint, 8 characters.

    Raises:
        KeyRefusedError: If *key* has another length.
    """

    __slots__ = ("_cipher", "_head", "_key", "_prefix", "commitment", "kid")

    def __init__(self, key: bytes) -> None:
        if not isinstance(key, bytes) or len(key) != cipher.KEY_BYTES:
            raise KeyRefusedError(
                f"the unwrapped data key is not {cipher.KEY_BYTES} bytes long",
                hint="restore the ENCENV_KEY_… line from git; this is not a data key of encenv",
            )
        self._key = key
        self._cipher = cipher.AESGCM(cipher.derive(key, b"encenv:1:value"))
        self.commitment = cipher.derive(key, b"encenv:1:commitment")
        self.kid = kid_of(self.commitment)
        self._head = f"encenv:{VERSION}:{self.kid}:"
        self._prefix = self._head.encode("ascii")

    @classmethod
    def generate(cls) -> Self:
        """Return a fresh data key from the operating system's generator."""
        return cls(os.urandom(cipher.KEY_BYTES))

    def __repr__(self) -> str:
        return f"<DataKey {self.kid}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a data key cannot be pickled")

    def expose_key(self) -> bytes:
        """Return the 32 bytes, for a key provider to wrap. Nothing else gives them out."""
        return self._key

    def matches(self, commitment: bytes) -> bool:
        """Return whether this is the data key that *commitment* names, in constant time."""
        return cipher.is_derived(self._key, b"encenv:1:commitment", commitment)

    def encrypt(self, name: str, text: str, nonce: bytes | None = None) -> str:
        """Encrypt *text* as the value of the variable *name*.

        Args:
            name: The variable's whole name, unchanged.
            text: The value; it may be empty. It holds no NUL, and only characters that survive encoding and decoding.
            nonce: 12 bytes, never used twice with one key; random if left out.

        Returns:
            The sealed value.

        Raises:
            ConflictError: If *text* is a sealed value or contains one, or if *name* is the name of a key.
            MalformedError: If *text* cannot be the value of an environment variable.
        """
        if name == LOCAL_KEY_NAME or entry_kid(name) is not None:
            raise ConflictError(
                f"{name} holds a key and is never encrypted", hint="leave it out, or give it another name"
            )
        if claims(text) or embeds(text):
            raise ConflictError(
                "the value is encrypted already, or contains an encrypted value",
                hint="decrypt it first, or leave it unchanged",
            )
        value = _encode(text)
        if value is None:
            raise MalformedError(
                "the value cannot be the value of an environment variable (NUL, or text that is not Unicode)",
                hint="encode it, for example as base64",
            )
        nonce = os.urandom(NONCE_BYTES) if nonce is None else nonce
        payload = cipher.encrypt(self._cipher, cipher.pad(value), self._aad(name), nonce)
        sealed = str(SealedValue(self.kid, payload))
        if len(sealed) > SEALED_MAX:
            raise MalformedError(
                f"the value would be longer than {SEALED_MAX:,} characters when encrypted",
                hint="keep it in a file and put the file's path into the variable",
            )
        return sealed

    def decrypt(self, name: str, sealed: SealedValue) -> str:
        """Decrypt *sealed* as the value of the variable *name*.

        Raises:
            AuthenticationError: If it does not decrypt under this key and this name.
        """
        if sealed.kid != self.kid:
            raise cipher.unauthentic()
        return self._decrypt(name, sealed.payload)

    def decrypt_text(self, name: str, text: str) -> str:
        """Decrypt the sealed value *text* as the value of the variable *name*.

        It compares the head, which all texts under this key share, and does not parse it: a load has many values.

        Raises:
            MalformedError: If *text* is not a whole sealed value of version 1.
            AuthenticationError: If it does not decrypt under this key and this name.
        """
        is_own = text.startswith(self._head) and len(text) <= SEALED_MAX
        payload = b64decode(text[HEAD_CHARACTERS:]) if is_own else None
        if payload is None or len(payload) < PAYLOAD_MIN:
            SealedValue.parse(text)  # raises the error that names the fault
            raise cipher.unauthentic()  # well-formed, but under another key
        return self._decrypt(name, payload)

    def _decrypt(self, name: str, payload: bytes) -> str:
        padded = cipher.decrypt(self._cipher, payload, self._aad(name))
        return cipher.unpad(padded).decode("utf-8", "surrogateescape")

    def _aad(self, name: str) -> bytes:
        encoded = _encode(name)
        if not encoded:
            raise MalformedError(
                f"{name!a} cannot be the name of a variable", hint="give the variable another name"
            )
        # bytes.upper changes only a-z, whatever the locale; str.upper would change other alphabets, too.
        return self._prefix + encoded.upper()


def _encode(text: str) -> bytes | None:
    """Return *text* as the bytes that an environment holds; None if they would not decode to *text* again."""
    if text.isascii():
        return None if "\x00" in text else text.encode()
    try:
        value = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return None  # not re-raised: the exception holds the whole text in its `object`
    return value if "\x00" not in text and value.decode("utf-8", "surrogateescape") == text else None
