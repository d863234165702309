"""Fixtures for the tests of the files room."""

import pytest

from encenv import clear_cache


@pytest.fixture(autouse=True)
def empty_cache():
    """Make each test unwrap the data keys that it needs."""
    clear_cache()
    yield
    clear_cache()
