"""Ask AWS KMS what would work, without doing it: none of these calls returns a data key.

A person waits for the answers, so each call has a time limit, and a region that did not answer is not called again.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from encenv.errors import EncenvError, KeyUnreachableError
from encenv.format.sealed import WrappedKey
from encenv.keys.aws.client import ClientPool, no_debug_log
from encenv.keys.aws.endpoint import region_of
from encenv.keys.aws.errors import NO_CREDENTIALS, failure_of, no_answer
from encenv.keys.aws.kms import DATA_KEY_BYTES, AwsKms

CONNECT_SECONDS = 2.0  # there may be no network
READ_SECONDS = 5.0
CREDENTIALS_SECONDS = 15.0  # a credential process or a single sign-on has no time limit itself
# AWS KMS API reference, DryRun: the error of a request that would have succeeded.
_WOULD_SUCCEED = "DryRunOperationException"
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_KMS", "AWS_ENDPOINT_URL_STS")

T = TypeVar("T")


class KmsProbe:
    """Asks AWS KMS with the credentials that boto3 finds here; *now* is the clock, in seconds since 1970.

    Each method raises KeyRefusedError if KMS refuses or the key does not exist, and KeyUnreachableError if there is
    no answer.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ, now: Callable[[], float] = time.time) -> None:
        self._environ, self._now = environ, now
        self.region = AwsKms(environ).own_region()  # that this process works in, if any
        # By how many seconds this machine's clock is ahead of AWS's, as of the last answer.
        self.skew: float | None = None
        self._pool = ClientPool(
            connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries={"total_max_attempts": 1}
        )
        self._silent: dict[str | None, EncenvError] = {}  # the regions that did not answer

    def credentials(self) -> str:
        """Return where the credentials are from, in boto3's word for it; they must come within `CREDENTIALS_SECONDS`."""
        answer = _within(CREDENTIALS_SECONDS, self._credentials) or KeyUnreachableError(
            f"no AWS credentials came within {CREDENTIALS_SECONDS:g} seconds",
            hint="check where they come from: credential_process, the sign-in, or the network",
        )
        if isinstance(answer, EncenvError):
            raise answer
        return answer

    def _credentials(self) -> str | EncenvError:
        try:
            credentials = self._pool.session().get_credentials()
            if credentials is not None:
                credentials.get_frozen_credentials()  # fetches those that have to be fetched
                return str(credentials.method)
            cause, hint = NO_CREDENTIALS
        except EncenvError as error:
            return error.of()
        except Exception as error:  # noqa: BLE001 (a credential process or a bad setting raises anything)
            cause, hint = no_answer(error)
        return KeyUnreachableError(cause, hint=hint)

    def identity(self) -> str | None:
        """Return the ARN that the credentials belong to (AWS STS, which every identity may call); None if unknown.

        If only KMS has an endpoint other than AWS's, STS is not called: AWS must not see credentials for another server.
        """
        if {name for name in _ENDPOINTS if self._environ.get(name)} == {"AWS_ENDPOINT_URL_KMS"}:
            return None
        return _within(CONNECT_SECONDS + READ_SECONDS, self._identity)

    def _identity(self) -> str | None:
        with suppress(Exception), no_debug_log():  # the ARN is useful, not necessary
            return str(self._pool.client(self.region, "sts").get_caller_identity()["Arn"])
        return None

    def state(self, key: str) -> str:
        """Return the state of *key*, an ARN or ``alias/<name>``, such as ``Enabled`` (DescribeKey)."""
        answer = self._ask("DescribeKey", key)
        return str(answer.get("KeyMetadata", {}).get("KeyState", "unknown"))

    def may_unwrap(self, wrapped_key: WrappedKey, context: Mapping[str, str]) -> None:
        """Raise an error if *wrapped_key* would not be unwrapped (Decrypt, as a dry run)."""
        request = {"CiphertextBlob": wrapped_key.wrapped, "EncryptionContext": dict(context)}
        self._ask("Decrypt", wrapped_key.reference, **request, DryRun=True)

    def may_generate(self, key: str, context: Mapping[str, str]) -> None:
        """Raise an error if no data key would be generated under *key* (GenerateDataKey, as a dry run)."""
        request = {"NumberOfBytes": DATA_KEY_BYTES, "EncryptionContext": dict(context)}
        self._ask("GenerateDataKey", key, **request, DryRun=True)

    def _ask(self, operation: str, key: str, **parameters: Any) -> dict[str, Any]:
        """Return the answer to *operation* with *key* and *parameters*, even one that says a dry run would succeed."""
        failure: EncenvError | None = None
        region = region_of(key) or self.region
        if region in self._silent:
            raise self._silent[region].of()
        try:
            answer: dict[str, Any] = self._pool.call(region, operation, KeyId=key, **parameters)
        except Exception as error:  # noqa: BLE001 (as for credentials)
            answer = getattr(error, "response", None) or {}
            if answer.get("Error", {}).get("Code") != _WOULD_SUCCEED:
                failure = failure_of(operation, key, error)
                if isinstance(failure, KeyUnreachableError) and not answer:
                    self._silent[region] = failure.of()
        with suppress(KeyError, ValueError):  # there is no date, or it is not one
            date = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
            self.skew = self._now() - date.timestamp()
        answer.pop("Plaintext", None)  # from a server that does not support dry runs
        if failure is not None:
            raise failure
        return answer


def _within(seconds: float, call: Callable[[], T]) -> T | None:
    """Return the result of *call*; None after *seconds*, since not every step of it has a time limit itself."""
    results: list[T] = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    thread.join(seconds)
    return results[0] if results else None
