"""Means by bins of counts, such as users by their training interactions."""

from typing import List, NamedTuple

import numpy as np
import pandas as pd


class Bins(NamedTuple):
    r"""Ranges of counts, both ends included.

    Args:
        low (np.ndarray): The smallest count in each bin, ascending.
        high (np.ndarray): The largest count in each bin, ascending.
    """

    low: np.ndarray
    high: np.ndarray

    @property
    def labels(self) -> List[str]:
        r"""The ranges as text, such as :obj:`"3"` and :obj:`"4–9"`."""
        return [
            f"{low}" if low == high else f"{low}\N{EN DASH}{high}"
            for low, high in zip(self.low, self.high, strict=True)
        ]

    def place(self, count: np.ndarray) -> np.ndarray:
        r"""Returns the bin of each count, after the last one if too large."""
        return np.searchsorted(self.high, count)


class Binned(NamedTuple):
    r"""Means by bin.

    Args:
        bins (Bins): The bins.
        size (np.ndarray): The number of values in each bin.
        mean (np.ndarray): Their mean.
        error (np.ndarray): Its standard error, NaN for a single value.
    """

    bins: Bins
    size: np.ndarray
    mean: np.ndarray
    error: np.ndarray


def quantile_bins(count: np.ndarray, num_bins: int = 5) -> Bins:
    r"""Cuts counts into bins of about equal size. Equal counts share a bin,
    so there may be fewer bins; counts of zero have their own.

    Args:
        count (np.ndarray): The counts, at least one.
        num_bins (int, optional): The number of bins of counts above zero.
            (default: :obj:`5`)
    """
    values = np.unique(count)
    high, positive = values[values == 0], count[count > 0]
    if len(positive) > 0:
        share = np.arange(1, num_bins + 1) / num_bins
        # This method returns quantiles that are counts.
        quantiles = np.quantile(positive, share, method="inverted_cdf")
        high = np.unique(np.append(high, quantiles))
    after = np.searchsorted(values, high[:-1]) + 1
    return Bins(values[np.append(0, after)], high)


def mean_by_bin(count: np.ndarray, value: np.ndarray) -> Binned:
    r"""Averages values by bins of counts.

    Args:
        count (np.ndarray): The count that each value is binned by.
        value (np.ndarray): The values, in the same order.
    """
    bins = quantile_bins(count)
    groups = pd.Series(value).groupby(bins.place(count))
    columns = groups.size(), groups.mean(), groups.sem()
    return Binned(bins, *(column.to_numpy() for column in columns))
