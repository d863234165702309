"""A KMS to test with: real boto3 reaches it, AWS is not asked, and it fails on demand.

    pytest_plugins = ["encenv.testing"]     # in conftest.py: the fixtures encenv_kms, encenv_kms_key, encenv_local_key

    with KmsServer() as kms:                # or by hand
        os.environ.update(kms.environ())
        key = kms.create_key()

It speaks the JSON protocol of AWS KMS on 127.0.0.1, plays every region, encrypts for real and keeps a log without
plaintexts. It is no place for real secrets: keys live in memory, and whoever can log in to this machine may call it.

PYTEST_DONT_REWRITE: nothing is asserted here, and pytest would warn where this file is imported before it.
"""

import hashlib
import hmac
import json
import os
import re
import socket
import socketserver
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message
from fnmatch import fnmatchcase
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from encenv.kms_server import OPERATIONS, Key, Keys, Refusal, Request

if TYPE_CHECKING:
    import ssl

__all__ = ["Call", "KmsServer"]

ACCOUNT = "111122223333"  # the account of AWS's own examples
ACCESS_KEY_ID = "AKIAIOSFODNN7EXAMPLE"  # the key pair of AWS's own examples: nobody's
SECRET_ACCESS_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # noqa: S105 (as above)
REGION = "us-east-1"
HOST = "127.0.0.1"
BACKLOG = 128  # connections not yet accepted: a test may start many threads at once
REQUEST_MAX = 1_048_576  # bytes; the longest blob and context are far below
CLOCK_SKEW_SECONDS = 900  # AWS common errors: RequestExpired
STOP_SECONDS = 5.0  # for the threads of all connections together
POLL_SECONDS = 0.02  # how long a stop may go unseen
CONTENT_TYPE = "application/x-amz-json-1.1"
TARGET_PREFIX = "TrentService"

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/([0-9]{8})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request, *"
    r"SignedHeaders=([a-z0-9;-]+), *Signature=([0-9a-f]{64})"
)
# What a developer's own environment may hold that boto3 would prefer or stumble over. An empty AWS_PROFILE is an error.
_STRAY = (
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
        error: The AWS error code, ``"dropped"``, ``"half-answered"``, or None for a success.
    """

    operation: str
    key: str | None
    region: str
    context: dict[str, str]
    error: str | None


@dataclass
class _Rule:
    """Something that is to go wrong, for the requests it matches and as often as it says."""

    act: Literal["deny", "fail", "delay", "drop", "half"]
    operation: str
    region: str | None
    times: int | None
    key: str | None = None
    unless_context: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    code: str | None = None
    status: int | None = None

    def __post_init__(self) -> None:
        # A misspelt operation would match nothing and let a test pass that tests nothing.
        if not any(fnmatchcase(name, self.operation) for name in OPERATIONS):
            raise ValueError(f"no operation is called {self.operation}; there are {', '.join(OPERATIONS)}")

    def matches(self, request: Request, key: str | None) -> bool:
        excused = bool(self.unless_context) and self.unless_context.items() <= request.context.items()
        return (
            fnmatchcase(request.operation, self.operation)
            and self.region in (None, request.region)
            and self.key in (None, key)
            and not excused
        )


_Sent = Literal["whole", "half", "nothing"]


class _Answer(NamedTuple):
    status: int
    body: bytes
    sent: _Sent


class KmsServer:
    """A KMS on a free port of 127.0.0.1, for as long as the ``with`` block lasts.

    One server plays all regions: a request is in the region that it is signed for. In ``fail``, ``delay``, ``drop``,
    ``half_answer`` and ``deny``, *operation* is a name or pattern such as ``"GenerateDataKey*"``, *region* restricts
    the fault to one region, and *times* says how often it happens (always, until ``heal``). The first fault of a
    kind that matches is taken.

    Args:
        account: The AWS account id that all keys are in.
        check_signatures: Also refuse requests that are not signed with the key pair of `environ`, as AWS does.
        tls: The server's side of TLS, with a certificate for 127.0.0.1. Plain HTTP if left out.
    """

    def __init__(
        self, account: str = ACCOUNT, *, check_signatures: bool = False, tls: "ssl.SSLContext | None" = None
    ) -> None:
        self._keys = Keys(account, self._permit)
        self._check_signatures = check_signatures
        self._tls = tls
        self._calls: list[Call] = []
        self._rules: list[_Rule] = []
        # Of keys, rules and log. Reentrant: a key operation asks the rules while it holds it.
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._listener: _Listener | None = None
        self._url: str | None = None

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
            self._listener = _Listener(self._answer, self._tls)
            self._url = f"{'https' if self._tls else 'http'}://{HOST}:{self._listener.server_address[1]}"
            self._listener.start()

    def stop(self) -> None:
        """Close the port and all connections; from then on the server cannot be reached."""
        self._stopping.set()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.stop()

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
        kept = {name: value for name, value in (base or {}).items() if name not in _STRAY}
        return kept | {
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

    def create_key(
        self,
        region: str = REGION,
        *,
        multi_region: bool = False,
        alias: str | None = None,
        key_spec: str = "SYMMETRIC_DEFAULT",
    ) -> str:
        """Make a key and return its ARN.

        Args:
            region: Where it lives.
            multi_region: Whether `replicate` can copy it to other regions.
            alias: A name for it in its region, ``alias/<name>``.
            key_spec: ``RSA_2048``, ``ECC_NIST_P256`` or ``HMAC_256`` for a key that cannot be a wrapping key.
        """
        with self._lock, _as_value_error():
            key = self._keys.create(region, multi_region=multi_region, spec=key_spec, usage=None)
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

    def fail(
        self,
        operation: str = "*",
        *,
        code: str | None = "KMSInternalException",
        status: int | None = None,
        region: str | None = None,
        times: int | None = None,
    ) -> None:
        """Answer with an error instead of doing anything.

        Args:
            operation: Which requests.
            code: The error code, such as ``ThrottlingException``; None for an empty body, as a proxy might send.
            status: The HTTP status; the code's own if left out.
            region: In which region.
            times: How often.
        """
        self._add(_Rule("fail", operation, region, times, code=code, status=status))

    def delay(
        self, seconds: float, operation: str = "*", *, region: str | None = None, times: int | None = None
    ) -> None:
        """Answer later by *seconds*; what was asked for is done, and logged, at once."""
        self._add(_Rule("delay", operation, region, times, seconds=seconds))

    def drop(self, operation: str = "*", *, region: str | None = None, times: int | None = None) -> None:
        """Close the connection without an answer and without doing anything."""
        self._add(_Rule("drop", operation, region, times))

    def half_answer(
        self, operation: str = "*", *, region: str | None = None, times: int | None = None
    ) -> None:
        """Do what was asked for, send half of the answer and close the connection."""
        self._add(_Rule("half", operation, region, times))

    def deny(
        self,
        operation: str = "*",
        *,
        key: str | None = None,
        unless_context: Mapping[str, str] | None = None,
        region: str | None = None,
        times: int | None = None,
    ) -> None:
        """Answer AccessDeniedException, as a key policy with an explicit deny makes AWS do.

        Args:
            operation: Which requests.
            key: The ARN of the key that it holds for; every key if left out.
            unless_context: Pairs; a request with all of them in its encryption context is let through.
            region: In which region.
            times: How often.
        """
        self._add(_Rule("deny", operation, region, times, key=key, unless_context=dict(unless_context or {})))

    def heal(self) -> None:
        """End all faults and denials. Keys stay as they are."""
        with self._lock:
            self._rules.clear()

    def _add(self, rule: _Rule) -> None:
        with self._lock:
            self._rules.append(rule)

    def _key(self, arn: str) -> Key:
        if arn not in self._keys.keys:
            raise ValueError(f"this server has no key {arn}")
        return self._keys.keys[arn]

    def _spend(self, act: str, request: Request, key: str | None = None) -> _Rule | None:
        """Return the first rule for *request*, and count it off."""
        for rule in self._rules:
            if rule.act == act and rule.times != 0 and rule.matches(request, key):
                rule.times = None if rule.times is None else rule.times - 1
                return rule
        return None

    def _permit(self, request: Request, key: Key | None) -> None:
        if self._spend("deny", request, key.arn if key else None):
            raise Refusal("AccessDeniedException", f"not authorized to perform: kms:{request.operation}")

    def _fail(self, request: Request) -> None:
        fault = self._spend("fail", request)
        if fault:
            raise Refusal(fault.code, "a fault that the test asked for", fault.status)

    def _answer(self, path: str, headers: Message, body: bytes) -> "_Answer":
        prefix, _, operation = headers.get("X-Amz-Target", "").partition(".")
        request = Request(operation if prefix == TARGET_PREFIX else "")
        with self._lock:
            seconds, answer = self._decide(request, path, headers, body)
        # Outside the lock, so that other requests are answered meanwhile, and logged already: a client that gives
        # up waiting finds its request in the log.
        if seconds and self._stopping.wait(seconds):
            return answer._replace(sent="nothing")
        return answer

    def _decide(self, request: Request, path: str, headers: Message, body: bytes) -> "tuple[float, _Answer]":
        delay = half = None
        error: str | None = None
        status = 200
        content: dict[str, Any] | None = None
        try:
            request.region = _signed_region(path, headers, body, check=self._check_signatures)
            _check_protocol(request.operation, path, headers)
            request.read(body)
            delay = self._spend("delay", request)
            if self._spend("drop", request):
                error, status = "dropped", 0
            else:
                half = self._spend("half", request)
                self._fail(request)
                content = OPERATIONS[request.operation](self._keys, request)
        except Refusal as refusal:
            error, status = refusal.code or str(refusal.status), refusal.status
            content = {"__type": refusal.code, "message": refusal.message} if refusal.code else None
        if half:
            error = "half-answered"
        self._calls.append(Call(request.operation, request.key, request.region, request.context, error))
        payload = b"" if content is None else json.dumps(content).encode("ascii")
        sent: _Sent = "half" if half else "whole" if status else "nothing"
        return delay.seconds if delay else 0.0, _Answer(status, payload, sent)


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


def _signed_region(path: str, headers: Message, body: bytes, *, check: bool) -> str:
    """Return the region that a request is signed for; check the signature itself if *check*."""
    authorization = headers.get("Authorization")
    if authorization is None:
        raise Refusal("MissingAuthenticationTokenException", "the request has no Authorization header")
    match = _AUTHORIZATION.fullmatch(authorization)
    if match is None:
        raise Refusal(
            "IncompleteSignatureException", "the Authorization header is not one of Signature Version 4"
        )
    access_key, _, region, service, names, signature = match.groups()
    if service != "kms":
        raise Refusal("InvalidSignatureException", "the credential should be scoped to the service kms")
    if check:
        if access_key != ACCESS_KEY_ID:
            raise Refusal("UnrecognizedClientException", "the security token in the request is invalid")
        _check_time(headers.get("X-Amz-Date", ""), match[2])
        # What is not signed could be changed on the way.
        unsigned = {"host", *(name.lower() for name in headers if name.lower().startswith("x-amz-"))} - {
            *names.split(";")
        }
        if unsigned or not hmac.compare_digest(signature, _signature(path, headers, body, match)):
            raise Refusal("InvalidSignatureException", "the signature is not the one this server calculates")
    return region


def _check_time(stamp: str, day: str) -> None:
    try:
        signed = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        signed = datetime.min.replace(tzinfo=UTC)
    away = abs((datetime.now(UTC) - signed).total_seconds())
    if away > CLOCK_SKEW_SECONDS or not stamp.startswith(day):
        raise Refusal(
            "InvalidSignatureException", "X-Amz-Date is missing, not today's scope, or too far from now"
        )


def _signature(path: str, headers: Message, body: bytes, match: re.Match[str]) -> str:
    """Calculate the signature of a request: AWS Signature Version 4, POST without a query string."""
    _, day, region, service, names, _ = match.groups()
    lines = [f"{name}:{' '.join(','.join(headers.get_all(name, [])).split())}" for name in names.split(";")]
    canonical = "\n".join(["POST", path, "", *lines, "", names, hashlib.sha256(body).hexdigest()])
    scope = f"{day}/{region}/{service}/aws4_request"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{SECRET_ACCESS_KEY}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = "\n".join(["AWS4-HMAC-SHA256", headers["X-Amz-Date"], scope, hashed])
    return hmac.digest(key, text.encode(), "sha256").hex()


class _Listener(socketserver.TCPServer):
    """Accepts connections and gives each a thread; knows them all, so that a stop leaves none behind."""

    allow_reuse_address = True
    request_queue_size = BACKLOG

    def __init__(
        self, answer: Callable[[str, Message, bytes], "_Answer"], tls: "ssl.SSLContext | None"
    ) -> None:
        super().__init__((HOST, 0), _Handler)
        self.answer = answer
        self._tls = tls
        self._open: dict[threading.Thread, socket.socket] = {}
        self._thread = threading.Thread(target=self.serve_forever, args=(POLL_SECONDS,), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
        deadline = time.monotonic() + STOP_SECONDS
        for thread, connection in list(self._open.items()):
            with suppress(OSError):
                # Not the method of an SSLSocket: that takes the session from under a thread that is reading.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            thread.join(max(0.0, deadline - time.monotonic()))

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._tls is not None:
            # The handshake is left to the connection's own thread: a slow client must not stop others here.
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(target=self._serve, args=(request, client_address), daemon=True)
        self._open[thread] = request
        thread.start()

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:
            pass  # the client went away, or does not trust the certificate: its matter
        finally:
            self.shutdown_request(request)
            del self._open[threading.current_thread()]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "encenv-test-kms"
    sys_version = ""
    disable_nagle_algorithm = True  # else the last packet of an answer waits 40 ms for an acknowledgement
    wbufsize = -1  # and an answer is one packet
    server: _Listener

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > REQUEST_MAX:
            self.close_connection = True
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
            return
        body = self.rfile.read(int(length))
        answer = self.server.answer(self.path, self.headers, body)
        if answer.sent != "whole":
            self.close_connection = True
        if answer.sent == "nothing":
            return
        self.send_response(answer.status)
        self.send_header("x-amzn-RequestId", str(uuid.uuid4()))
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body if answer.sent == "whole" else answer.body[: len(answer.body) // 2])

    def log_message(self, *_: object) -> None:
        """Write nothing: the log is `KmsServer.calls`."""


try:
    import pytest
except ImportError:  # `KmsServer` alone needs no pytest
    pass
else:

    @pytest.fixture
    def encenv_kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[KmsServer]:
        """A fresh KMS that boto3 and encenv use during the test; its log, faults and keys are on the KmsServer."""
        from encenv.keys.datakeys import clear_cache  # only tests of loads need it

        with KmsServer() as kms:
            for name in _STRAY:
                monkeypatch.delenv(name, raising=False)
            for name, value in kms.environ().items():
                monkeypatch.setenv(name, value)
            clear_cache()
            yield kms
            clear_cache()

    @pytest.fixture
    def encenv_kms_key(encenv_kms: KmsServer) -> str:
        """The ARN of a symmetric wrapping key in us-east-1 on the KMS of encenv_kms."""
        return encenv_kms.create_key()

    @pytest.fixture
    def encenv_local_key(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        """The text of a fresh local key, which ENCENV_LOCAL_KEY holds during the test."""
        from encenv.keys.datakeys import clear_cache  # as above
        from encenv.keys.local import TEXT_VARIABLE, generate_key_text

        text = generate_key_text()
        monkeypatch.setenv(TEXT_VARIABLE, text)
        clear_cache()
        yield text
        clear_cache()
