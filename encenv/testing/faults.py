"""What is to go wrong at a test KMS: for which requests, how often, and how."""

import base64
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from encenv.testing.operations import OPERATIONS
from encenv.testing.request import Refusal, Request

Act = Literal["deny", "fail", "delay", "drop", "halve", "tamper"]


@dataclass
class Fault:
    """Something that is to go wrong, for the requests it matches and as often as it says."""

    act: Act
    operation: str
    key: str | None
    region: str | None
    times: int | None
    unless_context: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    code: str | None = None
    status: int | None = None
    reset: bool = False
    change: Mapping[str, Any] | bytes = b""

    def __post_init__(self) -> None:
        # A misspelt operation would match nothing and let a test pass that tests nothing.
        if not any(fnmatchcase(name, self.operation) for name in OPERATIONS):
            raise ValueError(f"no operation is called {self.operation}; there are {', '.join(OPERATIONS)}")

    def matches(self, request: Request) -> bool:
        """Return whether *request* is one that it is meant for."""
        excused = bool(self.unless_context) and self.unless_context.items() <= request.context.items()
        return (
            fnmatchcase(request.operation, self.operation)
            and self.region in (None, request.region)
            and self.key in (None, request.key)
            and not excused
        )


class Faults:
    """The part of a test KMS that is told what is to go wrong.

    In every method *operation* is a name or pattern such as ``"GenerateDataKey*"``, *key* (an ARN, of requests that
    name their key) and *region* restrict the fault, and *times* says how often it happens: always, until `heal`, if
    left out. The first fault of a kind that matches is taken.
    """

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        # Of keys, faults and log. Reentrant: a key operation asks for faults while it holds it.
        self._lock = threading.RLock()

    def fail(  # noqa: PLR0913 (what, for whom and how often)
        self,
        operation: str = "*",
        *,
        code: str | None = "KMSInternalException",
        status: int | None = None,
        key: str | None = None,
        region: str | None = None,
        times: int | None = None,
    ) -> None:
        """Answer with an error instead of doing anything.

        Args:
            operation: Which requests.
            code: The error code, such as ``ThrottlingException``; None for an empty body, as a proxy might send.
            status: The HTTP status; the code's own if left out.
            key: For which key.
            region: In which region.
            times: How often.
        """
        self._add(Fault("fail", operation, key, region, times, code=code, status=status))

    def delay(
        self,
        seconds: float,
        operation: str = "*",
        *,
        key: str | None = None,
        region: str | None = None,
        times: int | None = None,
    ) -> None:
        """Answer later by *seconds*, or never (``math.inf``); what was asked for is done, and logged, at once."""
        self._add(Fault("delay", operation, key, region, times, seconds=seconds))

    def drop(
        self,
        operation: str = "*",
        *,
        reset: bool = False,
        key: str | None = None,
        region: str | None = None,
        times: int | None = None,
    ) -> None:
        """Close the connection without an answer and without doing anything; with *reset* as a crash does."""
        self._add(Fault("drop", operation, key, region, times, reset=reset))

    def half_answer(
        self,
        operation: str = "*",
        *,
        key: str | None = None,
        region: str | None = None,
        times: int | None = None,
    ) -> None:
        """Do what was asked for, send half of the answer and close the connection."""
        self._add(Fault("halve", operation, key, region, times))

    def tamper(
        self,
        change: Mapping[str, Any] | bytes,
        operation: str = "*",
        *,
        key: str | None = None,
        region: str | None = None,
        times: int | None = None,
    ) -> None:
        """Do what was asked for and change the answer, as nobody at AWS does.

        Args:
            change: Members to put in the place of the right ones, such as ``{"KeyId": other}`` or ``{"Plaintext":
                b"short"}`` (bytes are sent as base64, None takes a member out); or the whole body, such as ``b"{"``.
            operation: Which requests.
            key: For which key.
            region: In which region.
            times: How often.
        """
        self._add(Fault("tamper", operation, key, region, times, change=change))

    def deny(
        self,
        operation: str = "*",
        *,
        key: str | None = None,
        unless_context: Mapping[str, str] | None = None,
        region: str | None = None,
        times: int | None = None,
    ) -> None:
        """Answer AccessDeniedException, as a key policy with an explicit deny makes AWS do.

        Args:
            operation: Which requests.
            key: The ARN of the key that it holds for; every key if left out.
            unless_context: Pairs; a request with all of them in its encryption context is let through.
            region: In which region.
            times: How often.
        """
        self._add(Fault("deny", operation, key, region, times, unless_context=dict(unless_context or {})))

    def heal(self) -> None:
        """End all faults and denials. Keys stay as they are."""
        with self._lock:
            self._faults.clear()

    def _add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def _spend(self, act: Act, request: Request) -> Fault | None:
        """Return the first fault for *request*, and count it off."""
        for fault in self._faults:
            if fault.act == act and fault.times != 0 and fault.matches(request):
                fault.times = None if fault.times is None else fault.times - 1
                return fault
        return None

    def _permit(self, request: Request) -> None:
        if self._spend("deny", request):
            raise Refusal("AccessDeniedException", f"not authorized to perform: kms:{request.operation}")


def tampered(members: Mapping[str, Any], change: Mapping[str, Any] | bytes) -> bytes:
    """Return the body of an answer of *members* with the *change* that `Faults.tamper` was given."""
    if isinstance(change, bytes):
        return change
    changed = {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for name, value in {**members, **change}.items()
        if value is not None
    }
    return json.dumps(changed).encode()
