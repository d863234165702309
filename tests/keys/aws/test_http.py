"""Test one HTTP exchange over real sockets: what is sent, what counts as an answer, and that it ends."""

import contextlib
import http.client
import io
import itertools
import socket
import ssl
import sys
import threading
import time

import pytest
import trustme
from hypothesis import event, given, settings
from hypothesis import strategies as st
from support.python_process import wait_until
from support.raw_server import RawServer

from encenv.keys.aws.endpoint import Endpoint
from encenv.keys.aws.http import ANSWER_MAX, BODY_MAX, AnswerError, Timeouts, _read_simple, exchange

SECONDS = 20.0
OK = b"HTTP/1.1 200 OK\r\n"


def ask(
    peer,
    *,
    seconds=SECONDS,
    read=SECONDS,
    host="127.0.0.1",
    headers=None,
    body=b"{}",
    target="/",
    while_waiting=lambda: None,
):
    """Return the answer of *peer*."""
    timeouts = Timeouts(SECONDS, read, time.monotonic() + seconds)
    return exchange(
        Endpoint("http", host, peer.port),
        target,
        headers or {},
        timeouts,
        body=body,
        while_waiting=while_waiting,
    )


def fails(peer, **options):
    """Return the error of an exchange with *peer*: one of those that callers expect."""
    with pytest.raises((OSError, ValueError)) as caught:
        ask(peer, **options)
    return caught.value


ANSWERS = {
    "usual": (OK + b"Content-Length: 5\r\n\r\nhello", b"hello"),
    "empty": (OK + b"Content-Length: 0\r\n\r\n", b""),
    "no length": (OK + b"\r\nhello", b"hello"),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
    "more than its length": (OK + b"Content-Length: 5\r\n\r\nhello and more", b"hello"),
    "a length that is none": (OK + b"Content-Length: -5\r\n\r\nhello", b"hello"),
    "chunked": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nA: b\r\n\r\n",
        b"hello",
    ),
    "told to go on": (
        b"HTTP/1.1 100 Continue\r\n\r\n" * 2 + OK + b"Content-Length: 5\r\n\r\nhello",
        b"hello",
    ),
    "packed": (OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "as large as it may be": (
        OK + f"Content-Length: {BODY_MAX}\r\n\r\n".encode() + b"x" * BODY_MAX,
        b"x" * BODY_MAX,
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers(name):
    """However the length of an answer is given, its body is read, and nothing is decompressed."""
    sent, body = ANSWERS[name]
    with RawServer(sent).running() as peer:
        answer = ask(peer)
    assert (answer.status, answer.body) == (200, body)


def test_work_while_waiting():
    """The callback runs when the peer has the whole request and has not answered yet."""
    answer, worked = ANSWERS["usual"][0], threading.Event()

    def handle(connection):
        worked.wait(SECONDS)
        connection.sendall(answer)

    def work():
        assert not worked.is_set()
        wait_until(lambda: peer.requests)
        worked.set()

    with RawServer(handle).running() as peer:
        assert ask(peer, while_waiting=work).body == b"hello"
    assert worked.is_set()


NO_ANSWERS = {
    "nothing": b"",
    "garbage": b"\x00\xff" * 40 + b"\r\n\r\n",
    "HTTP/0.9": b"hello",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "half a status": b"HTTP/1.1 20",
    "cut off": OK + b"Content-Length: 50\r\n\r\nhello",
    "cut off in a chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhe",
    "cut off between chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n",
    "a chunk without a size": OK + b"Transfer-Encoding: chunked\r\n\r\nx\r\nhello\r\n0\r\n\r\n",
    "a huge length": OK + b"Content-Length: 99999999999999\r\n\r\nhello",
    "a huge chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffffff\r\nhello",
    "more headers than there may be": OK + b"A: b\r\n" * 200 + b"\r\n",
    "a header that is too long": OK + b"A: " + b"b" * 70_000 + b"\r\n\r\n",
    "a large body": OK + f"Content-Length: {BODY_MAX + 1}\r\n\r\n".encode() + b"x" * (BODY_MAX + 1),
    "a large body of no length": OK + b"\r\n" + b"x" * (BODY_MAX + 1),
    "large chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"4000\r\n" + b"x" * 0x4000 + b"\r\n4000\r\n"
    b"" + b"x" * 0x4000 + b"\r\n9000\r\n" + b"x" * 0x9000 + b"\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", NO_ANSWERS)
def test_broken_answers(name):
    """An answer that is not HTTP, is cut off or is too large is an error, and no part of it is returned."""
    with RawServer(NO_ANSWERS[name]).running() as peer:
        fails(peer)


STARTS = [
    *("HTTP/1.1 200 OK", "HTTP/1.1 400 Bad Request", "HTTP/1.1 500", "HTTP/1.1 299 é"),
    *("HTTP/1.0 200 OK", "HTTP/1.1 204 OK", "HTTP/1.1 304 OK", "HTTP/1.1 100 OK", "HTTP/1.1  200 OK"),
]
USUAL = [
    "Date: now",
    "x-amzn-ErrorType: A:b",
    "Content-Type: application/x-amz-json-1.1",
    "X-Other: é",
    "X-None:",
]
LENGTHS = ["5", "0", "3", "05", " 5 ", "5\t", "+5", "-5", "5, 5", "²", "5\xa0", "99999", "65537", ""]
UNUSUAL = [
    None,
    "Transfer-Encoding: chunked",
    "no colon",
    "Content-Length: 5",
    "Date: then",
    " Folded: on",
    ": x",
]
ENDS = ["\r\n", "\n", "\r"]
BODIES = [b"hello", b"hello more", b"", b"he", b"5\r\nhello\r\n0\r\n\r\n"]


def test_the_simplest_form():
    """For every combination of these parts, our reader of simple answers reads the same as http.client."""
    outcomes = {
        _compare_with_http_client(start, USUAL, length, unusual, end, body)
        for start, length, unusual, end, body in itertools.product(STARTS, LENGTHS, UNUSUAL, ENDS, BODIES)
    }
    assert outcomes == {"cut off", "plain", "for http.client"}


@settings(max_examples=300)
@given(
    start=st.sampled_from(STARTS)
    | st.builds("HTTP/1.{} {}{}".format, st.integers(0, 2), st.integers(0, 6000), st.text(max_size=5)),
    usual=st.lists(st.sampled_from(USUAL), unique=True),
    length=st.sampled_from(LENGTHS),
    unusual=st.sampled_from(UNUSUAL)
    | st.builds("{}:{}".format, st.text(st.characters(max_codepoint=255), max_size=4), st.text(max_size=4)),
    end=st.just("\r\n") | st.sampled_from(ENDS),
    body=st.sampled_from(BODIES),
)
def test_the_simplest_form_of_any_text(*, start, usual, length, unusual, end, body):
    """Both readers also read the same for any status, headers and text of a header."""
    event(_compare_with_http_client(start, usual, length, unusual, end, body))


def _compare_with_http_client(start, usual, length, unusual, end, body):  # noqa: PLR0917 (the parts of an answer)
    """Read an answer of these parts with both readers and compare; return what our reader made of it."""
    lines = [start, *usual, f"Content-Length: {length}", *([] if unusual is None else [unusual]), "", ""]
    sent = end.join(lines).encode("latin-1", "replace") + body
    arriving = io.BufferedReader(io.BytesIO(sent))
    try:
        answer = _read_simple(arriving)
    except AnswerError:
        response = http.client.HTTPResponse(_FakeSocket(sent))
        response.begin()
        with pytest.raises(http.client.IncompleteRead):
            response.read()
        return "cut off"
    if answer is None:
        assert arriving.read() == sent  # nothing was read
        return "for http.client"
    response = http.client.HTTPResponse(_FakeSocket(sent))
    response.begin()
    assert (answer.status, answer.body) == (response.status, response.read())
    assert answer.headers == {name.lower(): value.strip() for name, value in response.getheaders()}
    return "plain"


class _FakeSocket:
    def __init__(self, sent):
        self._sent = sent

    def makefile(self, _):
        """Return the answer as a file."""
        return io.BytesIO(self._sent)


@pytest.mark.parametrize(
    "name", ["usual", "empty", "packed", "as large as it may be", "more than its length"]
)
def test_without_http_client(name, monkeypatch):
    """An answer in the simplest form needs no http.client, however its body arrives."""
    monkeypatch.setitem(sys.modules, "http.client", None)
    sent, body = ANSWERS[name]
    head, _, rest = sent.partition(b"\r\n\r\n")

    def say(connection):
        connection.sendall(head + b"\r\n\r\n")
        for start in range(0, len(rest), 20_000):
            time.sleep(0.01)
            connection.sendall(rest[start : start + 20_000])

    with RawServer(say).running() as peer:
        assert ask(peer).body == body


def test_only_so_much_is_read():
    """A peer that sends ever more, in whatever part of an answer, is disconnected."""
    sent = []

    def pour(connection):
        while True:
            sent.append(connection.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 100))

    with RawServer(pour).running() as peer:
        assert isinstance(fails(peer), ConnectionError)
    # What was sent beyond ANSWER_MAX is in the buffers of the sockets.
    assert ANSWER_MAX < sum(sent) < 100 * ANSWER_MAX


DRIPS = {
    "a body": (OK + b"Content-Length: 60000\r\n\r\n", b"x"),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "a status": (b"HTTP/1.1 200 ", b"O"),
    "a header": (OK + b"A: ", b"b"),
    "headers": (OK, b"A: b\r\n"),
    "no end of going on": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "the end of the chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n"),
}


@pytest.mark.parametrize("name", DRIPS)
def test_a_dripping_answer(name):
    """An answer that arrives byte by byte is not waited for beyond the deadline."""
    start, drop = DRIPS[name]
    # Slow enough not to reach the limit of headers first.
    with RawServer(lambda connection: peer.drip(connection, start, drop)).running() as peer:
        assert isinstance(fails(peer, seconds=0.5), TimeoutError)


def test_silence():
    """A peer that takes the request and sends nothing is waited for until the read timeout."""
    with RawServer(lambda _: peer.stopping.wait(SECONDS)).running() as peer:
        assert isinstance(fails(peer, read=0.1), TimeoutError)
        assert isinstance(fails(peer, seconds=0.1), TimeoutError)


def test_a_handshake_that_is_not_answered():
    """A peer that accepts a connection and never begins TLS is waited for until the connect timeout."""
    with socket.create_server(
        ("127.0.0.1", 0)
    ) as listener:  # the system accepts the connection, but no program reads from it
        endpoint = Endpoint("https", "127.0.0.1", listener.getsockname()[1])
        tls = _client()
        for timeouts in (
            Timeouts(0.1, SECONDS, time.monotonic() + SECONDS),
            Timeouts(SECONDS, SECONDS, time.monotonic() + 0.1),
        ):
            with pytest.raises(TimeoutError):
                exchange(endpoint, "/", {}, timeouts, body=b"{}", tls=tls)


def test_a_port_that_accepts_no_connection():
    """A port that accepts no connection is waited for until the connect timeout."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting = []
        try:
            for _ in range(4):  # until the queue is full; the system then drops further connections
                waiting.append(socket.socket())
                waiting[-1].settimeout(0)
                waiting[-1].connect_ex(("127.0.0.1", port))
            with pytest.raises(TimeoutError):
                exchange(
                    Endpoint("http", "127.0.0.1", port),
                    "/",
                    {},
                    Timeouts(0.2, SECONDS, time.monotonic() + SECONDS),
                    body=b"{}",
                )
        finally:
            for each in waiting:
                each.close()


def test_nobody_listens():
    """A port without a listener is an error at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        exchange(
            Endpoint("http", "127.0.0.1", port), "/", {}, Timeouts(1, 1, time.monotonic() + 1), body=b"{}"
        )


def test_no_time():
    """After the deadline no connection is opened."""
    with RawServer(OK).running() as peer:
        assert isinstance(fails(peer, seconds=-1), TimeoutError)
        assert peer.requests == []


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_ipv6():
    """An IPv6 address is reached."""
    with RawServer(OK + b"Content-Length: 0\r\n\r\n", host="::1").running() as peer:
        assert ask(peer, host="::1", headers={"Host": f"[::1]:{peer.port}"}).status == 200
        assert f"Host: [::1]:{peer.port}".encode() in peer.requests[0]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer(status):
    """A redirect is returned as the answer, and not followed."""
    with RawServer(OK).running() as elsewhere:
        place = f"Location: http://127.0.0.1:{elsewhere.port}/\r\n"
        with RawServer(
            f"HTTP/1.1 {status} Moved\r\n{place}Content-Length: 0\r\n\r\n".encode()
        ).running() as peer:
            assert ask(peer).status == status
        assert elsewhere.requests == []


def test_the_request():
    """A body makes the request a POST; each header is sent once, and none that would allow compression."""
    with RawServer(OK + b"Content-Length: 0\r\n\r\n").running() as peer:
        ask(peer, headers={"Host": "kms", "Accept-Encoding": "identity"}, body=b'{"a": 1}')
        ask(peer, headers={"Host": "kms"}, body=None, target="/v1/credentials?of=me")
    post, get = (request.split(b"\r\n") for request in peer.requests)
    assert post[0] == b"POST / HTTP/1.1"
    assert sorted(post[1:-2]) == [
        b"Accept-Encoding: identity",
        b"Connection: close",
        b"Content-Length: 8",
        b"Host: kms",
    ]
    assert post[-1] == b'{"a": 1}'
    assert get[0] == b"GET /v1/credentials?of=me HTTP/1.1"
    assert sorted(get[1:-2]) == [b"Accept-Encoding: identity", b"Connection: close", b"Host: kms"]


@pytest.mark.parametrize(
    "value",
    [
        "canary\r\nX-Evil: 1",
        "canary\n",
        "canary\r\n X-Evil: 1",
        "canary\n\tX-Evil: 1",
        "canary\0",
        "canaryé",
        "\ud800",
    ],
    ids=ascii,
)
def test_a_value_that_no_header_can_hold(value):
    """A value with a line break or a control character is refused before a connection is opened."""
    with RawServer(OK).running() as peer:
        error = fails(peer, headers={"Authorization": value})
        assert isinstance(error, ValueError)
        assert "canary" not in str(error)
        assert peer.requests == []


def test_the_debug_level(monkeypatch, capfd):
    """The debug level of http.client, which prints what is sent, has no effect here."""
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    for length in (b"Content-Length: 6\r\n", b""):
        with RawServer(OK + b"X-Canary: canary\r\n" + length + b"\r\ncanary").running() as peer:
            assert ask(peer, headers={"X-Token": "canary"}, body=b"canary").body == b"canary"
    assert capfd.readouterr() == ("", "")


def test_nothing_is_shown():
    """The repr of an answer holds nothing of its content."""
    with RawServer(OK + b"X-Canary: canary\r\nContent-Length: 6\r\n\r\ncanary").running() as peer:
        assert repr(ask(peer)) == "<Answer 200>"


@pytest.mark.parametrize(("scheme", "is_given"), [("http", True), ("https", False)])
def test_https_needs_tls(scheme, is_given):
    """An https endpoint is not called without TLS."""
    with RawServer(OK).running() as peer:
        with pytest.raises(ValueError, match="TLS"):
            exchange(
                Endpoint(scheme, "127.0.0.1", peer.port),
                "/",
                {},
                Timeouts(1, 1, time.monotonic() + 1),
                tls=_client() if is_given else None,
            )
        assert peer.requests == []


def test_no_socket_is_left(monkeypatch):
    """However an exchange ends, its socket is closed."""
    sockets = []
    create = socket.create_connection
    monkeypatch.setattr(
        socket,
        "create_connection",
        lambda *args, **options: sockets.append(create(*args, **options)) or sockets[-1],
    )
    for sent in (
        ANSWERS["usual"][0],
        NO_ANSWERS["garbage"],
        NO_ANSWERS["a large body"],
        ANSWERS["chunked"][0],
    ):
        with RawServer(sent).running() as peer, contextlib.suppress(AnswerError):
            ask(peer)
    assert len(sockets) == 4
    assert {sock.fileno() for sock in sockets} == {-1}


def _client():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=trustme.CA().cert_pem.bytes().decode())
    return context
