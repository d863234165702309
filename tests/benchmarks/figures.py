"""What becomes of measured seconds: a median with its quartiles, and how often one is the other."""

from collections.abc import Sequence
from statistics import median, quantiles


def spread(seconds: Sequence[float], digits: int = 1) -> dict[str, float]:
    """Return the median and the quartiles of *seconds*, in milliseconds."""
    low, middle, high = quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else [seconds[0]] * 3
    return {
        "median_ms": round(middle * 1000, digits),
        "q1_ms": round(low * 1000, digits),
        "q3_ms": round(high * 1000, digits),
    }


def ratio(these: Sequence[float], those: Sequence[float]) -> float:
    """Return the median over the rounds of how often *these* seconds are *those* of the same round.

    Round by round, because what else the machine did in a round slowed both.
    """
    return round(median(this / that for this, that in zip(these, those, strict=True)), 3)
