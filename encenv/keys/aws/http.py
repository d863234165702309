"""One HTTP exchange with the standard library: no proxy, no redirect, no compression, and a limit to every wait.

An answer in the simplest form is parsed here, since importing `http.client` takes as long as the rest of the exchange;
`http.client` parses all others.
"""

import io
import json
import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from encenv.keys.aws.endpoint import Endpoint
from encenv.keys.process_safety import fork_waits, lazily

if TYPE_CHECKING:
    import http.client as http_client
else:
    http_client = lazily("http.client")

OK = 200  # RFC 9110, 15.3.1
BODY_MAX = 65_536  # bytes; what is read here is some hundred bytes of JSON
ANSWER_MAX = 2 * BODY_MAX  # with its headers, and whatever else a server sends before or after
_BUFFER = 8_192
_STATUS_MAX = 599  # RFC 9110, 15
_WITHOUT_BODY = ("204", "304")  # RFC 9110, 6.4.1; a status 1xx comes before the answer
_NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"  # RFC 9110, 5.6.2


class AnswerError(ConnectionError):
    """The answer is not HTTP, is cut off, or is too long; the message says which, and quotes nothing of it."""


def cause_of(error: Exception) -> str:
    """Say in words how an exchange failed, without the text of the error, which may hold a header."""
    causes: tuple[tuple[type[Exception], str], ...] = (
        (ssl.SSLCertVerificationError, "the server's certificate is not trusted"),
        (ssl.SSLError, "no secure connection"),
        (TimeoutError, "no answer in time"),
        (socket.gaierror, "no such host"),
        (ConnectionRefusedError, "connection refused"),
        (ConnectionError, "the connection was closed"),
        (UnicodeError, "a file cannot be read as ASCII"),
        (ValueError, "a header has a character that cannot be sent"),
    )
    if isinstance(error, AnswerError):
        return str(error)
    for kind, cause in causes:
        if isinstance(error, kind):
            return cause
    number = error.errno if isinstance(error, OSError) else None
    return "the connection failed" if number is None else os.strerror(number).lower()


class Answer:
    """An answer: its status, its headers by lower-case name, and its body, which may hold a data key or credentials."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def __repr__(self) -> str:
        return f"<Answer {self.status}>"

    def members(self) -> dict[str, Any]:
        """Return the members of the JSON object in the body; none if it is not one."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):  # the error holds the body
            return {}
        return value if isinstance(value, dict) else {}


class Timeouts:
    """How long an exchange may take."""

    def __init__(self, connect: float, read: float, deadline: float) -> None:
        self.connect = connect  # seconds for the connection, TLS included
        self.read = read  # seconds for each wait for more of the answer
        self.deadline = deadline  # the end of the whole exchange, by `time.monotonic`

    def limit(self, seconds: float) -> float:
        """Return *seconds*, or the time left until the deadline if that is less; raise TimeoutError if none is left."""
        left = min(seconds, self.deadline - time.monotonic())
        if left <= 0:
            raise TimeoutError
        return left


class _SocketStream(io.RawIOBase):
    """The bytes that a socket receives; the deadline holds even if they come one by one."""

    def __init__(self, sock: socket.socket, timeouts: Timeouts) -> None:
        self._sock = sock
        self._timeouts = timeouts
        self._bytes_left = ANSWER_MAX

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Receive bytes into *buffer* and return how many."""
        if self._bytes_left <= 0:
            raise AnswerError("the answer is too long")
        count: int = _when_ready(
            self._sock,
            lambda: self._sock.recv_into(buffer),
            lambda: self._timeouts.limit(self._timeouts.read),
        )
        self._bytes_left -= count
        return count


def exchange(  # noqa: PLR0913 (the parts of an exchange)
    endpoint: Endpoint,
    target: str,
    headers: Mapping[str, str],
    timeouts: Timeouts,
    *,
    body: bytes | None = None,
    tls: ssl.SSLContext | None = None,
    while_waiting: Callable[[], None] = lambda: None,
) -> Answer:
    """Send a request to *endpoint*, a POST if it has a *body*, and return the answer.

    *target* is path and query, and *tls* the trusted authorities, for ``https``. *while_waiting* is called when the
    request is sent, before the answer is read.

    Raises:
        OSError: If the connection fails, breaks or takes too long; `AnswerError` if the answer is not a valid one.
        ValueError: If a header cannot be sent.
    """
    if (tls is not None) != (endpoint.scheme == "https"):
        raise ValueError("https needs TLS, and http has none")
    request = _request(target, {"Host": endpoint.authority, **headers}, body)
    # Bytes, because a text would import encodings.idna for a name that is ASCII anyway.
    host = endpoint.host.encode("ascii")
    address = host, endpoint.port
    sock = socket.create_connection(address, timeouts.limit(timeouts.connect))  # type: ignore[arg-type]  # bytes will do
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            until = time.monotonic() + timeouts.connect
            sock.settimeout(0)
            with fork_waits():
                sock = secure = tls.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
            _when_ready(secure, secure.do_handshake, lambda: timeouts.limit(until - time.monotonic()))
        sock.settimeout(timeouts.limit(timeouts.read))
        with fork_waits():
            sock.sendall(request)
        while_waiting()
        sock.settimeout(0)
        stream: Any = _SocketStream(sock, timeouts)
        with io.BufferedReader(stream, _BUFFER) as reader:
            return _read_simple(reader) or _read_any(reader)
    finally:
        sock.close()


def _when_ready(sock: socket.socket, action: Callable[[], Any], seconds: Callable[[], float]) -> Any:
    """Return what *action* returns as soon as *sock*, which does not block, is ready for it.

    *seconds* says before each wait how long it may be. A fork waits for the cryptography, not for the network.
    """
    while True:
        event = select.POLLIN
        try:
            with fork_waits():
                return action()
        except (ssl.SSLWantReadError, BlockingIOError):
            pass
        except ssl.SSLWantWriteError:
            event = select.POLLOUT
        poll = select.poll()  # not select.select, which takes no file descriptor above 1023
        poll.register(sock, event)
        if not poll.poll(seconds() * 1000):
            raise TimeoutError


def _request(target: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    sent = {"Accept-Encoding": "identity", **headers, "Connection": "close"}
    if body is not None:
        sent["Content-Length"] = str(len(body))
    if " " in target or not all(text.isascii() and text.isprintable() for text in (target, *sent.values())):
        raise ValueError("a header cannot be sent")
    method = "GET" if body is None else "POST"
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
    return "\r\n".join(lines).encode("ascii") + (body or b"")


def _read_simple(reader: io.BufferedReader) -> Answer | None:
    """Return the answer if it has the simplest form of RFC 9112; else return None and read nothing.

    In that form the head comes in one piece, has each name once, in one line, and gives the length of the body in digits.
    """
    head, end, _ = reader.peek().partition(b"\r\n\r\n")
    start, *lines = head.decode("latin-1").split("\r\n")
    version, status, reason = start[:9], start[9:12], start[12:]
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not name or name.strip(_NAME) or not colon or not value.isprintable() or name.lower() in headers:
            return None
        headers[name.lower()] = value.strip()
    length = headers.get("content-length", "")
    has_status = status.isdecimal() and OK <= int(status) <= _STATUS_MAX and status not in _WITHOUT_BODY
    is_usual = version == "HTTP/1.1 " and has_status and reason.isprintable() and reason[:1] in ("", " ")
    # Not too many digits for int().
    has_length = length.isdecimal() and len(length) <= len(str(BODY_MAX)) and int(length) <= BODY_MAX
    if not end or not is_usual or not has_length or "transfer-encoding" in headers:
        return None
    reader.read(len(head) + len(end))
    body = reader.read(int(length))
    if len(body) < int(length):
        raise AnswerError("the answer is cut off")
    return Answer(int(status), headers, body)


def _read_any(reader: io.BufferedReader) -> Answer:
    """Return the answer as `http.client` reads it."""
    sock: Any = SimpleNamespace(makefile=lambda _: reader)  # the only part of a socket that it uses
    cause = "the answer is cut off, or too long"
    try:
        with http_client.HTTPResponse(sock) as response:
            response.begin()
            body = b""
            while not response.isclosed() and len(body) <= BODY_MAX and (piece := response.read1(_BUFFER)):
                body += piece
            if not response.length and len(body) <= BODY_MAX:
                headers = {name.lower(): value for name, value in response.getheaders()}
                return Answer(response.status, headers, body)
    except http_client.RemoteDisconnected:  # an OSError, not about the answer
        raise
    except (http_client.HTTPException, ValueError):  # its text may hold the answer
        cause = "the answer is not HTTP"
    raise AnswerError(cause)
