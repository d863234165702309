"""A peer that says what a test tells it to, byte for byte, and keeps what it was sent."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

SECONDS = 20.0  # whoever has not come by then does not come


class Peer:
    """Accepts connections on a free port of *host*, one after the other, and has each handled.

    Args:
        handle: Called with each connection once its request is read. Bytes: they are sent.
        host: An address of this machine.
        tls: The server's side of TLS, or None for none.
    """

    def __init__(
        self,
        handle: Callable[[socket.socket], None] | bytes,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._handle = handle
        self._tls = tls
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[bytes] = []
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @contextmanager
    def running(self) -> "Iterator[Peer]":
        """Serve for as long as the block lasts."""
        self._thread.start()
        try:
            yield self
        finally:
            self.stopping.set()
            with suppress(OSError):  # wakes what accepts
                self._listener.shutdown(socket.SHUT_RDWR)
            self._thread.join(SECONDS)
            self._listener.close()

    def drip(self, connection: socket.socket, start: bytes, drop: bytes, seconds: float = 0.02) -> None:
        """Send *start*, and then *drop* again and again until somebody has had enough."""
        connection.sendall(start)
        while not self.stopping.wait(seconds):
            connection.sendall(drop)

    def _serve(self) -> None:
        while not self.stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(SECONDS)
            with suppress(OSError):  # the client went away, or trusts nobody here
                if self._tls is not None:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                self.requests.append(_request(connection))
                if isinstance(self._handle, bytes):
                    connection.sendall(self._handle)
                else:
                    self._handle(connection)
            connection.close()


def _request(connection: socket.socket) -> bytes:
    """Return the request that comes, headers and body."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65_536)
        if not piece:
            return data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0].split(b":")[1]) if lengths else 0
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body
