"""Test that the signatures are botocore's, byte for byte."""

import datetime as dt
from unittest import mock

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given
from hypothesis import strategies as st

from encenv.keys.aws.sigv4 import TIMESTAMP, Credentials, sign_headers

PRINTABLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=60)
VALUE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=80)
NAME = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,20}", fullmatch=True)
# botocore leaves these out of the signature, or sets them itself.
OTHERS = {
    "authorization",
    "date",
    "expect",
    "host",
    "transfer-encoding",
    "user-agent",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
    "x-amzn-trace-id",
}


def botocore_headers(host, headers, body, credentials, scope, now):  # noqa: PLR0917 (what a signature is made of)
    """Return the headers that botocore makes for the same request."""
    url = f"https://{host}/"
    request = AWSRequest("POST", url, headers={**headers, "Host": host}, data=body)
    with mock.patch("botocore.auth.get_current_datetime", return_value=now):
        SigV4Auth(credentials, scope[1], scope[0]).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


@given(
    st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,40}[a-z0-9])?(:[1-9][0-9]{0,3})?", fullmatch=True),
    st.dictionaries(NAME.filter(lambda name: name.lower() not in OTHERS), VALUE, max_size=5).filter(
        lambda found: len({name.lower() for name in found}) == len(found)
    ),
    st.binary(max_size=300),
    st.tuples(PRINTABLE, PRINTABLE, st.none() | PRINTABLE),
    st.tuples(st.from_regex(r"[a-z]{2}-[a-z]{4,9}-[0-9]", fullmatch=True), st.sampled_from(["kms", "sts"])),
    st.datetimes(timezones=st.just(dt.UTC)).filter(lambda now: now.year >= 1000),
)
def test_as_botocore_signs(host, headers, body, keys, scope, now):  # noqa: PLR0917 (as above)
    """Whatever is signed, each header is the one that botocore makes."""
    expected = botocore_headers(host, headers, body, BotocoreCredentials(*keys), scope, now)
    ours = sign_headers({**headers, "Host": host}, body, Credentials(*keys), scope, now.strftime(TIMESTAMP))
    assert {name.lower(): value for name, value in ours.items()} == expected


def test_credentials_show_nothing():
    """The repr of credentials holds none of them."""
    assert "canary" not in repr(Credentials("AKIA-canary", "canary", "canary"))
