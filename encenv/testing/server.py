"""The KMS server for tests: start and stop it, manage its keys, read its log."""

import base64
import json
import os
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from email.message import Message
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

from encenv.testing.faults import Faults
from encenv.testing.keys import Key, KeyTable
from encenv.testing.listener import CONTENT_TYPE, HOST, Answer, Listener
from encenv.testing.operations import OPERATIONS
from encenv.testing.request import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Refusal, Request

if TYPE_CHECKING:
    import trustme

ACCOUNT = "111122223333"  # the account of AWS's own examples
REGION = "us-east-1"
TARGET_PREFIX = "TrentService"
# Variables of a developer's own environment that boto3 would prefer or fail on. An empty AWS_PROFILE is an error.
STRAY = (
    "AWS_DEFAULT_PROFILE",
    "AWS_PROFILE",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "AWS_USE_FIPS_ENDPOINT",
)


@dataclass(frozen=True, slots=True)
class Call:
    """One request in the log, without plaintext and blob.

    Attributes:
        operation: Such as ``Decrypt``.
        key: The ARN of the wrapping key, or the name in the request if there is no such key, or None. For ReEncrypt
            the destination's.
        region: The region that the request was signed for; empty if it was not signed.
        context: The encryption context; for ReEncrypt the destination's.
        error: The AWS error code, ``"dropped"``, ``"half-answered"``, ``"tampered"``, or None for a success.
        signature: ``"verified"`` if the key pair of `KmsServer.environ` signed it, else ``"wrong"``, ``"malformed"`` or
            ``"missing"``. Two calls are equal whatever their signatures.
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
        tls: True to speak TLS, with a certificate of a new authority that clients with `environ` trust; or your own
            context for the server's side, with a certificate for 127.0.0.1. Plain HTTP if left out.
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
        self._keys = KeyTable(account, self._check_permission)
        self._check_signatures = check_signatures
        self._tls = tls if isinstance(tls, ssl.SSLContext) else None
        self._authority: trustme.CA | None = None
        if tls is True:
            self._tls, self._authority = _own_tls()
        self._watch = watch
        self._calls: list[Call] = []
        self._stopping = threading.Event()
        self._running = ExitStack()
        self._listener: Listener | None = None
        self._url = self._bundle = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<KmsServer {self._url}: {len(self._keys.keys)} keys, {len(self._calls)} calls>"

    def start(self) -> None:
        """Listen on a free port. Keys, log and faults of an earlier start are kept."""
        if self._listener is None:
            self._stopping.clear()
            self._listener = Listener(self._answer, self._tls)
            self._running.callback(self._listener.stop)
            self._url = f"{'https' if self._tls else 'http'}://{HOST}:{self._listener.server_address[1]}"
            if self._authority:
                self._bundle = self._running.enter_context(self._authority.cert_pem.tempfile())

    def stop(self) -> None:
        """Close the port and all connections; after that the server cannot be reached."""
        self._stopping.set()
        self._running.close()
        self._listener, self._bundle = None, ""

    @property
    def url(self) -> str:
        """Where it listens, for ``endpoint_url``. The port stays known after a stop."""
        if not self._url:
            raise RuntimeError("the server is not started: use it in a with block")
        return self._url

    def environ(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return variables that make boto3 and encenv use this server and nothing of a developer's own AWS.

        Args:
            base: An environment to add them to, for a child process. Variables that would override them, such as
                ``AWS_PROFILE``, are left out.
        """
        environ = {name: value for name, value in (base or {}).items() if name not in STRAY}
        if self._bundle:
            environ["AWS_CA_BUNDLE"] = self._bundle
        return environ | {
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
        material: bytes | None = None,
    ) -> str:
        """Make a key and return its ARN.

        Args:
            region: The region of the key.
            multi_region: Whether `replicate` can copy it to other regions.
            alias: A name for it in its region, ``alias/<name>``.
            key_spec: ``RSA_2048``, ``ECC_NIST_P256`` or ``HMAC_256`` for a key that cannot be a wrapping key.
            material: 32 bytes that the key and its ARN are made of, so that another server with the same material
                decrypts what this one encrypted; random if left out.
        """
        with self._lock:
            key = self._keys.create(region, multi_region=multi_region, spec=key_spec, material=material)
            if alias is not None:
                self._keys.name(key, alias)
            return key.arn

    def replicate(self, arn: str, region: str) -> str:
        """Copy the multi-region key *arn* to *region* and return the copy's ARN."""
        with self._lock:
            return self._keys.copy(self._key(arn), region).arn

    def disable(self, arn: str) -> None:
        """Disable the key: it answers DisabledException."""
        with self._lock:
            self._key(arn).state = "Disabled"

    def enable(self, arn: str) -> None:
        """Enable the key again, also if its deletion was scheduled."""
        with self._lock:
            key = self._key(arn)
            key.state, key.deletion_date = "Enabled", None

    def schedule_deletion(self, arn: str) -> None:
        """Schedule the key's deletion: it answers KMSInvalidStateException."""
        with self._lock:
            self._keys.delete(self._key(arn), days=30)

    @property
    def calls(self) -> list[Call]:
        """All requests so far, oldest first, including failed ones."""
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
        delay = half = None
        error: str | None = "dropped"
        with self._lock:
            try:
                self._check_protocol(request, path, headers, body)
                delay = self._next_fault("delay", request)
                if drop := self._next_fault("drop", request):
                    answer = Answer(sent="reset" if drop.reset else "nothing")
                else:
                    half = self._next_fault("halve", request)
                    content, error = self._perform(request)
                    answer = Answer(HTTPStatus.OK, content)
            except Refusal as refusal:
                answer, error = Answer(refusal.status, refusal.body), refusal.code or str(refusal.status)
            if half:
                answer, error = answer._replace(sent="half"), "half-answered"
            call = Call(
                request.operation, request.key, request.region, request.context, error, request.signature
            )
            self._calls.append(call)
            if self._watch:
                self._watch(call)
        # The wait is outside the lock, so that other requests are answered meanwhile, and after the log: a client
        # that stops waiting finds its request there.
        if delay and self._stopping.wait(min(delay.seconds, threading.TIMEOUT_MAX)):
            return Answer(sent="nothing")
        return answer

    def _check_protocol(self, request: Request, path: str, headers: Message, body: bytes) -> None:
        """Read *body* into *request*, if it is a request of this protocol."""
        refusal = request.authenticate(headers, body)
        if refusal and self._check_signatures:
            raise refusal
        if request.operation not in OPERATIONS or headers.get("Content-Type") != CONTENT_TYPE or path != "/":
            raise Refusal("UnknownOperationException", "not an operation of this test KMS")
        request.read(body)
        key = self._keys.lookup(request.region, request.key or "")
        request.key = key.arn if key else request.key

    def _perform(self, request: Request) -> tuple[bytes, str | None]:
        """Return the body of the answer, and its name in the log if it is not the right one."""
        if fail := self._next_fault("fail", request):
            raise Refusal(fail.code, "a fault that the test ordered", fail.status)
        members = OPERATIONS[request.operation](self._keys, request)
        tamper = self._next_fault("tamper", request)
        if tamper is None:
            return _body(members), None
        if isinstance(tamper.change, bytes):
            return tamper.change, "tampered"
        return _body({**members, **tamper.change}), "tampered"


def _body(members: dict[str, Any]) -> bytes:
    """Return *members* as JSON, without those that are None, and bytes as base64."""
    sent = {name: value for name, value in members.items() if value is not None}
    return json.dumps(sent, default=lambda blob: base64.b64encode(blob).decode()).encode()


def _own_tls() -> "tuple[ssl.SSLContext, trustme.CA]":
    """Return the server's side of TLS for 127.0.0.1 and localhost, and the new authority that it is from."""
    try:
        import trustme  # only a server with tls=True needs it
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "KmsServer(tls=True) needs trustme: pip install 'encenv[testing]'", name="trustme"
        ) from None
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST, "localhost").configure_cert(context)
    return context, authority
