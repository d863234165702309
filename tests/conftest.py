"""Fixtures that several files share, and what pytest does with each test."""

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.kms_client import client_of
from support.programs import is_allowed_skip
from support.workspace import CANARY, Workspace

from encenv.testing import KmsServer

# The time of an example depends more on the machine than on the code under test.
settings.register_profile("encenv", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("encenv")

TEST_SECONDS = 120  # a test that takes longer hangs


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --no-skips, for the machine whose run decides."""
    parser.addoption("--no-skips", action="store_true", help="fail if a test is skipped without need")


def pytest_configure(config: pytest.Config) -> None:
    """Hear SIGINT: a shell lets a job in its background ignore it, and child processes inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With --no-skips, fail a run that skipped a test which this machine could have run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--no-skips") and reporter is not None:
        reasons = {report.longrepr[2] for report in reporter.stats.get("skipped", [])}
        wrong = sorted(reason for reason in reasons if not is_allowed_skip(reason))
        if wrong and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            reporter.write_line(f"\n--no-skips: {'; '.join(wrong)}", red=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Limit the time of each test, if pytest-timeout is installed."""
    if config.pluginmanager.hasplugin("timeout"):
        for item in items:
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(TEST_SECONDS))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Keep the tests of a file in one process of pytest-xdist, so that its slow fixtures are made once."""
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log) if config.getoption("dist") == "load" else None


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
