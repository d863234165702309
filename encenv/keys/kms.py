"""AWS KMS as a key provider: three calls, the checks on their answers, and AWS error codes as errors with hints."""

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from encenv.errors import EncenvError, KeyRefusedError, KeyUnreachableError, MalformedError
from encenv.format.sealed import WrappedKey, aws_region

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_kms import KMSClient

DATA_KEY_BYTES = 32
CONNECT_SECONDS = 1.0  # a KMS endpoint is near or not there
READ_SECONDS = 2.0  # KMS answers in some 10 ms
_REGION = re.compile(r"(?:[a-z]+-){2,3}[0-9]+")
_CODE = re.compile(r"[A-Za-z0-9]{1,64}(?=$|:)")  # of "prefix#Code:address", which some servers send


class AwsKms:
    """Wraps data keys under symmetric AWS KMS keys.

    Args:
        environ: The process environment, for ``AWS_REGION`` (boto3 reads the rest of it itself).
        session: A boto3 session to take credentials from, instead of boto3's default one.
        client: A KMS client to use for the keys of its region; keys of other regions are then refused.
    """

    name = "aws-kms"

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        *,
        session: "boto3.session.Session | None" = None,
        client: "KMSClient | None" = None,
    ) -> None:
        self._environ = environ
        self._session = session
        self._client = client
        self._clients: dict[tuple[int, str | None], KMSClient] = {}

    def generate(self, key: str, context: Mapping[str, str]) -> tuple[bytes, WrappedKey]:
        """Return a fresh data key and its copy under *key*, an ARN or ``alias/<name>`` (GenerateDataKey)."""
        answer = self._call(
            "GenerateDataKey",
            key,
            lambda client: client.generate_data_key(
                KeyId=key, NumberOfBytes=DATA_KEY_BYTES, EncryptionContext=dict(context)
            ),
        )
        return answer["Plaintext"], _wrapped(key, answer)

    def wrap(self, data_key: bytes, key: str, context: Mapping[str, str]) -> WrappedKey:
        """Return *data_key* wrapped under *key*, an ARN or ``alias/<name>`` (Encrypt)."""
        answer = self._call(
            "Encrypt",
            key,
            lambda client: client.encrypt(KeyId=key, Plaintext=data_key, EncryptionContext=dict(context)),
        )
        return _wrapped(key, answer)

    def unwrap(self, item: WrappedKey, context: Mapping[str, str], timeout: float) -> bytes:  # noqa: ARG002
        """Return the data key in *item* (Decrypt).

        A multi-region key is asked for in the process's own region first; whatever is wrong there, the region in
        the ARN is asked next. The *timeout* is kept by the caller; each attempt here is bounded by the client's.
        """
        own = self._in_own_region(item.reference)
        if own is not None:
            try:
                return self._decrypt(own, item.wrapped, context)
            except (KeyRefusedError, KeyUnreachableError):
                pass  # no replica here, or no permission to it: the key itself decides
        return self._decrypt(item.reference, item.wrapped, context)

    def own_region(self) -> str | None:
        """Return the region that this process runs in, as its environment or AWS configuration says."""
        region = self._environ.get("AWS_REGION") or self._environ.get("AWS_DEFAULT_REGION")
        if region is None and self._client is not None:
            region = self._client.meta.region_name
        if region is None and self._session is not None:
            region = self._session.region_name
        return region if region and _REGION.fullmatch(region) else None

    def _in_own_region(self, arn: str) -> str | None:
        own, home = self.own_region(), aws_region(arn)
        if own is None or own == home or ":key/mrk-" not in arn:
            return None
        return arn.replace(f":{home}:", f":{own}:", 1)

    def _decrypt(self, arn: str, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        answer = self._call(
            "Decrypt",
            arn,
            lambda client: client.decrypt(KeyId=arn, CiphertextBlob=wrapped, EncryptionContext=dict(context)),
        )
        if answer.get("KeyId") != arn:
            raise KeyRefusedError(
                f"AWS KMS answered for another key than {arn}",
                hint="check AWS_ENDPOINT_URL_KMS and who answers there",
            )
        plaintext: bytes = answer["Plaintext"]
        return plaintext

    def _call(self, operation: str, key: str, request: "Callable[[KMSClient], Any]") -> "dict[str, Any]":
        from botocore.exceptions import BotoCoreError, ClientError  # a lazy door: botocore costs 100 ms

        with _no_debug_log():
            try:
                answer: dict[str, Any] = request(self._client_for(key))
            except ClientError as error:
                failure = _refusal(operation, key, error)
            except BotoCoreError as error:
                failure = _unreachable(operation, key, error)
            else:
                if all(answer.get(part) for part in _PARTS[operation]):
                    return answer
                # botocore takes an answer that was cut off in the middle for a whole one without members.
                failure = KeyUnreachableError(
                    f"AWS KMS did not answer {operation} with {key} in full",
                    hint="try again, or check the network",
                )
        raise failure

    def _client_for(self, key: str) -> "KMSClient":
        region = (
            aws_region(key)
            if key.startswith("arn:") and ":key/" in key
            else _alias_region(key) or self.own_region()
        )
        if self._client is not None:
            if region in (None, self._client.meta.region_name):
                return self._client
            raise KeyRefusedError(
                f"{key} is not in the region of the KMS client that was given, {self._client.meta.region_name}",
                hint="give a session instead of a client, or a client for the key's region",
            )
        # A child after a fork must not share its parent's connections, so clients are kept by process.
        place = os.getpid(), region
        if place not in self._clients:
            self._clients[place] = self._new_client(region)
        return self._clients[place]

    def _new_client(self, region: str | None) -> "KMSClient":
        import boto3  # a lazy door: boto3 costs 140 ms, and only a key in AWS KMS needs it
        from botocore.config import Config

        session = self._session or boto3.session.Session()
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            # Attempts are left to AWS_MAX_ATTEMPTS and the AWS configuration; the mode's own limit is 3.
            retries={"mode": "standard"},
        )
        return session.client("kms", region_name=region, config=config)


def _alias_region(key: str) -> str | None:
    fields = key.split(":")
    return fields[3] if len(fields) > 3 and _REGION.fullmatch(fields[3]) else None


def _wrapped(key: str, answer: "dict[str, Any]") -> WrappedKey:
    arn = str(answer.get("KeyId"))
    if key.startswith("arn:") and ":key/" in key and arn != key:
        raise KeyRefusedError(
            f"AWS KMS answered for another key than {key}",
            hint="check AWS_ENDPOINT_URL_KMS and who answers there",
        )
    try:
        aws_region(arn)
    except MalformedError:
        pass
    else:
        return WrappedKey(AwsKms.name, answer["CiphertextBlob"], arn)
    raise KeyRefusedError(
        "AWS KMS answered with a key whose ARN encenv cannot write down",
        hint="name the key by its full ARN, arn:<partition>:kms:<region>:<account>:key/<id>",
    )


_PARTS = {  # AWS KMS API reference, "Response Elements"
    "Decrypt": ("KeyId", "Plaintext"),
    "Encrypt": ("KeyId", "CiphertextBlob"),
    "GenerateDataKey": ("KeyId", "Plaintext", "CiphertextBlob"),
}
_HINTS = {  # AWS KMS API reference, "Errors" of Decrypt, Encrypt and GenerateDataKey
    "AccessDeniedException": "allow {action} on this key, under this encryption context, for the role that runs here",
    "DisabledException": "enable the key in AWS KMS, or take the values of an environment that uses another key",
    "IncorrectKeyException": "restore the key entry from version control; it names another key than wrapped it",
    "InvalidCiphertextException": "restore the key entry from version control; it or its context was changed",
    "InvalidKeyUsageException": "name a symmetric key for encrypting and decrypting",
    "KMSInvalidStateException": "cancel the key's deletion in AWS KMS, or restore its key material",
    "NotFoundException": "check the key's account and region; it does not exist there (any more)",
}
_THEIRS = {  # the request was not judged: credentials, load or an outage
    "DependencyTimeoutException": "try again",
    "ExpiredTokenException": "sign in again; the AWS credentials have expired",
    "IncompleteSignature": "check the AWS credentials",
    "InvalidClientTokenId": "check the AWS credentials; AWS does not know this access key",
    "InvalidSignatureException": "check the AWS secret access key and this machine's clock",
    "KeyUnavailableException": "try again",
    "KMSInternalException": "try again",
    "LimitExceededException": "try again",
    "MissingAuthenticationToken": "give AWS credentials",
    "RequestLimitExceeded": "try again",
    "SignatureDoesNotMatch": "check the AWS secret access key and this machine's clock",
    "Throttling": "try again; the account's KMS request quota is used up",
    "ThrottlingException": "try again; the account's KMS request quota is used up",
    "UnrecognizedClientException": "check the AWS credentials; AWS does not know this access key",
}
SERVER_ERROR = 500  # RFC 9110, 15.6


def _refusal(operation: str, key: str, error: Any) -> EncenvError:
    found = _CODE.search(str(error.response.get("Error", {}).get("Code", "")))
    code = found[0] if found else "no error code"
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    message = f"AWS KMS refused {operation} with {key}: {code}"
    if code in _THEIRS or status >= SERVER_ERROR:
        hint = _THEIRS.get(code, "try again; AWS KMS has trouble")
        return KeyUnreachableError(f"AWS KMS could not answer {operation} with {key}: {code}", hint=hint)
    hint = _HINTS.get(code, "look the code up in the AWS KMS API reference")
    return KeyRefusedError(message, hint=hint.format(action=f"kms:{operation}"))


def _unreachable(operation: str, key: str, error: Exception) -> EncenvError:
    kind = type(error).__name__
    hints = {
        "NoCredentialsError": "give AWS credentials: a role, AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret",
        "PartialCredentialsError": "complete the AWS credentials; a part of them is missing",
        "NoRegionError": "set AWS_REGION, or name the key by its full ARN",
        "ProfileNotFound": "set AWS_PROFILE to a profile of the AWS configuration",
    }
    credentials = any(word in kind for word in ("Credential", "Token", "SSO"))
    hint = hints.get(kind) or (
        "sign in to AWS again, for example: aws sso login"
        if credentials
        else "check the network, the region and AWS_ENDPOINT_URL_KMS"
    )
    return KeyUnreachableError(f"AWS KMS was not reached for {operation} with {key}: {kind}", hint=hint)


@contextmanager
def _no_debug_log() -> "Iterator[None]":
    """Keep botocore's debug records of this thread from being written: they hold whole requests and answers."""
    thread = threading.get_ident()

    def wanted(record: logging.LogRecord) -> bool:
        return record.thread != thread or record.levelno > logging.DEBUG

    # By name, not by what exists: a logger that is made during the call is quiet as well. A filter on a parent
    # logger would not see its children's records.
    loggers = [logging.getLogger(name) for name in _WIRE_LOGGERS]
    for logger in loggers:
        logger.addFilter(wanted)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(wanted)


_WIRE_LOGGERS = (  # every module of botocore and urllib3 that logs parameters, headers or bodies
    "botocore.auth",
    "botocore.awsrequest",
    "botocore.client",
    "botocore.endpoint",
    "botocore.hooks",
    "botocore.httpchecksum",
    "botocore.httpsession",
    "botocore.parsers",
    "botocore.regions",
    "botocore.retries.standard",
    "botocore.retryhandler",
    "botocore.utils",
    "urllib3.connectionpool",
)
