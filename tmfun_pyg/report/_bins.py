"""Bins of counts, such as users by their training interactions."""

from typing import List, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

NUM_BINS = 5


class Bins(NamedTuple):
    r"""Ranges of whole numbers, both ends included.

    Args:
        low (np.ndarray): Where each bin begins, ascending.
        high (np.ndarray): Where each bin ends, ascending.
    """

    low: np.ndarray
    high: np.ndarray

    def __len__(self) -> int:
        return len(self.high)

    @property
    def labels(self) -> List[str]:
        r"""The ranges in words, such as :obj:`"3"` and :obj:`"4-9"`, with a
        longer dash.
        """
        return [
            f"{low}" if low == high else f"{low}\N{EN DASH}{high}"
            for low, high in zip(self.low, self.high, strict=True)
        ]

    def place(self, count: np.ndarray) -> np.ndarray:
        r"""Returns the bin of each count, which must not be above the last."""
        return np.searchsorted(self.high, count, side="left")


def quantile_bins(
    count: np.ndarray, num_bins: int = NUM_BINS, zero_apart: bool = False
) -> Bins:
    r"""Cuts counts into bins of about equal size. Equal counts are in one
    bin, so that there may be fewer.

    Args:
        count (np.ndarray): The counts, at least one.
        num_bins (int, optional): The number of bins.
            (default: :obj:`NUM_BINS`)
        zero_apart (bool, optional): If set to :obj:`True`, counts of zero
            are in a bin of their own, one more. (default: :obj:`False`)
    """
    split = count[count > 0] if zero_apart else count
    high = np.empty(0, dtype=np.int64)
    low = high
    if len(split) > 0:
        share = np.arange(1, num_bins + 1) / num_bins
        # A quantile of this kind is one of the counts.
        high = np.unique(np.quantile(split, share, method="inverted_cdf"))
        low = np.concatenate([[split.min()], high[:-1] + 1])
    if len(split) < len(count):
        low, high = np.concatenate([[0], low]), np.concatenate([[0], high])
    return Bins(low.astype(np.int64), high.astype(np.int64))


def training_counts(data: HeteroData, node_type: str) -> Tensor:
    r"""Returns the number of training interactions of each user or item.

    Args:
        data (HeteroData): The data set.
        node_type (str): Either :obj:`"user"` or :obj:`"item"`.
    """
    row = data["user", "interacts", "item"].edge_index.cpu()
    return torch.bincount(
        row[0 if node_type == "user" else 1],
        minlength=data[node_type].num_nodes,
    )
