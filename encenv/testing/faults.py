"""The faults that a test orders from a KMS: which requests fail, how often, and how."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, TypedDict, Unpack

from encenv.testing.operations import OPERATIONS
from encenv.testing.request import Refusal, Request

Act = Literal["deny", "fail", "delay", "drop", "halve", "tamper"]


class Where(TypedDict, total=False):
    """The keyword arguments that restrict a fault: to one key, to one region, to the next *times* requests."""

    key: str | None
    region: str | None
    times: int | None


@dataclass
class FaultRule:
    """One fault, and which requests have it; the last fields are the arguments of its method of `Faults`."""

    act: Act
    operation: str
    key: str | None = None
    region: str | None = None
    times: int | None = None
    unless_context: Mapping[str, str] | None = None
    seconds: float = 0.0
    code: str | None = None
    status: int | None = None
    reset: bool = False
    change: Mapping[str, Any] | bytes = b""

    def matches(self, request: Request) -> bool:
        """Return whether *request* has this fault."""
        return (
            self.times != 0
            and fnmatchcase(request.operation, self.operation)
            and self.region in (None, request.region)
            and self.key in (None, request.key)
            and not (self.unless_context and self.unless_context.items() <= request.context.items())
        )


class Faults:
    """The part of a test KMS that fails on demand.

    In every method *operation* is a name or pattern such as ``"GenerateDataKey*"``. The keywords *key* (an ARN, for
    requests that name their key), *region* and *times* restrict the fault; without *times* it lasts until `heal`. If
    several faults of one kind match a request, it has the first one.
    """

    def __init__(self) -> None:
        self._faults: list[FaultRule] = []
        # For keys, faults and log. Reentrant: an operation on a key looks for faults while it holds the lock.
        self._lock = threading.RLock()

    def fail(
        self,
        operation: str = "*",
        *,
        code: str | None = "KMSInternalException",
        status: int | None = None,
        **where: Unpack[Where],
    ) -> None:
        """Answer with an error and do nothing.

        Args:
            operation: Which requests.
            code: The error code, such as ``ThrottlingException``; None for an empty body, as a proxy might send.
            status: The HTTP status; the code's own if left out.
            where: *key*, *region*, *times*.
        """
        self._add(FaultRule("fail", operation, code=code, status=status, **where))

    def delay(self, seconds: float, operation: str = "*", **where: Unpack[Where]) -> None:
        """Answer *seconds* later, or never (``math.inf``). The request is performed and logged at once."""
        self._add(FaultRule("delay", operation, seconds=seconds, **where))

    def drop(self, operation: str = "*", *, reset: bool = False, **where: Unpack[Where]) -> None:
        """Close the connection without an answer and do nothing; with *reset*, close it as a crash does."""
        self._add(FaultRule("drop", operation, reset=reset, **where))

    def half_answer(self, operation: str = "*", **where: Unpack[Where]) -> None:
        """Perform the request, send half of the answer and close the connection."""
        self._add(FaultRule("halve", operation, **where))

    def tamper(self, change: Mapping[str, Any] | bytes, operation: str = "*", **where: Unpack[Where]) -> None:
        """Perform the request and change the answer, as AWS never does.

        Args:
            change: Members that replace the right ones, such as ``{"KeyId": other}`` or ``{"Plaintext": b"short"}``
                (bytes are sent as base64, None removes a member); or the whole body, such as ``b"{"``.
            operation: Which requests.
            where: *key*, *region*, *times*.
        """
        self._add(FaultRule("tamper", operation, change=change, **where))

    def deny(
        self,
        operation: str = "*",
        *,
        unless_context: Mapping[str, str] | None = None,
        **where: Unpack[Where],
    ) -> None:
        """Answer AccessDeniedException, as an explicit deny in a key policy does.

        Args:
            operation: Which requests.
            unless_context: Pairs; a request with all of them in its encryption context is allowed.
            where: *key*, *region*, *times*.
        """
        self._add(FaultRule("deny", operation, unless_context=unless_context, **where))

    def heal(self) -> None:
        """End all faults and denials. Keys keep their state."""
        with self._lock:
            self._faults.clear()

    def _add(self, fault: FaultRule) -> None:
        # A misspelt operation would match nothing, and the test that uses it would test nothing.
        if not any(fnmatchcase(name, fault.operation) for name in OPERATIONS):
            raise ValueError(f"no operation is called {fault.operation}; there are {', '.join(OPERATIONS)}")
        with self._lock:
            self._faults.append(fault)

    def _next_fault(self, act: Act, request: Request) -> FaultRule | None:
        """Return the first fault for *request*, and count it."""
        for fault in self._faults:
            if fault.act == act and fault.matches(request):
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None

    def _check_permission(self, request: Request) -> None:
        if self._next_fault("deny", request):
            raise Refusal("AccessDeniedException", f"not authorized to perform: kms:{request.operation}")
