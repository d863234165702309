"""Clients of a test KMS: real boto3, and raw requests with a signature of botocore's."""

import http.client
import json

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import (
    ClientError,
)

from encenv.testing import ACCESS_KEY_ID, SECRET_ACCESS_KEY

_session = boto3.session.Session(aws_access_key_id=ACCESS_KEY_ID, aws_secret_access_key=SECRET_ACCESS_KEY)


def client_of(kms, region="us-east-1", *, attempts=1, read_timeout=5, **options):
    """Return a boto3 client of this server in *region*."""
    config = Config(
        retries={"total_max_attempts": attempts, "mode": "standard"},
        connect_timeout=5,
        read_timeout=read_timeout,
    )
    return _session.client("kms", region, endpoint_url=kms.url, config=config, **options)


def refusal(request, **members):
    """Return the error code and the HTTP status with which *request* fails."""
    with pytest.raises(ClientError) as caught:
        request(**members)
    return caught.value.response["Error"]["Code"], caught.value.response["ResponseMetadata"]["HTTPStatusCode"]


def signed_headers(
    kms,
    operation,
    body,
    *,
    secret=SECRET_ACCESS_KEY,
    key=ACCESS_KEY_ID,
    region="us-east-1",
    service="kms",
    **extra,
):
    """Return the headers of a request, with the signature that botocore makes."""
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": f"TrentService.{operation}",
        **extra,
    }
    request = AWSRequest("POST", kms.url + "/", headers, body)
    SigV4Auth(Credentials(key, secret), service, region).add_auth(request)
    return dict(request.headers)


def send(kms, headers, body=b"{}", path="/", method="POST"):
    """Send a raw request and return its status, the answer's JSON and its headers."""
    connection = http.client.HTTPConnection("127.0.0.1", int(kms.url.rsplit(":", 1)[1]), timeout=5)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if content[:1] == b"{" else content, answer.headers
    finally:
        connection.close()
