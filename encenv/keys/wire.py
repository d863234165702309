"""One HTTP exchange with the standard library: no proxy, no redirect, no compression, and an end to every wait."""

import http.client
import io
import select
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from encenv.keys.forks import fork_waits
from encenv.keys.kms_endpoint import Endpoint

BODY_MAX = 65_536  # bytes; what is read here is some hundred bytes of JSON
ANSWER_MAX = 2 * BODY_MAX  # with its headers, and whatever else a server says before or after
_PIECE = 8_192


class Answer(NamedTuple):
    """What came back.

    Attributes:
        status: The HTTP status.
        headers: The headers, by lower-case name.
        body: The body; it may hold a data key or credentials.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"<Answer {self.status}>"


class Patience(NamedTuple):
    """How long an exchange may take.

    Attributes:
        connect: Seconds for the connection, TLS included.
        read: Seconds for each wait for more of the answer.
        until: When all has to be over, by `time.monotonic`.
    """

    connect: float
    read: float
    until: float

    def left(self, seconds: float) -> float:
        """Return *seconds*, or what is left of the whole.

        Raises:
            TimeoutError: If nothing is left.
        """
        left = min(seconds, self.until - time.monotonic())
        if left <= 0:
            raise TimeoutError
        return left


class _Arriving(io.RawIOBase):
    """What comes out of a socket: as bytes that drip must not outlast the whole, each wait is given what is left."""

    def __init__(self, sock: socket.socket, patience: Patience) -> None:
        self._sock = sock
        self._patience = patience
        self._bytes_left = ANSWER_MAX

    def makefile(self, *_: object) -> io.BufferedReader:
        """Return a file to read from, as http.client asks a socket for one."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Put what is there into *buffer* and return how many bytes that is."""
        if self._bytes_left <= 0:
            raise http.client.HTTPException
        while True:
            try:
                with fork_waits():
                    count = self._sock.recv_into(buffer)
            except (ssl.SSLWantReadError, BlockingIOError):
                _wait(self._sock, select.POLLIN, self._patience.left(self._patience.read))
            else:
                self._bytes_left -= count
                return count


def _over_tls(sock: socket.socket, tls: ssl.SSLContext, host: bytes, patience: Patience) -> ssl.SSLSocket:
    """Return *sock* once TLS has begun over it. A fork waits for the cryptography, and not for the network."""
    until = time.monotonic() + patience.connect
    sock.settimeout(0)
    with fork_waits():
        over = tls.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    try:
        while True:
            event = select.POLLIN
            try:
                with fork_waits():
                    over.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLWantWriteError:
                event = select.POLLOUT
            else:
                return over
            _wait(over, event, patience.left(until - time.monotonic()))
    except BaseException:
        over.close()
        raise


def _wait(sock: socket.socket, event: int, seconds: float) -> None:
    poll = select.poll()  # not select.select, which takes no file above 1024
    poll.register(sock, event)
    if not poll.poll(seconds * 1000):
        raise TimeoutError


def exchange(  # noqa: PLR0913 (what an exchange is made of)
    endpoint: Endpoint,
    target: str,
    headers: Mapping[str, str],
    patience: Patience,
    *,
    body: bytes | None = None,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """Send a request to *endpoint*, a POST if it has a *body*, and return the answer.

    Args:
        endpoint: Where to.
        target: Path and query.
        headers: All headers but Content-Length.
        patience: How long it may take.
        body: The request's body.
        tls: Which CAs are trusted, for ``https``.

    Raises:
        OSError: If there is no connection, or it breaks or takes too long.
        ValueError: If a header cannot be sent. What is raised may hold it.
        http.client.HTTPException: If the answer is not HTTP, or is cut off.
    """
    if (tls is not None) != (endpoint.scheme == "https"):
        raise ValueError("TLS goes with https")
    # http.client lets a line through that goes on in the next one, and a zero byte.
    if not all(value.isascii() and value.isprintable() for value in headers.values()):
        raise ValueError("a header that is no header")
    # In bytes: a text would have encodings.idna imported, for names that are ASCII anyway.
    host = endpoint.host.encode("ascii")
    place = host, endpoint.port
    sock = socket.create_connection(place, patience.left(patience.connect))  # type: ignore[arg-type]  # bytes will do
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            sock = _over_tls(sock, tls, host, patience)
        connection = http.client.HTTPConnection(endpoint.host, endpoint.port)
        connection.sock = sock
        connection.set_debuglevel(0)  # if it is set for all: that prints the headers, and with them the token
        sock.settimeout(patience.left(patience.read))
        method = "GET" if body is None else "POST"
        with fork_waits():
            connection.request(method, target, body, {**headers, "Connection": "close"})
        sock.settimeout(0)
        arriving: Any = _Arriving(sock, patience)
        with http.client.HTTPResponse(arriving, method=method) as response:
            response.begin()
            body_read = b""
            while not response.isclosed() and len(body_read) <= BODY_MAX:
                piece = response.read1(_PIECE)
                if not piece:
                    break
                body_read += piece
            if response.length or len(body_read) > BODY_MAX:
                raise http.client.IncompleteRead(b"")
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, body_read)
    finally:
        sock.close()
