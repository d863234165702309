"""Measure the cold programs with the processor of a small Lambda function, and in the real Lambda runtime.

The runtime is AWS's own client (awslambdaric) under AWS's runtime emulator from aws-sam-cli. The time of the first
request, until it is answered, includes the handler's initialisation.
"""

import http.client
import json
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cold import Stage, stage
from limits import NoLimitError, processor_of
from processes import PROGRAMS, Program, compared
from processes import measure as measure_programs
from servers import HOST, await_port, free_port

TITLE = "Cold start with a processor as small as Lambda's"
MEGABYTES = (128, 512, 1024)
COUNT = 20
HANDLERS = (
    ("plaintext", "handler_plaintext"),
    ("encenv", "handler_encenv"),
    ("boto3 envelope", "handler_boto3"),
)
ANSWER_SECONDS = 60.0
SHARE = 3  # of the rounds of other parts: with a 14th of a processor a round takes a minute


def measure(rounds: int, work: Path) -> dict[str, Any]:
    """Return the milliseconds that the programs take; ``missing`` says what this machine lacks."""
    rounds = max(1, rounds // SHARE)
    results: dict[str, Any] = {"rounds": rounds}
    missing: dict[str, str] = {}
    emulator = _emulator(work)
    if emulator is None:
        missing["runtime emulator"] = f"no aws-lambda-rie for {platform.machine()} could be installed"
    with stage((COUNT,)) as ready:
        for megabytes in MEGABYTES:
            title = f"{COUNT} secrets, http, 0 ms, {megabytes} MB"
            print(f"  {title}", flush=True)
            try:
                with processor_of(megabytes) as words:
                    programs = [
                        replace(program, command=[*words, *program.command])
                        for program in ready.programs(COUNT, "http", 0.0)
                    ]
                    results[title] = measure_programs(programs, rounds)
                    if emulator is not None:
                        found = _requests(emulator, words, ready, rounds)
                        results[f"Lambda runtime, {megabytes} MB"] = found
            except NoLimitError as error:
                missing[f"{megabytes} MB"] = str(error)
        if emulator is not None:
            print("  Lambda runtime without a limit", flush=True)
            results["Lambda runtime, no limit"] = _requests(emulator, [], ready, rounds)
    return results | {"missing": missing}


def _emulator(work: Path) -> Path | None:
    """Return the emulator in the virtual environment ``sam``, which is created if it does not exist."""
    folder = work / "sam"
    kind = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), "")
    if not list(folder.glob("lib/python*/site-packages/samcli")):
        # In an environment of its own, because it pins old versions of the other tools' dependencies.
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "-q", "aws-sam-cli"]
        if subprocess.run(pip, check=False).returncode:
            return None
    found = list(folder.glob(f"lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-{kind}"))
    if not found:
        return None
    found[0].chmod(0o755)
    return found[0]


def _requests(emulator: Path, words: Sequence[str], ready: Stage, rounds: int) -> dict[str, Any]:
    programs = {program.name: program for program in ready.programs(COUNT, "http", 0.0)}
    times: dict[str, list[float]] = {name: [] for name, _ in HANDLERS}
    for turn in range(rounds + 1):
        for name, module in HANDLERS:
            taken = _first_request([*words, str(emulator)], programs[name], module)
            if turn:
                times[name].append(taken)
    return compared(times)


def _first_request(command: Sequence[str], program: Program, module: str) -> float:
    """Return how many milliseconds a new emulator takes for its first request.

    Raises:
        RuntimeError: If the handler gives a wrong answer.
    """
    port = free_port()
    environ: Mapping[str, str] = program.environ | {
        "AWS_LAMBDA_FUNCTION_TIMEOUT": f"{ANSWER_SECONDS:.0f}",
        "LAMBDA_TASK_ROOT": str(PROGRAMS),
    }
    runtime = [sys.executable, "-m", "awslambdaric", f"{module}.handler"]
    addresses = [
        "--runtime-interface-emulator-address",
        f"{HOST}:{port}",
        "--runtime-api-address",
        f"{HOST}:{free_port()}",
    ]
    process = subprocess.Popen(
        [*command, *addresses, *runtime],
        cwd=PROGRAMS,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        await_port(port, process)
        connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_SECONDS)
        began = time.perf_counter()
        connection.request("POST", "/2015-03-31/functions/function/invocations", b"{}")
        answer = connection.getresponse().read()
        taken = (time.perf_counter() - began) * 1000
    finally:
        _end(process)
    if answer != json.dumps(program.expected).encode():
        raise RuntimeError(f"the handler {module} answered {answer[:500]!r}")
    return taken


def _end(process: subprocess.Popen) -> None:
    """End the emulator and, with its session, the runtime that it has started."""
    process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
