"""Fixtures that several files share."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from desk import CANARY, Desk


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
