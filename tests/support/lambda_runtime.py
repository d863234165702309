"""A Lambda function: AWS's real runtime client in a child process, with a runtime API of our own."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SECONDS = 60.0
SNAP_START = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}


@dataclass
class Run:
    """The outcome of a function's process.

    Attributes:
        answers: Kind and content of each report: ``response``, ``error``, ``init/error``, ``restore/error``.
        output: The log, that is, all that it wrote.
        code: The exit code; None if the process had to be killed.
    """

    answers: list[tuple[str, Any]] = field(default_factory=list)
    output: str = ""
    code: int | None = None

    @property
    def responses(self) -> list[Any]:
        """The handler's results, if there is nothing else."""
        assert {kind for kind, _ in self.answers} <= {"response"}, (self.answers, self.output)
        return [content for _, content in self.answers]


class _Api(ThreadingHTTPServer):
    """The part of Lambda's runtime API that a function calls; AWS Lambda Developer Guide, "Runtime API"."""

    daemon_threads = True

    def __init__(self, invocations: int, snapshot: Callable[[], None]) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.left = invocations
        self.snapshot = snapshot
        self.answers: list[tuple[str, Any]] = []
        self.finished = threading.Event()


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Api

    def do_GET(self):
        if self.path.endswith("/restore/next"):  # requested before the snapshot, answered after the restore
            self.server.snapshot()
            self._answer(200)
        elif self.server.left:
            self.server.left -= 1
            # The runtime client's native part crashes on an answer without a content type or a trace id.
            self._answer(
                200,
                {
                    "Lambda-Runtime-Aws-Request-Id": f"request-{self.server.left}",
                    "Content-Type": "application/json",
                    "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700",
                    "Lambda-Runtime-Deadline-Ms": "9999999999999",
                    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:111122223333:function:f",
                },
                b"{}",
            )
        else:
            self.server.finished.set()
            self.server.shutdown_request(self.request)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = self.path.split("/runtime/")[1].split("/")
        kind = parts[-1] if parts[0] == "invocation" else "/".join(parts)
        self.server.answers.append((kind, json.loads(body)))
        self._answer(202)

    def _answer(self, status, headers=None, body=b""):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def run(
    folder: Path,
    handler: str,
    environ: Mapping[str, str],
    invocations: int = 1,
    *,
    snapshot: Callable[[int], None] = lambda process: None,
    options: tuple[str, ...] = (),
) -> Run:
    """Run the function *handler* of *folder* for some *invocations*.

    Args:
        folder: Where its modules are.
        handler: Module and function, as Lambda names it.
        environ: The whole environment of its process; with `SNAP_START` there is a snapshot of the process.
        invocations: How often it is called.
        snapshot: Called with the id of the process at the moment of its snapshot; the process waits for it.
        options: Options of the interpreter.
    """
    done = Run()
    started = threading.Event()
    failures: list[BaseException] = []

    def make_snapshot() -> None:
        started.wait(SECONDS)
        try:
            snapshot(process.pid)
        except BaseException as error:  # noqa: BLE001 (raised again in the test's own thread)
            failures.append(error)

    api = _Api(invocations, make_snapshot)
    serving = threading.Thread(target=api.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    process = subprocess.Popen(
        [sys.executable, *options, "-m", "awslambdaric", handler],
        cwd=folder,
        env={**environ, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_port}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    started.set()
    reader = threading.Thread(target=lambda: output.append(process.communicate()[0].decode()))
    output: list[str] = []
    reader.start()
    try:
        while not api.finished.wait(0.01) and reader.is_alive():
            pass
        if reader.is_alive():
            process.kill()
        else:
            done.code = process.returncode
    finally:
        process.kill()
        reader.join(SECONDS)
        api.shutdown()
        api.server_close()
        serving.join(SECONDS)
    done.answers, done.output = api.answers, output[0]
    if failures:
        raise failures[0]
    return done


def memory(process: int) -> bytes:
    """Return all writable memory of *process*, which is what a snapshot stores, as far as the kernel lets us read it."""
    parts: list[bytes] = []
    with Path(f"/proc/{process}/mem").open("rb", 0) as mem:
        for line in Path(f"/proc/{process}/maps").read_text().splitlines():
            extent, rights = line.split()[:2]
            start, end = (int(number, 16) for number in extent.split("-"))
            if not rights.startswith("rw"):
                continue
            mem.seek(start)
            while start < end:
                try:
                    part = mem.read(min(end - start, 1 << 24))
                except OSError:
                    break
                if not part:
                    break
                parts.append(part)
                start += len(part)
    return b"".join(parts)


def environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables of this process that a function's process needs for Python and coverage."""
    kept = ("PATH", "HOME", "TMPDIR", "LANG", "COVERAGE_PROCESS_CONFIG", "PYTHONPATH")
    return {name: environ[name] for name in kept if name in environ} | {"PYTHONDONTWRITEBYTECODE": "1"}
