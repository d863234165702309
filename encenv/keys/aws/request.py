"""Call Decrypt of AWS KMS with the standard library, so that a cold start need not import boto3.

This works if the process environment alone gives the credentials, the endpoint and the number of attempts. boto3 is used
if a configuration file, a profile, a proxy or an unusual endpoint is needed. Attempts and pauses are those of botocore's
standard mode.
"""

import json
import os
import ssl
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

from encenv.errors import EncenvError, KeyUnreachableError
from encenv.keys.aws.credentials import Container, credentials_in
from encenv.keys.aws.endpoint import Endpoint, endpoint_of
from encenv.keys.aws.http import OK, Answer, Timeouts, cause_of, exchange
from encenv.keys.aws.sigv4 import TIMESTAMP, Credentials, sign_headers
from encenv.keys.process_safety import fork_waits, lazily

if TYPE_CHECKING:
    from encenv.keys.aws import ca_store
    from encenv.keys.aws import errors as kms_errors
else:
    ca_store = lazily("encenv.keys.aws.ca_store")
    kms_errors = lazily("encenv.keys.aws.errors")

CONNECT_SECONDS = 1.0  # a KMS endpoint is near, or down
READ_SECONDS = 2.0  # KMS answers in some 10 ms
# botocore.retries.standard: attempts, and the longest pause before the second one, doubled before each further one.
ATTEMPTS = 3
PAUSE = 0.05  # seconds
PAUSE_THROTTLED = 1.0
PAUSE_MAX = 20.0
_DOUBLINGS = 16  # so many make any pause longer than PAUSE_MAX
_TRANSIENT = ("RequestTimeout", "RequestTimeoutException", "PriorRequestNotComplete")
_TRANSIENT_STATUSES = (500, 502, 503, 504)
_THROTTLED = (
    "LimitExceededException",
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
)
_DIGITS = 6  # of AWS_MAX_ATTEMPTS
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_OPERATION = "Decrypt"


class KmsHttp:
    """Calls AWS KMS for one key, without boto3."""

    def __init__(
        self,
        arn: str,  # in full
        endpoint: Endpoint,
        credentials: Credentials | Container,
        attempts: int,  # at most
        environ: Mapping[str, str],  # of the process, for the certificate authorities
    ) -> None:
        self.arn, self.endpoint, self.credentials = arn, endpoint, credentials
        self.attempts, self.environ = attempts, environ

    @classmethod
    def for_key(cls, arn: str, environ: Mapping[str, str]) -> Self | None:
        """Return an object that calls KMS for the key *arn*; None if boto3 has to call."""
        endpoint = endpoint_of(arn, environ)
        attempts = environ.get("AWS_MAX_ATTEMPTS") or str(ATTEMPTS)
        # On macOS and Windows the system may have a proxy that no variable names. The names may be in any case.
        is_direct = sys.platform not in ("darwin", "win32") and not any(
            name.lower() in _PROXIES and environ.get(name) for name in environ
        )
        # boto3 decides about any other text.
        is_number = attempts.isascii() and attempts.isdecimal() and len(attempts) <= _DIGITS
        if endpoint is None or not is_direct or not is_number or int(attempts) == 0:
            return None
        credentials = credentials_in(environ)
        return None if credentials is None else cls(arn, endpoint, credentials, int(attempts), environ)

    def decrypt(
        self,
        wrapped: bytes,
        context: Mapping[str, str],
        seconds: float,
        while_waiting: Callable[[], None] = lambda: None,
        wait: Callable[[float], None] = time.sleep,
    ) -> dict[str, Any]:
        """Return KMS's answer about *wrapped* under its whole *context*: ``KeyId``, and ``Plaintext`` in bytes.

        All attempts together take at most *seconds*, and *wait* waits between two of them. *while_waiting* is called in
        each attempt when the request is sent, before the answer is read.

        Raises:
            KeyRefusedError: If KMS refuses.
            KeyUnreachableError: If it does not answer, or there are no credentials.
        """
        until = time.monotonic() + seconds
        request = {
            "KeyId": self.arn,
            "CiphertextBlob": b64encode(wrapped).decode("ascii"),
            "EncryptionContext": dict(context),
        }
        body = json.dumps(request).encode()
        attempt = 0
        while True:
            outcome, pause = self._attempt(body, until, seconds, while_waiting)
            if not isinstance(outcome, EncenvError):
                return outcome
            attempt += 1
            longest = min(pause * 2 ** min(attempt - 1, _DOUBLINGS), PAUSE_MAX)
            delay = _random() * longest  # full jitter
            # Do not wait for an attempt after the deadline: the failure of this one says more than a timeout.
            if not pause or attempt == self.attempts or time.monotonic() + delay >= until:
                raise outcome
            wait(delay)

    def _attempt(
        self, body: bytes, until: float, seconds: float, while_waiting: Callable[[], None]
    ) -> tuple[dict[str, Any] | EncenvError, float]:
        """Return the answer or the failure, and the longest pause before the next attempt, 0 for no next attempt."""
        try:
            answer = self._exchange(body, until, while_waiting)
        except KeyUnreachableError as error:  # no credentials, no certificate authorities
            return error.of(), 0.0
        except (OSError, ValueError) as error:
            if isinstance(error, TimeoutError) and time.monotonic() >= until:
                late = KeyUnreachableError(
                    f"AWS KMS did not answer kms:{_OPERATION} on {self.arn} within {seconds:.1f} seconds",
                    hint="check the network, or raise unwrap_timeout",
                )
                return late, 0.0
            return self._unanswered(error)
        if answer.status == OK:
            members = answer.members()
            try:
                plaintext = b64decode(members.get("Plaintext", ""), validate=True)
            except (TypeError, ValueError):  # it is not base64
                plaintext = b""  # which the caller refuses
            return {**members, "Plaintext": plaintext}, 0.0
        code = _code(answer) or str(answer.status)
        failure = kms_errors.refusal(_OPERATION, self.arn, code, answer.status)
        name = code.rpartition("#")[2].partition(":")[0]
        if name in _THROTTLED or answer.status == kms_errors.TOO_MANY:
            return failure, PAUSE_THROTTLED
        is_transient = name in _TRANSIENT or answer.status in _TRANSIENT_STATUSES
        return failure, PAUSE if is_transient else 0.0

    def _unanswered(self, error: Exception) -> tuple[EncenvError, float]:
        """Return the failure for *error*, without its text, which may hold a header; and the pause as above."""
        hint, pause = kms_errors.NETWORK, PAUSE
        if isinstance(error, ssl.SSLError):
            hint = kms_errors.CERTIFICATES
            pause = 0.0 if isinstance(error, ssl.SSLCertVerificationError) else PAUSE
        elif isinstance(error, ValueError):  # credentials that no header can carry
            hint, pause = kms_errors.SETTINGS, 0.0
        cause = f"AWS KMS was not reached: {cause_of(error)}"
        return kms_errors.not_reached(_OPERATION, self.arn, cause, hint), pause

    def _exchange(self, body: bytes, until: float, while_waiting: Callable[[], None]) -> Answer:
        credentials = self.credentials
        if isinstance(credentials, Container):
            credentials = credentials.fetch(until)
        headers = {
            "Host": self.endpoint.authority,
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"TrentService.{_OPERATION}",
            "Accept-Encoding": "identity",
        }
        timestamp = time.strftime(TIMESTAMP, time.gmtime())
        with fork_waits():
            headers = sign_headers(headers, body, credentials, (self.arn.split(":")[3], "kms"), timestamp)
        timeouts = Timeouts(CONNECT_SECONDS, READ_SECONDS, until)

        def send(tls: ssl.SSLContext | None) -> Answer:
            return exchange(
                self.endpoint, "/", headers, timeouts, body=body, tls=tls, while_waiting=while_waiting
            )

        if self.endpoint.scheme == "http":
            return send(None)
        # Other partitions use other authorities.
        is_amazon = self.endpoint.is_usual and self.arn.split(":")[1] == "aws"
        with fork_waits():
            first = ca_store.tls(self.environ, is_amazon=is_amazon)
        try:
            return send(first)
        except ssl.SSLCertVerificationError:
            with fork_waits():
                every = ca_store.whole_tls(self.environ)
            if every is None:
                raise
        return send(every)


def _random() -> float:
    """Return a number from 0 to below 1, from the system: all copies of a snapshot would share the state of `random`."""
    return int.from_bytes(os.urandom(6)) / 2**48


def _code(answer: Answer) -> str:
    """Return the error code of an answer, from a header or the body (AWS JSON 1.1 protocol, "Operation error")."""
    code = answer.headers.get("x-amzn-errortype")
    if not code:
        members = answer.members()
        code = members.get("__type") or members.get("code")
    return code if isinstance(code, str) else ""
