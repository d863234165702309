"""The endpoint of AWS KMS in a region: the host's name from a table, or the endpoint that the environment names.

If neither the table nor the environment gives an endpoint, boto3 has to find one. No I/O here.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from encenv.errors import MalformedError
from encenv.format.sealed import aws_region, is_region

_AREAS = ("us", "eu", "ap", "sa", "ca", "me", "af", "il", "mx")
# The start of a region's name, its partition, and the domains of its usual and its dual-stack endpoints (AWS Fault
# Isolation Boundaries, "Partitions"; botocore's partitions.json).
_PARTITIONS = (
    ("cn-", "aws-cn", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    ("us-gov-", "aws-us-gov", "amazonaws.com", "api.aws"),
    ("us-iso-", "aws-iso", "c2s.ic.gov", "api.aws.ic.gov"),
    ("us-isob-", "aws-iso-b", "sc2s.sgov.gov", "api.aws.scloud"),
    ("eu-isoe-", "aws-iso-e", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    ("us-isof-", "aws-iso-f", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    ("eusc-", "aws-eusc", "amazonaws.eu", "api.amazonwebservices.eu"),
    *((f"{area}-", "aws", "amazonaws.com", "api.aws") for area in _AREAS),
)
_PORTS = {"http": 80, "https": 443}
_HOST = "abcdefghijklmnopqrstuvwxyz0123456789.:-"  # a name, or an address of either kind; urlsplit folds case
_OTHER_BYTES = 3  # of an IPv4 address, after the first
_HOST_MAX = 253  # RFC 1035, 2.3.4, without the first length byte and the root


class Endpoint:
    """The address that a request is sent to; *is_usual* if it is AWS's own, from the table.

    *scheme* is ``https`` or ``http``. *host* is a name or an address, an IPv6 address without its brackets.
    """

    def __init__(self, scheme: str, host: str, port: int, *, is_usual: bool = False) -> None:
        self.scheme, self.host, self.port, self.is_usual = scheme, host, port, is_usual

    @property
    def authority(self) -> str:
        """The value of the header Host, without the port if that is the scheme's default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine."""
        if self.host in ("localhost", "::1"):
            return True
        # 127.0.0.256 is not an address: it would be looked up as a name.
        first, *others = self.host.split(".")
        are_bytes = len(others) == _OTHER_BYTES and all(byte in map(str, range(256)) for byte in others)
        return first == "127" and are_bytes


def partition_of(region: str) -> str | None:
    """Return the partition of *region*; None if the table has none for it."""
    return next((row[1] for row in _PARTITIONS if region.startswith(row[0])), None)


def is_key_arn(key: str) -> bool:
    """Return whether *key* is the ARN of a key, and not of an alias."""
    return key.startswith("arn:") and ":key/" in key


def region_of(key: str) -> str | None:
    """Return the region in *key* if it is an ARN; None for ``alias/<name>`` and for a region that is not one.

    Raises:
        MalformedError: If it is a key's ARN that no key entry may hold.
    """
    if is_key_arn(key):
        return aws_region(key)
    fields = key.split(":")
    return fields[3] if len(fields) > 3 and is_region(fields[3]) else None


def endpoint_of(arn: str, environ: Mapping[str, str]) -> Endpoint | None:
    """Return the endpoint of AWS KMS for the key with the full ARN *arn*; None if boto3 has to find it.

    *environ* may name one in ``AWS_ENDPOINT_URL_KMS`` or ``AWS_ENDPOINT_URL`` (AWS SDKs and Tools Reference Guide).
    """
    try:
        region = aws_region(arn)
    except MalformedError:
        return None
    if partition_of(region) != arn.split(":")[1]:
        return None
    is_fips, is_dual_stack = (
        environ.get(f"AWS_USE_{name}_ENDPOINT", "").lower() == "true" for name in ("FIPS", "DUALSTACK")
    )
    url = environ.get("AWS_ENDPOINT_URL_KMS") or environ.get("AWS_ENDPOINT_URL")
    if url and environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() != "true":
        endpoint, target = parse_url(url) or (None, "")
        if endpoint is None or is_fips or is_dual_stack or target.strip("/"):
            return None
        return endpoint if endpoint.scheme == "https" or endpoint.is_loopback else None
    suffix = next(row[3 if is_dual_stack else 2] for row in _PARTITIONS if region.startswith(row[0]))
    service = "kms-fips" if is_fips else "kms"
    return Endpoint("https", f"{service}.{region}.{suffix}", _PORTS["https"], is_usual=True)


def parse_url(url: str) -> tuple[Endpoint, str] | None:
    """Return the endpoint in *url*, and its path and query; None if the URL can be read in more than one way."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    is_host = 0 < len(host) <= _HOST_MAX and not host.strip(_HOST)
    # urlsplit silently drops what is not printable.
    is_plain = url.isascii() and url.isprintable() and " " not in url
    has_more = parts.username is not None or parts.fragment
    if parts.scheme not in _PORTS or not is_host or not is_plain or has_more:
        return None
    target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    return Endpoint(parts.scheme, host, _PORTS[parts.scheme] if port is None else port), target
