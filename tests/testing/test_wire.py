"""Test the signatures, connections and TLS of the test KMS, and the test KMS in a process of its own."""

import contextlib
import datetime as dt
import http.client
import ipaddress
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
    SSLError,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.kms_client import client_of, send, signed_headers

from encenv.testing import Call, KmsServer, request

CONTEXT = {"encenv": "1", "stage": "prod"}
PLAINTEXT = b"canary-plaintext-of-this-file"


def test_request_ids(kms, client, key):
    """Every answer carries its own request id, also a refusal."""
    ids = {client.describe_key(KeyId=key)["ResponseMetadata"]["RequestId"]}
    with pytest.raises(ClientError) as caught:
        client.describe_key(KeyId="none")
    ids.add(caught.value.response["ResponseMetadata"]["RequestId"])
    ids.add(send(kms, {})[2]["x-amzn-RequestId"])
    assert len(ids) == 3
    assert all(re.fullmatch(r"[0-9a-f-]{36}", id_) for id_ in ids)


def test_authentication(kms):
    """A request without a well-formed AWS signature for KMS is refused."""
    good = signed_headers(kms, "CreateKey", b"{}")
    none = {name: value for name, value in good.items() if name != "Authorization"}
    assert send(kms, none)[1]["__type"] == "MissingAuthenticationTokenException"
    for text in (
        "Bearer x",
        "",
        good["Authorization"][:-1],
        good["Authorization"].replace("aws4_request", "aws5"),
    ):
        status, answer, _ = send(kms, {**good, "Authorization": text})
        assert (status, answer["__type"]) == (400, "IncompleteSignatureException")
    scoped = signed_headers(kms, "CreateKey", b"{}", service="s3")
    assert send(kms, scoped)[1]["__type"] == "InvalidSignatureException"
    assert [call.region for call in kms.calls] == [""] * 6


def test_check_signatures():
    """With check_signatures, boto3's signature is accepted; with any part of the request changed it is not."""
    with KmsServer(check_signatures=True) as kms:
        key = kms.create_key("eu-west-1")
        assert client_of(kms, "eu-west-1").generate_data_key(KeyId=key, NumberOfBytes=32)["KeyId"] == key
        good = signed_headers(kms, "CreateKey", b"{}")
        assert send(kms, good)[0] == 200

        def code(headers, body=b"{}"):
            return send(kms, headers, body)[1]["__type"]

        assert code(signed_headers(kms, "CreateKey", b"{}", key="AKIAOTHER")) == "UnrecognizedClientException"
        for headers, body in (
            (signed_headers(kms, "CreateKey", b"{}", secret="other"), b"{}"),  # the secret
            (good, b"{ }"),  # the body
            ({**good, "X-Amz-Target": "TrentService.Encrypt"}, b"{}"),  # a signed header
            ({**good, "X-Amz-Security-Token": "added"}, b"{}"),  # a header that had to be signed
            (
                {**good, "Authorization": good["Authorization"].replace("us-east-1", "eu-west-1")},
                b"{}",
            ),  # the scope
            ({**good, "X-Amz-Date": "20200101T000000Z"}, b"{}"),  # the time
            ({**good, "X-Amz-Date": "now"}, b"{}"),
        ):
            assert code(headers, body) == "InvalidSignatureException"


def test_old_signatures(monkeypatch):
    """With check_signatures, a valid signature from an hour ago is refused."""
    with KmsServer(check_signatures=True) as kms:
        headers = signed_headers(kms, "CreateKey", b"{}")

        class Later(dt.datetime):
            @classmethod
            def now(cls, tz=None):
                return super().now(tz) + dt.timedelta(hours=1)

        monkeypatch.setattr(request, "datetime", Later)
        assert send(kms, headers)[1]["__type"] == "InvalidSignatureException"


def test_keep_alive(kms, key):
    """Many requests go over one connection, each without the 40 ms that a delayed acknowledgement costs."""
    body = json.dumps({"KeyId": key, "NumberOfBytes": 32}).encode()
    headers = signed_headers(kms, "GenerateDataKey", body)
    connection = http.client.HTTPConnection("127.0.0.1", int(kms.url.rsplit(":", 1)[1]), timeout=5)
    connection.connect()
    own = connection.sock.getsockname()
    took = []
    for _ in range(20):
        start = time.perf_counter()
        connection.request("POST", "/", body, headers)
        assert connection.getresponse().read()
        took.append(time.perf_counter() - start)
        assert connection.sock.getsockname() == own
    connection.close()
    assert sorted(took)[10] < 0.03


def test_lengths(kms):
    """A request without a length, or one that is far too long, ends its own connection only."""
    for headers in ({"Transfer-Encoding": "chunked"}, {"Content-Length": "9999999999"}):
        connection = http.client.HTTPConnection("127.0.0.1", int(kms.url.rsplit(":", 1)[1]), timeout=5)
        connection.putrequest("POST", "/")
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        assert connection.getresponse().status == 411
        connection.close()
    assert send(kms, signed_headers(kms, "CreateKey", b"{}"))[0] == 200


def test_listens_on_loopback_only(kms):
    """The server is bound to 127.0.0.1."""
    assert kms.url.startswith("http://127.0.0.1:")
    with socket.create_connection(("127.0.0.1", int(kms.url.rsplit(":", 1)[1]))):
        pass
    assert kms._listener.socket.getsockname()[0] == "127.0.0.1"


def test_stop_is_quick_and_leaves_nothing(kms, key):
    """Stopping ends idle connections, waiting answers and all threads at once, and closes the port."""
    before = set(threading.enumerate())
    server = KmsServer()
    server.start()
    server.start()
    arn, client = server.create_key(), client_of(server, read_timeout=30)
    client.describe_key(KeyId=arn)  # its connection stays open
    server.delay(60)

    def refused_connection():
        with pytest.raises(HTTPClientError):
            client.describe_key(KeyId=arn)

    waiting = threading.Thread(target=refused_connection)
    waiting.start()
    while len(server.calls) < 2:
        time.sleep(0.001)
    start = time.perf_counter()
    server.stop()
    server.stop()
    waiting.join(5)
    assert time.perf_counter() - start < 2
    assert set(threading.enumerate()) <= before
    with pytest.raises(EndpointConnectionError):
        client.describe_key(KeyId=arn)
    server.heal()
    with server:
        assert client_of(server).describe_key(KeyId=arn)["KeyMetadata"]["Arn"] == arn


def test_url_before_start():
    """A server that is not started says so instead of giving an address."""
    with pytest.raises(RuntimeError, match="not started"):
        KmsServer().environ()


def test_many_threads(kms, key):
    """Requests of many threads are all answered and all logged."""
    client = client_of(kms)
    threads = [
        threading.Thread(target=client.generate_data_key, kwargs={"KeyId": key, "NumberOfBytes": 32})
        for _ in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kms.count("GenerateDataKey") == len(kms.calls) == 40


def test_tls(tmp_path):
    """With a certificate the server speaks TLS, to clients that trust it and to no others."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test KMS")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
    addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = builder.add_extension(addresses, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate = tmp_path / "certificate.pem"
    unencrypted = serialization.NoEncryption()
    certificate.write_bytes(
        builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        + private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, unencrypted)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with KmsServer(tls=context) as kms:
        assert kms.url.startswith("https://127.0.0.1:")
        key, client = kms.create_key(), client_of(kms, verify=str(certificate))
        assert client.generate_data_key(KeyId=key, NumberOfBytes=32)["KeyId"] == key
        with pytest.raises(SSLError):
            client_of(kms, verify=True).describe_key(KeyId=key)
        # A client that connects and sends nothing makes no other client wait.
        with socket.create_connection(("127.0.0.1", int(kms.url.rsplit(":", 1)[1]))):
            assert client_of(kms, verify=str(certificate)).describe_key(KeyId=key)
        kms.drop(times=1)
        with pytest.raises(HTTPClientError):
            client.describe_key(KeyId=key)
        assert client.describe_key(KeyId=key)["KeyMetadata"]["Arn"] == key


def test_signatures_in_the_log(kms):
    """The log says of every request how it was signed, whether or not that is checked."""
    good = signed_headers(kms, "CreateKey", b"{}")
    for headers in (
        good,
        signed_headers(kms, "CreateKey", b"{}", secret="other"),
        signed_headers(kms, "CreateKey", b"{}", key="AKIAOTHER"),
        {**good, "Authorization": "Bearer x"},
        {name: value for name, value in good.items() if name != "Authorization"},
    ):
        send(kms, headers)
    assert [call.signature for call in kms.calls] == ["verified", "wrong", "wrong", "malformed", "missing"]
    assert [call.error for call in kms.calls[:3]] == [None] * 3


def test_one_packet(kms, key):
    """An answer, head and body, is sent at once."""
    body = json.dumps({"KeyId": key}).encode()
    lines = [f"{name}: {value}" for name, value in signed_headers(kms, "DescribeKey", body).items()]
    head = "\r\n".join(
        ["POST / HTTP/1.1", f"Host: {kms.url[7:]}", *lines, f"Content-Length: {len(body)}", "", ""]
    )
    with socket.create_connection(("127.0.0.1", int(kms.url.rsplit(":", 1)[1]))) as connection:
        connection.sendall(head.encode() + body)
        answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 200")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["KeyMetadata"]["Arn"] == key


def test_watch():
    """The function *watch* is called with each request as it is logged."""
    seen = []
    with KmsServer(watch=seen.append) as kms:
        key = kms.create_key()
        client_of(kms).describe_key(KeyId=key)
        assert seen == kms.calls == [Call("DescribeKey", key, "us-east-1", {}, None)]


def test_tls_of_its_own():
    """With tls=True the server makes an authority and a certificate; only clients with its environment trust it."""
    kms = KmsServer(tls=True)
    for _ in range(2):  # the authority stays the same
        with kms:
            key, bundle = kms.create_key(), Path(kms.environ()["AWS_CA_BUNDLE"])
            strict = ssl.create_default_context(cafile=bundle)
            strict.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13
            port = int(kms.url.rsplit(":", 1)[1])
            for host in ("127.0.0.1", "localhost"):
                with socket.create_connection(("127.0.0.1", port)) as plain:
                    strict.wrap_socket(plain, server_hostname=host).close()
            with (
                socket.create_connection(("127.0.0.1", port)) as plain,
                pytest.raises(ssl.SSLCertVerificationError),
            ):
                strict.wrap_socket(plain, server_hostname="other.example")
            assert client_of(kms, verify=str(bundle)).describe_key(KeyId=key)
            with pytest.raises(SSLError):
                client_of(kms, verify=True).describe_key(KeyId=key)
            assert b"PRIVATE" not in bundle.read_bytes()
        assert not bundle.exists()


def test_tls_without_trustme(monkeypatch):
    """Where trustme is not installed, tls=True is an error that names the extra to install."""
    monkeypatch.setitem(sys.modules, "trustme", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs trustme: pip install 'encenv\[testing\]'"):
        KmsServer(tls=True)


def test_material():
    """Two servers with the same material have the same key: one opens the blobs of the other."""
    with KmsServer() as one, KmsServer() as other:
        key = one.create_key(material=bytes(32))
        assert other.create_key(material=bytes(32)) == key
        assert other.create_key(material=b"\1" * 32) != key
        blob = client_of(one).encrypt(KeyId=key, Plaintext=PLAINTEXT)["CiphertextBlob"]
        assert client_of(other).decrypt(KeyId=key, CiphertextBlob=blob)["Plaintext"] == PLAINTEXT
        for material, why in ((bytes(32), "already exists"), (bytes(31), "32 bytes"), (b"", "32 bytes")):
            with pytest.raises(ValueError, match=why):
                one.create_key(material=material)


# -- in a process of its own


@contextlib.contextmanager
def process(*options):
    """Yield what `python -m encenv.testing` printed first, and its output."""
    command = [sys.executable, "-m", "encenv.testing", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield json.loads(child.stdout.readline()), child.stdout
        finally:
            child.terminate()
            assert child.wait(10) == 0


def client_by(environ, region="us-east-1"):
    """Return a client of the server that *environ* leads to, which gives up soon."""
    keys = environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"]
    where = {"endpoint_url": environ["AWS_ENDPOINT_URL_KMS"], "verify": environ.get("AWS_CA_BUNDLE")}
    config = Config(retries={"total_max_attempts": 1}, read_timeout=2)
    return boto3.session.Session(*keys).client("kms", region, config=config, **where)


def test_process():
    """The program prints its URL and keys; the same seed makes the same keys, in every region of its options."""
    regions = ["--region", "us-east-1", "--region", "eu-west-1"]
    with (
        process("--seed", "s", *regions, "--tls", "--log") as (one, log),
        process("--seed", "s", *regions) as (other, _),
    ):
        assert one["url"].startswith("https://127.0.0.1:")
        assert one["keys"] == other["keys"]
        assert [key.split(":")[3] for key in one["keys"]] == ["us-east-1", "eu-west-1"]
        virginia, ireland = client_by(one["environ"], "us-east-1"), client_by(other["environ"], "eu-west-1")
        blob = virginia.encrypt(KeyId=one["keys"][0], Plaintext=PLAINTEXT)["CiphertextBlob"]
        assert ireland.decrypt(KeyId=one["keys"][1], CiphertextBlob=blob)["Plaintext"] == PLAINTEXT
        logged = json.loads(log.readline())
    assert (logged["operation"], logged["key"], logged["signature"]) == (
        "Encrypt",
        one["keys"][0],
        "verified",
    )
    assert not Path(one["environ"]["AWS_CA_BUNDLE"]).exists()


def test_process_delay():
    """The program can answer late or never, and still ends."""
    with process("--delay", "inf") as (made, _), pytest.raises(HTTPClientError, match=r"[Rr]ead timeout"):
        client_by(made["environ"]).describe_key(KeyId=made["keys"][0])
    for wrong in ("-1", "nan", "soon"):
        command = [sys.executable, "-m", "encenv.testing", "--delay", wrong]
        assert subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 2
