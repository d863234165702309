"""AWS KMS as a key provider: four calls, and the checks on their answers."""

import importlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from encenv.errors import EncenvError, KeyRefusedError, KeyUnreachableError, MalformedError
from encenv.format.sealed import WrappedKey, aws_region, is_region
from encenv.keys.aws.endpoint import partition_of
from encenv.keys.aws.request import CONNECT_SECONDS, READ_SECONDS, KmsHttp
from encenv.keys.process_safety import fork_waits, lazily

if TYPE_CHECKING:
    import boto3
    from botocore import config as botocore_config
    from mypy_boto3_kms import KMSClient

    from encenv.keys.aws import errors as kms_errors
else:
    boto3 = lazily("boto3")
    botocore_config = lazily("botocore.config")
    kms_errors = lazily("encenv.keys.aws.errors")

DATA_KEY_BYTES = 32
CONNECTIONS = 32  # as many as a load may have data keys
_WITHOUT_BOTO3 = (  # where kms_http serves
    "install boto3; a load does without it where AWS credentials stand in the environment or come from the container,"
    " with no AWS profile, configuration file or proxy"
)
# boto3 takes 140 ms. Those after it, it would import in the middle of a call.
_IMPORTS = ("boto3", "botocore.config", "_strptime", "encodings.idna", "stringprep")


class AwsKms:
    """Wraps data keys under symmetric AWS KMS keys.

    Args:
        environ: The process environment, for ``AWS_REGION`` (boto3 reads the rest of it itself).
        session: A boto3 session to take credentials from, instead of boto3's default one.
        client: A KMS client to use for the keys of its region; keys of other regions are then refused. It is used
            as it is, in forked children too.
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
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._clients: dict[str | None, KMSClient] = {}

    def generate(self, key: str, context: Mapping[str, str]) -> tuple[bytes, WrappedKey]:
        """Return a fresh data key and its copy under *key*, an ARN or ``alias/<name>`` (GenerateDataKey)."""
        answer = self._call(
            "GenerateDataKey",
            key,
            lambda: self._client_for(key).generate_data_key(
                KeyId=key, NumberOfBytes=DATA_KEY_BYTES, EncryptionContext=dict(context)
            ),
        )
        return answer["Plaintext"], _wrapped(answer)

    def wrap(self, data_key: bytes, key: str, context: Mapping[str, str]) -> WrappedKey:
        """Return *data_key* wrapped under *key*, an ARN or ``alias/<name>`` (Encrypt)."""
        answer = self._call(
            "Encrypt",
            key,
            lambda: self._client_for(key).encrypt(
                KeyId=key, Plaintext=data_key, EncryptionContext=dict(context)
            ),
        )
        return _wrapped(answer)

    def unwrap(
        self,
        item: WrappedKey,
        context: Mapping[str, str],
        timeout: float,
        while_waiting: Callable[[], None] = lambda: None,
    ) -> bytes:
        """Return the data key in *item* (Decrypt).

        Through boto3 each attempt has a time limit, but not all of them together, and *while_waiting* is not called.
        """
        answer = self._call(
            "Decrypt", item.reference, lambda: self._decrypt(item, context, timeout, while_waiting)
        )
        plaintext: bytes = answer["Plaintext"]
        return plaintext

    def _decrypt(
        self, item: WrappedKey, context: Mapping[str, str], timeout: float, while_waiting: Callable[[], None]
    ) -> Any:
        arn = item.reference
        # What boto3 would read is the process's own environment, so no other one will do.
        is_plain = self._session is None and self._client is None and self._environ is os.environ
        lean = KmsHttp.for_key(arn, self._environ) if is_plain else None
        if lean is not None:
            return lean.decrypt(item.wrapped, context, timeout, while_waiting)
        return self._client_for(arn).decrypt(
            KeyId=arn, CiphertextBlob=item.wrapped, EncryptionContext=dict(context)
        )

    def replica(self, item: WrappedKey) -> WrappedKey | None:
        """Return *item* as a replica of its multi-region key in the process's own region opens it."""
        arn = replica_of(item.reference, self.own_region())
        return None if arn is None else WrappedKey(item.provider, item.wrapped, arn)

    def rewrap(
        self, item: WrappedKey, key: str, context: Mapping[str, str], to_context: Mapping[str, str]
    ) -> WrappedKey | None:
        """Return the data key in *item* wrapped under *key*, an ARN or ``alias/<name>`` (ReEncrypt).

        The data key never leaves KMS, so that nobody has seen whether it is the one that the key entry names. None
        if the two keys are in different regions: KMS re-encrypts within one.
        """
        region = aws_region(key) if _is_key_arn(key) else _alias_region(key) or self.own_region()
        if region != aws_region(item.reference):
            return None
        answer = self._call(
            "ReEncrypt",
            key,
            lambda: self._client_for(key).re_encrypt(
                CiphertextBlob=item.wrapped,
                SourceKeyId=item.reference,
                SourceEncryptionContext=dict(context),
                DestinationKeyId=key,
                DestinationEncryptionContext=dict(to_context),
            ),
        )
        if answer["SourceKeyId"] != item.reference:
            raise KeyRefusedError(
                f"AWS KMS answered for another key than {item.reference}",
                hint="check AWS_ENDPOINT_URL_KMS and who answers there",
            )
        return _wrapped(answer)

    def own_region(self) -> str | None:
        """Return the region that this process works in.

        That of the client or session that was given, else as its environment says.
        """
        region: str | None = None
        if self._client is not None:
            region = self._client.meta.region_name
        elif self._session is not None:
            region = self._session.region_name
        region = region or self._environ.get("AWS_REGION") or self._environ.get("AWS_DEFAULT_REGION")
        return region if region and is_region(region) else None

    def _call(self, operation: str, key: str, request: Callable[[], Any]) -> dict[str, Any]:
        """Return the whole answer to *request*; raise if there is none, or it is not the one that was asked for."""
        failure: EncenvError | None
        try:
            with _no_debug_log():
                answer: dict[str, Any] = request()
        except EncenvError as error:
            failure = error.of()
        except Exception as error:  # noqa: BLE001 (a credential process, a proxy or a bad setting raises anything)
            failure = kms_errors.failure_of(operation, key, error)
        else:
            failure = _unfit(operation, key, answer)
            if failure is None:
                return answer
            answer.clear()  # the frame of what is raised here must not hold a data key
        raise failure

    def _client_for(self, key: str) -> "KMSClient":
        # By name, not by what exists: a logger that is made during the call is quiet as well. A filter on a parent
        # logger would not see its children's records.
        for name in _WIRE_LOGGERS:
            logging.getLogger(name).addFilter(_is_quiet)
        region = aws_region(key) if _is_key_arn(key) else _alias_region(key) or self.own_region()
        if self._client is not None:
            if region in (None, self._client.meta.region_name):
                return self._client
            raise KeyRefusedError(
                f"{key} is not in the region of the KMS client that was given, {self._client.meta.region_name}",
                hint="give a session instead of a client, or a client for the key's region",
            )
        # A child after a fork must not share its parent's connections, nor wait for its lock.
        if self._process != os.getpid():
            self._begin()
        # A session is not made for several threads, and they all want this one client.
        with self._lock:
            if region not in self._clients:
                self._clients[region] = self._new_client(region)
            return self._clients[region]

    def _new_client(self, region: str | None) -> "KMSClient":
        try:
            with fork_waits():
                for name in _IMPORTS:
                    importlib.import_module(name)
        except ImportError:
            raise KeyUnreachableError(
                "boto3 cannot be imported, and AWS KMS cannot be asked without it here", hint=_WITHOUT_BOTO3
            ) from None
        session = self._session or boto3.session.Session()
        config = botocore_config.Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            max_pool_connections=CONNECTIONS,
            # Attempts are left to AWS_MAX_ATTEMPTS and the AWS configuration; the mode's own limit is 3.
            retries={"mode": "standard"},
        )
        return session.client("kms", region_name=region, config=config)


def replica_of(arn: str, region: str | None) -> str | None:
    """Return the ARN that a replica of the key *arn* would have in another *region*; None if there can be none."""
    home = aws_region(arn)
    if region in (None, home) or ":key/mrk-" not in arn or partition_of(region) != arn.split(":")[1]:
        return None
    return arn.replace(f":{home}:", f":{region}:", 1)


def _alias_region(key: str) -> str | None:
    fields = key.split(":")
    return fields[3] if len(fields) > 3 and is_region(fields[3]) else None


def _is_key_arn(key: str) -> bool:
    return key.startswith("arn:") and ":key/" in key


def _wrapped(answer: "dict[str, Any]") -> WrappedKey:
    return WrappedKey(AwsKms.name, answer["CiphertextBlob"], answer["KeyId"])


def _unfit(operation: str, key: str, answer: "dict[str, Any]") -> EncenvError | None:
    """Return what is wrong with an *answer* that KMS gave as a success, or None."""
    if any(not answer.get(part) or not isinstance(answer[part], kind) for part, kind in _PARTS[operation]):
        # botocore takes an answer that was cut off in the middle for a whole one without members.
        return KeyUnreachableError(
            f"AWS KMS did not answer {_asked(operation, key)} in full", hint="try again, or check the network"
        )
    if _is_key_arn(key) and answer["KeyId"] != key:
        return KeyRefusedError(
            f"AWS KMS answered for another key than {key}",
            hint="check AWS_ENDPOINT_URL_KMS and who answers there",
        )
    if len(answer.get("Plaintext", bytes(DATA_KEY_BYTES))) != DATA_KEY_BYTES:
        return KeyRefusedError(
            f"AWS KMS answered {_asked(operation, key)} with a plaintext that is not {DATA_KEY_BYTES} bytes long",
            hint="restore the key entry from version control; the wrapped copy is not an encenv data key",
        )
    try:
        aws_region(answer["KeyId"])
    except MalformedError:
        return KeyRefusedError(
            "AWS KMS answered with a key whose ARN encenv cannot write down",
            hint="name the key by its full ARN, arn:<partition>:kms:<region>:<account>:key/<id>",
        )
    return None


def _asked(operation: str, key: str) -> str:
    return f"{operation} with {kms_errors.shown(key)}"


_PARTS: dict[str, tuple[tuple[str, type], ...]] = {  # AWS KMS API reference, "Response Elements"
    "Decrypt": (("KeyId", str), ("Plaintext", bytes)),
    "Encrypt": (("KeyId", str), ("CiphertextBlob", bytes)),
    "GenerateDataKey": (("KeyId", str), ("Plaintext", bytes), ("CiphertextBlob", bytes)),
    "ReEncrypt": (("KeyId", str), ("SourceKeyId", str), ("CiphertextBlob", bytes)),
}


_thread = threading.local()


@contextmanager
def _no_debug_log() -> "Iterator[None]":
    """Keep botocore's debug records of this thread from being written: they hold whole requests and answers."""
    _thread.quiet = True
    try:
        yield
    finally:
        _thread.quiet = False


def _is_quiet(record: logging.LogRecord) -> bool:
    # Never taken away again: while one thread shortens a logger's list of filters, another may skip one of them.
    return record.levelno > logging.DEBUG or not getattr(_thread, "quiet", False)


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
