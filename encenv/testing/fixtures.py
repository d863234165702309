"""The pytest fixtures of `encenv.testing`."""

from collections.abc import Iterator

import pytest

from encenv.testing.server import STRAY, KmsServer


@pytest.fixture
def encenv_kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[KmsServer]:
    """A fresh KMS that boto3 and encenv use during the test; its log, faults and keys are on the KmsServer."""
    from encenv.keys.unwrap import clear_cache  # here, so that a plain KmsServer does not import it

    with KmsServer() as kms:
        for name in STRAY:
            monkeypatch.delenv(name, raising=False)
        for name, value in kms.environ().items():
            monkeypatch.setenv(name, value)
        clear_cache()
        yield kms
        clear_cache()


@pytest.fixture
def encenv_kms_key(encenv_kms: KmsServer) -> str:
    """The ARN of a symmetric wrapping key in us-east-1 on the KMS of encenv_kms."""
    return encenv_kms.create_key()


@pytest.fixture
def encenv_local_key(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The text of a fresh local key, which ENCENV_LOCAL_KEY holds during the test."""
    from encenv.keys.local import TEXT_VARIABLE, generate_key_text  # here, as in encenv_kms
    from encenv.keys.unwrap import clear_cache

    text = generate_key_text()
    monkeypatch.setenv(TEXT_VARIABLE, text)
    clear_cache()
    yield text
    clear_cache()
