"""Fixtures that several files share."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.kms_client import client_of
from support.workspace import CANARY, Workspace

from encenv.testing import KmsServer

# How long an example takes says more of the machine than of what is tested.
settings.register_profile("encenv", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("encenv")


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    """A workspace without anything on it."""
    with tempfile.TemporaryDirectory() as root:
        yield Workspace(Path(root))


@pytest.fixture
def sealed(workspace) -> Workspace:
    """A workspace with a local key and a .env of two sealed values, both the canary."""
    workspace.write(".env", f"A={CANARY}\nB='{CANARY} # 2'\n")
    assert workspace.call("keygen").code == 0
    assert workspace.call("encrypt", "--key", "local").code == 0
    return workspace


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
