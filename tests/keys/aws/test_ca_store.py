"""Test which certificate authorities are trusted, with real stores, real servers and throwaway certificates."""

import contextlib
import hashlib
import ipaddress
import os
import re
import socket
import ssl
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from support.raw_server import RawServer
from support.workspace import without_coverage

from encenv.errors import KeyRefusedError, KeyUnreachableError
from encenv.keys.aws import ca_store
from encenv.keys.aws.ca_store import tls, whole_tls
from encenv.keys.aws.kms import AwsKms
from encenv.keys.aws.request import KmsHttp
from encenv.testing import KmsServer

pytest_plugins = ["encenv.testing"]

CONTEXT = {"encenv": "1"}
SECONDS = 20.0
DAY = timedelta(days=1)
AMAZON, STARFIELD = "Amazon Root CA 1", "Starfield Services Root Certificate Authority - G2"
SYSTEM = Path("/etc/ssl/certs/ca-certificates.crt")
HOST = "kms.us-east-1.amazonaws.com"


class Maker:
    """An authority with a given name."""

    def __init__(self, name):
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.pem = self._sign(self.name, self._key.public_key(), ca=True).public_bytes(Encoding.PEM)

    def server(self, folder, *names, until=DAY, self_signed=False):
        """Return the server's side of TLS with a certificate for *names*."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a server")])
        maker = self
        if self_signed:
            maker = Maker("nobody")
            maker._key, maker.name = key, subject
        certificate = maker._sign(subject, key.public_key(), names=names, until=until)
        path = Path(folder, f"server-{id(key)}.pem")
        path.write_bytes(
            certificate.public_bytes(Encoding.PEM)
            + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _sign(self, subject, public, *, names=(), until=DAY, ca=False):
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            self.name, subject, public, x509.random_serial_number(), now - 9 * DAY, now + until
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_name(n) for n in names]), critical=False
            )
        return builder.sign(self._key, hashes.SHA256())


def _name(text):
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


@pytest.fixture(autouse=True)
def _nothing_named(monkeypatch):
    """Name no store in the environment."""
    for name in ca_store._EXPLICIT:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def amazon():
    """An authority with the name of one of Amazon's."""
    return Maker(AMAZON)


@pytest.fixture
def other():
    """Another authority of the system."""
    return Maker("Another Root CA")


@pytest.fixture
def system(monkeypatch, tmp_path):
    """Make the system's store of a bundle and a folder, either of which may be missing."""

    def make(bundle=None, folder=None):
        path = tmp_path / "bundle.crt"
        if bundle is not None:
            path.write_bytes(bundle)
        paths = ssl.DefaultVerifyPaths(
            None if bundle is None else str(path),
            None if folder is None else str(folder),
            *("SSL_CERT_FILE", str(path), "SSL_CERT_DIR", str(folder)),
        )
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
        return path

    return make


def subjects(context):
    """Return the names of the authorities that *context* has loaded."""
    return sorted(
        value for one in context.get_ca_certs() for part in one["subject"] for key, value in part
        if key == "commonName"
    )  # fmt: skip


def hashed_folder(folder, pem):
    """Put *pem* into *folder* under its hashed name, as openssl-rehash does."""
    folder.mkdir(exist_ok=True)
    (folder / "one.pem").write_bytes(pem)
    (folder / f"{subject_hash(x509.load_pem_x509_certificate(pem).subject)}.0").symlink_to("one.pem")
    return folder


def subject_hash(name):
    """Return the hash under which OpenSSL looks up an authority with an ASCII common name: X509_NAME_hash(3).

    OpenSSL hashes the attributes in lower case, with single spaces, as UTF-8, without the outer SEQUENCE.
    """
    plain = [x509.NameAttribute(one.oid, " ".join(one.value.lower().split())) for one in name]
    encoded = x509.Name(plain).public_bytes()
    assert encoded[:1] == b"0"
    assert encoded[1] < 0x80  # one byte of length
    digest = hashlib.sha1(encoded[2:], usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}"


def connects(context, server, host="127.0.0.1"):
    """Return whether a client with *context* accepts a server with *server* as *host*."""
    with (
        RawServer(b"HTTP/1.1 200 OK\r\n\r\n", tls=server).running() as peer,
        socket.create_connection(("127.0.0.1", peer.port)) as sock,
    ):
        try:
            with context.wrap_socket(sock, server_hostname=host) as over:
                over.sendall(b"GET / HTTP/1.1\r\n\r\n")
                return bool(over.recv(1))
        except ssl.SSLError:
            return False


# -- which authorities


def test_a_bundle_is_narrowed(system, amazon, other):
    """For an endpoint of AWS only Amazon's authorities in the system's bundle are loaded; else the whole bundle."""
    starfield = Maker(STARFIELD)
    text = b"# some words\n" + other.pem + amazon.pem.replace(b"\n", b"\r\n") + b"\n\n" + starfield.pem
    system(text)
    assert subjects(tls({}, is_amazon=True)) == [AMAZON, STARFIELD]
    assert subjects(tls({}, is_amazon=False)) == [AMAZON, "Another Root CA", STARFIELD]
    assert subjects(whole_tls({})) == [AMAZON, "Another Root CA", STARFIELD]


@pytest.mark.skipif(not SYSTEM.is_file(), reason="this system has no bundle there")
def test_the_systems_own_bundle(system, other):
    """From a real system's bundle, with one authority more, exactly Amazon's authorities are loaded."""
    own = Maker("Amazon Root CA 9 of a test")
    system(own.pem + SYSTEM.read_bytes() + other.pem)
    kept = tls({}, is_amazon=True).get_ca_certs(binary_form=True)
    every = whole_tls({}).get_ca_certs(binary_form=True)
    names = subjects(tls({}, is_amazon=True))
    assert {"Amazon Root CA 1", "Amazon Root CA 2", "Amazon Root CA 3", "Amazon Root CA 4"} < set(names)
    assert "Amazon Root CA 9 of a test" in names
    assert "Another Root CA" not in names
    assert all("Amazon" in name or "Starfield" in name for name in names)
    assert set(kept) < set(every)
    assert len(every) > 50


def test_a_bundle_without_amazon(system, other):
    """A bundle without an authority of Amazon's is loaded whole."""
    system(other.pem)
    assert subjects(tls({}, is_amazon=True)) == ["Another Root CA"]


def test_a_hashed_folder(system, amazon, other, tmp_path):
    """A folder of hashed names is read as needed and not before; the bundle beside it is not read."""
    folder = hashed_folder(tmp_path / "hashed", amazon.pem)
    system(other.pem, folder)
    context = tls({}, is_amazon=True)
    assert subjects(context) == []
    assert connects(context, amazon.server(tmp_path, "127.0.0.1"))
    assert not connects(tls({}, is_amazon=True), other.server(tmp_path, "127.0.0.1"))
    assert connects(whole_tls({}), other.server(tmp_path, "127.0.0.1"))
    assert connects(whole_tls({}), amazon.server(tmp_path, "127.0.0.1"))


def test_a_folder_that_is_not_hashed(system, other, tmp_path):
    """A folder without hashed names is skipped: OpenSSL would find nothing in it."""
    folder = tmp_path / "certs"
    folder.mkdir()
    (folder / "one.pem").write_bytes(other.pem)
    system(other.pem, folder)
    assert subjects(tls({}, is_amazon=False)) == ["Another Root CA"]


@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_a_named_bundle(system, amazon, other, tmp_path, name):
    """A bundle that botocore's variables name is loaded whole and alone, for Amazon, too."""
    system(Maker("not this one").pem)
    (tmp_path / "own.pem").write_bytes(amazon.pem + other.pem)
    environ = {name: str(tmp_path / "own.pem")}
    assert subjects(tls(environ, is_amazon=True)) == [AMAZON, "Another Root CA"]
    assert whole_tls(environ) is None


def test_which_of_two_bundles(system, amazon, other, tmp_path):
    """AWS_CA_BUNDLE comes before REQUESTS_CA_BUNDLE, as with botocore, and both before OpenSSL's variables."""
    system(Maker("not this one").pem)
    for name, pem in {"a": amazon.pem, "b": other.pem, "c": Maker("nor this").pem}.items():
        (tmp_path / name).write_bytes(pem)
    environ = {
        "AWS_CA_BUNDLE": str(tmp_path / "a"),
        "REQUESTS_CA_BUNDLE": str(tmp_path / "b"),
        "SSL_CERT_FILE": str(tmp_path / "c"),
    }
    assert subjects(tls(environ, is_amazon=True)) == [AMAZON]
    assert subjects(tls({**environ, "AWS_CA_BUNDLE": ""}, is_amazon=True)) == ["Another Root CA"]


def test_a_named_folder(system, amazon, other, tmp_path):
    """AWS_CA_BUNDLE may name a folder of hashed names."""
    system(other.pem)
    environ = {"AWS_CA_BUNDLE": str(hashed_folder(tmp_path / "hashed", amazon.pem))}
    assert connects(tls(environ, is_amazon=True), amazon.server(tmp_path, "127.0.0.1"))
    assert not connects(tls(environ, is_amazon=True), other.server(tmp_path, "127.0.0.1"))


def test_openssls_variables(amazon, other, tmp_path, monkeypatch):
    """SSL_CERT_FILE and SSL_CERT_DIR are OpenSSL's own; their stores are loaded whole, for Amazon, too."""
    folder = hashed_folder(tmp_path / "hashed", amazon.pem)
    (tmp_path / "own.pem").write_bytes(other.pem)
    nowhere = str(tmp_path / "nowhere")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "own.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", nowhere)
    assert subjects(tls(os.environ, is_amazon=True)) == ["Another Root CA"]
    assert whole_tls(os.environ) is None
    monkeypatch.setenv("SSL_CERT_FILE", nowhere)
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    assert connects(tls(os.environ, is_amazon=True), amazon.server(tmp_path, "127.0.0.1"))
    assert not connects(tls(os.environ, is_amazon=True), other.server(tmp_path, "127.0.0.1"))


# -- no store


def test_botocores_own_store(system):
    """Without a system store the one that botocore ships is loaded, and botocore is not imported."""
    system()
    import botocore

    shipped = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    shipped.load_verify_locations(cafile=Path(botocore.__file__).with_name("cacert.pem"))
    assert tls({}, is_amazon=True).get_ca_certs() == shipped.get_ca_certs() != []
    code = """
    import ssl, sys
    from encenv.keys.aws.ca_store import tls
    ssl.get_default_verify_paths = lambda: ssl.DefaultVerifyPaths(None, None, "", "", "", "")
    assert tls({}, is_amazon=True).get_ca_certs()
    assert "botocore" not in sys.modules
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=without_coverage(os.environ),
        timeout=SECONDS,
        check=True,
    )


def test_no_store_at_all(system, monkeypatch):
    """Without any store there is no connection, and the hint says what to install."""
    system()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(KeyUnreachableError) as caught:
        tls({}, is_amazon=True)
    assert "certificate authorities" in caught.value.message
    assert "AWS_CA_BUNDLE" in caught.value.hint
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_store_that_cannot_be_read(tmp_path, content):
    """A named bundle that is missing, empty or not a bundle is an error, and no other is used instead."""
    path = tmp_path / "own.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KeyUnreachableError, match="certificate authorities"):
        tls({"AWS_CA_BUNDLE": str(path)}, is_amazon=True)


# -- nobody else


BAD = {
    "a wrong name": lambda made, folder: made.server(folder, "kms.evil.example"),
    "a name above it": lambda made, folder: made.server(folder, "*.amazonaws.com", "amazonaws.com"),
    "an address": lambda made, folder: made.server(folder, "127.0.0.1"),
    "expired": lambda made, folder: made.server(folder, HOST, until=-DAY),
    "self-signed": lambda made, folder: made.server(folder, HOST, self_signed=True),
    "an unknown authority": lambda _, folder: Maker(AMAZON).server(folder, HOST),
    "no TLS": lambda *_: None,
}


@pytest.fixture
def kms_at(monkeypatch, tmp_path):
    """Start a KMS with a given TLS, and send every connection to it, whatever its address."""

    @contextlib.contextmanager
    def make(server):
        with KmsServer(tls=server or False) as kms:
            for name, value in kms.environ().items():
                monkeypatch.setenv(name, value)
            monkeypatch.delenv("AWS_ENDPOINT_URL_KMS")
            monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
            connect, port = socket.create_connection, int(kms.url.rpartition(":")[2])
            places = []

            def elsewhere(place, timeout):
                places.append(place)
                return connect(("127.0.0.1", port), timeout)

            monkeypatch.setattr(socket, "create_connection", elsewhere)
            yield kms, kms.create_key(), places

    return make


def decrypt(arn):
    """Call Decrypt with something that is not a data key: KMS refuses it if it is reached."""
    lean = KmsHttp.for_key(arn, os.environ)
    assert lean is not None
    lean.decrypt(b"nothing", CONTEXT, SECONDS)


@pytest.mark.parametrize("name", BAD)
def test_servers_that_are_rejected(system, kms_at, amazon, tmp_path, name):
    """A server without a valid certificate for the host of KMS, from a trusted authority, is sent nothing."""
    system(amazon.pem)
    with kms_at(BAD[name](amazon, tmp_path)) as (kms, arn, places):
        with pytest.raises(KeyUnreachableError) as caught:
            decrypt(arn)
        assert re.search("certificate is not trusted|no secure connection", caught.value.message)
        assert "AWS_CA_BUNDLE" in caught.value.hint
        assert places
        assert kms.calls == []


def test_old_versions_of_tls(system, kms_at, amazon, tmp_path):
    """A server that speaks nothing above TLS 1.1 is sent nothing, although another client would talk to it."""
    system(amazon.pem)
    server = amazon.server(tmp_path, HOST)
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        server.minimum_version, server.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    server.set_ciphers("ALL:@SECLEVEL=0")
    lax = tls({}, is_amazon=True)
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        lax.minimum_version = ssl.TLSVersion.TLSv1
    lax.set_ciphers("ALL:@SECLEVEL=0")
    assert connects(lax, server, HOST)
    strict = tls({}, is_amazon=True)
    strict.set_ciphers("ALL:@SECLEVEL=0")
    assert not connects(strict, server, HOST)
    with kms_at(server) as (kms, arn, _):
        with pytest.raises(KeyUnreachableError, match="no secure connection"):
            decrypt(arn)
        assert kms.calls == []


@pytest.mark.parametrize("whose", ["Amazon's", "another's"])
def test_servers_that_are_accepted(system, kms_at, amazon, other, tmp_path, whose):  # noqa: PLR0917 (fixtures)
    """KMS is called with Amazon's authorities, and once more with the whole store if they are not enough."""
    system(other.pem + amazon.pem)
    maker = {"Amazon's": amazon, "another's": other}[whose]
    with kms_at(maker.server(tmp_path, HOST)) as (kms, arn, places):
        with pytest.raises(KeyRefusedError, match="InvalidCiphertextException"):
            decrypt(arn)
        assert [call.signature for call in kms.calls] == ["verified"]
        assert places == [(HOST.encode(), 443)] * {"Amazon's": 1, "another's": 2}[whose]


def test_another_partition_is_not_narrowed(system, kms_at, amazon, other, tmp_path):
    """Other partitions of AWS may use other authorities: the whole store is loaded at once."""
    system(other.pem + amazon.pem)
    with kms_at(other.server(tmp_path, "kms.cn-north-1.amazonaws.com.cn")) as (kms, _, places):
        with pytest.raises(KeyRefusedError):
            decrypt("arn:aws-cn:kms:cn-north-1:111122223333:key/x")
        assert len(places) == len(kms.calls) == 1


def test_a_named_endpoint(system, amazon, other, tmp_path, monkeypatch):
    """An endpoint that the environment names is verified with the whole store at once, and by its name."""
    system(other.pem + amazon.pem)
    with KmsServer(tls=other.server(tmp_path, "127.0.0.1")) as kms:
        for name, value in kms.environ().items():
            monkeypatch.setenv(name, value)
        arn = kms.create_key()
        with pytest.raises(KeyRefusedError):
            decrypt(arn)
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", kms.url.replace("127.0.0.1", "localhost"))
        with pytest.raises(KeyUnreachableError, match="certificate is not trusted"):
            decrypt(arn)
        assert len(kms.calls) == 1


@pytest.mark.parametrize("path", ["lean", "boto3"])
@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_boto3_agrees(monkeypatch, tmp_path, path, name):
    """Calls with and without boto3 trust the authority in the variable; without the variable both refuse the server."""
    with KmsServer(tls=True) as kms:
        for variable, value in kms.environ().items():
            monkeypatch.setenv(variable, value)
        if path == "boto3":
            (tmp_path / "config").touch()
            monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        bundle = os.environ["AWS_CA_BUNDLE"]
        monkeypatch.delenv("AWS_CA_BUNDLE")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        monkeypatch.setenv(name, bundle)
        plain, item = AwsKms().generate(kms.create_key(), CONTEXT)
        assert AwsKms().unwrap(item, CONTEXT, SECONDS) == plain
        monkeypatch.delenv(name)
        kms.clear()
        with pytest.raises(KeyUnreachableError) as caught:
            AwsKms().unwrap(item, CONTEXT, SECONDS)
        assert "AWS_CA_BUNDLE" in caught.value.hint
        assert kms.calls == []
