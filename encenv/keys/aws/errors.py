"""What goes wrong with AWS KMS, as errors with hints: AWS error codes, and what boto3 raises without an answer."""

import re
import sys

from encenv.errors import EncenvError, KeyDeniedError, KeyRefusedError, KeyUnreachableError

_CODE = re.compile(r"[A-Za-z0-9]{1,64}(?=$|:)")  # of "prefix#Code:address", which some servers send
_HINTS = {  # AWS KMS API reference, "Errors" of Decrypt, Encrypt, GenerateDataKey and ReEncrypt
    "AccessDeniedException": "allow {action} on this key, under this encryption context, for the role that runs here",
    "CloudHsmClusterInvalidConfigurationException": "mend the key's custom key store in AWS KMS",
    "CustomKeyStoreInvalidStateException": "connect the key's custom key store in AWS KMS",
    "DisabledException": "enable the key in AWS KMS, or take the values of an environment that uses another key",
    "IncorrectKeyException": "restore the key entry from version control; it names another key than wrapped it",
    "InvalidArnException": "check how the key is written: a full ARN, or alias/<name>",
    "InvalidCiphertextException": "restore the key entry from version control; it or its context was changed",
    "InvalidKeyUsageException": "name a symmetric key for encrypting and decrypting",
    "KMSInvalidStateException": "cancel the key's deletion in AWS KMS, or restore its key material",
    "NotAuthorized": "allow {action} on this key, under this encryption context, for the role that runs here",
    "NotFoundException": "check the key's account and region; it does not exist there (any more)",
    "UnsupportedOperationException": "name a symmetric key for encrypting and decrypting",
    "ValidationException": "check how the key is written: a full ARN, or alias/<name>",
}
_DENIED = {"AccessDeniedException", "NotAuthorized"}  # AWS KMS API reference, "Common Errors"
_ACTIONS = {"ReEncrypt": "kms:ReEncryptFrom and kms:ReEncryptTo"}  # where IAM calls it otherwise
_TRY_AGAIN = "try again"
_NOT_KNOWN = "check the AWS credentials; AWS does not know this access key"
_NOT_SIGNED = "check the AWS secret access key and this machine's clock"
_USED_UP = "try again; the account's KMS request quota is used up"
_THEIRS = {  # the request was not judged: credentials, load or an outage (as above, and "Common Errors")
    "DependencyTimeoutException": _TRY_AGAIN,
    "ExpiredToken": "sign in again; the AWS credentials have expired",
    "ExpiredTokenException": "sign in again; the AWS credentials have expired",
    "IncompleteSignature": "check the AWS credentials",
    "IncompleteSignatureException": "check the AWS credentials",
    "InternalFailure": _TRY_AGAIN,
    "InvalidClientTokenId": _NOT_KNOWN,
    "InvalidSignatureException": _NOT_SIGNED,
    "KMSInternalException": _TRY_AGAIN,
    "KeyUnavailableException": _TRY_AGAIN,
    "LimitExceededException": _TRY_AGAIN,
    "MissingAuthenticationToken": "give AWS credentials",
    "MissingAuthenticationTokenException": "give AWS credentials",
    "OptInRequired": "enable the region for this AWS account, or use a key in another one",
    "RequestAbortedException": _TRY_AGAIN,
    "RequestExpired": "check this machine's clock",
    "RequestLimitExceeded": _USED_UP,
    "RequestTimeoutException": _TRY_AGAIN,
    "ServiceUnavailable": _TRY_AGAIN,
    "SignatureDoesNotMatch": _NOT_SIGNED,
    "Throttling": _USED_UP,
    "ThrottlingException": _USED_UP,
    "TooManyRequestsException": _USED_UP,
    "UnrecognizedClientException": _NOT_KNOWN,
}
SERVER_ERROR = 500  # RFC 9110, 15.6
TOO_MANY = 429  # RFC 6585, 4
SHOWN_MAX = 320  # characters: an ARN has some 80, an alias's at most 310
NETWORK = "check the network, the region and AWS_ENDPOINT_URL_KMS"
CERTIFICATES = "check the certificate authorities (AWS_CA_BUNDLE) and who answers at the endpoint"
_SIGN_IN = "sign in to AWS again, for example: aws sso login"
SETTINGS = "check the AWS settings: the AWS_… variables, proxies and the configuration file"
_NOT_SENT = {  # botocore.exceptions: what went wrong before or without an answer, by its class
    "ConfigParseError": SETTINGS,
    "InvalidRegionError": "set AWS_REGION to the name of a region",
    "NoCredentialsError": "give AWS credentials: a role, AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret",
    "NoRegionError": "set AWS_REGION, or name the key by its full ARN",
    "PartialCredentialsError": "complete the AWS credentials; a part of them is missing",
    "ProfileNotFound": "set AWS_PROFILE to a profile of the AWS configuration",
    "SSLError": CERTIFICATES,
}


def failure_of(operation: str, key: str, error: Exception) -> EncenvError:
    """Return what *error* from boto3 means, without its text: that may hold what a credential process printed."""
    if sys.modules.get("botocore") is None:
        return not_reached(operation, key, type(error).__name__, SETTINGS)  # none of botocore's
    from botocore.exceptions import (  # a lazy door: botocore costs 100 ms, and is there when it has failed
        BotoCoreError,
        ClientError,
        HTTPClientError,
        ParamValidationError,
    )
    from botocore.exceptions import ConnectionError as NetworkError

    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return refusal(operation, key, code, status)
    kind = type(error).__name__
    if isinstance(error, ParamValidationError):
        # All other parameters are checked before.
        return KeyRefusedError(
            f"AWS KMS has no key that is written {shown(key)!r}", hint=_HINTS["InvalidArnException"]
        )
    if kind in _NOT_SENT:
        hint = _NOT_SENT[kind]
    elif any(word in kind for word in ("Credential", "Login", "Token", "SSO")):
        hint = _SIGN_IN
    elif isinstance(error, (NetworkError, HTTPClientError)):
        hint = NETWORK
    else:
        hint = NETWORK if isinstance(error, BotoCoreError) else SETTINGS
    return not_reached(operation, key, kind, hint)


def not_reached(operation: str, key: str, kind: str, hint: str = NETWORK) -> EncenvError:
    """Return the error that there was no answer; *kind* is the name of an exception."""
    return KeyUnreachableError(
        f"AWS KMS was not reached for {operation} with {shown(key)}: {kind}", hint=hint
    )


def shown(key: str) -> str:
    """Return how a message names *key*, which is whatever a user wrote: in one line, and not at any length."""
    name = key if key.isprintable() else ascii(key)
    return name if len(name) <= SHOWN_MAX else f"{name[:SHOWN_MAX]}…"


def refusal(operation: str, key: str, code: str, status: int) -> EncenvError:
    """Return what an AWS error *code* with an HTTP *status* means; the message that comes with it is left out."""
    found = _CODE.search(code)
    code = found[0] if found else "no error code"
    if code in _THEIRS or status >= SERVER_ERROR or status == TOO_MANY:
        hint = _THEIRS.get(code, "try again; AWS KMS, or a proxy on the way to it, has trouble")
        return KeyUnreachableError(
            f"AWS KMS could not answer {operation} with {shown(key)}: {code}", hint=hint
        )
    hint = _HINTS.get(code, "look the code up in the AWS KMS API reference")
    return (KeyDeniedError if code in _DENIED else KeyRefusedError)(
        f"AWS KMS refused {operation} with {shown(key)}: {code}",
        hint=hint.format(action=_ACTIONS.get(operation, f"kms:{operation}")),
    )
