"""Test that credentials from the environment are those that botocore finds, and that boto3 gets all others."""

import json
import threading
import time

import botocore.session
import pytest
from support.credentials_endpoint import ANSWER, CredentialsEndpoint

from encenv.errors import KeyUnreachableError
from encenv.keys.aws.credentials import ATTEMPTS, Container, credentials_in
from encenv.keys.aws.endpoint import Endpoint
from encenv.keys.aws.sigv4 import Credentials

KEYS = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "canary-secret"}
FULL, RELATIVE = "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
TOKEN, TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
SECONDS = 20.0


@pytest.fixture
def endpoint():
    """A running credentials endpoint."""
    with CredentialsEndpoint() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join(SECONDS)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home directory without a file of AWS."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def fetch_credentials(environ, **options):
    """Return the credentials that the container of *environ* has."""
    found = credentials_in(environ)
    assert isinstance(found, Container)
    return found.fetch(time.monotonic() + SECONDS, **options)


def botocore_credentials(environ, monkeypatch):
    """Return the credentials that botocore finds with *environ*."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return botocore.session.Session().get_credentials().get_frozen_credentials()


@pytest.mark.parametrize(
    "tokens",
    [
        {},
        {"AWS_SESSION_TOKEN": "a"},
        {"AWS_SESSION_TOKEN": ""},
        {"AWS_SECURITY_TOKEN": "b"},
        {"AWS_SESSION_TOKEN": "a", "AWS_SECURITY_TOKEN": "b"},
        {"AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere"},
        {RELATIVE: "/v2/credentials"},
    ],
    ids=str,
)
def test_variables(monkeypatch, tokens):
    """Keys and tokens in variables come first, and are those that botocore uses."""
    environ = {**KEYS, "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", **tokens}
    theirs = botocore_credentials(environ, monkeypatch)
    ours = credentials_in(environ)
    assert isinstance(ours, Credentials)
    assert vars(ours) == vars(Credentials(theirs.access_key, theirs.secret_key, theirs.token))


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"AWS_ACCESS_KEY_ID": "AKIA"},
        {"AWS_SECRET_ACCESS_KEY": "canary"},
        {**KEYS, "AWS_PROFILE": "prod"},
        {**KEYS, "AWS_DEFAULT_PROFILE": "prod"},
        {**KEYS, "AWS_DATA_PATH": "/models"},
        {**KEYS, "AWS_CREDENTIAL_EXPIRATION": "2099-01-01T00:00:00Z"},
        {FULL: "http://127.0.0.1:1/", "AWS_WEB_IDENTITY_TOKEN_FILE": "/token"},
        {FULL: "http://127.0.0.1:1/", "BOTO_CONFIG": "/boto"},
        {**KEYS, "BOTOCORE_EXPERIMENTAL__PLUGINS": "mine=my.plugin"},
        {FULL: "https://credentials.example/"},
        {FULL: "http://credentials.example/"},
        {FULL: "http://169.254.169.254/latest"},
        {FULL: "http://169.254.170.2@evil.example/"},
        {FULL: "http://[fd00:ec2::24]/"},
        {FULL: "http://169.254.170.23.evil.example/"},
        {FULL: "http://169.254.170.2\\@evil.example/"},
        {FULL: "http://evil.example#@169.254.170.2/"},
        {FULL: "http://[::ffff:169.254.169.254]/"},
        {FULL: "http://[::ffff:127.0.0.1]/"},
        {FULL: "http://127.0.0.256/"},
        {FULL: "http://127.1/"},
        {FULL: "http://2852039166/latest"},
        {FULL: "http://0xa9fea9fe/latest"},
        {FULL: "http://0.0.0.0/"},
        {FULL: "http://\u2460\u2461\u2466.0.0.1/"},
        {FULL: "http://localhost\u3002evil.example/"},
        {FULL: "http://localhost.evil.example/"},
        {FULL: "http://localhost/\r\nX-Evil: 1"},
        {FULL: "file:///etc/passwd"},
        {FULL: "//169.254.170.2/"},
        {RELATIVE: "3/v1/credentials"},
        {RELATIVE: ".evil.example/"},
        {RELATIVE: ":80@evil.example/"},
        {RELATIVE: "@evil.example/"},
        {RELATIVE: "/a b"},
    ],
    ids=str,
)
def test_when_boto3_is_used(environ):
    """boto3 is used if the environment gives no complete credentials, or names an endpoint that AWS does not document."""
    assert credentials_in(environ) is None


@pytest.mark.parametrize("path", [".aws/config", ".aws/credentials", ".aws/models/kms.json", ".boto"])
def test_a_configuration_file(home, path):
    """Whatever is in a configuration file, boto3 reads it."""
    (home / ".aws").mkdir()
    assert credentials_in(KEYS) is not None
    (home / path).parent.mkdir(exist_ok=True)
    (home / path).touch()
    assert credentials_in(KEYS) is None


def test_a_configuration_file_elsewhere(home):
    """A configuration file that a variable names counts if it exists, and the usual one does not."""
    (home / ".aws").mkdir()
    (home / ".aws/config").touch()
    (home / "own").touch()
    assert credentials_in({**KEYS, "AWS_CONFIG_FILE": "/dev/null"}) is not None
    assert credentials_in({**KEYS, "AWS_CONFIG_FILE": "~/own"}) is None
    assert credentials_in({**KEYS, "AWS_CONFIG_FILE": "$HOME/own"}) is None  # botocore expands that, too
    assert credentials_in({**KEYS, "AWS_SHARED_CREDENTIALS_FILE": "${HOME}/own"}) is None


def test_a_user_without_a_home(monkeypatch):
    """A user without a home directory has no configuration file in it."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert credentials_in(KEYS) is not None


@pytest.mark.parametrize(
    ("environ", "host"),
    [
        ({RELATIVE: "/v2/credentials/1-2"}, "169.254.170.2"),
        ({FULL: "http://169.254.170.23/v1/credentials"}, "169.254.170.23"),
        ({FULL: "http://[fd00:ec2::23]/v1/credentials"}, "fd00:ec2::23"),
        ({FULL: "http://localhost:9001/2018-06-01/credentials"}, "localhost"),
    ],
    ids=str,
)
def test_documented_addresses(environ, host):
    """The addresses that AWS documents for ECS, EKS and SnapStart are called, and those of this machine."""
    assert credentials_in(environ).endpoint.host == host


@pytest.mark.parametrize("way", ["no token", "token", "token file"])
def test_a_container(endpoint, home, monkeypatch, way):
    """A container's credentials are fetched as botocore does it, with the same token."""
    (home / "token").write_text("from-file")
    environ = {FULL: endpoint.url} | {
        "no token": {},
        "token": {TOKEN: "canary-token"},
        "token file": {TOKEN: "canary-token", TOKEN_FILE: str(home / "token")},
    }[way]
    theirs = botocore_credentials(
        {**environ, "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}, monkeypatch
    )
    assert vars(fetch_credentials(environ)) == vars(
        Credentials(theirs.access_key, theirs.secret_key, theirs.token)
    )
    assert endpoint.requests[0] == endpoint.requests[1]
    (home / "token").write_text("changed")
    fetch_credentials(environ)
    assert endpoint.requests[2][1] == {"token file": "changed"}.get(way, endpoint.requests[0][1])


@pytest.mark.parametrize(
    "answer",
    [
        (500, "canary"),
        (404, "canary"),
        (302, "canary"),
        (200, "canary"),
        (200, "[]"),
        (200, "[" * 60_000),
        (200, "x" * 70_000),
        (200, '{"AccessKeyId": "canary"}'),
        (200, json.dumps({**ANSWER, "SecretAccessKey": ["canary"]})),
        (200, json.dumps({**ANSWER, "Token": ""})),
    ],
    ids=lambda answer: str(answer)[:60],
)
def test_an_endpoint_in_trouble(endpoint, answer):
    """An endpoint that fails is called again, a few times; the error names it and holds nothing of its answer."""
    endpoint.answers = [answer, (200, json.dumps(ANSWER))]
    paused = []
    assert fetch_credentials({FULL: endpoint.url, TOKEN: "canary"}, wait=paused.append).access_key == "ASIA"
    assert len(paused) == 1
    endpoint.answers, endpoint.requests = [answer], []
    with pytest.raises(KeyUnreachableError) as caught:
        fetch_credentials({FULL: endpoint.url, TOKEN: "canary"}, wait=paused.append)
    assert len(endpoint.requests) == ATTEMPTS
    assert "127.0.0.1" in caught.value.message
    assert "canary" not in f"{caught.value} {vars(caught.value)}"
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@pytest.mark.parametrize("token", ["canary\r\nX-Evil: 1", "canary\n", "canary\r\n X-Evil: 1", "canary\0A=b"])
def test_a_token_that_no_header_can_hold(endpoint, home, token):
    """A token that could add a header is neither sent nor shown."""
    (home / "token").write_text(token)
    # A token file that is the process's own environment would send that.
    environs = [{TOKEN_FILE: str(home / name)} for name in ("token", "none")]
    for environ in (*environs, {TOKEN: token}, {TOKEN_FILE: "/proc/self/environ"}):
        with pytest.raises(KeyUnreachableError) as caught:
            fetch_credentials({FULL: endpoint.url, **environ}, wait=lambda _: None)
        assert "can" not in caught.value.message.replace("cannot", "")
    assert not endpoint.requests


def test_no_time_left():
    """After the deadline nothing is called."""
    container = Container(Endpoint("http", "127.0.0.1", 1), "/")
    with pytest.raises(KeyUnreachableError, match="no answer in time"):
        container.fetch(time.monotonic() - 1)
