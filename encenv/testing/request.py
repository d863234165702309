"""One request of the KMS protocol: its signature, its members, and the refusals that answer it."""

import base64
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message
from typing import Any, Literal, TypeGuard

from encenv.keys.aws.sigv4 import TIMESTAMP, Credentials, sign_headers

ACCESS_KEY_ID = "AKIAIOSFODNN7EXAMPLE"  # the key pair of AWS's own examples: nobody's
SECRET_ACCESS_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # noqa: S105 (the same example)
CLOCK_SKEW_SECONDS = 900  # AWS common errors: RequestExpired
SERVER_FAULTS = {  # HTTP status by error code; every other code is a client's fault, 400
    "DependencyTimeoutException": 500,
    "InternalFailure": 500,
    "KeyUnavailableException": 500,
    "KMSInternalException": 500,
    "ServiceUnavailable": 503,
}
CLIENT_FAULT = 400

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/([0-9]{8})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request, *"
    r"SignedHeaders=([a-z0-9;-]+), *Signature=([0-9a-f]{64})"
)


class Refusal(ValueError):  # noqa: N818 (an answer of the protocol)
    """The error that a client gets as its answer; a test that calls the server's methods gets it as an exception."""

    def __init__(self, code: str | None, message: str = "", status: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.status = status or SERVER_FAULTS.get(code or "", CLIENT_FAULT)
        # Without a code the body is empty, as a proxy might send it.
        self.body = json.dumps({"__type": code, "message": message}).encode("ascii") if code else b""


@dataclass
class Request:
    """The members of one request, each checked when it is read, and what the log says about the request."""

    operation: str
    region: str = ""
    signature: Literal["missing", "malformed", "wrong", "verified"] = "missing"
    members: dict[str, Any] = field(default_factory=dict, repr=False)
    key: str | None = None
    context: dict[str, str] = field(default_factory=dict)

    def authenticate(self, headers: Message, body: bytes) -> Refusal | None:
        """Set the region and the signature; return why AWS would not accept the signature, or None.

        A signature that is missing, malformed or for another service is refused at once, since it gives no region.
        """
        authorization = headers.get("Authorization")
        if authorization is None:
            raise Refusal("MissingAuthenticationTokenException", "the request has no Authorization header")
        self.signature = "malformed"
        match = _AUTHORIZATION.fullmatch(authorization)
        if match is None:
            raise Refusal("IncompleteSignatureException", "Authorization is not one of Signature Version 4")
        access_key, day, region, service, names, signature = match.groups()
        if service != "kms":
            raise Refusal("InvalidSignatureException", "the credential should be scoped to the service kms")
        self.region, self.signature = region, "wrong"
        if access_key != ACCESS_KEY_ID:
            return Refusal("UnrecognizedClientException", "the security token in the request is invalid")
        timestamp = headers.get("X-Amz-Date", "")
        if not (timestamp.startswith(day) and _is_now(timestamp)):
            return Refusal("InvalidSignatureException", "X-Amz-Date is missing, or too far from now")
        # A header that is not signed could be changed on the way.
        must_be_signed = {"host", *(name.lower() for name in headers if name.lower().startswith("x-amz-"))}
        values = {name: ",".join(headers.get_all(name, [])) for name in names.split(";")}
        has_all = must_be_signed <= values.keys()
        values.pop("x-amz-date", None)  # `sign_headers` adds it
        owner = Credentials(ACCESS_KEY_ID, SECRET_ACCESS_KEY)
        right = sign_headers(values, body, owner, (region, service), timestamp)["Authorization"]
        if not has_all or not right.endswith(f"Signature={signature}"):
            return Refusal("InvalidSignatureException", "the signature is not the one this server calculates")
        self.signature = "verified"
        return None

    def read(self, body: bytes) -> None:
        """Take the members from the JSON *body*."""
        try:
            members = json.loads(body or b"{}")
        except ValueError:
            members = None
        if not isinstance(members, dict):
            raise Refusal("SerializationException", "the body is not a JSON object")
        self.members = members
        # Set before any check, so that the log and the faults have them whatever the outcome.
        key = members.get("DestinationKeyId", members.get("KeyId"))
        context = members.get("DestinationEncryptionContext", members.get("EncryptionContext"))
        self.key = key if isinstance(key, str) else None
        self.context = dict(context) if _is_text_map(context) else {}
        for name in ("DryRunModifiers", "Recipient"):
            if members.get(name) is not None:
                raise Refusal("UnsupportedOperationException", f"this test KMS has no {name}")

    def text(self, name: str, default: str = "") -> str:
        """Return a text that is not empty."""
        value: str = self._member(name, str, default)
        if not value:
            raise invalid(name, "must not be null or empty")
        return value

    def number(self, name: str, default: int | None, allowed: range) -> int:
        """Return a number in *allowed*."""
        value = self._member(name, int, default)
        if value not in allowed:
            raise invalid(name, f"must be {allowed[0]} to {allowed[-1]}")
        return int(value)

    def flag(self, name: str) -> bool:
        """Return a truth value, false if it is left out."""
        return self._member(name, bool, default=False) is True

    def blob(self, name: str, longest: int) -> bytes:
        """Return 1 to *longest* bytes."""
        try:
            value = base64.b64decode(self._member(name, str, ""), validate=True)
        except ValueError:
            value = None
        if value is None:  # raised here, not above: the exception's context would hold the text
            raise Refusal("SerializationException", f"{name} is not base64")
        if not 1 <= len(value) <= longest:
            raise invalid(name, f"must have 1 to {longest} bytes")
        return value

    def pairs(self, name: str) -> dict[str, str]:
        """Return an encryption context, and make it the one that the log and the denials use."""
        value = self._member(name, dict, {})
        if not _is_text_map(value):
            raise Refusal("SerializationException", f"{name} is not a map of strings")
        self.context = dict(value)
        return self.context

    def check_algorithm(self, name: str) -> None:
        """Refuse every algorithm except that of a symmetric key."""
        if self.text(name, "SYMMETRIC_DEFAULT") != "SYMMETRIC_DEFAULT":
            raise Refusal("InvalidKeyUsageException", f"{name} is not an algorithm of a symmetric key")

    def end_dry_run(self) -> None:
        """End the request here if it says DryRun."""
        if self.flag("DryRun"):
            raise Refusal("DryRunOperationException", "the request would have succeeded; DryRun is set")

    def _member(self, name: str, kind: type, default: Any) -> Any:
        value = self.members.get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Refusal("SerializationException", f"{name} has the wrong type")
        return value


def invalid(name: str, what: str) -> Refusal:
    """Return the refusal of a member outside the limits of the API reference."""
    return Refusal("ValidationException", f"1 validation error detected: {name} {what}")


def _is_text_map(value: object) -> TypeGuard[dict[str, str]]:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _is_now(timestamp: str) -> bool:
    try:
        signed_at = datetime.strptime(timestamp, TIMESTAMP).replace(tzinfo=UTC)
    except ValueError:
        return False
    return abs((datetime.now(UTC) - signed_at).total_seconds()) <= CLOCK_SKEW_SECONDS
