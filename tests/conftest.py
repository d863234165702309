"""Fixtures that several files share."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from desk import CANARY, Desk
from hypothesis import HealthCheck, settings
from kms_client import client_of

from encenv.testing import KmsServer

# How long an example takes says more of the machine than of what is tested.
settings.register_profile("encenv", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("encenv")


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A desk without anything on it."""
    with tempfile.TemporaryDirectory() as root:
        yield Desk(Path(root))


@pytest.fixture
def sealed(desk) -> Desk:
    """A desk with a local key and a .env of two sealed values, both the canary."""
    desk.write(".env", f"A={CANARY}\nB='{CANARY} # 2'\n")
    assert desk.call("keygen").code == 0
    assert desk.call("encrypt", "--key", "local").code == 0
    return desk


@pytest.fixture
def kms():
    """A fresh test KMS."""
    with KmsServer() as server:
        yield server


@pytest.fixture
def client(kms):
    """A boto3 client of it in us-east-1 that tries once."""
    return client_of(kms)


@pytest.fixture
def key(kms):
    """The ARN of a symmetric key on it in us-east-1."""
    return kms.create_key()
