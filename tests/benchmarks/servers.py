"""Start the servers that the programs call, each in its own process: the test KMS, and moto for AWS Secrets Manager."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from processes import base_environ

HOST = "127.0.0.1"
START_SECONDS = 60.0
SEED = "benchmark"  # the same key in all of them, so that the same environment serves for all


@contextmanager
def kms_server(*, tls: bool = False, delay: float = 0.0) -> Iterator[dict[str, Any]]:
    """Run ``python -m encenv.testing``; yield its URL, its keys and the environment for its clients."""
    command = [sys.executable, "-m", "encenv.testing", "--seed", SEED, "--delay", str(delay)]
    process = subprocess.Popen(
        [*command, *(["--tls"] if tls else [])], stdout=subprocess.PIPE, text=True, env=base_environ()
    )
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


@contextmanager
def secrets_manager() -> Iterator[dict[str, str]]:
    """Run moto's server; yield the environment for its clients."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet, env=base_environ())
    try:
        await_port(port, process)
        yield {
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": f"http://{HOST}:{port}",
            "AWS_ACCESS_KEY_ID": "benchmark",
            "AWS_SECRET_ACCESS_KEY": "benchmark",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        return free.getsockname()[1]


def await_port(port: int, process: subprocess.Popen) -> None:
    """Wait until *process* listens on *port*."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.01)
    raise RuntimeError(f"nothing listens on port {port}")


def client(service: str, environ: dict[str, str]) -> Any:
    """Return a boto3 client of the server that *environ* names."""
    url = environ["AWS_ENDPOINT_URL_KMS" if service == "kms" else "AWS_ENDPOINT_URL_SECRETS_MANAGER"]
    return boto3.session.Session(
        environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"], region_name=environ["AWS_REGION"]
    ).client(service, endpoint_url=url)
