"""The signature of a request, AWS Signature Version 4, as a test KMS reads and checks it."""

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from typing import Self

from encenv.testing.request import Refusal

ACCESS_KEY_ID = "AKIAIOSFODNN7EXAMPLE"  # the key pair of AWS's own examples: nobody's
SECRET_ACCESS_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # noqa: S105 (as above)
CLOCK_SKEW_SECONDS = 900  # AWS common errors: RequestExpired

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/([0-9]{8})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request, *"
    r"SignedHeaders=([a-z0-9;-]+), *Signature=([0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class Signature:
    """What an Authorization header says."""

    access_key: str
    day: str
    region: str
    service: str
    names: str
    digest: str

    @classmethod
    def parse(cls, authorization: str | None) -> Self:
        """Return the signature of the header's text.

        Raises:
            Refusal: If there is none, it is malformed, or it is for another service.
        """
        if authorization is None:
            raise Refusal("MissingAuthenticationTokenException", "the request has no Authorization header")
        match = _AUTHORIZATION.fullmatch(authorization)
        if match is None:
            raise Refusal(
                "IncompleteSignatureException", "the Authorization header is not one of Signature Version 4"
            )
        signature = cls(*match.groups())
        if signature.service != "kms":
            raise Refusal("InvalidSignatureException", "the credential should be scoped to the service kms")
        return signature

    def verify(self, path: str, headers: Message, body: bytes) -> None:
        """Check that the request was signed with our key pair, all of it, and now.

        Raises:
            Refusal: If it was not.
        """
        if self.access_key != ACCESS_KEY_ID:
            raise Refusal("UnrecognizedClientException", "the security token in the request is invalid")
        _check_time(headers.get("X-Amz-Date", ""), self.day)
        # What is not signed could be changed on the way.
        needed = {"host", *(name.lower() for name in headers if name.lower().startswith("x-amz-"))}
        calculated = self._calculate(path, headers, body)
        if not needed <= {*self.names.split(";")} or not hmac.compare_digest(self.digest, calculated):
            raise Refusal("InvalidSignatureException", "the signature is not the one this server calculates")

    def _calculate(self, path: str, headers: Message, body: bytes) -> str:
        """Return what the signature ought to be: for a POST without a query string."""
        lines = [
            f"{name}:{' '.join(','.join(headers.get_all(name, [])).split())}"
            for name in self.names.split(";")
        ]
        canonical = "\n".join(["POST", path, "", *lines, "", self.names, hashlib.sha256(body).hexdigest()])
        scope = f"{self.day}/{self.region}/{self.service}/aws4_request"
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        key = f"AWS4{SECRET_ACCESS_KEY}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        text = "\n".join(["AWS4-HMAC-SHA256", headers["X-Amz-Date"], scope, hashed])
        return hmac.digest(key, text.encode(), "sha256").hex()


def _check_time(stamp: str, day: str) -> None:
    try:
        signed = datetime.fromisoformat(stamp).replace(tzinfo=UTC)
    except ValueError:
        signed = datetime.min.replace(tzinfo=UTC)
    away = abs((datetime.now(UTC) - signed).total_seconds())
    if away > CLOCK_SKEW_SECONDS or not (stamp.startswith(f"{day}T") and stamp.endswith("Z")):
        raise Refusal(
            "InvalidSignatureException", "X-Amz-Date is missing, not today's scope, or too far from now"
        )
