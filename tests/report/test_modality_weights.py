import numpy as np
import pytest
import torch

from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.nn import TMFUN, LightGCN
from tmfun_pyg.report._modality_weights import (
    ModalityWeights,
    choose_items,
    find_items,
    modality_weights,
    why_no_weights,
)
from tmfun_pyg.transforms import FeatureGraph


def test_choose_items() -> None:
    count = np.array([5, 0, 9, 1, 7, 3, 2, 8, 4, 6, 11, 10, 0])
    out = choose_items(count, [])
    assert out.items[:4] == [10, 11, 2, 7]
    assert out.items[8:] == [6, 3, 1, 12]
    assert set(out.items[4:8]) <= {0, 4, 5, 8, 9}
    assert len(set(out.items)) == 12
    assert out.items == choose_items(count, []).items
    groups = ["most popular"] * 4 + ["random"] * 4 + ["least popular"] * 4
    assert out.why == groups

    few = choose_items(np.array([3, 1, 2]), [])
    assert few.items == [0, 2, 1]
    assert few.why == ["most popular"] * 3
    asked = choose_items(count, [4, 1])
    assert asked.items == [4, 1]
    assert asked.why == ["asked for"] * 2


def test_find_items() -> None:
    assert find_items(np.array([10, 12, 30]), ["30", 10, "30"]) == [2, 0]
    assert find_items(np.array(["a", "<b>"]), ["<b>"]) == [1]
    assert find_items(np.array(["a"]), []) == []
    with pytest.raises(ValueError, match=r"'items': found \['7', 'x'\].*'10'"):
        find_items(np.array([10, 12]), ["12", "7", "x"])


def test_by_popularity_by_hand() -> None:
    first = np.array([0.5, 0.1, 0.3, 0.2, 0.9, 0.0])
    weights = ModalityWeights(
        ["a", "b"],
        np.stack([first, 1 - first], axis=1),
        np.array([True, True, True, True, True, False]),
        np.array([0, 2, 2, 2, 0, 2]),
    )
    bins, size, quartiles = weights.by_popularity()
    assert bins.labels == ["0", "2"]
    assert size.tolist() == [2, 3]
    np.testing.assert_allclose(
        quartiles[:, :, 0], [[0.6, 0.15], [0.7, 0.2], [0.8, 0.25]]
    )
    np.testing.assert_allclose(
        quartiles[:, :, 1], [[0.2, 0.75], [0.3, 0.8], [0.4, 0.85]]
    )


def test_of_a_model() -> None:
    dataset = SyntheticMultimodal(
        30, 20, missing={"visual": 0.3}, pre_transform=FeatureGraph(3)
    )
    data = dataset[0]
    torch.manual_seed(0)
    model = TMFUN.from_data(data, channels=8)
    assert why_no_weights(model) is None
    out = modality_weights(model, data)
    assert out.modalities == ["visual", "textual"]
    np.testing.assert_array_equal(out.is_complete, data["item"].mask_visual)
    assert out.is_complete.sum() == 14
    np.testing.assert_allclose(out.weight.sum(axis=1), 1, rtol=1e-5)
    assert (out.weight[~out.is_complete, 0] == 0).all()


def test_why_not() -> None:
    data = SyntheticMultimodal(
        30, 20, {"visual": 4}, pre_transform=FeatureGraph(3)
    )[0]
    model = LightGCN.from_data(data)
    assert "LightGCN does not" in (why_no_weights(model) or "")
    assert "one modality, visual" in (
        why_no_weights(TMFUN.from_data(data)) or ""
    )
    without = TMFUN.from_data(data, attention=False)
    assert "without its modality attention" in (why_no_weights(without) or "")
