"""A port of 127.0.0.1 that speaks HTTP/1.1, with or without TLS, and closes every connection when it is closed."""

import socket
import socketserver
import ssl
import struct
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal, NamedTuple

HOST = "127.0.0.1"
BACKLOG = 128  # connections not yet accepted: a test may start many threads at once
REQUEST_MAX = 1_048_576  # bytes; the longest blob and context are far below
STOP_SECONDS = 5.0  # for the threads of all connections together
POLL_SECONDS = 0.02  # how long a stop may go unseen
CONTENT_TYPE = "application/x-amz-json-1.1"


class Answer(NamedTuple):
    """The answer to a request, and how much of it is sent; after less than the whole, the connection is closed."""

    status: int = 0
    body: bytes = b""
    sent: Literal["whole", "half", "nothing", "reset"] = "whole"


class Listener(socketserver.TCPServer):
    """Accepts connections, gives each a thread, and ends them all when it stops."""

    allow_reuse_address = True
    request_queue_size = BACKLOG

    def __init__(self, answer: Callable[[str, Message, bytes], Answer], tls: ssl.SSLContext | None) -> None:
        super().__init__((HOST, 0), _Handler)
        self.answer = answer
        self._tls = tls
        self._open: dict[threading.Thread, socket.socket] = {}
        self._thread = threading.Thread(target=self.serve_forever, args=(POLL_SECONDS,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port and all connections, and wait for their threads."""
        self.shutdown()
        self._thread.join()
        self.server_close()
        deadline = time.monotonic() + STOP_SECONDS
        for thread, connection in list(self._open.items()):
            with suppress(OSError):
                # Not the method of an SSLSocket, which drops the session while another thread reads from it.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            thread.join(max(0.0, deadline - time.monotonic()))

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection its thread."""
        if self._tls is not None:
            # The connection's own thread does the handshake: a slow client must not stop others here.
            request = self._tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=self._serve, args=(request, client_address), daemon=True)
        self._open[thread] = request
        thread.start()

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:
            pass  # the client closed the connection, or does not trust the certificate
        finally:
            self.shutdown_request(request)
            del self._open[threading.current_thread()]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the last packet of an answer waits 40 ms for an acknowledgement
    wbufsize = -1  # and an answer is one packet
    server: Listener

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > REQUEST_MAX:
            self.close_connection = True
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
            return
        answer = self.server.answer(self.path, self.headers, self.rfile.read(int(length)))
        self.close_connection = self.close_connection or answer.sent != "whole"
        if answer.sent == "reset":  # closed without an orderly shutdown
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        if answer.sent in ("nothing", "reset"):
            return
        self.send_response(answer.status)
        self.send_header("x-amzn-RequestId", str(uuid.uuid4()))
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body if answer.sent == "whole" else answer.body[: len(answer.body) // 2])

    def log_message(self, *_: object) -> None:
        """Write nothing: the log is `KmsServer.calls`."""
