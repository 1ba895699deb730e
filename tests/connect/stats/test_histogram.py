from __future__ import annotations

import random

import pytest

from chowk.connect.stats.histogram import BOUNDS_S, Histogram, quantile


def test_nothing_counted_has_no_quantile() -> None:
    assert quantile(Histogram().counts, 0.99) == 0.0


def test_a_bound_belongs_to_its_own_bucket() -> None:
    histogram = Histogram()
    histogram.add(0.001)
    histogram.add(0.0010001)
    assert histogram.counts[BOUNDS_S.index(0.001)] == 1
    assert histogram.counts[BOUNDS_S.index(0.002)] == 1
    assert histogram.sum_s == pytest.approx(0.0020001)


def test_what_is_longer_than_the_last_bound_is_counted_and_told_as_at_least_it() -> None:
    histogram = Histogram()
    histogram.add(100.0)
    assert histogram.counts[-1] == 1
    assert quantile(histogram.counts, 0.5) == BOUNDS_S[-1]


@pytest.mark.parametrize("q", [0.0, 0.1, 0.5, 0.9, 0.95, 0.99, 1.0])
def test_a_quantile_is_within_the_bucket_where_the_true_one_lies(q: float) -> None:
    rng = random.Random(7)
    durations = sorted(rng.lognormvariate(-6, 1.5) for _ in range(5000))
    histogram = Histogram()
    for duration in durations:
        histogram.add(duration)
    true = durations[min(len(durations) - 1, int(q * len(durations)))]
    bounds = (0.0, *BOUNDS_S)
    told = quantile(histogram.counts, q)
    at = max(index for index, bound in enumerate(bounds) if bound <= true)
    assert bounds[max(0, at - 1)] <= told <= bounds[min(at + 2, len(bounds) - 1)]


def test_quantiles_grow() -> None:
    counts = [0, 3, 0, 9, 1, 0, 2, *[0] * 14]
    told = [quantile(counts, step / 20) for step in range(21)]
    assert told == sorted(told)
