"""A server that sends exactly the bytes that a test chooses, and stores the requests."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

SECONDS = 20.0  # to wait for a client


class RawServer:
    """Accept connections on a free port of *host*, one after the other, and handle each.

    Args:
        handle: A function called with each connection once its request is read, or bytes to send.
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
    def running(self) -> "Iterator[RawServer]":
        """Serve for as long as the block lasts."""
        self._thread.start()
        try:
            yield self
        finally:
            self.stopping.set()
            with suppress(OSError):  # ends accept() in the other thread
                self._listener.shutdown(socket.SHUT_RDWR)
            self._thread.join(SECONDS)
            self._listener.close()

    def drip(self, connection: socket.socket, start: bytes, drop: bytes, seconds: float = 0.02) -> None:
        """Send *start*, then *drop* again and again until the client closes the connection."""
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
            with suppress(OSError):  # the client closed, or does not trust the certificate
                if self._tls is not None:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                self.requests.append(_request(connection))
                if isinstance(self._handle, bytes):
                    connection.sendall(self._handle)
                else:
                    self._handle(connection)
            connection.close()


def _request(connection: socket.socket) -> bytes:
    """Read one request, headers and body."""
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
