"""Turn measured seconds into medians, quartiles and ratios."""

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
    """Return the median ratio of *these* seconds to *those* of the same round.

    The ratio is taken in each round, because other work of the machine slows both alike.
    """
    return round(median(this / that for this, that in zip(these, those, strict=True)), 3)
