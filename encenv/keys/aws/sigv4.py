"""AWS Signature Version 4 of one ``POST /``: bytes in, headers out. No clock, no environment, no socket.

After "Create a signed AWS API request" in the AWS IAM User Guide. Every header that is given is signed.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import NamedTuple

ALGORITHM = "AWS4-HMAC-SHA256"
TIMESTAMP = "%Y%m%dT%H%M%SZ"  # of the signature, and of the header X-Amz-Date; in UTC


class Credentials(NamedTuple):
    """What a request is signed with.

    Attributes:
        access_key: The access key id.
        secret_key: The secret access key.
        token: The session token of temporary credentials, or None.
    """

    access_key: str
    secret_key: str
    token: str | None = None

    def __repr__(self) -> str:
        return "<Credentials>"


def signed(
    headers: Mapping[str, str],
    body: bytes,
    credentials: Credentials,
    scope: tuple[str, str],
    timestamp: str,
) -> dict[str, str]:
    """Return *headers* with what makes them a signed request: date, session token and signature.

    Args:
        headers: The headers, Host among them.
        body: The request's body.
        credentials: What to sign with.
        scope: Region and service.
        timestamp: When, in the form `TIMESTAMP`.
    """
    whole = {**headers, "X-Amz-Date": timestamp}
    if credentials.token:
        whole["X-Amz-Security-Token"] = credentials.token
    lines = sorted((name.lower(), " ".join(value.split())) for name, value in whole.items())
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
    whole["Authorization"] = (
        f"{ALGORITHM} Credential={credentials.access_key}/{place}, SignedHeaders={names}, Signature={signature}"
    )
    return whole


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
