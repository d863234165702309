"""One request of the KMS protocol: its members, each checked when it is read, and the refusals that answer it."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any, Literal

SERVER_FAULTS = {  # HTTP status by error code; every other code is a client's fault, 400
    "DependencyTimeoutException": 500,
    "InternalFailure": 500,
    "KeyUnavailableException": 500,
    "KMSInternalException": 500,
    "ServiceUnavailable": 503,
}
CLIENT_FAULT = 400


class Refusal(ValueError):  # noqa: N818 (an answer of the protocol)
    """The error that a client gets instead of an answer, and a test that calls the server's own methods."""

    def __init__(self, code: str | None, message: str = "", status: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status or SERVER_FAULTS.get(code or "", CLIENT_FAULT)

    @property
    def body(self) -> bytes:
        """The body of the answer; empty without a code, as a proxy might send it."""
        return (
            json.dumps({"__type": self.code, "message": self.message}).encode("ascii") if self.code else b""
        )


@dataclass
class Request:
    """The members of one request, each checked when it is read; also what the log says of the request."""

    operation: str
    region: str = ""
    signature: Literal["missing", "malformed", "wrong", "verified"] = "missing"
    members: dict[str, Any] = field(default_factory=dict, repr=False)
    key: str | None = None
    context: dict[str, str] = field(default_factory=dict)

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
        self.context = dict(context) if isinstance(context, dict) and _is_text_map(context) else {}
        for name in ("DryRunModifiers", "Recipient"):
            if members.get(name) is not None:
                raise Refusal("UnsupportedOperationException", f"this test KMS has no {name}")

    def text(self, name: str, default: str = "") -> str:
        """Return a text that is not empty."""
        value: str = self._member(name, str, default)
        if not value:
            raise invalid(name, "must not be null or empty")
        return value

    def whole(self, name: str, default: int | None, allowed: range) -> int:
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

    def algorithm(self, name: str) -> None:
        """Refuse every algorithm except that of a symmetric key."""
        if self.text(name, "SYMMETRIC_DEFAULT") != "SYMMETRIC_DEFAULT":
            raise Refusal("InvalidKeyUsageException", f"{name} is not an algorithm of a symmetric key")

    def dry_run(self) -> None:
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


def _is_text_map(value: dict[Any, Any]) -> bool:
    return all(isinstance(text, str) for text in value.values())


def invalid(name: str, what: str) -> Refusal:
    """Return the refusal of a member outside the limits of the API reference."""
    return Refusal("ValidationException", f"1 validation error detected: {name} {what}")
