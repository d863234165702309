"""The settings that all programs load, and how a program proves that it loaded them."""

import os
import time
import zlib
from collections.abc import Callable, Iterable
from typing import Any

COUNT = int(os.environ["BENCH_COUNT"])
NAMES = [f"SECRET_{number:03}" for number in range(COUNT)]
FIELDS: dict[str, object] = {name.lower(): (str, ...) for name in NAMES}  # for pydantic's create_model


def checksum(values: Iterable[str]) -> str:
    """Return a checksum of the secrets in the order of their names. zlib's, because every program has imported zlib."""
    return str(zlib.crc32("\n".join(values).encode()))


def show(values: Iterable[str]) -> None:
    """Print a checksum of the secrets, to prove that the program has them."""
    print(checksum(values))


def load(make: Callable[[], Any]) -> Any:
    """Return what *make* returns, and append its milliseconds to the file ``BENCH_LOAD``."""
    began = time.perf_counter()
    settings = make()
    taken = (time.perf_counter() - began) * 1000
    with open(os.environ["BENCH_LOAD"], "a") as file:  # noqa: PTH123 (nothing is imported for it)
        file.write(f"{taken}\n")
    return settings
