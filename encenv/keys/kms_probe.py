"""What AWS KMS would answer, asked without doing anything: no data key comes back from any of these calls."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from encenv.errors import EncenvError, KeyUnreachableError
from encenv.format.sealed import WrappedKey, aws_region
from encenv.keys.kms import DATA_KEY_BYTES, AwsKms
from encenv.keys.kms_errors import failure_of

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

CONNECT_SECONDS = 2.0  # somebody waits, and may be without a network
READ_SECONDS = 5.0
# AWS KMS API reference, DryRun: the error of a request that would have succeeded.
_WOULD_SUCCEED = "DryRunOperationException"


class KmsProbe:
    """Asks AWS KMS with the credentials that boto3 finds here.

    Args:
        environ: The process environment, for ``AWS_REGION``.
        now: The clock, in seconds since 1970.

    Attributes:
        skew: By how many seconds this machine's clock is ahead of AWS's, as of the last answer; None before the first.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ, now: Callable[[], float] = time.time) -> None:
        self.skew: float | None = None
        self._now = now
        self._region = AwsKms(environ).own_region()
        self._clients: dict[str | None, KMSClient] = {}

    def credentials(self) -> str:
        """Return where the credentials are from, in boto3's word for it.

        Raises:
            KeyUnreachableError: If there are none, or they cannot be had.
        """
        import boto3  # a lazy door: it costs 140 ms, and only a key in AWS KMS needs it

        try:
            found = boto3.session.Session().get_credentials()
            if found is not None:
                found.get_frozen_credentials()  # those that have to be fetched are fetched here
                return str(found.method)
        except Exception as error:  # noqa: BLE001 (a credential process or a bad setting raises anything)
            failure = failure_of("credentials", "AWS", error)
        else:
            failure = KeyUnreachableError(
                "there are no AWS credentials",
                hint="give some: a role, AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret",
            )
        raise failure.with_traceback(None)

    def region(self) -> str | None:
        """Return the region that this process works in."""
        return self._region

    def state(self, key: str) -> str:
        """Return the state of *key*, an ARN or ``alias/<name>``, such as ``Enabled`` (DescribeKey).

        Raises:
            KeyRefusedError: If that may not be asked, or there is no such key.
            KeyUnreachableError: If there is no answer.
        """
        answer = self._ask("DescribeKey", key, lambda client: client.describe_key(KeyId=key))
        return str(answer.get("KeyMetadata", {}).get("KeyState", "unknown"))

    def may_unwrap(self, item: WrappedKey, context: Mapping[str, str]) -> None:
        """Raise if *item* would not be unwrapped (Decrypt, as a dry run).

        Raises:
            KeyRefusedError: If KMS would refuse.
            KeyUnreachableError: If there is no answer.
        """
        self._ask(
            "Decrypt",
            item.reference,
            lambda client: client.decrypt(
                KeyId=item.reference,
                CiphertextBlob=item.wrapped,
                EncryptionContext=dict(context),
                DryRun=True,
            ),
        )

    def may_generate(self, key: str, context: Mapping[str, str]) -> None:
        """Raise if no data key would be generated under *key* (GenerateDataKey, as a dry run); errors as above."""
        self._ask(
            "GenerateDataKey",
            key,
            lambda client: client.generate_data_key(
                KeyId=key, NumberOfBytes=DATA_KEY_BYTES, EncryptionContext=dict(context), DryRun=True
            ),
        )

    def _ask(self, operation: str, key: str, request: "Callable[[KMSClient], Any]") -> dict[str, Any]:
        answer: dict[str, Any] = {}
        failure: EncenvError | None = None
        try:
            answer = request(self._client(key))
        except Exception as error:  # noqa: BLE001 (as for credentials)
            answer = getattr(error, "response", None) or {}
            if answer.get("Error", {}).get("Code") != _WOULD_SUCCEED:
                failure = failure_of(operation, key, error)
        self._compare_clocks(answer)
        answer.pop("Plaintext", None)  # of a server that does not know dry runs
        if failure is not None:
            raise failure.with_traceback(None)
        return answer

    def _client(self, key: str) -> "KMSClient":
        import boto3  # a lazy door: as above
        from botocore.config import Config

        fields = key.split(":")
        region = aws_region(key) if ":key/" in key else fields[3] if len(fields) > 3 else self._region
        if region not in self._clients:
            config = Config(
                connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries={"total_max_attempts": 1}
            )
            self._clients[region] = boto3.session.Session().client("kms", region_name=region, config=config)
        return self._clients[region]

    def _compare_clocks(self, answer: Mapping[str, Any]) -> None:
        date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        with suppress(ValueError):  # it is not a date
            self.skew = self._now() - parsedate_to_datetime(date).timestamp() if date else self.skew


def near(arn: str, region: str | None) -> str | None:
    """Return the ARN of the replica that the multi-Region key *arn* would have in *region*."""
    home = aws_region(arn)
    if region in (None, home) or ":key/mrk-" not in arn:
        return None
    return arn.replace(f":{home}:", f":{region}:", 1)
