import copy

import pytest
import torch
from torch_geometric.data import HeteroData

from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.transforms import (
    AddItems,
    FeatureGraph,
    HoldOutItems,
    ToRecGraph,
)

MODALITIES = ("visual", "text")


def make() -> "tuple":
    data = SyntheticMultimodal(
        60, 40, {"visual": 8, "text": 5}, missing={"text": 0.3}
    )[0]
    data = FeatureGraph(k=3)(data)
    generator = torch.Generator().manual_seed(0)
    visual = torch.randn(4, 8, generator=generator)
    text = torch.randn(4, 5, generator=generator)
    text[1] = 0
    return data, {"visual": visual, "text": text}


def test_edges() -> None:
    old, features = make()
    data = AddItems(features, k=3)(copy.copy(old))
    assert data["item"].num_nodes == 44
    assert data["item"].mask_text[40:].tolist() == [True, False, True, True]
    assert "mask_visual" not in data["item"]
    for name, x in features.items():
        before = old["item", f"similar_{name}", "item"]
        after = data["item", f"similar_{name}", "item"]
        num_old = before.edge_index.size(1)
        assert torch.equal(after.edge_index[:, :num_old], before.edge_index)
        assert torch.equal(after.edge_weight[:num_old], before.edge_weight)
        assert torch.equal(data["item"][f"x_{name}"][40:], x)
        source, target = after.edge_index[:, num_old:]
        known = old["item"][f"x_{name}"]
        mask = old["item"].get(f"mask_{name}", torch.ones(40).bool())
        for row in range(4):
            found = set(source[target == 40 + row].tolist())
            if name == "text" and row == 1:
                assert found == set()
                continue
            score = torch.cosine_similarity(x[row : row + 1], known)
            score = score.masked_fill(~mask, -2)
            assert found == set(score.topk(3).indices.tolist())
        assert torch.allclose(after.edge_weight[num_old:], torch.tensor(1 / 3))
    edges = ("user", "interacts", "item")
    assert data[edges].edge_index is old[edges].edge_index


def test_items_beside_those_held_out() -> None:
    _, features = make()
    data = SyntheticMultimodal(60, 40, {"visual": 8, "text": 5})[0]
    data = FeatureGraph(k=3)(HoldOutItems(0.2)(data))
    is_cold = data["item"].is_cold
    assert 0 < int(is_cold.sum()) < 40
    data = AddItems(features, k=3)(data)
    assert data["item"].is_cold.tolist() == [*is_cold.tolist(), *4 * [True]]


def test_known_item() -> None:
    # Added once more, an item is nearest to itself.
    data, _ = make()
    x = data["item"].x_visual[5:6]
    out = AddItems({"visual": x}, k=1)(copy.copy(data))
    edge = out["item", "similar_visual", "item"].edge_index[:, -1]
    assert edge.tolist() == [5, 40]
    assert not out["item"].mask_text[40]


def test_errors() -> None:
    data, features = make()
    visual, text = features["visual"], features["text"]
    for bad, match in (
        ({"audio": visual}, r"must be of .*\(got 'audio'\)"),
        ({"visual": visual[:, :3]}, r"visual.*, 8\] \(got \[4, 3\]\)"),
        ({"visual": visual / 0}, "NaN or Inf in row 0"),
        ({"text": text}, "some content of each item .got none in row 1"),
    ):
        with pytest.raises(ValueError, match=match):
            AddItems(bad)(copy.copy(data))
    with pytest.raises(ValueError, match="'visual': 4, 'text': 3"):
        AddItems({"visual": visual, "text": text[:3]})
    with pytest.raises(ValueError, match="must hold a modality"):
        AddItems({})
    with pytest.raises(ValueError, match=r"'k' must be at least 1 \(got 0\)"):
        AddItems(features, k=0)
    with pytest.raises(ValueError, match=r"AddItems\(\) before ToRecGraph"):
        AddItems(features)(ToRecGraph()(data))


@pytest.mark.parametrize("dtype", [torch.half, torch.float])
def test_features_beside_those_in_float16(dtype: torch.dtype) -> None:
    """They keep their type, and what float16 cannot hold."""
    data, features = make()
    data["item"].x_visual = data["item"].x_visual.half()
    old = data["item"].x_visual
    added = features["visual"].to(dtype) * (1e6 if dtype.itemsize > 2 else 1.0)
    data = AddItems({**features, "visual": added}, k=3)(data)
    assert data["item"].x_visual.dtype == dtype
    assert torch.equal(data["item"].x_visual[:40], old.to(dtype))
    assert torch.equal(data["item"].x_visual[40:], added)


def test_neighbors_of_a_cold_item() -> None:
    """Added once more, it has the neighbors that it has in the data set,
    whatever was added before: none that is cold.
    """
    data = SyntheticMultimodal(60, 40, {"visual": 8, "text": 5})[0]
    data = FeatureGraph(k=3)(HoldOutItems(0.2)(data))
    cold = data["item"].is_cold.nonzero().view(-1)
    features = {name: data["item"][f"x_{name}"][cold] for name in MODALITIES}
    for _ in range(2):
        num_items = data["item"].num_nodes
        data = AddItems(features, k=3)(data)
        for name in MODALITIES:
            source, target = data["item", f"similar_{name}", "item"].edge_index
            for place, item in enumerate(cold):
                found = source[target == num_items + place].tolist()
                assert set(found) == set(source[target == item].tolist())


@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e200])
def test_ties_up_to_scale(scale: float) -> None:
    """An added copy has the neighbors that it would have had as a cold item,
    also among items that are as near.
    """
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(4, 8, generator=generator, dtype=torch.double)
    length = torch.rand(6, 1, 1, generator=generator, dtype=torch.double) + 0.5
    x = (length * direction).view(24, 8) * scale
    data = HeteroData()
    data["user"].num_nodes, data["item"].num_nodes = 1, 24
    data["item"].x_visual = x
    warm = torch.arange(20)
    pairs = torch.stack([torch.zeros_like(warm), warm])
    data["user", "interacts", "item"].edge_index = pairs
    data = FeatureGraph(k=7)(data)
    data = AddItems({"visual": x[20:]}, k=7)(data)
    source, target = data["item", "similar_visual", "item"].edge_index
    for item in range(20, 24):
        found = source[target == item + 4].sort().values
        assert torch.equal(found, source[target == item].sort().values)
