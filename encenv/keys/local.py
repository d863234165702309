"""Wrap data keys under a local key, for a laptop, for CI, or for a platform that mounts secrets as files.

    encenv-local-key:1:<base64url of 32 random bytes>       one per line; # comments and blank lines between

A local key is 32 random bytes, never derived from a password, so nobody can guess it.
"""

import os
import re
import shlex
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

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
    LOCAL_WRAPPED_BYTES,
    NONCE_BYTES,
    WrappedKey,
    b64decode,
    b64encode,
    canonical,
    kid_of,
)
from encenv.keys.process_safety import fork_waits

PREFIX = "encenv-local-key:1:"
TEXT_VARIABLE = LOCAL_KEY_NAME
FILE_VARIABLE = "ENCENV_LOCAL_KEY_FILE"
FILE_MAX = 65_536  # bytes; a key is 63, so this is a thousand of them
_LINE_END = re.compile(r"\r\n|\n|\r")


class LocalKeys:
    """Wraps data keys under a local key.

    It uses the key text in ``ENCENV_LOCAL_KEY`` if that is set, else the file that ``ENCENV_LOCAL_KEY_FILE`` names,
    else the file at `default_path`.

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
        """Return a new data key, and its copy wrapped under the local key with the id *key* (empty: the only one)."""
        data_key = os.urandom(cipher.KEY_BYTES)
        return data_key, self.wrap(data_key, key, context)

    def wrap(
        self, data_key: bytes, key: str, context: Mapping[str, str], nonce: bytes | None = None
    ) -> WrappedKey:
        """Return *data_key* wrapped under the local key with the id *key* (empty: the only one)."""
        choice = self._choose(key)
        if isinstance(choice, EncenvError):
            raise choice
        reference, wrapping = choice
        nonce = os.urandom(NONCE_BYTES) if nonce is None else nonce
        return WrappedKey(self.name, cipher.encrypt(wrapping, data_key, _aad(context), nonce), reference)

    @fork_waits()
    def unwrap(self, wrapped_key: WrappedKey, context: Mapping[str, str], timeout: float) -> bytes:  # noqa: ARG002 (no I/O to bound)
        """Return the data key in *wrapped_key*."""
        choice = self._choose(wrapped_key.reference)
        if isinstance(choice, EncenvError):
            raise choice
        if len(wrapped_key.wrapped) == LOCAL_WRAPPED_BYTES:
            try:
                return cipher.decrypt(choice[1], wrapped_key.wrapped, _aad(context))
            except AuthenticationError:
                pass
        raise KeyRefusedError(
            f"the local key {wrapped_key.reference} does not unwrap the data key: the key entry was changed",
            hint="restore the key entry from git",
        )

    def _choose(self, reference: str) -> tuple[str, cipher.AESGCM] | EncenvError:
        """Return the id and the cipher of the key *reference*, or an error that says why there is none.

        The caller raises the error, because a frame of this method would hold the text of the keys.
        """
        text = None if self._path is not None else self._environ.get(TEXT_VARIABLE)
        where, keys = "", {}
        try:
            where = TEXT_VARIABLE if text else str(self._file())
            keys = parse_keys(text or _read_private(Path(where)), where)
        except EncenvError as error:
            if not (reference and where and isinstance(error, KeyUnreachableError)):
                return error.of()
            # There is no key at all, but the hint to create one would not help: a new key unwraps nothing.
        if not reference and len(keys) > 1:
            return ConflictError(
                f"there are {len(keys)} local keys: {', '.join(keys)}",
                hint="name one of them: --key local:<id>",
            )
        reference = reference or next(iter(keys))
        if reference not in keys:
            return KeyUnreachableError(
                f"the local key {reference} is not in {where}",
                hint=f"ask a colleague who has it for its key text, and add that line to {where}"
                + ("" if keys or text else ", a file of mode 600"),
                missing_key=reference,
            )
        return reference, cipher.AESGCM(cipher.derive(keys[reference], b"encenv:1:local-wrap"))

    def exist(self) -> bool:
        """Return whether there is a local key here, usable or not."""
        return bool(self._environ.get(TEXT_VARIABLE)) or self._file().exists()

    def _file(self) -> Path:
        path = self._path or self._environ.get(FILE_VARIABLE)
        return _at_home(Path(path), self._environ) if path else default_path(self._environ)


def default_path(environ: Mapping[str, str]) -> Path:
    """Return the path of the local key file by the platform's convention, whether it exists or not.

    Raises:
        KeyUnreachableError: If this user has no home directory, and no variable names a folder.
    """
    if sys.platform == "win32":
        base = Path(environ.get("APPDATA") or "~/AppData/Roaming")
    elif sys.platform == "darwin":
        base = Path("~/Library/Application Support")
    else:
        base = Path(environ.get("XDG_CONFIG_HOME") or "~/.config")
        if not base.is_absolute():  # XDG Base Directory Specification: ignore a relative path
            base = Path("~/.config")
    return _at_home(base / "encenv" / "local.key", environ)


def _at_home(path: Path, environ: Mapping[str, str]) -> Path:
    """Return *path* with a leading ``~`` replaced by the home directory."""
    home = environ.get("HOME") if sys.platform != "win32" else None
    if home and path.parts[:1] == ("~",):
        return Path(home, *path.parts[1:])
    try:
        return path.expanduser()
    except RuntimeError:  # a user that is not in the system's list, as in containers
        pass
    raise KeyUnreachableError(
        f"there is no local key: this user has no home directory for {path}",
        hint=f"set {FILE_VARIABLE} to the whole path of a key file, or {TEXT_VARIABLE} to the key text",
    )


def generate_key_text() -> str:
    """Return the text of a new local key."""
    return PREFIX + b64encode(os.urandom(cipher.KEY_BYTES))


def local_key_id(key: bytes) -> str:
    """Return the id of the local key *key* (32 bytes): 8 characters."""
    return kid_of(cipher.derive(key, b"encenv:1:local-id"))


def parse_keys(text: str, where: str) -> dict[str, bytes]:
    """Return the local keys in *text* by their ids; at least one.

    Raises:
        MalformedError: If a line is not a key; the message holds only its number.
        KeyUnreachableError: If there is no key.
    """
    keys: dict[str, bytes] = {}
    # Not splitlines() and strip(), which also accept the line ends and white space of Unicode.
    for number, line in enumerate(_LINE_END.split(text), start=1):
        content = line.strip(" \t")
        if content and not (content.startswith("#") and content.isascii()):
            key = _parse_key(content, f"line {number} of {where}")
            keys[local_key_id(key)] = key
    if not keys:
        raise KeyUnreachableError(f"{where} holds no local key", hint="run: encenv keygen")
    return keys


def _parse_key(text: str, where: str) -> bytes:
    key = b64decode(text[len(PREFIX) :]) if text.startswith(PREFIX) else None
    if key is None or len(key) != cipher.KEY_BYTES:
        raise MalformedError(
            f"{where} is not a local key", hint=f"write {PREFIX}… as encenv keygen made it, one key per line"
        )
    return key


def _aad(context: Mapping[str, str]) -> bytes:
    return b"encenv:1:local:" + canonical(dict(context))


def _read_private(path: Path) -> str:
    """Return the text of the key file *path* if no other user can read or write it."""
    try:
        # Opened first and judged by the descriptor, so that the file judged is the file read. O_NONBLOCK, so that a
        # FIFO at this path does not make a service hang at its start.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
        try:
            _check_private(descriptor, path)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(FILE_MAX + 1)
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError):
        raise KeyUnreachableError(
            f"there is no local key: {path} does not exist",
            hint="run: encenv keygen, or get the key text from a colleague who has it",
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else "no file can have this path"
        raise FileError(
            f"the local key file {path} cannot be read: {reason}",
            hint=f"make it a file that this user can read, or set {FILE_VARIABLE} to one",
        ) from None
    if len(content) > FILE_MAX:
        raise FileError(
            f"{path} is not a local key file: it is too long", hint="name the file of a local key"
        )
    # Every byte becomes a character, so that `parse_keys` finds and names any line that is not a key.
    return content.decode("latin-1")


def _check_private(descriptor: int, path: Path) -> None:
    """Refuse the open file if another user could read or write it.

    Other users must not be able to read or write a file that this user owns. A file that root owns may be readable, but
    nobody else may write it: Docker mounts such files as 0444, Kubernetes as 0644 on a read-only file system.
    """
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise FileError(
            f"the local key file {path} is not a regular file", hint=f"set {FILE_VARIABLE} to one that is"
        )
    if sys.platform == "win32":  # its files have no owner and no permission bits here
        return
    mode = stat.S_IMODE(status.st_mode)
    is_own, is_roots = status.st_uid == os.geteuid(), status.st_uid == 0
    is_read_only = not mode & (0o222 if is_own else 0o022) or os.fstatvfs(descriptor).f_flag & os.ST_RDONLY
    if (is_own and not mode & 0o077) or (is_roots and is_read_only):
        return
    chmod = f"run: chmod 600 {shlex.quote(str(path))}"
    if is_own:
        raise FileError(f"the local key file {path} can be read or written by others", hint=chmod)
    if is_roots:
        raise FileError(
            f"the local key file {path} belongs to root, and others can write it", hint=f"as root, {chmod}"
        )
    raise FileError(
        f"the local key file {path} belongs to another user",
        hint="copy it to a file of this user's own, with mode 600",
    )
