"""A KMS on a port of this machine: its keys by hand, its log, and how it takes a request apart."""

import json
import os
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Self

from encenv.testing.certificate import Authority
from encenv.testing.faults import Faults, tampered
from encenv.testing.keys import Key, Keys
from encenv.testing.listener import CONTENT_TYPE, HOST, Answer, Listener, Sent
from encenv.testing.operations import OPERATIONS
from encenv.testing.request import Refusal, Request
from encenv.testing.signature import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Signature

ACCOUNT = "111122223333"  # the account of AWS's own examples
REGION = "us-east-1"
TARGET_PREFIX = "TrentService"
# What a developer's own environment may hold that boto3 would prefer or stumble over. An empty AWS_PROFILE is an error.
STRAY = (
    "AWS_DEFAULT_PROFILE",
    "AWS_PROFILE",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "AWS_USE_FIPS_ENDPOINT",
)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as the log keeps it: never with a plaintext or a blob.

    Attributes:
        operation: Such as ``Decrypt``.
        key: The ARN of the wrapping key, or what the request named if there is no such key, or None. For ReEncrypt
            the destination's.
        region: The region that the request was signed for; empty if it was not signed.
        context: The encryption context; for ReEncrypt the destination's.
        error: The AWS error code, ``"dropped"``, ``"half-answered"``, ``"tampered"``, or None for a success.
        signature: ``"verified"`` if it was signed with the key pair of `KmsServer.environ`, ``"wrong"`` if with another
            or not so, ``"malformed"`` or ``"missing"``. Not compared: a test that minds asks for it.
    """

    operation: str
    key: str | None
    region: str
    context: dict[str, str]
    error: str | None
    signature: str = field(default="verified", compare=False)


class KmsServer(Faults):
    """A KMS on a free port of 127.0.0.1, for as long as the ``with`` block lasts.

    One server plays all regions: a request is in the region that it is signed for.

    Args:
        account: The AWS account id that all keys are in.
        check_signatures: Also refuse requests that are not signed with the key pair of `environ`, as AWS does.
        tls: Whether to speak TLS, with a certificate of an authority made for this server, which `environ` has
            clients trust; or the server's side of TLS with a certificate for 127.0.0.1. Plain HTTP if left out.
        watch: Called with each request as it is logged.
    """

    def __init__(
        self,
        account: str = ACCOUNT,
        *,
        check_signatures: bool = False,
        tls: bool | ssl.SSLContext = False,
        watch: Callable[[Call], None] | None = None,
    ) -> None:
        super().__init__()
        self._keys = Keys(account, self._permit)
        self._check_signatures = check_signatures
        self._authority = Authority() if tls is True else None
        self._tls = tls if isinstance(tls, ssl.SSLContext) else None
        if self._authority:
            self._tls = self._authority.server(HOST)
        self._watch = watch
        self._calls: list[Call] = []
        self._stopping = threading.Event()
        self._listener: Listener | None = None
        self._url: str | None = None
        self._bundle: Path | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<KmsServer {self._url}: {len(self._keys.keys)} keys, {len(self._calls)} calls>"

    def start(self) -> None:
        """Listen on a free port. Keys, log and faults of an earlier start are still there."""
        if self._listener is None:
            self._stopping.clear()
            self._listener = Listener(self._answer, self._tls)
            self._url = f"{'https' if self._tls else 'http'}://{HOST}:{self._listener.port}"
            self._listener.start()
            if self._authority:
                descriptor, name = tempfile.mkstemp(suffix=".pem")
                os.write(descriptor, self._authority.certificate)
                os.close(descriptor)
                self._bundle = Path(name)

    def stop(self) -> None:
        """Close the port and all connections; from then on the server cannot be reached."""
        self._stopping.set()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.stop()
        if self._bundle is not None:
            self._bundle.unlink(missing_ok=True)
            self._bundle = None

    @property
    def url(self) -> str:
        """Where it listens, for ``endpoint_url``. The port stays known after a stop."""
        if self._url is None:
            raise RuntimeError("the server is not started: use it in a with block")
        return self._url

    def environ(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return variables that make boto3 and encenv use this server and nothing of a developer's own AWS.

        Args:
            base: An environment to add them to, for a child process. Variables that would stand against them, such
                as ``AWS_PROFILE``, are left out of it.
        """
        kept = {name: value for name, value in (base or {}).items() if name not in STRAY}
        trusted = {"AWS_CA_BUNDLE": str(self._bundle)} if self._bundle else {}
        return (
            kept
            | trusted
            | {
                "AWS_ENDPOINT_URL_KMS": self.url,
                "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
                "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
                "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
                "AWS_REGION": REGION,
                "AWS_DEFAULT_REGION": REGION,
                "AWS_CONFIG_FILE": os.devnull,
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
                "AWS_EC2_METADATA_DISABLED": "true",
                "NO_PROXY": HOST,
                "no_proxy": HOST,  # preferred to the other where both are set
            }
        )

    def create_key(
        self,
        region: str = REGION,
        *,
        multi_region: bool = False,
        alias: str | None = None,
        key_spec: str = "SYMMETRIC_DEFAULT",
        material: bytes | None = None,
    ) -> str:
        """Make a key and return its ARN.

        Args:
            region: Where it lives.
            multi_region: Whether `replicate` can copy it to other regions.
            alias: A name for it in its region, ``alias/<name>``.
            key_spec: ``RSA_2048``, ``ECC_NIST_P256`` or ``HMAC_256`` for a key that cannot be a wrapping key.
            material: 32 bytes that the key and its ARN are made of, so that another server given the same opens what
                this one wrapped; random if left out.
        """
        with self._lock, _as_value_error():
            key = self._keys.create(region, multi_region=multi_region, spec=key_spec, material=material)
            if alias is not None:
                self._keys.name(key, alias)
            return key.arn

    def replicate(self, arn: str, region: str) -> str:
        """Copy the multi-region key *arn* to *region* and return the copy's ARN."""
        with self._lock, _as_value_error():
            return self._keys.copy(self._key(arn), region).arn

    def disable(self, arn: str) -> None:
        """Disable the key: it answers DisabledException."""
        with self._lock:
            self._key(arn).state = "Disabled"

    def enable(self, arn: str) -> None:
        """Enable the key again, also if its deletion was scheduled."""
        with self._lock:
            self._key(arn).state = "Enabled"

    def schedule_deletion(self, arn: str) -> None:
        """Schedule the key's deletion: it answers KMSInvalidStateException."""
        with self._lock:
            self._keys.delete(self._key(arn), days=30)

    @property
    def calls(self) -> list[Call]:
        """All requests so far, oldest first, also those that failed."""
        with self._lock:
            return list(self._calls)

    def count(self, operation: str = "*") -> int:
        """Return how many requests for *operation* (a name or pattern) succeeded."""
        return sum(call.error is None and fnmatchcase(call.operation, operation) for call in self.calls)

    def clear(self) -> None:
        """Empty the log."""
        with self._lock:
            self._calls.clear()

    def _key(self, arn: str) -> Key:
        if arn not in self._keys.keys:
            raise ValueError(f"this server has no key {arn}")
        return self._keys.keys[arn]

    def _answer(self, path: str, headers: Message, body: bytes) -> Answer:
        prefix, _, operation = headers.get("X-Amz-Target", "").partition(".")
        request = Request(operation if prefix == TARGET_PREFIX else "")
        with self._lock:
            seconds, answer = self._decide(request, path, headers, body)
        # Outside the lock, so that other requests are answered meanwhile, and logged already: a client that gives
        # up waiting finds its request in the log.
        if seconds and self._stopping.wait(min(seconds, threading.TIMEOUT_MAX)):
            return answer._replace(sent="nothing")
        return answer

    def _decide(self, request: Request, path: str, headers: Message, body: bytes) -> tuple[float, Answer]:
        """Do what *request* asks for, or what it is to get instead; log it; return the answer and its delay."""
        seconds = 0.0
        sent: Sent = "whole"
        error: str | None
        try:
            self._authenticate(request, path, headers, body)
            _check_protocol(request.operation, path, headers)
            request.read(body)
            named = self._keys.named(request.region, request.key or "")
            request.key = named.arn if named else request.key
            if delay := self._spend("delay", request):
                seconds = delay.seconds
            if drop := self._spend("drop", request):
                sent = "reset" if drop.reset else "nothing"
                status, content, error = 0, b"", "dropped"
            else:
                sent = "half" if self._spend("halve", request) else "whole"
                status, (content, error) = 200, self._perform(request)
        except Refusal as refusal:
            status, content, error = refusal.status, refusal.body, refusal.code or str(refusal.status)
        if sent == "half":
            error = "half-answered"
        self._log(
            Call(request.operation, request.key, request.region, request.context, error, request.signature)
        )
        return seconds, Answer(status, content, sent)

    def _authenticate(self, request: Request, path: str, headers: Message, body: bytes) -> None:
        authorization = headers.get("Authorization")
        request.signature = "missing" if authorization is None else "malformed"
        signature = Signature.parse(authorization)
        request.region, request.signature = signature.region, "wrong"
        try:
            signature.verify(path, headers, body)
            request.signature = "verified"
        except Refusal:
            if self._check_signatures:
                raise

    def _perform(self, request: Request) -> tuple[bytes, str | None]:
        """Return the body of the answer, and what the log calls it if it is not the right one."""
        if fail := self._spend("fail", request):
            raise Refusal(fail.code, "a fault that the test asked for", fail.status)
        members = OPERATIONS[request.operation](self._keys, request)
        if tamper := self._spend("tamper", request):
            return tampered(members, tamper.change), "tampered"
        return json.dumps(members).encode("ascii"), None

    def _log(self, call: Call) -> None:
        self._calls.append(call)
        if self._watch:
            self._watch(call)


def _check_protocol(operation: str, path: str, headers: Message) -> None:
    if operation not in OPERATIONS or headers.get("Content-Type") != CONTENT_TYPE or path != "/":
        raise Refusal("UnknownOperationException", "not an operation of this test KMS")


@contextmanager
def _as_value_error() -> Iterator[None]:
    """Turn what a client would get into what a caller gets."""
    try:
        yield
    except Refusal as refusal:
        raise ValueError(f"{refusal.code}: {refusal.message}") from None
