"""Shares of a set with their uncertainty.

A share p = count / n has Wilson's score interval: all p' for which |p - p'| <= z sqrt(p' (1 - p') / n). It stays in
[0, 1] and keeps its coverage near 0 and 1, where copies are counted. The difference of two independent shares has
Newcombe's interval (Statistics in Medicine 17, 1998, method 10), built from the two Wilson intervals.
"""

from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

__all__ = ["Difference", "Rate", "difference"]


class Rate(float):
    """A share of a set: the number ``count / n`` with Wilson's interval.

    Attributes:
        count: members counted, an integer from 0 to n.
        n: members in all.
        low: lower end of the interval.
        high: upper end of the interval.
        confidence: of the interval, between 0 and 1.
    """

    count: int
    n: int
    low: float
    high: float
    confidence: float

    def __new__(cls, count: int, n: int, confidence: float = 0.95) -> "Rate":
        """The share ``count / n`` of ``n`` >= 1 members."""
        rate = super().__new__(cls, count / n)
        square = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
        share = float(rate)
        middle = (share + square / (2 * n)) / (1 + square / n)
        reach = sqrt(square * (share * (1 - share) / n + square / (4 * n * n))) / (1 + square / n)
        rate.count, rate.n, rate.confidence = count, n, confidence
        rate.low = max(0.0, middle - reach) if count else 0.0
        rate.high = min(1.0, middle + reach) if count < n else 1.0
        return rate

    def __getnewargs__(self) -> tuple[int, int, float]:  # type: ignore[override]
        return self.count, self.n, self.confidence

    def __str__(self) -> str:
        return f"{float(self):.1%} ({self.low:.1%} to {self.high:.1%})"

    def to_dict(self) -> dict[str, float]:
        """Value, interval and counts by name."""
        ends = {"low": self.low, "high": self.high, "confidence": self.confidence}
        return {"value": float(self), **ends, "count": self.count, "n": self.n}


class Difference(NamedTuple):
    """A difference of two shares with the ends of its interval, each between -1 and 1."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.1%} ({self.low:+.1%} to {self.high:+.1%})"


def difference(first: Rate, second: Rate) -> Difference:
    """``first`` minus ``second``, two independent shares, with Newcombe's interval at their confidence."""
    value = float(first) - float(second)
    down = sqrt((first - first.low) ** 2 + (second.high - second) ** 2)
    up = sqrt((first.high - first) ** 2 + (second - second.low) ** 2)
    return Difference(value, value - down, value + up)
