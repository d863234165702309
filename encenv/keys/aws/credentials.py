"""Find AWS credentials that need no boto3: in environment variables, or at the container's credentials endpoint.

boto3 finds all others (profiles, SSO, instance roles, web identities, …). The order and the names are botocore's.
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from encenv.errors import KeyUnreachableError
from encenv.keys.aws.endpoint import Endpoint, parse_url
from encenv.keys.aws.http import OK, Answer, Timeouts, cause_of, exchange
from encenv.keys.aws.sigv4 import Credentials

# AWS SDKs and Tools Reference Guide, "Location of the shared config and credentials files".
_CONFIGURATION = {"AWS_CONFIG_FILE": "~/.aws/config", "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials"}
_BOTO = ("~/.aws/models", "~/.boto", "/etc/boto.cfg")  # where botocore looks as well
# Variables that make botocore use other credentials.
_ELSEWHERE = (
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_CREDENTIAL_FILE",
    "AWS_DATA_PATH",
    "AWS_DEFAULT_PROFILE",
    "AWS_PROFILE",
    "BOTOCORE_EXPERIMENTAL__PLUGINS",
    "BOTO_CONFIG",
)
_ECS = "169.254.170.2"  # Amazon ECS Developer Guide, "Task IAM role"
_LINK_LOCAL = (_ECS, "169.254.170.23", "fd00:ec2::23")  # Amazon EKS User Guide, "EKS Pod Identity"
SECONDS = 2.0  # for an answer from the same machine; botocore waits as long
ATTEMPTS = 3
PAUSE = 0.25  # seconds
TOKEN_MAX = 16_384  # bytes


class Container:
    """The endpoint that gives a container its credentials.

    It is on this machine or at an address that AWS documents. *target* is path and query. The authorization token is
    *token*, or what *token_file* holds; the file changes, so each request reads it again.
    """

    def __init__(
        self, endpoint: Endpoint, target: str, token: str | None = None, token_file: str | None = None
    ) -> None:
        self.endpoint, self.target, self.token, self.token_file = endpoint, target, token, token_file

    def fetch(self, until: float, wait: Callable[[float], None] = time.sleep) -> Credentials:
        """Return the credentials that are valid now; *until* is the deadline, by `time.monotonic`.

        Raises:
            KeyUnreachableError: If the endpoint does not give them.
        """
        cause = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                wait(max(0.0, min(PAUSE, until - time.monotonic())))
            try:
                headers = {"Accept": "application/json", **self._token()}
                answer = exchange(self.endpoint, self.target, headers, Timeouts(SECONDS, SECONDS, until))
            except (OSError, ValueError) as error:
                cause = cause_of(error)
                continue
            credentials = _credentials(answer) if answer.status == OK else None
            if credentials is not None:
                return credentials
            cause = f"HTTP status {answer.status}" if answer.status != OK else "its answer has none"
        raise KeyUnreachableError(
            f"no AWS credentials from the container's {self.endpoint.authority}: {cause}",
            hint="check the role of the function, task or pod, and AWS_CONTAINER_CREDENTIALS_FULL_URI",
        )

    def _token(self) -> dict[str, str]:
        token = self.token
        if self.token_file is not None:
            with Path(self.token_file).open(encoding="ascii") as file:
                token = file.read(TOKEN_MAX)
        return {} if token is None else {"Authorization": token}


def credentials_in(environ: Mapping[str, str]) -> Credentials | Container | None:
    """Return the credentials in *environ*, or the endpoint that gives them; None if boto3 has to find them."""
    if _is_configured(environ):
        return None
    access_key, secret_key = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if access_key or secret_key:
        token = environ.get("AWS_SECURITY_TOKEN") or environ.get("AWS_SESSION_TOKEN") or None
        return Credentials(access_key, secret_key, token) if access_key and secret_key else None
    return None if environ.get("AWS_WEB_IDENTITY_TOKEN_FILE") else _container(environ)


def _container(environ: Mapping[str, str]) -> Container | None:
    relative = environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    if relative and not relative.startswith("/"):  # it would continue the host's name
        return None
    url = f"http://{_ECS}{relative}" if relative else environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")
    endpoint, target = parse_url(url) or (None, "")
    if endpoint is None or endpoint.scheme != "http":
        return None
    if not endpoint.is_loopback and endpoint.host not in _LINK_LOCAL:
        return None
    token_file = environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    token = None if token_file else environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
    return Container(endpoint, target, token, token_file)


def _is_configured(environ: Mapping[str, str]) -> bool:
    """Return whether there is a configuration file of AWS or boto, which boto3 has to read."""
    if any(environ.get(name) for name in _ELSEWHERE):
        return True
    paths = (*(environ.get(name) or path for name, path in _CONFIGURATION.items()), *_BOTO)
    # As botocore expands them. pathlib raises an error where there is no home.
    expanded = (os.path.expanduser(os.path.expandvars(path)) for path in paths)  # noqa: PTH111
    return any(os.path.isfile(path) or os.path.isdir(path) for path in expanded)  # noqa: PTH112, PTH113


def _credentials(answer: Answer) -> Credentials | None:
    """Return the credentials in an answer; None if there are none."""
    members = answer.members()
    parts: list[Any] = [members.get(name) for name in ("AccessKeyId", "SecretAccessKey", "Token")]
    return Credentials(*parts) if all(part and isinstance(part, str) for part in parts) else None
