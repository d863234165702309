"""Measure how long a cold process takes to load its settings, and how much of that time encryption takes."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from environments import Secrets, of_this_process
from processes import Program, base_environ, summary
from processes import measure as measure_programs
from servers import client, kms_server, secrets_manager
from stores import measure as measure_stores

TITLE = "Cold start"
COUNTS = (1, 20, 100)
DELAYS = (0.0, 0.02)  # seconds that the KMS takes to answer
HEAVY_COUNT = 20


@contextmanager
def stage(counts: tuple[int, ...] = COUNTS) -> Iterator["Stage"]:
    """Start the servers and encrypt the secrets."""
    with ExitStack() as stack:
        servers = {
            (scheme, delay): stack.enter_context(kms_server(tls=scheme == "tls", delay=delay))
            for scheme in ("http", "tls")
            for delay in DELAYS
        }
        plain = servers["http", 0.0]
        kms, key = client("kms", plain["environ"]), plain["keys"][0]
        made = [Secrets(count, kms, key) for count in counts]
        with of_this_process(plain["environ"]):  # the Encryption SDK makes its own client
            forms = {one.count: one.forms() for one in made}
        moto = stack.enter_context(secrets_manager())
        manager = client("secretsmanager", moto)
        for one in made:
            manager.create_secret(Name=f"benchmark-{one.count}", SecretString=one.document())
        environs = {place: server["environ"] for place, server in servers.items()}
        yield Stage(environs, moto, forms, {one.count: one.expected for one in made})


class Stage:
    """The running servers, and the environments that hold the secrets."""

    def __init__(
        self,
        kms: Mapping[tuple[str, float], Mapping[str, str]],
        moto: Mapping[str, str],
        forms: Mapping[int, Mapping[str, Mapping[str, str]]],
        expected: Mapping[int, str],
    ) -> None:
        self._kms = kms
        self._moto = moto
        self._forms = forms
        self._expected = expected

    def programs(self, count: int, scheme: str, delay: float) -> list[Program]:
        """Return the programs for *count* secrets, with a KMS that answers over *scheme* after *delay*."""
        around = base_environ() | self._kms[scheme, delay]
        rows = [
            ("plaintext", "plaintext.py", "plaintext"),
            ("encenv", "encenv_load.py", "sealed"),
            ("floor", "floor.py", "envelope"),
            ("boto3 envelope", "envelope_boto3.py", "envelope"),
            ("boto3 per variable", "console_boto3.py", "per variable"),
            ("AWS Encryption SDK", "encryption_sdk.py", "messages"),
        ]
        made = [
            Program.of(name, file, around | self._forms[count][form], self._expected[count])
            for name, file, form in rows
        ]
        if (scheme, delay) == ("http", 0.0):  # moto answers at once, and without TLS
            around = base_environ() | self._moto | {"BENCH_SECRET": f"benchmark-{count}"}
            made += [
                Program.of(name, file, around | self._forms[count]["elsewhere"], self._expected[count])
                for name, file in (
                    ("pydantic-settings, Secrets Manager", "secrets_manager.py"),
                    ("Powertools parameters", "powertools.py"),
                )
            ]
        return made

    def heavy(self) -> list[Program]:
        """Return the programs with a heavy import of their own, for all delays, over http and TLS."""
        made = []
        for (scheme, delay), kms in self._kms.items():
            around = base_environ() | kms
            rows = (
                ("plaintext", "heavy_plaintext.py", "plaintext"),
                ("encenv", "heavy_encenv.py", "sealed"),
                ("encenv, prefetched", "heavy_prefetch.py", "sealed"),
            )
            made += [
                Program.of(
                    name if name == "plaintext" else f"{name}, {place(scheme, delay)}",
                    file,
                    around | self._forms[HEAVY_COUNT][form],
                    self._expected[HEAVY_COUNT],
                )
                for name, file, form in rows
                if name != "plaintext" or (scheme, delay) == ("http", 0.0)
            ]
        return made


def place(scheme: str, delay: float) -> str:
    """Return the name that a scheme and a delay have in the results."""
    return f"{scheme}, {delay * 1000:g} ms"


def _measure_heavy(programs: list[Program], rounds: int) -> dict[str, Any]:
    """Measure *programs*; ``load`` is the time of the load alone, without the import, whose time varies."""
    with TemporaryDirectory() as folder:
        notes = {program.name: Path(folder, str(number)) for number, program in enumerate(programs)}
        noting = [
            replace(program, environ={**program.environ, "BENCH_LOAD": str(notes[program.name])})
            for program in programs
        ]
        found = measure_programs(noting, rounds)
        for name, note in notes.items():
            if "failed" not in found[name]:
                found[name]["load"] = summary([float(line) for line in note.read_text().split()[1:]])
    return found


def measure(rounds: int, work: Path) -> dict[str, Any]:
    """Return the milliseconds that the programs take."""
    results: dict[str, Any] = {}
    with stage() as ready:
        for count in COUNTS:
            for scheme in ("http", "tls"):
                for delay in DELAYS:
                    title = f"{count} secrets, {place(scheme, delay)}"
                    print(f"  {title}", flush=True)
                    results[title] = measure_programs(ready.programs(count, scheme, delay), rounds)
        print("  beside a heavy import", flush=True)
        title = f"{HEAVY_COUNT} secrets beside the import of pandas"
        results[title] = _measure_heavy(ready.heavy(), rounds)
    results["CA store"] = measure_stores(rounds, work)
    return results
