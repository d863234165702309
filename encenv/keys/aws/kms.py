"""AWS KMS as a key provider: four calls, and the checks on their answers."""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from encenv.errors import EncenvError, KeyRefusedError, KeyUnreachableError, MalformedError
from encenv.format.sealed import WrappedKey, aws_region, is_region
from encenv.keys.aws.endpoint import is_key_arn, partition_of, region_of
from encenv.keys.aws.request import CONNECT_SECONDS, READ_SECONDS, KmsHttp
from encenv.keys.process_safety import lazily

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_kms import KMSClient

    from encenv.keys.aws import client as boto3_client
    from encenv.keys.aws import errors as kms_errors
else:
    boto3_client = lazily("encenv.keys.aws.client")
    kms_errors = lazily("encenv.keys.aws.errors")

DATA_KEY_BYTES = 32
CONNECTIONS = 32  # the data keys that a load may have
_MEMBERS: dict[str, dict[str, type]] = {  # AWS KMS API reference, "Response Elements"
    "Decrypt": {"KeyId": str, "Plaintext": bytes},
    "Encrypt": {"KeyId": str, "CiphertextBlob": bytes},
    "GenerateDataKey": {"KeyId": str, "Plaintext": bytes, "CiphertextBlob": bytes},
    "ReEncrypt": {"KeyId": str, "SourceKeyId": str, "CiphertextBlob": bytes},
}


class AwsKms:
    """Wraps data keys under symmetric AWS KMS keys.

    Args:
        environ: The process environment, for ``AWS_REGION`` or ``AWS_DEFAULT_REGION`` (boto3 reads the rest itself).
        session: A boto3 session to take credentials from, instead of boto3's default one.
        client: A KMS client to use for the keys of its region; keys of other regions are then refused. It is used
            unchanged, also in forked children.
    """

    name = "aws-kms"

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        *,
        session: "boto3.session.Session | None" = None,
        client: "KMSClient | None" = None,
    ) -> None:
        self._environ, self._session, self._client = environ, session, client

    def generate(self, key: str, context: Mapping[str, str]) -> tuple[bytes, WrappedKey]:
        """Return a new data key, and its copy wrapped under *key*, an ARN or ``alias/<name>`` (GenerateDataKey)."""
        answer = self._call(
            "GenerateDataKey",
            key,
            lambda client: client.generate_data_key(
                KeyId=key, NumberOfBytes=DATA_KEY_BYTES, EncryptionContext=dict(context)
            ),
        )
        return answer["Plaintext"], _wrapped_key(answer)

    def wrap(self, data_key: bytes, key: str, context: Mapping[str, str]) -> WrappedKey:
        """Return *data_key* wrapped under *key*, an ARN or ``alias/<name>`` (Encrypt)."""
        answer = self._call(
            "Encrypt",
            key,
            lambda client: client.encrypt(KeyId=key, Plaintext=data_key, EncryptionContext=dict(context)),
        )
        return _wrapped_key(answer)

    def unwrap(
        self,
        wrapped_key: WrappedKey,
        context: Mapping[str, str],
        timeout: float,
        while_waiting: Callable[[], None] = lambda: None,
    ) -> bytes:
        """Return the data key in *wrapped_key* (Decrypt).

        boto3 limits the time of each attempt, but not of all of them together, and does not call *while_waiting*.
        """
        arn, blob = wrapped_key.reference, wrapped_key.wrapped

        def request() -> Any:  # its frame holds the credentials, and is not in the traceback of an error
            # Only with the process's own environment, which boto3 would read, too.
            is_plain = self._session is None and self._client is None and self._environ is os.environ
            if is_plain and (kms_http := KmsHttp.for_key(arn, self._environ)) is not None:
                return kms_http.decrypt(blob, context, timeout, while_waiting)
            with boto3_client.no_debug_log():
                return self._client_for(arn).decrypt(
                    KeyId=arn, CiphertextBlob=blob, EncryptionContext=dict(context)
                )

        plaintext: bytes = _answer_to("Decrypt", arn, request)["Plaintext"]
        return plaintext

    def rewrap(
        self, wrapped_key: WrappedKey, key: str, context: Mapping[str, str], to_context: Mapping[str, str]
    ) -> WrappedKey | None:
        """Return the data key in *wrapped_key* wrapped under *key*, an ARN or ``alias/<name>`` (ReEncrypt).

        The data key never leaves KMS, so it is not compared with the key entry. None if the two keys are in different
        regions, since KMS re-encrypts only within one.
        """
        if (region_of(key) or self.own_region()) != aws_region(wrapped_key.reference):
            return None
        answer = self._call(
            "ReEncrypt",
            key,
            lambda client: client.re_encrypt(
                CiphertextBlob=wrapped_key.wrapped,
                SourceKeyId=wrapped_key.reference,
                SourceEncryptionContext=dict(context),
                DestinationKeyId=key,
                DestinationEncryptionContext=dict(to_context),
            ),
        )
        if answer["SourceKeyId"] != wrapped_key.reference:
            raise _another_key(wrapped_key.reference)
        return _wrapped_key(answer)

    def replica(self, wrapped_key: WrappedKey) -> WrappedKey | None:
        """Return *wrapped_key* for the replica of its multi-region key in the process's own region, or None."""
        arn = replica_of(wrapped_key.reference, self.own_region())
        return None if arn is None else wrapped_key._replace(reference=arn)

    def own_region(self) -> str | None:
        """Return the region of the given client or session, else the one that the environment names."""
        option = self._session if self._client is None else self._client.meta
        region = option.region_name if option else None
        region = region or self._environ.get("AWS_REGION") or self._environ.get("AWS_DEFAULT_REGION")
        return region if region and is_region(region) else None

    def _call(self, operation: str, key: str, request: "Callable[[KMSClient], Any]") -> dict[str, Any]:
        """Return boto3's answer to *request*; no frame of an error holds what it sends."""

        def call() -> Any:
            with boto3_client.no_debug_log():
                return request(self._client_for(key))

        return _answer_to(operation, key, call)

    def _client_for(self, key: str) -> "KMSClient":
        region = region_of(key) or self.own_region()
        if self._client is None:
            pool = boto3_client.ClientPool(
                self._session,
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                max_pool_connections=CONNECTIONS,
                # AWS_MAX_ATTEMPTS and the AWS configuration say how many; 3 by default.
                retries={"mode": "standard"},
            )
            # Atomic, so that all threads get the same pool.
            client: KMSClient = vars(self).setdefault("_pool", pool).client(region)
            return client
        if region not in (None, self._client.meta.region_name):
            raise KeyRefusedError(
                f"{key} is not in the region of the given KMS client, {self._client.meta.region_name}",
                hint="give a session instead of a client, or a client for the key's region",
            )
        return self._client


def _answer_to(operation: str, key: str, request: Callable[[], Any]) -> dict[str, Any]:
    """Return the answer to *request* if it is complete and about *key*; else raise an error without its frames."""
    failure: EncenvError | None
    try:
        answer: dict[str, Any] = request()
    except Exception as error:  # noqa: BLE001 (a credential process, a proxy or a bad setting raises anything)
        failure = kms_errors.failure_of(operation, key, error)
    else:
        failure = _fault(operation, key, answer)
        if failure is None:
            return answer
        answer.clear()  # the frame of what is raised here must not hold a data key
    raise failure


def replica_of(arn: str, region: str | None) -> str | None:
    """Return the ARN that a replica of the key *arn* would have in another *region*; None if there can be none."""
    home = aws_region(arn)
    if region in (None, home) or ":key/mrk-" not in arn or partition_of(region) != arn.split(":")[1]:
        return None
    return arn.replace(f":{home}:", f":{region}:", 1)


def _wrapped_key(answer: dict[str, Any]) -> WrappedKey:
    return WrappedKey(AwsKms.name, answer["CiphertextBlob"], answer["KeyId"])


def _fault(operation: str, key: str, answer: dict[str, Any]) -> EncenvError | None:
    """Return what is wrong with an *answer* that KMS gave as a success, or None."""
    if any(
        not answer.get(member) or not isinstance(answer[member], kind)
        for member, kind in _MEMBERS[operation].items()
    ):
        # botocore takes an answer that was cut off for a complete one without members.
        return KeyUnreachableError(
            f"AWS KMS did not answer {kms_errors.call_name(operation, key)} in full",
            hint="try again, or check the network",
        )
    if is_key_arn(key) and answer["KeyId"] != key:
        return _another_key(key)
    if len(answer.get("Plaintext", bytes(DATA_KEY_BYTES))) != DATA_KEY_BYTES:
        return KeyRefusedError(
            f"AWS KMS answered {kms_errors.call_name(operation, key)} with a plaintext that is not"
            f" {DATA_KEY_BYTES} bytes long",
            hint="restore the key entry from git; the wrapped key in it is not one of encenv's",
        )
    try:
        aws_region(answer["KeyId"])
    except MalformedError:
        return KeyRefusedError(
            "AWS KMS answered with a key whose ARN no key entry can hold",
            hint="name the key by its full ARN, arn:<partition>:kms:<region>:<account>:key/<id>",
        )
    return None


def _another_key(key: str) -> KeyRefusedError:
    return KeyRefusedError(
        f"AWS KMS answered for another key than {key}",
        hint="check AWS_ENDPOINT_URL_KMS and who answers there",
    )
