"""The check of a request's signature, AWS Signature Version 4, at a test KMS.

It shares no code with encenv.keys.aws.sigv4, so that each shows the other's mistakes.
"""

import hashlib
import hmac
import re
from datetime import UTC, datetime
from email.message import Message

from encenv.testing.request import Refusal, Request

ACCESS_KEY_ID = "AKIAIOSFODNN7EXAMPLE"  # the key pair of AWS's own examples: nobody's
SECRET_ACCESS_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # noqa: S105 (the same example)
CLOCK_SKEW_SECONDS = 900  # AWS common errors: RequestExpired

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/([0-9]{8})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request, *"
    r"SignedHeaders=([a-z0-9;-]+), *Signature=([0-9a-f]{64})"
)


def authenticate(request: Request, headers: Message, body: bytes) -> Refusal | None:
    """Set the region and the signature of *request*, and return why AWS would not accept it, or None.

    Raises:
        Refusal: If the signature is missing, malformed, or for another service, so that there is no region.
    """
    authorization = headers.get("Authorization")
    if authorization is None:
        raise Refusal("MissingAuthenticationTokenException", "the request has no Authorization header")
    request.signature = "malformed"
    match = _AUTHORIZATION.fullmatch(authorization)
    if match is None:
        raise Refusal("IncompleteSignatureException", "Authorization is not one of Signature Version 4")
    access_key, day, region, service, names, digest = match.groups()
    if service != "kms":
        raise Refusal("InvalidSignatureException", "the credential should be scoped to the service kms")
    request.region, request.signature = region, "wrong"
    if access_key != ACCESS_KEY_ID:
        return Refusal("UnrecognizedClientException", "the security token in the request is invalid")
    timestamp = headers.get("X-Amz-Date", "")
    if not (timestamp.startswith(day) and _is_now(timestamp)):
        return Refusal("InvalidSignatureException", "X-Amz-Date is missing, or too far from now")
    # A header that is not signed could be changed on the way.
    needed = {"host", *(name.lower() for name in headers if name.lower().startswith("x-amz-"))}
    expected = _digest(headers, names, body, f"{day}/{region}/{service}/aws4_request")
    if not needed <= {*names.split(";")} or not hmac.compare_digest(digest, expected):
        return Refusal("InvalidSignatureException", "the signature is not the one this server calculates")
    request.signature = "verified"
    return None


def _digest(headers: Message, names: str, body: bytes, scope: str) -> str:
    """Return the right signature of a ``POST /`` with the headers *names*."""
    lines = [f"{name}:{' '.join(','.join(headers.get_all(name, [])).split())}" for name in names.split(";")]
    canonical = "\n".join(["POST", "/", "", *lines, "", names, hashlib.sha256(body).hexdigest()])
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{SECRET_ACCESS_KEY}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = "\n".join(["AWS4-HMAC-SHA256", headers["X-Amz-Date"], scope, hashed])
    return hmac.digest(key, text.encode(), "sha256").hex()


def _is_now(timestamp: str) -> bool:
    try:
        signed_at = datetime.strptime(timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return False
    return abs((datetime.now(UTC) - signed_at).total_seconds()) <= CLOCK_SKEW_SECONDS
