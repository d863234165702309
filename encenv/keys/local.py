"""A local key file as a key provider, for a laptop, for CI, or where a platform mounts secrets as files.

    encenv-local-key:1:<base64url of 32 random bytes>       one a line; # comments and blank lines between

A local key is 32 random bytes, never made from a password: there is nothing to guess and nothing to stretch.
"""

import os
import re
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from encenv.errors import (
    AuthenticationError,
    ConflictError,
    EncenvError,
    FileError,
    KeyRefusedError,
    KeyUnreachableError,
    MalformedError,
)
from encenv.format import cipher
from encenv.format.sealed import (
    LOCAL_KEY_NAME,
    NONCE_BYTES,
    WrappedKey,
    b64decode,
    b64encode,
    canonical,
    kid_of,
)

PREFIX = "encenv-local-key:1:"
TEXT_VARIABLE = LOCAL_KEY_NAME
FILE_VARIABLE = "ENCENV_LOCAL_KEY_FILE"
FILE_MAX = 65_536  # bytes; a key is 63, so this is a thousand of them
_LINE_END = re.compile(r"\r\n|\n|\r")


class LocalKeys:
    """Wraps data keys under a local key.

    The key text in ``ENCENV_LOCAL_KEY`` if that is set, else the file that ``ENCENV_LOCAL_KEY_FILE`` names, else
    the file `default_path`.

    Args:
        environ: The process environment.
        path: A key file to use instead of all three.
    """

    name = "local"

    def __init__(
        self, environ: Mapping[str, str] = os.environ, *, path: str | os.PathLike[str] | None = None
    ) -> None:
        self._environ = environ
        self._path = path

    def generate(self, key: str, context: Mapping[str, str]) -> tuple[bytes, WrappedKey]:
        """Return a fresh data key and its copy wrapped under the local key whose id is *key* (empty: the only one)."""
        data_key = os.urandom(cipher.KEY_BYTES)
        return data_key, self.wrap(data_key, key, context)

    def wrap(
        self, data_key: bytes, key: str, context: Mapping[str, str], nonce: bytes | None = None
    ) -> WrappedKey:
        """Return *data_key* wrapped under the local key whose id is *key* (empty: the only one)."""
        keys = self._keys()
        if not key and len(keys) > 1:
            raise ConflictError(
                f"there are {len(keys)} local keys: {', '.join(keys)}",
                hint="name one of them: --key local:<id>",
            )
        reference = key or next(iter(keys))
        nonce = os.urandom(NONCE_BYTES) if nonce is None else nonce
        wrapping = _wrapping_cipher(self._key(keys, reference))
        return WrappedKey(self.name, cipher.encrypt(wrapping, data_key, _aad(context), nonce), reference)

    def unwrap(self, item: WrappedKey, context: Mapping[str, str], timeout: float) -> bytes:  # noqa: ARG002 (no I/O to bound)
        """Return the data key in *item*."""
        wrapping = _wrapping_cipher(self._key(self._keys(), item.reference))
        try:
            return cipher.decrypt(wrapping, item.wrapped, _aad(context))
        except AuthenticationError:
            pass
        raise KeyRefusedError(
            f"the local key {item.reference} does not open its wrapped copy: the copy or its context was changed",
            hint="restore the key entry from version control",
        )

    def _key(self, keys: dict[str, bytes], reference: str) -> bytes:
        if reference in keys:
            return keys[reference]
        raise KeyUnreachableError(
            f"the local key {reference} is not {self._place()}",
            hint=f"ask a colleague who has it for its key text, and add that line to {self._file()}",
        )

    def _keys(self) -> dict[str, bytes]:
        text = self._environ.get(TEXT_VARIABLE) if self._path is None else None
        if text is not None:
            return parse_keys(text, TEXT_VARIABLE)
        path = self._file()
        return parse_keys(_read_private(path), str(path))

    def _file(self) -> Path:
        return Path(
            self._path or self._environ.get(FILE_VARIABLE) or default_path(self._environ)
        ).expanduser()

    def _place(self) -> str:
        if self._path is None and TEXT_VARIABLE in self._environ:
            return f"in {TEXT_VARIABLE}"
        return f"in {self._file()}"


def default_path(environ: Mapping[str, str]) -> Path:
    """Return where the local key file is by the platform's convention, whether it exists or not."""
    if sys.platform == "win32":
        base = Path(environ.get("APPDATA") or "~/AppData/Roaming")
    elif sys.platform == "darwin":
        base = Path("~/Library/Application Support")
    else:
        base = Path(environ.get("XDG_CONFIG_HOME") or "~/.config")  # XDG Base Directory Specification
    return (base / "encenv" / "local.key").expanduser()


def generate_key_text() -> str:
    """Return the text of a fresh local key."""
    return PREFIX + b64encode(os.urandom(cipher.KEY_BYTES))


def local_key_id(key: bytes) -> str:
    """Return the id of the local key *key* (32 bytes): 8 characters."""
    return kid_of(cipher.derive(key, b"encenv:1:local-id"))


def parse_keys(text: str, where: str) -> dict[str, bytes]:
    """Return the local keys in *text* by their ids; never none.

    Raises:
        MalformedError: If a line is no key text; it is named by its number.
        KeyUnreachableError: If there is no key at all.
    """
    keys: dict[str, bytes] = {}
    # Not splitlines() and strip(): they also know the line ends and white space of Unicode.
    for number, line in enumerate(_LINE_END.split(text), start=1):
        content = line.strip(" \t")
        if content and not (content.startswith("#") and content.isascii()):
            key = _parse_key(content, f"line {number} of {where}")
            keys[local_key_id(key)] = key
    if not keys:
        raise KeyUnreachableError(f"{where} holds no local key", hint="run: encenv keygen")
    return keys


def _parse_key(text: str, where: str) -> bytes:
    try:
        key = b64decode(text[len(PREFIX) :]) if text.startswith(PREFIX) else b""
    except MalformedError:
        key = b""
    if len(key) != cipher.KEY_BYTES:
        raise MalformedError(
            f"{where} is not a local key", hint=f"write {PREFIX}… as encenv keygen made it, one key a line"
        )
    return key


def _wrapping_cipher(key: bytes) -> AESGCM:
    return AESGCM(cipher.derive(key, b"encenv:1:local-wrap"))


def _aad(context: Mapping[str, str]) -> bytes:
    return b"encenv:1:local:" + canonical(dict(context))


def _read_private(path: Path) -> str:
    """Return the text of the key file *path*, if nobody else could have read or written it."""
    try:
        # Opened first and judged by the descriptor, so that the file judged is the file read. O_NONBLOCK: a FIFO
        # in its place must not hang the start of a service.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            refusal = _refusal(descriptor)
            content = b"" if refusal else file.read(FILE_MAX + 1)
    except OSError as error:
        failure = _cannot_read(path, error)
    else:
        if refusal:
            failure = FileError(f"the local key file {path} {refusal}", hint=f"run: chmod 600 {path}")
        elif len(content) > FILE_MAX or not content.isascii():
            failure = FileError(f"{path} is not a local key file", hint="make one with: encenv keygen")
        else:
            return content.decode("ascii")
    raise failure


def _cannot_read(path: Path, error: OSError) -> EncenvError:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return KeyUnreachableError(
            f"there is no local key: {path} does not exist",
            hint="run: encenv keygen, or get the key text from a colleague who has it",
        )
    return FileError(
        f"the local key file {path} cannot be read: {error.strerror}",
        hint="make it a file that this user can read, or set ENCENV_LOCAL_KEY_FILE to one",
    )


def _refusal(descriptor: int) -> str | None:
    """Return why the open file must not be used, or None.

    This user's own file must be closed to everybody else. A file of root's that nobody else can write is what
    container platforms mount: Docker 0444, Kubernetes 0644 on a read-only file system.
    """
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    if sys.platform == "win32":  # no owner and no permission bits to judge by
        return None
    own = status.st_uid == os.geteuid()
    if own and not status.st_mode & 0o077:
        return None
    if status.st_uid == 0:
        mounted_read_only = bool(os.fstatvfs(descriptor).f_flag & os.ST_RDONLY)
        if mounted_read_only or not status.st_mode & (0o222 if own else 0o022):
            return None
        return "is root's and can be written or read by others"
    return "can be read by others" if own else "belongs to another user"
