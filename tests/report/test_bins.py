import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData

from tmfun_pyg.report._bins import quantile_bins, training_counts


def test_by_hand() -> None:
    # Ten counts, two in each of five bins; both ones and both twos tie.
    count = np.array([9, 1, 2, 3, 30, 1, 2, 4, 5, 8])
    bins = quantile_bins(count, 5)
    assert bins.low.tolist() == [1, 2, 3, 5, 9]
    assert bins.high.tolist() == [1, 2, 4, 8, 30]
    dash = "\N{EN DASH}"
    assert bins.labels == ["1", "2", f"3{dash}4", f"5{dash}8", f"9{dash}30"]
    assert bins.place(count).tolist() == [4, 0, 1, 2, 4, 0, 1, 2, 3, 3]


def test_equal_counts_are_in_one_bin() -> None:
    bins = quantile_bins(np.array([1, 1, 1, 1, 1, 1, 1, 7]), 4)
    assert bins.low.tolist() == [1, 2]
    assert bins.high.tolist() == [1, 7]
    bins = quantile_bins(np.full(3, 6))
    assert bins.labels == ["6"]


def test_zero_is_apart() -> None:
    count = np.array([0, 4, 0, 2, 0, 3, 1])
    bins = quantile_bins(count, 2, zero_apart=True)
    assert bins.low.tolist() == [0, 1, 3]
    assert bins.high.tolist() == [0, 2, 4]
    assert bins.place(count).tolist() == [0, 2, 0, 1, 0, 2, 1]
    assert quantile_bins(np.zeros(3, int), zero_apart=True).labels == ["0"]
    assert quantile_bins(count[1:2], 5, zero_apart=True).labels == ["4"]


@pytest.mark.parametrize("zero_apart", [False, True])
def test_no_count_is_lost(zero_apart: bool) -> None:
    count = np.random.default_rng(0).geometric(0.2, 500) - 1
    bins = quantile_bins(count, zero_apart=zero_apart)
    place = bins.place(count)
    assert (bins.low[place] <= count).all()
    assert (count <= bins.high[place]).all()
    assert np.bincount(place, minlength=len(bins)).min() > 0
    assert (bins.low[1:] > bins.high[:-1]).all()


def test_training_counts() -> None:
    data = HeteroData()
    data["user"].num_nodes, data["item"].num_nodes = 3, 4
    edge_index = torch.tensor([[0, 0, 2], [1, 3, 1]])
    data["user", "interacts", "item"].edge_index = edge_index
    assert training_counts(data, "user").tolist() == [2, 0, 1]
    assert training_counts(data, "item").tolist() == [0, 2, 0, 1]
