"""One HTTP exchange with the standard library: no proxy, no redirect, no compression, and an end to every wait.

An answer in the plainest form is read here: the import of `http.client` takes as long as all the rest of the exchange.
Whatever else may be an answer, `http.client` reads.
"""

import io
import select
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from encenv.keys.aws.endpoint import Endpoint
from encenv.keys.process_safety import fork_waits, lazily

if TYPE_CHECKING:
    import http.client as http_client
else:
    http_client = lazily("http.client")

OK = 200  # RFC 9110, 15.3.1
BODY_MAX = 65_536  # bytes; what is read here is some hundred bytes of JSON
ANSWER_MAX = 2 * BODY_MAX  # with its headers, and whatever else a server says before or after
_PIECE = 8_192
_WITHOUT_BODY = ("204", "304")  # RFC 9110, 6.4.1; what begins with 1 comes before the answer
_NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"  # RFC 9110, 5.6.2


class AnswerError(ConnectionError):
    """What came back is no HTTP, is cut off, or is too much; the text says which, and holds nothing of it."""


def kind_of(error: Exception) -> str:
    """Return what an exchange ended in, without the text of others' errors: that may hold a header."""
    return str(error) if isinstance(error, AnswerError) else type(error).__name__


class Answer:
    """What came back.

    Attributes:
        status: The HTTP status.
        headers: The headers, by lower-case name.
        body: The body; it may hold a data key or credentials.
    """

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def __repr__(self) -> str:
        return f"<Answer {self.status}>"


class Patience:
    """How long an exchange may take.

    Attributes:
        connect: Seconds for the connection, TLS included.
        read: Seconds for each wait for more of the answer.
        until: When all has to be over, by `time.monotonic`.
    """

    def __init__(self, connect: float, read: float, until: float) -> None:
        self.connect, self.read, self.until = connect, read, until

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

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Put what is there into *buffer* and return how many bytes that is."""
        if self._bytes_left <= 0:
            raise AnswerError("the answer is too long")
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
    sent: Callable[[], None] = lambda: None,
) -> Answer:
    """Send a request to *endpoint*, a POST if it has a *body*, and return the answer.

    Args:
        endpoint: Where to.
        target: Path and query.
        headers: All headers but Content-Length.
        patience: How long it may take.
        body: The request's body.
        tls: Which CAs are trusted, for ``https``.
        sent: Called when all is sent, before the answer is looked for.

    Raises:
        OSError: If there is no connection, or it breaks or takes too long; `AnswerError` if what comes is no answer.
        ValueError: If a header cannot be sent.
    """
    if (tls is not None) != (endpoint.scheme == "https"):
        raise ValueError("TLS goes with https")
    request = _request(target, {"Host": endpoint.authority, **headers}, body)
    # In bytes: a text would have encodings.idna imported, for names that are ASCII anyway.
    host = endpoint.host.encode("ascii")
    place = host, endpoint.port
    sock = socket.create_connection(place, patience.left(patience.connect))  # type: ignore[arg-type]  # bytes will do
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            sock = _over_tls(sock, tls, host, patience)
        sock.settimeout(patience.left(patience.read))
        with fork_waits():
            sock.sendall(request)
        sent()
        sock.settimeout(0)
        stream: Any = _Arriving(sock, patience)
        with io.BufferedReader(stream, _PIECE) as arriving:
            return _plain(arriving) or _any(arriving)
    finally:
        sock.close()


def _request(target: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    whole = {"Accept-Encoding": "identity", **headers, "Connection": "close"}
    if body is not None:
        whole["Content-Length"] = str(len(body))
    if " " in target or not all(text.isascii() and text.isprintable() for text in (target, *whole.values())):
        raise ValueError("a header that is no header")
    method = "GET" if body is None else "POST"
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in whole.items()), "", ""]
    return "\r\n".join(lines).encode("ascii") + (body or b"")


def _plain(arriving: io.BufferedReader) -> Answer | None:
    """Return the answer, if it is in the plainest form; else None, and nothing is read.

    That is RFC 9112 without an option: a head that comes in one piece, each name in it once, the body's length in digits.
    """
    head, end, _ = arriving.peek().partition(b"\r\n\r\n")
    start, *lines = head.decode("latin-1").split("\r\n")
    version, status, reason = start[:9], start[9:12], start[12:]
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not name or name.strip(_NAME) or not colon or not value.isprintable() or name.lower() in headers:
            return None
        headers[name.lower()] = value.strip()
    length = headers.get("content-length", "")
    is_plain = (
        end
        and version == "HTTP/1.1 "
        and status[:1] in ("2", "3", "4", "5")
        and len(status) == len("200")
        and status.isdecimal()
        and status not in _WITHOUT_BODY
        and reason.isprintable()
        and reason[:1] in ("", " ")
        and length.isascii()
        and length.isdecimal()
        and len(length) <= len(str(BODY_MAX))
        and int(length) <= BODY_MAX
        and "transfer-encoding" not in headers
    )
    if not is_plain:
        return None
    arriving.read(len(head) + len(end))
    body = arriving.read(int(length))
    if len(body) < int(length):
        raise AnswerError("the answer is cut off")
    return Answer(int(status), headers, body)


def _any(arriving: io.BufferedReader) -> Answer:
    """Return the answer as http.client reads it."""
    kind = ""
    try:
        sock: Any = _Made(arriving)
        with http_client.HTTPResponse(sock) as response:
            response.begin()
            body = b""
            while not response.isclosed() and len(body) <= BODY_MAX and (piece := response.read1(_PIECE)):
                body += piece
            if not response.length and len(body) <= BODY_MAX:
                names = {name.lower(): value for name, value in response.getheaders()}
                return Answer(response.status, names, body)
    except http_client.RemoteDisconnected:  # it is an OSError
        raise
    except (http_client.HTTPException, ValueError) as error:
        kind = type(error).__name__  # its text may hold what came
    raise AnswerError(f"the answer is no HTTP ({kind})" if kind else "the answer is cut off, or too long")


class _Made:
    """What http.client takes for a socket: a file to read from has been made of it."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file

    def makefile(self, _: str) -> io.BufferedReader:
        """Return the file."""
        return self._file
