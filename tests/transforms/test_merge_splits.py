import pytest
import torch

from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.transforms import FeatureGraph, MergeSplits, ToRecGraph

KEYS = ("edge_index", "val_edge_label_index", "test_edge_label_index")


def test_merged() -> None:
    dataset = SyntheticMultimodal(30, 20, {"m": 4}, seed=0)
    store = dataset[0]["user", "interacts", "item"]
    expected = sorted(
        pair for key in KEYS for pair in zip(*store[key].tolist(), strict=True)
    )
    data = MergeSplits()(dataset[0])
    store = data["user", "interacts", "item"]
    assert [*zip(*store.edge_index.tolist(), strict=True)] == expected
    assert [*store.keys()] == ["edge_index"]
    item, user = data["item", "rev_interacts", "user"].edge_index.tolist()
    reverse = [*zip(item, user, strict=True)]
    assert reverse == sorted((i, u) for u, i in expected)
    assert data.validate()
    # The data set itself stays as it was:
    store = dataset[0]["user", "interacts", "item"]
    assert {*store.keys()} == {*KEYS}


def test_repeated_pairs_are_kept_once() -> None:
    data = SyntheticMultimodal(30, 20, {"m": 4}, seed=0)[0]
    store = data["user", "interacts", "item"]
    store.test_edge_label_index = store.edge_index[:, :3]
    both = torch.cat([store.edge_index, store.val_edge_label_index], dim=1)
    merged = MergeSplits()(data)["user", "interacts", "item"].edge_index
    assert torch.equal(merged, both.unique(dim=1))


def test_order_of_transforms() -> None:
    data = SyntheticMultimodal(30, 20, {"m": 4}, seed=0)[0]
    for other in (FeatureGraph(k=2), ToRecGraph()):
        name = type(other).__name__
        with pytest.raises(ValueError, match=rf"before {name}\(\)"):
            MergeSplits()(other(data.clone()))
