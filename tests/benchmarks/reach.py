"""Compare the results with the aims. Nothing depends on it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

RATIO_MAX = 0.10  # of what the program with boto3 takes
FLOOR_MORE = 4.0  # ms above the request by hand
HUNDRED_MORE = 2.0  # ms for 80 secrets more
PREFETCH_MORE = 3.0  # ms for a KMS that takes 20 ms
PLACES = ("http, 0 ms", "tls, 0 ms")


@dataclass(frozen=True)
class Aim:
    """An aim, and the result."""

    name: str
    value: float
    limit: float

    def __str__(self) -> str:
        verdict = "reached" if self.value <= self.limit else "missed"
        return f"{verdict}: {self.name}: {self.value:.3g}, at most {self.limit:g}"


def reached(results: dict[str, Any]) -> Iterator[Aim]:
    """Yield the aims that *results* has figures for."""
    cold = results.get("cold", {}).get("results", {})
    for place in PLACES:
        twenty, hundred = (cold.get(f"{count} secrets, {place}", {}) for count in (20, 100))
        ours = twenty.get("encenv", {}).get("overhead")
        if ours is None:
            continue
        if "ratio" in twenty["encenv"]:
            yield Aim(f"overhead to that of boto3, {place}", twenty["encenv"]["ratio"], RATIO_MAX)
        if "overhead" in twenty.get("floor", {}):
            yield Aim(f"ms above the floor, {place}", ours - twenty["floor"]["overhead"], FLOOR_MORE)
        if "overhead" in hundred.get("encenv", {}):
            yield Aim(f"ms for 80 secrets more, {place}", hundred["encenv"]["overhead"] - ours, HUNDRED_MORE)
    counted = results.get("instructions", {}).get("results", {})
    for scheme in ("http", "tls"):
        ratio = counted.get(f"20 secrets, {scheme}", {}).get("encenv", {}).get("ratio")
        if ratio is not None:
            yield Aim(f"overhead to that of boto3, in instructions, {scheme}", ratio, RATIO_MAX)
    yield from _prefetched(next((found for title, found in cold.items() if "beside the import" in title), {}))


def _prefetched(heavy: dict[str, Any]) -> Iterator[Aim]:
    for scheme in ("http", "tls"):
        soon, late = (heavy.get(f"encenv, prefetched, {scheme}, {delay} ms", {}) for delay in (0, 20))
        if "overhead" in soon and "overhead" in late:
            more = late["overhead"] - soon["overhead"]
            yield Aim(f"ms for a KMS that takes 20 ms, prefetched, {scheme}", more, PREFETCH_MORE)
        if "load" in soon and "load" in late:
            more = late["load"]["median"] - soon["load"]["median"]
            yield Aim(f"the same, of the load itself, {scheme}", more, PREFETCH_MORE)
