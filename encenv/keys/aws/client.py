"""boto3 clients for AWS KMS: one for each region, quiet in debug logs, never shared with a parent process."""

import importlib
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from encenv.errors import KeyUnreachableError
from encenv.keys.process_safety import fork_waits, lazily

if TYPE_CHECKING:
    import boto3
    import botocore.config
else:
    boto3 = lazily("boto3")
    botocore = lazily("botocore")

# boto3 takes 140 ms. It would import the others in the middle of a call.
_IMPORTS = ("boto3", "botocore.config", "_strptime", "encodings.idna", "stringprep")
_LOGGERS = (  # every module of botocore and urllib3 that logs parameters, headers or bodies
    "botocore.auth",
    "botocore.awsrequest",
    "botocore.client",
    "botocore.endpoint",
    "botocore.hooks",
    "botocore.httpchecksum",
    "botocore.httpsession",
    "botocore.parsers",
    "botocore.regions",
    "botocore.retries.standard",
    "botocore.retryhandler",
    "botocore.utils",
    "urllib3.connectionpool",
)

_thread = threading.local()


class ClientPool:
    """The boto3 clients of one provider or probe, made when they are first needed.

    The credentials are those of *session* or of a new one; *config* has the options of ``botocore.config.Config``. Every
    method raises KeyUnreachableError if boto3 is not installed.
    """

    def __init__(self, session: "boto3.session.Session | None" = None, **config: Any) -> None:
        self._session_option, self._config = session, config
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._session = self._session_option
        self._clients: dict[tuple[str, str | None], Any] = {}
        self._process = os.getpid()  # last: another thread that sees it must not see the parent's lock

    def session(self) -> "boto3.session.Session":
        """Return the one session of this pool, so that slow credentials are fetched only once."""
        with self._own_lock():
            if self._session is None:
                _import_boto3()
                self._session = boto3.session.Session()
            return self._session

    def client(self, region: str | None, service: str = "kms") -> Any:
        """Return the client for *service* in *region*; None for the region that boto3 finds itself."""
        place = service, region
        with self._own_lock():  # a session cannot make clients in several threads at a time
            if place not in self._clients:
                session, config = self.session(), botocore.config.Config(**self._config)
                self._clients[place] = session.client(service, region_name=region, config=config)  # type: ignore[call-overload]
            return self._clients[place]

    def call(self, region: str | None, operation: str, **parameters: Any) -> Any:
        """Return the answer of AWS KMS in *region* to *operation*, such as ``Decrypt``; its debug records are suppressed."""
        with no_debug_log():
            return getattr(self.client(region), botocore.xform_name(operation))(**parameters)

    def _own_lock(self) -> "threading.RLock":
        """Return the lock of this process: a forked child must not share connections, nor wait for its parent's lock."""
        if self._process != os.getpid():
            self._begin()
        return self._lock


@contextmanager
def no_debug_log() -> Iterator[None]:
    """Suppress botocore's debug records in this thread: they hold whole requests and answers."""
    for name in _LOGGERS:
        # By name, so that a logger that is created during the call is quiet as well. A filter on a parent logger would not
        # see its children's records.
        logging.getLogger(name).addFilter(_is_quiet)
    _thread.is_quiet = True
    try:
        yield
    finally:
        _thread.is_quiet = False


def _is_quiet(record: logging.LogRecord) -> bool:
    # The filter is never removed: a thread that iterates over a logger's filters would then skip one of them.
    return record.levelno > logging.DEBUG or not getattr(_thread, "is_quiet", False)


def _import_boto3() -> None:
    try:
        with fork_waits():
            for name in _IMPORTS:
                importlib.import_module(name)
    except ImportError:
        raise KeyUnreachableError(
            "boto3 is not installed, and AWS KMS cannot be called without it here",
            hint="install boto3; a load works without it where the AWS credentials are in the environment or come"
            " from the container, with no AWS profile, configuration file or proxy",
        ) from None
