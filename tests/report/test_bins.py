import math

import numpy as np
import pytest

from tmfun_pyg.report.bins import mean_by_bin, quantile_bins

DASH = "\N{EN DASH}"


def test_by_hand() -> None:
    # Ten counts, two in each of five bins; both ones and both twos tie.
    count = np.array([9, 1, 2, 3, 30, 1, 2, 4, 6, 8])
    bins = quantile_bins(count, 5)
    assert bins.labels == ["1", "2", f"3{DASH}4", f"6{DASH}8", f"9{DASH}30"]
    assert bins.place(count).tolist() == [4, 0, 1, 2, 4, 0, 1, 2, 3, 3]


def test_equal_counts_are_in_one_bin() -> None:
    bins = quantile_bins(np.array([1, 1, 1, 1, 1, 1, 1, 7]), 4)
    assert bins.low.tolist() == [1, 7]
    assert bins.high.tolist() == [1, 7]
    assert quantile_bins(np.full(3, 6)).labels == ["6"]


def test_zero_is_apart() -> None:
    count = np.array([0, 4, 0, 2, 0, 3, 1])
    bins = quantile_bins(count, 2)
    assert bins.low.tolist() == [0, 1, 3]
    assert bins.high.tolist() == [0, 2, 4]
    assert bins.place(count).tolist() == [0, 2, 0, 1, 0, 2, 1]
    assert quantile_bins(np.zeros(3, int)).labels == ["0"]


def test_every_count_is_in_its_bin() -> None:
    count = np.random.default_rng(0).geometric(0.2, 500) - 1
    bins = quantile_bins(count)
    place = bins.place(count)
    for b in range(len(bins.high)):
        own = count[place == b]
        assert own.min() == bins.low[b]
        assert own.max() == bins.high[b]
    assert (bins.low[1:] > bins.high[:-1]).all()


def test_mean_by_bin() -> None:
    out = mean_by_bin(np.array([2, 0, 2, 2]), np.array([0.0, 7.0, 1.0, 2.0]))
    assert out.bins.labels == ["0", "2"]
    assert out.size.tolist() == [1, 3]
    assert out.mean.tolist() == [7, 1]
    assert math.isnan(out.error[0])
    # The sample variance of 0, 1, 2 is one.
    assert out.error[1] == pytest.approx(1 / math.sqrt(3))
