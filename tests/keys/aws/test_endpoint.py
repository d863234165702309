"""Test that the endpoint of AWS KMS is the one that botocore finds, or is left to boto3."""

from itertools import product

import boto3
import pytest
from botocore.config import Config

from encenv.keys.aws.endpoint import Endpoint, endpoint_of, parse_url, partition_of

ACCOUNT = "111122223333"
REGIONS = [
    (partition, region)
    for partition in boto3.session.Session().get_available_partitions()
    for region in boto3.session.Session().get_available_regions("kms", partition)
]


def arn_of(region, partition="aws"):
    """Return the ARN of a key in *region*."""
    return f"arn:{partition}:kms:{region}:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def endpoint_with(environ, arn=None):
    """Return the endpoint for a key in us-east-1 with *environ*."""
    return endpoint_of(arn or arn_of("us-east-1"), environ)


@pytest.mark.parametrize(("is_fips", "is_dual_stack"), [*product([False, True], repeat=2)])
def test_as_botocore_finds_it(is_fips, is_dual_stack):
    """In every region that botocore knows, with every switch, the host is the one that botocore calls."""
    session = boto3.session.Session("x", "x")
    environ = {
        "AWS_USE_FIPS_ENDPOINT": str(is_fips).lower(),
        "AWS_USE_DUALSTACK_ENDPOINT": str(is_dual_stack).title(),
    }
    # One client for each, with its resolver for all regions: making a client is slow.
    config = Config(use_fips_endpoint=is_fips, use_dualstack_endpoint=is_dual_stack)
    resolver = session.client("kms", region_name="us-east-1", config=config)._ruleset_resolver
    assert len(REGIONS) > 30
    for partition, region in REGIONS:
        if "fips" in region:  # botocore's old names for endpoints
            continue
        resolver._builtins |= {"AWS::Region": region}
        theirs = resolver.construct_endpoint(
            operation_model=resolver._service_model.operation_model("Decrypt"),
            call_args={},
            request_context={"client_region": region},
        )
        ours = endpoint_of(arn_of(region, partition), environ)
        assert ours is not None, region
        assert f"{ours.scheme}://{ours.authority}" == theirs.url
        assert ours.is_usual
        assert partition_of(region) == partition


@pytest.mark.parametrize(
    "arn",
    [
        arn_of("us-east-1", "aws-cn"),
        arn_of("cn-north-1", "aws"),
        arn_of("xx-west-1"),
        arn_of("us-west"),
        arn_of("evil.example/"),
        arn_of("us-east-1.evil.example"),
        arn_of("US-EAST-1"),
        arn_of("us-east-1", "aws-new"),
        arn_of("us-east-1") + "\n",
        arn_of("us-\u0435ast-1"),
        arn_of("us-east-1\u3002evil-1"),
        arn_of("us-east-1").replace("kms", "s3"),
        arn_of("us-east-1").replace("key/", "alias/"),
        "arn:aws:kms:us-east-1",
        "alias/app",
    ],
)
def test_a_region_that_the_table_does_not_know(arn):
    """boto3 is used if the region is in no known partition, is not in the ARN's partition, or is not a region."""
    assert endpoint_with({}, arn) is None


ENDPOINTS = {
    "https://kms.internal": Endpoint("https", "kms.internal", 443),
    "https://kms.internal:8443/": Endpoint("https", "kms.internal", 8443),
    "http://127.0.0.1:4566": Endpoint("http", "127.0.0.1", 4566),
    "http://localhost": Endpoint("http", "localhost", 80),
    "http://[::1]:4566": Endpoint("http", "::1", 4566),
    "http://127.255.0.9": Endpoint("http", "127.255.0.9", 80),
    # left to boto3
    "http://kms.internal": None,
    "http://127.0.0.1.evil.example": None,
    "http://127.0.0.256": None,
    "http://127.0.0.01": None,
    "http://127.1": None,
    "http://2130706433": None,
    "http://localhost.evil.example": None,
    "http://localhost@evil.example": None,
    "http://evil.example\\@localhost": None,
    "http://evil.example#@localhost": None,
    "http://[::ffff:127.0.0.1]": None,
    "http://[::1%25eth0]": None,
    "http://\u2460\u2461\u2466.0.0.1": None,
    "https://kms.internal\u3002evil.example": None,
    "https://k\u00f6ms.internal": None,
    "HTTP://LOCALHOST": Endpoint("http", "localhost", 80),
    "http://[::2]": None,
    "http://0.0.0.0": None,
    "https://user:canary@kms.internal": None,
    "https://kms.internal/path": None,
    "https://kms.internal?query": None,
    "https://kms.internal#part": None,
    "https://kms.inte\nrnal": None,
    "https://kms.internal:99999": None,
    "https://": None,
    "ftp://127.0.0.1": None,
    "kms.internal": None,
    "https://kms_internal": None,
    "https://kms.internal\t": None,
    " https://kms.internal": None,
    "https:kms.internal": None,
    "https:///kms.internal": None,
    "file:///etc/passwd": None,
    "https://[::1": None,
}


@pytest.mark.parametrize("url", ENDPOINTS)
@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_KMS", "AWS_ENDPOINT_URL"])
def test_a_named_endpoint(url, variable):
    """An endpoint in the environment is used if its URL can be read in one way only; without TLS, on this machine only."""
    ours, expected = endpoint_with({variable: url}), ENDPOINTS[url]
    assert (ours and vars(ours)) == (expected and vars(expected))


def test_which_endpoint_counts():
    """The endpoint for KMS comes before the one for all services; an ignored or empty one does not count."""
    both = {"AWS_ENDPOINT_URL_KMS": "https://kms.internal", "AWS_ENDPOINT_URL": "https://all.internal"}
    usual = vars(Endpoint("https", "kms.us-east-1.amazonaws.com", 443, is_usual=True))
    assert endpoint_with(both).host == "kms.internal"
    assert endpoint_with({**both, "AWS_ENDPOINT_URL_KMS": ""}).host == "all.internal"
    assert vars(endpoint_with({**both, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "True"})) == usual
    assert endpoint_with({**both, "AWS_USE_FIPS_ENDPOINT": "true"}) is None
    assert vars(endpoint_with({"AWS_USE_FIPS_ENDPOINT": "yes"})) == usual  # botocore accepts true only


def test_the_host_header():
    """The header has the port if it is not the default, and brackets around an IPv6 address."""
    hosts = [
        parse_url(url)[0].authority
        for url in ("https://a", "https://a:444", "http://[::1]", "http://[::1]:81")
    ]
    assert hosts == ["a", "a:444", "[::1]", "[::1]:81"]
