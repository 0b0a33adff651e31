import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from smoothscore.memorization import Rate, difference


@settings(max_examples=25, deadline=None)
@given(data=st.data(), n=st.integers(1, 5000), confidence=st.sampled_from([0.8, 0.95, 0.999]))
def test_wilson_interval_agrees_with_scipy(data: st.DataObject, n: int, confidence: float) -> None:
    count = data.draw(st.integers(0, n))
    rate = Rate(count, n, confidence)
    peer = binomtest(count, n).proportion_ci(confidence, method="wilson")
    assert (rate.low, rate.high) == pytest.approx((peer.low, peer.high), abs=1e-12)
    assert 0 <= rate.low <= rate <= rate.high <= 1


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_newcombe_interval_gives_the_published_values(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    """Newcombe 1998, Table II, method 10."""
    found = difference(Rate(*first), Rate(*second))
    assert found.value == pytest.approx(first[0] / first[1] - second[0] / second[1])
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)


def test_newcombe_interval_covers_the_true_difference() -> None:
    rng = np.random.default_rng(0)
    p, q, n, m = 0.1, 0.03, 200, 500
    draws = rng.binomial([n, m], [p, q], (4000, 2)).tolist()
    ends = [difference(Rate(a, n), Rate(b, m)) for a, b in draws]
    covered = np.mean([d.low <= p - q <= d.high for d in ends])
    assert abs(covered - 0.95) < 0.01 + 4 * np.sqrt(0.95 * 0.05 / 4000)


def test_a_rate_is_a_number_with_its_evidence() -> None:
    rate = Rate(3, 12)
    assert rate == 0.25
    assert rate + 1 == 1.25
    again = pickle.loads(pickle.dumps(rate))
    assert (again.count, again.n, again.low, again.high) == (3, 12, rate.low, rate.high)
    assert rate.to_dict() == {
        "value": 0.25,
        "low": rate.low,
        "high": rate.high,
        "confidence": 0.95,
        "count": 3,
        "n": 12,
    }
