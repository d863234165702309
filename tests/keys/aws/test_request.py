"""Test Decrypt without boto3: its request beside botocore's, its attempts and limits, and when boto3 is used."""

import base64
import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
from itertools import product

import boto3
import pytest
from botocore.config import Config
from botocore.retries import standard
from support.python_process import wait_until
from support.raw_server import RawServer
from support.workspace import without_coverage

from encenv import decrypt_environ
from encenv.errors import EncenvError, KeyRefusedError, KeyUnreachableError
from encenv.format.envelope import DataKey
from encenv.format.sealed import KeyEntry, WrappedKey
from encenv.keys.aws import request as kms_http
from encenv.keys.aws.kms import AwsKms
from encenv.keys.aws.request import KmsHttp
from encenv.keys.unwrap import clear_cache
from encenv.testing import KmsServer

pytest_plugins = ["encenv.testing"]

CONTEXT = {"encenv": "1", "stage": "prod"}
DATA_KEY = b"canary-data-key-of-the-lean-path"
SECONDS = 20.0
ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
ANSWER = {"KeyId": ARN, "Plaintext": base64.b64encode(DATA_KEY).decode()}


@pytest.fixture(autouse=True)
def _an_environment(monkeypatch):
    """An environment that needs no boto3, with nothing of the developer's own, and an empty cache."""
    with KmsServer() as kms:
        plain = kms.environ()
    for name in os.environ:
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in plain.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")
    clear_cache()


@pytest.fixture
def at(monkeypatch):
    """Send calls of KMS to a peer."""

    def lead(peer):
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{peer.port}")
        return peer

    return lead


def answer(body, status=200, headers=""):
    """Return an answer's bytes."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def decrypt(wrapped=b"wrapped", context=None, *, seconds=SECONDS, wait=lambda _: None):
    """Return the answer of KMS without boto3."""
    lean = KmsHttp.for_key(ARN, os.environ)
    assert lean is not None
    return lean.decrypt(wrapped, context or CONTEXT, seconds, wait=wait)


def fails(**options):
    """Return the error of a Decrypt."""
    with pytest.raises(EncenvError) as caught:
        decrypt(**options)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    return caught.value


# -- the request


def test_the_request_equals_botocores(at, monkeypatch):
    """The request has the same first line, host, type, target and members as botocore's, and every header is signed."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a/token+of=odd//characters==")
    wrapped = bytes(range(256))
    with RawServer(answer(ANSWER)).running() as peer:
        at(peer)
        decrypt(wrapped)
        boto3.session.Session().client("kms", config=Config(retries={"total_max_attempts": 1})).decrypt(
            KeyId=ARN, CiphertextBlob=wrapped, EncryptionContext=CONTEXT
        )
    ours, theirs = (_parts(request) for request in peer.requests)
    assert ours[0] == theirs[0] == "POST / HTTP/1.1"
    for name in ("host", "content-type", "x-amz-target", "x-amz-security-token"):
        assert ours[1][name] == theirs[1][name]
    assert json.loads(ours[2]) == json.loads(theirs[2])
    assert len(ours[2]) == int(ours[1]["content-length"])
    signed = ours[1]["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    assert set(signed) == ours[1].keys() - {"authorization", "connection", "content-length"}


def _parts(request):
    head, _, body = request.decode().partition("\r\n\r\n")
    line, *lines = head.split("\r\n")
    return line, {name.lower(): value for name, value in (one.split(": ", 1) for one in lines)}, body


def test_while_waiting(at, monkeypatch):
    """The callback runs once KMS has the whole request, and not while the credentials are fetched."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    credentials = answer({"AccessKeyId": "ASIA", "SecretAccessKey": "secret", "Token": "token"})
    seen, may_answer = [], threading.Event()

    def handle(connection):
        may_answer.wait(SECONDS)
        connection.sendall(answer(ANSWER))

    def work():
        wait_until(lambda: kms.requests)
        seen.append((len(container.requests), len(kms.requests)))
        may_answer.set()

    with RawServer(credentials).running() as container, RawServer(handle).running() as kms:
        at(kms)
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{container.port}/")
        lean = KmsHttp.for_key(ARN, os.environ)
        assert lean.decrypt(b"wrapped", CONTEXT, SECONDS, work)["Plaintext"] == DATA_KEY
    assert seen == [(1, 1)]


@pytest.mark.parametrize("token", ["", "a/b+c==", "two  spaces", " ends ", "~!@#$%^&*()|", "x" * 12_000])
def test_session_tokens(monkeypatch, token):
    """Any token that a header can carry is signed as it is sent: a KMS that checks signatures accepts it."""
    with KmsServer(check_signatures=True) as kms:
        for name, value in kms.environ().items():
            monkeypatch.setenv(name, value)
        plain, item = AwsKms().generate(kms.create_key(), CONTEXT)
        monkeypatch.setenv("AWS_SESSION_TOKEN", token)
        lean = KmsHttp.for_key(item.reference, os.environ)
        assert lean.decrypt(item.wrapped, CONTEXT, SECONDS)["Plaintext"] == plain
        assert kms.calls[-1].signature == "verified"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *product(
            ("AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN"),
            ("canary\nX-Evil: 1", "canary\r\n X-Evil: 1", "canary\u00e9", "canary\udcff"),
        ),
        ("AWS_SECRET_ACCESS_KEY", "canary\udcff"),  # not sent, but part of the signature
    ],
    ids=ascii,
)
def test_credentials_that_no_header_can_hold(at, monkeypatch, name, value):
    """Credentials that could add a header are neither sent nor shown, and tried once."""
    monkeypatch.setenv(name, value)
    waits = []
    with RawServer(answer(ANSWER)).running() as peer:
        at(peer)
        error = fails(wait=waits.append)
        assert peer.requests == []
    assert type(error) is KeyUnreachableError
    assert "canary" not in f"{error} {vars(error)}"
    assert "AWS settings" in error.hint
    assert waits == []


# -- the answer


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"canary",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b"\x1f\x8b\x08canary",
        {"KeyId": ARN},
        {"KeyId": ARN, "Plaintext": None},
        {"KeyId": ARN, "Plaintext": 5},
        {"KeyId": ARN, "Plaintext": "canary!"},
        {"KeyId": ARN, "Plaintext": "Y2FuYXJ5"},
        {"KeyId": ARN, "Plaintext": ""},
        {**ANSWER, "KeyId": None},
        {**ANSWER, "KeyId": [ARN]},
        {**ANSWER, "KeyId": ARN.replace("us-east-1", "us-east-2")},
        {**ANSWER, "KeyId": ARN[:-1]},
        {**ANSWER, "KeyId": ARN.upper()},
        {"keyid": ARN, "plaintext": ANSWER["Plaintext"]},
        {"Output": ANSWER},
    ],
    ids=lambda body: ascii(body)[:60],
)
def test_incomplete_answers(at, body):
    """A success that is not JSON, lacks a member, is for another key or holds no data key is refused, and not quoted."""
    with RawServer(answer(body)).running() as peer:
        at(peer)
        with pytest.raises(EncenvError) as caught:
            AwsKms().unwrap(WrappedKey("aws-kms", b"wrapped", ARN), CONTEXT, SECONDS)
    assert type(caught.value) in (KeyRefusedError, KeyUnreachableError)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert "canary" not in str(caught.value).lower()
    assert ANSWER["Plaintext"] not in str(caught.value)


@pytest.mark.parametrize("status", [201, 204, 301, 307, 400, 404])
def test_only_200_is_a_success(at, status):
    """Any other status is a failure, whatever comes with it, and no redirect is followed."""
    with RawServer(answer(ANSWER)).running() as elsewhere:
        place = f"Location: http://127.0.0.1:{elsewhere.port}/\r\n"
        with RawServer(answer(ANSWER, status, place)).running() as peer:
            at(peer)
            assert type(fails()) is KeyRefusedError
            assert len(peer.requests) == 1
        assert elsewhere.requests == []


@pytest.mark.parametrize("body", [b"[" * 60_000, b"canary", {"__type": 5}, {"__type": "a" * 60_000}, b"\xff"])
def test_errors_that_say_nothing(at, body):
    """An error without an error code in its body is named by its status."""
    with RawServer(answer(body, 400)).running() as peer:
        at(peer)
        error = fails()
    assert type(error) is KeyRefusedError
    assert "canary" not in str(error)
    assert len(error.message) < 300


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ("x-amzn-ErrorType: DisabledException:http://x/\r\n", {"__type": "Other"}),
        ("", {"__type": "com.amazonaws.kms#DisabledException"}),
        ("", {"__type": "DisabledException"}),
        ("", {"code": "DisabledException"}),
    ],
)
def test_where_a_code_is(at, headers, body):
    """An error code is found wherever the protocol lets a server put it."""
    with RawServer(answer(body, 400, headers)).running() as peer:
        at(peer)
        assert fails().message.endswith(": DisabledException")


# -- attempts and pauses


@pytest.mark.parametrize(
    ("status", "code", "longest"),
    [
        (500, "KMSInternalException", [0.05, 0.1, 0.2]),
        (502, None, [0.05, 0.1, 0.2]),
        (503, "ServiceUnavailable", [0.05, 0.1, 0.2]),
        (504, None, [0.05, 0.1, 0.2]),
        (400, "RequestTimeout", [0.05, 0.1, 0.2]),
        (400, "ThrottlingException", [1.0, 2.0, 4.0]),
        (400, "LimitExceededException", [1.0, 2.0, 4.0]),
        (503, "SlowDown", [1.0, 2.0, 4.0]),
        (429, None, [1.0, 2.0, 4.0]),
        (501, None, []),
        (400, "AccessDeniedException", []),
        (400, "ExpiredTokenException", []),
        (403, None, []),
    ],
)
def test_pauses(at, monkeypatch, status, code, longest):
    """After an overload or outage the call is repeated, with pauses whose maximum doubles; after a refusal it is not."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "4")
    monkeypatch.setattr(kms_http, "_random", lambda: 0.5)
    waits = []
    with RawServer(answer({"__type": code} if code else b"", status)).running() as peer:
        at(peer)
        fails(wait=waits.append)
        assert len(peer.requests) == len(longest) + 1
    assert waits == [seconds / 2 for seconds in longest]


@pytest.mark.parametrize("trouble", ["refused", "dropped", "garbage", "cut off"])
def test_trouble_with_a_connection(at, monkeypatch, trouble):
    """After a broken connection the call is repeated."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    waits = []
    answers = {"dropped": b"", "garbage": b"canary\r\n\r\n", "cut off": answer(ANSWER)[:-9], "refused": b""}
    with RawServer(answers[trouble]).running() as peer:
        at(peer)
        if trouble == "refused":
            monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{_free_port()}")
        error = fails(wait=waits.append)
        assert len(peer.requests) == (0 if trouble == "refused" else 3)
    assert len(waits) == 2
    assert "canary" not in str(error)


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_the_longest_pause():
    """The pauses are within those of botocore's standard mode, for any of many attempts."""

    class Detector:
        def is_throttling_error_from_context(self, context):
            return context == "throttled" or context.throttled

    class Context:
        http_response = None

        def __init__(self, number, throttled):
            self.attempt_number, self.throttled = number, throttled

    # Older botocores have one scale for both.
    if not hasattr(standard.ExponentialBackoff, "_DEFAULT_BACKOFF_CONFIG"):
        pytest.skip("this botocore pauses otherwise")
    theirs = standard.ExponentialBackoff(random=lambda: 1.0, throttling_detector=Detector())
    for throttled, pause in ((False, kms_http.PAUSE), (True, kms_http.PAUSE_THROTTLED)):
        for number in range(1, 30):
            ours = min(pause * 2 ** min(number - 1, kms_http._DOUBLINGS), kms_http.PAUSE_MAX)
            assert ours == theirs.delay_amount(Context(number, throttled))


def test_many_attempts(at, monkeypatch):
    """However many attempts are allowed, the pauses stay within the limit."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1200")
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{_free_port()}")
    monkeypatch.setattr(kms_http, "_random", lambda: 1.0)
    waits = []
    fails(wait=waits.append, seconds=100)
    assert len(waits) == 1199
    assert max(waits) == kms_http.PAUSE_MAX


def test_the_codes_after_which_a_call_is_repeated():
    """The error codes after which a call is repeated are botocore's, without those of other services."""
    others = {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "ProvisionedThroughputExceededException",
        "TransactionInProgressException",
    }
    throttled = set(standard.ThrottledRetryableChecker._THROTTLED_ERROR_CODES)
    assert set(kms_http._THROTTLED) == throttled - others
    assert set(kms_http._TRANSIENT) >= set(standard.TransientRetryableChecker._TRANSIENT_ERROR_CODES)
    assert [*kms_http._TRANSIENT_STATUSES] == standard.TransientRetryableChecker._TRANSIENT_STATUS_CODES
    assert kms_http.ATTEMPTS == standard.DEFAULT_MAX_ATTEMPTS


def test_the_random_factor():
    """The factor of a pause is spread from 0 to below 1."""
    found = [kms_http._random() for _ in range(200)]
    assert all(0 <= chance < 1 for chance in found)
    assert min(found) < 0.2
    assert max(found) > 0.8
    assert len(set(found)) == 200


def test_the_deadline_ends_attempts(at, monkeypatch):
    """If a pause would end after the deadline, the last failure is reported at once."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1000")
    monkeypatch.setattr(kms_http, "_random", lambda: 1.0)
    waits = []
    with RawServer(answer({"__type": "ThrottlingException"}, 400)).running() as peer:
        at(peer)
        error = fails(seconds=3.5, wait=waits.append)
        assert "ThrottlingException" in error.message
        assert "quota" in error.hint
        assert len(peer.requests) == 3
    assert waits == [1.0, 2.0]


@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_the_deadline_ends_a_wait(at, seconds):
    """A KMS that sends nothing is waited for until the deadline, and the hint says what to raise."""
    waits = []
    with RawServer(lambda _: peer.stopping.wait(SECONDS)).running() as peer:
        at(peer)
        error = fails(seconds=seconds, wait=waits.append)
    assert f"within {seconds} seconds" in error.message
    assert "unwrap_timeout" in error.hint
    assert waits == []


@pytest.mark.parametrize(
    "attempts", ["0", "-1", "+3", " 3", "3.0", "many", "1e3", "٣", "9" * 5000, "0x3", "1_0"]
)
def test_odd_numbers_of_attempts(monkeypatch, attempts):
    """boto3 decides about a number of attempts that is not written in plain digits."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", attempts)
    assert KmsHttp.for_key(ARN, os.environ) is None


@pytest.mark.parametrize("attempts", ["1", "3", "10", ""])
def test_plain_numbers_of_attempts(monkeypatch, attempts):
    """A plain number counts; an empty one does not, as with botocore."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", attempts)
    assert KmsHttp.for_key(ARN, os.environ).attempts == int(attempts or 3)


# -- when boto3 is used


@pytest.mark.parametrize(
    "name", ["http_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "Https_Proxy", "https_PROXY"]
)
def test_a_proxy(monkeypatch, name):
    """Where a proxy is set, in any case that urllib reads, boto3 is used: no proxy is ignored silently."""
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert KmsHttp.for_key(ARN, os.environ) is None
    monkeypatch.setenv(name, "")
    assert KmsHttp.for_key(ARN, os.environ) is not None


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_where_proxies_are_set_elsewhere(monkeypatch, platform):
    """On systems whose settings may name a proxy, boto3 is used."""
    monkeypatch.setattr(sys, "platform", platform)
    assert KmsHttp.for_key(ARN, os.environ) is None


@pytest.mark.parametrize(
    "arn",
    [
        "",
        "alias/app",
        "arn::key/",
        "arn:aws:kms:us-east-1:111122223333:alias/app",
        "arn:aws:s3:us-east-1:111122223333:key/x",
        "arn:aws:kms:us-east-1:1:key/x",
        "arn:aws:kms:us-east-1:111122223333:key/x:key/y",
        ARN + "\n",
        ARN.replace("us-east-1", "us-east-1.evil.example/"),
        ARN.replace("us-east-1", "us-east-1\u3002evil-1"),
    ],
)
def test_what_is_not_a_key(arn):
    """Only the exact, full ARN of a key is called for."""
    assert KmsHttp.for_key(arn, os.environ) is None


@pytest.mark.parametrize(
    "environ",
    [{"AWS_USE_FIPS_ENDPOINT": "true"}, {"AWS_USE_DUALSTACK_ENDPOINT": "true"}],
    ids=["FIPS", "dual stack"],
)
def test_switches(monkeypatch, environ):
    """With FIPS and dual stack the host is the one of botocore's client."""
    monkeypatch.delenv("AWS_ENDPOINT_URL_KMS")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    theirs = boto3.session.Session().client("kms").meta.endpoint_url
    lean = KmsHttp.for_key(ARN, os.environ)
    assert f"https://{lean.endpoint.authority}" == theirs
    assert lean.endpoint.is_usual


def test_nothing_is_shown(monkeypatch):
    """The repr holds no credentials and nothing of the environment."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "canary")
    monkeypatch.setenv("OTHER", "canary")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    assert "canary" not in repr(KmsHttp.for_key(ARN, os.environ))


# -- without boto3


CHILD = """
import sys
for name in ("boto3", "botocore", "urllib3", "s3transfer"):
    sys.modules[name] = None
from pydantic import SecretStr
from encenv import EncryptedSettings, EncenvError, decrypt_environ

class Settings(EncryptedSettings):
    secret: SecretStr

try:
    print(Settings().secret.get_secret_value(), decrypt_environ()["SECRET"])
except EncenvError as error:
    print(type(error).__name__, error.message, error.hint, error.__context__, sep="|")
"""


@pytest.fixture
def load_without_boto3(encenv_kms, encenv_kms_key):
    """Load in a process that has neither boto3 nor botocore."""
    plain, item = AwsKms().generate(encenv_kms_key, {"encenv": "1"})
    data_key = DataKey(plain)
    entry = KeyEntry(data_key.commitment, (), (item,))
    sealed = {entry.name: str(entry), "SECRET": data_key.encrypt("SECRET", "opened")}
    encenv_kms.clear()

    def load(**environ):
        whole = {**without_coverage(encenv_kms.environ(os.environ)), **sealed, **environ}
        child = subprocess.run(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(CHILD)],
            env={name: value for name, value in whole.items() if value is not None},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (child.returncode, child.stderr) == (0, "")
        return child.stdout.strip()

    return load


def test_a_load_without_boto3(encenv_kms, load_without_boto3):
    """A load that needs no boto3 works without boto3 and botocore, and calls KMS once."""
    assert load_without_boto3() == "opened opened"
    assert [(call.operation, call.error, call.signature) for call in encenv_kms.calls] == [
        ("Decrypt", None, "verified")
    ]


@pytest.mark.parametrize(
    "environ",
    [{"AWS_PROFILE": "prod"}, {"https_proxy": "http://127.0.0.1:1"}, {"AWS_SECRET_ACCESS_KEY": None}],
    ids=["profile", "proxy", "no credentials"],
)
def test_a_load_that_needs_boto3(encenv_kms, load_without_boto3, environ):
    """A load that needs boto3 without having it is an error that says what to install or to set."""
    kind, message, hint, context = load_without_boto3(**environ).split("|")
    assert kind == "KeyUnreachableError"
    assert "boto3" in message
    assert "install boto3" in hint
    assert "credentials" in hint
    assert "proxy" in hint
    assert context == "None"
    assert encenv_kms.calls == []


def test_trouble_without_boto3(encenv_kms, load_without_boto3):
    """A failure of KMS is reported as with boto3."""
    encenv_kms.deny("Decrypt")
    kind, message, hint, _ = load_without_boto3().split("|")
    assert kind == "KeyDeniedError"
    assert "AccessDeniedException" in message
    assert "kms:Decrypt" in hint


def test_an_unforeseen_exception(monkeypatch, encenv_kms, encenv_kms_key):
    """Whatever else is raised on the way, nothing of it is shown."""
    plain, item = AwsKms().generate(encenv_kms_key, CONTEXT)

    def exchange(*_, **__):
        raise MemoryError(plain)

    monkeypatch.setattr(kms_http, "exchange", exchange)
    for modules in ({}, {"botocore": None}):
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        with pytest.raises(KeyUnreachableError, match="AWS KMS could not be called") as caught:
            AwsKms().unwrap(item, CONTEXT, SECONDS)
        assert repr(plain) not in str(caught.value)
        assert caught.value.__context__ is None


# -- what an answer cannot do to a load


def environ_of(data_key, item):
    """Return an environment of one variable."""
    entry = KeyEntry(data_key.commitment, (), (item,))
    return {entry.name: str(entry), "SECRET": data_key.encrypt("SECRET", "opened")}


def test_a_replayed_answer(at):
    """A replayed answer for another data key does not match the key entry, and decrypts nothing."""
    environ = environ_of(DataKey(bytes(32)), WrappedKey("aws-kms", b"wrapped", ARN))
    with RawServer(answer(ANSWER)).running() as peer:
        at(peer)
        with pytest.raises(KeyRefusedError, match="does not give the data key"):
            decrypt_environ(environ)
        right = environ_of(DataKey(DATA_KEY), WrappedKey("aws-kms", b"wrapped", ARN))
        assert decrypt_environ(right) == {"SECRET": "opened"}


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\nA: ", b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"]
)
def test_a_slow_answer(at, start):
    """An answer that arrives byte by byte ends at the deadline of the load, and so does the thread that reads it."""
    left = threading.Event()

    def drip(connection):
        try:
            peer.drip(connection, start, b"x")
        except OSError:
            left.set()

    environ = environ_of(DataKey(DATA_KEY), WrappedKey("aws-kms", b"wrapped", ARN))
    with RawServer(drip).running() as peer:
        at(peer)
        with pytest.raises(KeyUnreachableError):
            decrypt_environ(environ, unwrap_timeout=0.5)
        assert left.wait(SECONDS)
