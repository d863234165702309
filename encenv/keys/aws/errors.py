"""Turn failures of AWS KMS into errors with hints: AWS error codes, and what boto3 raises without an answer.

No message holds the name of a class, or a text of AWS or boto3: that may include the output of a credential process.
"""

import re

from encenv.errors import EncenvError, KeyDeniedError, KeyRefusedError, KeyUnreachableError

SERVER_ERROR = 500  # RFC 9110, 15.6
TOO_MANY = 429  # RFC 6585, 4
KEY_NAME_MAX = 320  # characters: an ARN has some 80, an alias's at most 310
NETWORK = "check the network, the region and AWS_ENDPOINT_URL_KMS"
CERTIFICATES = "check the certificate authorities (AWS_CA_BUNDLE) and who answers at the endpoint"
SETTINGS = "check the AWS settings: the AWS_… variables, proxies and the configuration file"

NO_CREDENTIALS = (
    "no AWS credentials found",
    "give AWS credentials: a role, AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret",
)

_CODE = re.compile(r"[A-Za-z0-9]{1,64}(?=$|:)")  # of "prefix#Code:address", which some servers send
_ALLOW = "allow {action} on this key, under this encryption context, for the role that runs here"
_WRITE_KEY = "check how the key is written: a full ARN, or alias/<name>"
_SYMMETRIC = "name a symmetric key for encrypting and decrypting"
_REFUSAL_HINTS = {  # AWS KMS API reference, "Errors" of Decrypt, Encrypt, GenerateDataKey and ReEncrypt
    "AccessDeniedException": _ALLOW,
    "CloudHsmClusterInvalidConfigurationException": "fix the key's custom key store in AWS KMS",
    "CustomKeyStoreInvalidStateException": "connect the key's custom key store in AWS KMS",
    "DisabledException": "enable the key in AWS KMS, or take the values of an environment that uses another key",
    "IncorrectKeyException": "restore the key entry from git; it names another key than the one that wrapped it",
    "InvalidArnException": _WRITE_KEY,
    "InvalidCiphertextException": "restore the key entry from git; it or its context was changed",
    "InvalidKeyUsageException": _SYMMETRIC,
    "KMSInvalidStateException": "cancel the key's deletion in AWS KMS, or restore its key material",
    "NotAuthorized": _ALLOW,
    "NotFoundException": "check the key's account and region; the key does not exist there",
    "UnsupportedOperationException": _SYMMETRIC,
    "ValidationException": _WRITE_KEY,
}
_DENIAL_CODES = {"AccessDeniedException", "NotAuthorized"}  # AWS KMS API reference, "Common Errors"
_ACTIONS = {"ReEncrypt": "kms:ReEncryptFrom and kms:ReEncryptTo"}  # where IAM uses another name
_ROLE = "check which role the AWS configuration names, and that these credentials may assume it"
_TRY_AGAIN = "try again"
_EXPIRED = "sign in again; the AWS credentials have expired"
_NOT_KNOWN = "check the AWS credentials; AWS does not know this access key"
_NOT_SIGNED = "check the AWS secret access key and this machine's clock"
_NO_TOKEN = "give AWS credentials"  # noqa: S105 (a hint)
_USED_UP = "try again; the account's KMS request quota is used up"
_TROUBLE_HINTS = {  # credentials, load or an outage (as above, and "Common Errors")
    "DependencyTimeoutException": _TRY_AGAIN,
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "IncompleteSignature": "check the AWS credentials",
    "IncompleteSignatureException": "check the AWS credentials",
    "InternalFailure": _TRY_AGAIN,
    "InvalidClientTokenId": _NOT_KNOWN,
    "InvalidSignatureException": _NOT_SIGNED,
    "KMSInternalException": _TRY_AGAIN,
    "KeyUnavailableException": _TRY_AGAIN,
    "LimitExceededException": _TRY_AGAIN,
    "MissingAuthenticationToken": _NO_TOKEN,
    "MissingAuthenticationTokenException": _NO_TOKEN,
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
_NOT_REACHED = "AWS KMS was not reached: "
_NO_ANSWER = {  # botocore.exceptions: what went wrong before or without an answer, by the name of its class
    "BotoCoreError": ("AWS KMS could not be called", NETWORK),
    "ConfigParseError": ("the AWS configuration file cannot be read", SETTINGS),
    "ConnectTimeoutError": (f"{_NOT_REACHED}no connection in time", NETWORK),
    "ConnectionClosedError": (f"{_NOT_REACHED}the connection was closed", NETWORK),
    "ConnectionError": (f"{_NOT_REACHED}the connection failed", NETWORK),
    "EndpointConnectionError": (f"{_NOT_REACHED}no connection", NETWORK),
    "Exception": ("AWS KMS could not be called", SETTINGS),
    "HTTPClientError": (f"{_NOT_REACHED}the connection failed", NETWORK),
    "InvalidRegionError": ("the AWS region does not exist", "set AWS_REGION to the name of a region"),
    "NoCredentialsError": NO_CREDENTIALS,
    "NoRegionError": ("no AWS region is set", "set AWS_REGION, or name the key by its full ARN"),
    "PartialCredentialsError": (
        "a part of the AWS credentials is missing",
        "complete the AWS credentials: an access key needs its secret",
    ),
    "ProfileNotFound": (
        "the AWS profile does not exist",
        "set AWS_PROFILE to a profile of the AWS configuration",
    ),
    "ProxyConnectionError": (f"{_NOT_REACHED}no connection to the proxy", NETWORK),
    "ReadTimeoutError": (f"{_NOT_REACHED}no answer in time", NETWORK),
    "SSLError": (f"{_NOT_REACHED}no secure connection", CERTIFICATES),
}
_SIGN_IN_WORDS = ("Credential", "Login", "Token", "SSO")  # in the name of a class


def failure_of(operation: str, key: str, error: Exception) -> EncenvError:
    """Return our error for *error*: one of ours without its frames, or one for what boto3 raised."""
    if isinstance(error, EncenvError):
        return error.of()
    names = [cls.__name__ for cls in type(error).__mro__]  # botocore itself may not be installed
    if "ClientError" in names:
        status = getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return refusal(operation, key, _code_of(error), status)
    if "ParamValidationError" in names:
        # All other parameters are checked before.
        return KeyRefusedError(f"{short(key)!r} is not the name of an AWS KMS key", hint=_WRITE_KEY)
    failure = not_reached(operation, key, *no_answer(error))
    failure.missing_key = key if any(word in names[0] for word in _SIGN_IN_WORDS) else ""
    return failure


def no_answer(error: Exception) -> tuple[str, str]:
    """Return why boto3 got no answer when it raised *error*, and a hint."""
    nearest, *bases = (cls.__name__ for cls in type(error).__mro__)
    if "ClientError" in (nearest, *bases):  # an answer to an earlier call, such as one to assume a role
        code = _printable_code(_code_of(error))
        return f"AWS gave no credentials: {code}", _TROUBLE_HINTS.get(code, _ROLE)
    if nearest not in _NO_ANSWER and any(word in nearest for word in _SIGN_IN_WORDS):
        return "the AWS sign-in gave no credentials", "sign in to AWS again, for example: aws sso login"
    return next(_NO_ANSWER[name] for name in (nearest, *bases) if name in _NO_ANSWER)


def not_reached(operation: str, key: str, cause: str, hint: str) -> EncenvError:
    """Return the error for a call without an answer."""
    return KeyUnreachableError(f"{cause} ({call_name(operation, key)})", hint=hint)


def refusal(operation: str, key: str, code: str, status: int) -> EncenvError:
    """Return our error for an AWS error *code* with an HTTP *status*."""
    code = _printable_code(code)
    if code in _TROUBLE_HINTS or status >= SERVER_ERROR or status == TOO_MANY:
        hint = _TROUBLE_HINTS.get(code, "try again; AWS KMS, or a proxy on the way to it, has trouble")
        return KeyUnreachableError(f"AWS KMS could not answer {call_name(operation, key)}: {code}", hint=hint)
    hint = _REFUSAL_HINTS.get(code, "look the code up in the AWS KMS API reference")
    message = f"AWS KMS refused {call_name(operation, key)}: {code}"
    hint = hint.format(action=_action(operation))
    if code in _DENIAL_CODES:
        return KeyDeniedError(message, hint=hint, missing_key=key)
    return KeyRefusedError(message, hint=hint)


def _code_of(error: Exception) -> str:
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


def _printable_code(text: str) -> str:
    match = _CODE.search(text)
    return match[0] if match else "no error code"


def call_name(operation: str, key: str) -> str:
    """Return how a message names a call, such as "kms:Decrypt on alias/shop"."""
    return f"{_action(operation)} on {short(key)}"


def short(key: str) -> str:
    """Return *key*, as the user wrote it, in one line of at most `KEY_NAME_MAX` characters."""
    name = key if key.isprintable() else ascii(key)
    return name if len(name) <= KEY_NAME_MAX else f"{name[:KEY_NAME_MAX]}…"


def _action(operation: str) -> str:
    return _ACTIONS.get(operation, f"kms:{operation}")
