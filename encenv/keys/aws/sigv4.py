"""Sign one ``POST /`` with AWS Signature Version 4: bytes in, headers out. No clock, no environment, no socket.

As described in "Create a signed AWS API request" of the AWS IAM User Guide. Every given header is signed.
"""

import hashlib
import hmac
from collections.abc import Mapping

ALGORITHM = "AWS4-HMAC-SHA256"
TIMESTAMP = "%Y%m%dT%H%M%SZ"  # of the signature, and of the header X-Amz-Date; in UTC


class Credentials:
    """The credentials that sign a request; temporary ones have a session token."""

    def __init__(self, access_key: str, secret_key: str, token: str | None = None) -> None:
        self.access_key, self.secret_key, self.token = access_key, secret_key, token


def sign_headers(
    headers: Mapping[str, str], body: bytes, credentials: Credentials, scope: tuple[str, str], timestamp: str
) -> dict[str, str]:
    """Return *headers* with those that sign the request: date, session token and signature.

    *headers* include Host; *scope* is region and service; *timestamp* is the time of the request, as `TIMESTAMP`.
    """
    all_headers = {**headers, "X-Amz-Date": timestamp}
    if credentials.token:
        all_headers["X-Amz-Security-Token"] = credentials.token
    lines = sorted((name.lower(), " ".join(value.split())) for name, value in all_headers.items())
    names = ";".join(name for name, _ in lines)
    request = "\n".join(
        ["POST", "/", "", *(f"{name}:{value}" for name, value in lines), "", names, _digest(body)]
    )
    day = timestamp[:8]
    place = "/".join((day, *scope, "aws4_request"))
    text = "\n".join((ALGORITHM, timestamp, place, _digest(request.encode())))
    key = f"AWS4{credentials.secret_key}".encode()
    for part in (day, *scope, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    all_headers["Authorization"] = (
        f"{ALGORITHM} Credential={credentials.access_key}/{place}, SignedHeaders={names}, Signature={signature}"
    )
    return all_headers


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
