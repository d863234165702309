"""Measure the time and the memory of loading, encrypting, inspecting and decrypting 10 to 10,000 variables.

Every figure is from a separate process, which first does the same with one variable, so that imports are not measured.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from figures import ratio, spread
from peers import ENCENV, WORK, Peers

TITLE = "10 to 10,000 variables"
SIZES = (10, 100, 1000, 10_000)
BESIDE = {  # what does the same without encryption
    "encenv.dotenv_values": "dotenv.dotenv_values",
    "EncryptedSettings": "BaseSettings",
    "EncryptedSettings, nothing encrypted": "BaseSettings",
}
VERBS = ("encrypt", "decrypt", "status", "check", "run")


def measure(rounds: int, work: Path) -> dict[str, Any]:
    """Run every subject at every size once a round, in turn.

    Returns:
        ``rows``, one for each subject and size: ``median_ms``, ``q1_ms``, ``q3_ms``, and ``peak_kib``, the peak memory
        beyond what was in use before; ``growth``: of each subject's time and memory from 1,000 to 10,000 variables, and
        the ratio of its time at 10,000 to that of the same without encryption; ``decrypting``: see `_decrypting`.
    """
    peers = Peers(work)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environ = peers.environ({"ENCENV_LOCAL_KEY_FILE": str(folder / "local.key")})
        _write_files(folder, environ)
        found: dict[tuple[str, int], list[dict[str, float]]] = {}
        for _ in range(rounds):
            for subject in SUBJECTS:
                for size in SIZES:
                    found.setdefault((subject, size), []).append(_child(subject, size, folder, environ))
        loops = _child("decrypting", rounds, folder, environ)["loops"]
    times = {key: [one["seconds"] for one in runs] for key, runs in found.items()}
    peaks = {key: round(median(one["peak_kib"] for one in runs)) for key, runs in found.items()}
    large, less = SIZES[-1], SIZES[-2]
    growth = [
        {
            "subject": subject,
            "time": ratio(times[subject, large], times[subject, less]),
            "memory": round(peaks[subject, large] / peaks[subject, less], 1)
            if peaks[subject, less]
            else None,
            **(
                {
                    "beside": BESIDE[subject],
                    "to_it": ratio(times[subject, large], times[BESIDE[subject], large]),
                }
                if subject in BESIDE
                else {}
            ),
        }
        for subject in SUBJECTS
    ]
    return {
        "rounds": rounds,
        "rows": [
            {
                "subject": subject,
                "variables": size,
                **spread(times[subject, size], 2),
                "peak_kib": peaks[subject, size],
            }
            for subject in SUBJECTS
            for size in SIZES
        ],
        "growth": growth,
        "decrypting": loops,
    }


def _write_files(folder: Path, environ: dict[str, str]) -> None:
    """Write a plain and a sealed file of each size."""
    subprocess.run([ENCENV, "keygen"], env=environ, cwd=folder, check=True, capture_output=True)
    for size in (1, *SIZES):
        plain = folder / f"plain-{size}.env"
        plain.write_text("".join(f"SECRET_{i:09}={secrets.token_hex(16)}\n" for i in range(size)))
        shutil.copy(plain, folder / f"sealed-{size}.env")
        subprocess.run(
            [ENCENV, "encrypt", "-q", "--key", "local", f"sealed-{size}.env"],
            env=environ,
            cwd=folder,
            check=True,
        )


def _child(subject: str, number: int, folder: Path, environ: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", subject, str(number)]
    done = subprocess.run(command, env=environ, cwd=folder, check=True, stdout=subprocess.PIPE)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


# The following functions run in the child processes. A subject prepares for a size and returns the function to measure,
# which returns the number of its variables.


def _decrypt_environ(size: int) -> Callable[[], int]:
    from encenv import decrypt_environ

    environ = _lines(f"sealed-{size}.env")
    return lambda: len(decrypt_environ(environ))


def _dotenv_values(size: int) -> Callable[[], int]:
    from encenv import dotenv_values

    return lambda: len(dotenv_values(f"sealed-{size}.env"))


def _plain_dotenv_values(size: int) -> Callable[[], int]:
    from dotenv import dotenv_values

    return lambda: len(dotenv_values(f"plain-{size}.env"))


def _settings(size: int, *, encrypted: bool, file: str) -> Callable[[], int]:
    from pydantic import create_model
    from pydantic_settings import BaseSettings

    from encenv import EncryptedSettings

    fields: dict[str, Any] = dict.fromkeys((name.lower() for name in _lines(f"plain-{size}.env")), (str, ...))
    base = EncryptedSettings if encrypted else BaseSettings
    model = create_model("Settings", __base__=base, **fields)
    return lambda: len(model(_env_file=f"{file}-{size}.env").model_dump())


def _verb(verb: str, size: int) -> Callable[[], int]:
    """Measure a verb of the command line, without the start of Python."""
    from encenv.cli.main import main

    file = f"sealed-{size}.env"
    words = [verb, file] if verb in ("decrypt", "status") else [verb, "-q", file]
    if verb == "encrypt":
        file = f"encrypted-{os.getpid()}.env"
        shutil.copy(f"plain-{size}.env", file)
        words = [verb, "-q", "--key", "local", file]
    if verb == "run":
        # encenv run becomes the program; the time until then is measured.
        os.execvpe = lambda *_: sys.exit(0)
        words = [verb, "-f", file, "--", "true"]

    def call() -> int:
        try:
            main(words)
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"encenv {verb} failed") from None
        if verb == "encrypt":
            sealed = sum(value.startswith("encenv:1:") for value in _lines(file).values())
            Path(file).unlink()
            return sealed
        return size

    return call


SUBJECTS: dict[str, Callable[[int], Callable[[], int]]] = {
    "decrypt_environ": _decrypt_environ,
    "encenv.dotenv_values": _dotenv_values,
    "dotenv.dotenv_values": _plain_dotenv_values,
    "EncryptedSettings": lambda size: _settings(size, encrypted=True, file="sealed"),
    "EncryptedSettings, nothing encrypted": lambda size: _settings(size, encrypted=True, file="plain"),
    "BaseSettings": lambda size: _settings(size, encrypted=False, file="plain"),
    **{f"encenv {verb}": lambda size, verb=verb: _verb(verb, size) for verb in VERBS},
}


def _decrypting(rounds: int) -> list[dict[str, Any]]:
    """Decrypt the same 10,000 values in three ways, in turn, in one process that has the data key already.

    The first is a bare AES-GCM loop: base64, decryption under the name, padding off, UTF-8. The others are what a load
    does with each value, and `decrypt_environ`, which also looks at every variable, checks and reports.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from encenv import LocalKeys, decrypt_environ
    from encenv.format.cipher import derive
    from encenv.format.envelope import DataKey
    from encenv.format.sealed import KeyEntry, encryption_context

    key = os.urandom(32)
    data_key = DataKey(key)
    plain = {f"SECRET_{i:09}": secrets.token_hex(16) for i in range(SIZES[-1])}
    sealed = {name: data_key.encrypt(name, text) for name, text in plain.items()}
    entry = KeyEntry(data_key.commitment, (), (LocalKeys().wrap(key, "", encryption_context(())),))
    environ = sealed | {entry.name: str(entry)}
    cipher = AESGCM(derive(key, b"encenv:1:value"))
    head = f"encenv:1:{data_key.kid}:"

    def bare() -> dict[str, str]:
        texts = {}
        start, label = len(head), head.encode()
        for name, text in sealed.items():
            data = urlsafe_b64decode(text[start:] + "==")
            padded = cipher.decrypt(data[:12], data[12:], label + name.upper().encode())
            texts[name] = padded.rstrip(b"\0")[:-1].decode()
        return texts

    def own() -> dict[str, str]:
        return {name: data_key.decrypt_text(name, text) for name, text in sealed.items()}

    ways = {
        "bare AES-GCM loop with base64": bare,
        "DataKey.decrypt_text": own,
        "decrypt_environ": lambda: decrypt_environ(environ),
    }
    if any(way() != plain for way in ways.values()):  # this also unwraps the data key
        raise RuntimeError("the plaintexts differ")
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(_timed(way))
    first = times[next(iter(ways))]
    return [
        {"loop": name, "values": len(plain), **spread(seconds, 2), "to_bare": ratio(seconds, first)}
        for name, seconds in times.items()
    ]


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _peak_kib() -> int:
    """Return the most memory that this process has had in use since `_forget_peak`."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak becomes what is in use now


def _one(subject: str, size: int) -> dict[str, float]:
    """Run *subject* with one variable, then measure it with *size*."""
    make = SUBJECTS[subject]
    make(1)()
    call = make(size)
    _forget_peak()
    before, counted = _peak_kib(), []
    seconds = _timed(lambda: counted.append(call()))
    peak = _peak_kib() - before
    if counted != [size]:
        raise RuntimeError(f"{subject} had {counted} variables, not {size}")
    return {"seconds": seconds, "peak_kib": peak}


def _lines(file: str) -> dict[str, str]:
    """Return the variables of one of the files above, which need no parser."""
    lines = Path(file).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _child_main(subject: str, number: int) -> None:
    """Measure, and print the result; what the subjects print is discarded."""
    answer = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    found = {"loops": _decrypting(number)} if subject == "decrypting" else _one(subject, number)
    with os.fdopen(answer, "w") as stream:
        json.dump(found, stream)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _child_main(sys.argv[2], int(sys.argv[3]))
    else:
        print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 5, WORK), indent=2))
