import pytest
import torch
from torch_geometric.testing import withDevice

from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.transforms import FeatureGraph, HoldOutItems, ToRecGraph

INTERACTS = ("user", "interacts", "item")
REVERSE = ("item", "rev_interacts", "user")
SPLITS = ["edge_index", "val_edge_label_index", "test_edge_label_index"]
ADDED = ["cold_val_edge_label_index", "cold_test_edge_label_index"]


@pytest.fixture
def data():
    return SyntheticMultimodal(80, 60, seed=3)[0]


def pairs(edge_index):
    return set(map(tuple, edge_index.t().tolist()))


@withDevice
@pytest.mark.parametrize("ratio", [0.02, 0.2, 0.9])
def test_every_interaction_is_where_it_belongs(device, data, ratio):
    out = HoldOutItems(ratio)(data.to(device))
    is_cold = out["item"].is_cold
    assert is_cold.dtype == torch.bool
    assert int(is_cold.sum()) == round(ratio * 60)
    cold = set(is_cold.nonzero().view(-1).tolist())

    before, after = data[INTERACTS], out[INTERACTS]
    moved = []
    for name in SPLITS:
        expected = {edge for edge in pairs(before[name]) if edge[1] in cold}
        moved.append(expected)
        assert pairs(after[name]) == pairs(before[name]) - expected
        assert after[name].size(1) == len(pairs(after[name]))
    trained = set(after.edge_index[0].tolist())
    train, val, test = (
        {edge for edge in edges if edge[0] in trained} for edges in moved
    )
    assert pairs(after[ADDED[0]]) == val
    assert pairs(after[ADDED[1]]) == train | test
    assert after[ADDED[1]].size(1) == len(train) + len(test)
    assert pairs(out[REVERSE].edge_index.flip(0)) == pairs(after.edge_index)


def test_users_without_training_are_not_judged(data):
    out = HoldOutItems(0.9)(data)[INTERACTS]
    untrained = set(range(80)) - set(out.edge_index[0].tolist())
    assert len(untrained) > 0
    for name in ADDED:
        assert untrained.isdisjoint(out[name][0].tolist())


def test_nothing_else_changes(data):
    keys = {store._key: set(store.keys()) for store in data.stores}
    old = [data[INTERACTS][name].clone() for name in SPLITS]
    out = HoldOutItems(0.3)(data)
    for store in out.stores:
        added = set(store.keys()) - keys[store._key]
        expected = {"item": {"is_cold"}, INTERACTS: set(ADDED)}
        assert added == expected.get(store._key, set())
    for name in ("x_visual", "x_textual"):
        assert out["item"][name] is data["item"][name]
    # The data set itself is as it was:
    assert "is_cold" not in data["item"]
    for name, index in zip(SPLITS, old, strict=True):
        assert torch.equal(data[INTERACTS][name], index)


def test_refuses_feature_graphs(data):
    with pytest.raises(ValueError, match=r"HoldOutItems\(\) before Feat"):
        HoldOutItems()(FeatureGraph(5)(data))


def test_seed(data):
    first, same, other = (
        HoldOutItems(seed=seed)(data)["item"].is_cold for seed in (1, 1, 2)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert first.sum() == other.sum() == 12


def test_without_reverse_relation(data):
    del data[REVERSE]
    out = HoldOutItems()(data)
    assert REVERSE not in out.edge_types


@pytest.mark.parametrize("ratio", [-0.1, 0, 1, 1.5, float("nan")])
def test_bad_ratio(ratio):
    with pytest.raises(ValueError, match="must be above 0 and below 1"):
        HoldOutItems(ratio)


def test_bad_data(data):
    with pytest.raises(ValueError, match="holds out 0 of 60 items"):
        HoldOutItems(0.001)(data)
    with pytest.raises(ValueError, match="holds out 60 of 60 items"):
        HoldOutItems(0.999)(data)
    with pytest.raises(ValueError, match="held out already"):
        HoldOutItems()(HoldOutItems()(data))
    with pytest.raises(ValueError, match=r"HoldOutItems\(\) before ToRec"):
        HoldOutItems()(ToRecGraph()(data))
    del data[INTERACTS].val_edge_label_index
    with pytest.raises(ValueError, match=r"no \['val_edge_label_index'"):
        HoldOutItems()(data)


def test_degrees_are_those_of_what_is_left(data):
    held = HoldOutItems()(data)
    out = ToRecGraph()(held)
    assert torch.equal(out["item"].degree == 0, held["item"].is_cold)
    assert out.has_cold
    assert pairs(out[REVERSE].edge_index.as_tensor().flip(0)) == pairs(
        held[INTERACTS].edge_index
    )


def test_repr():
    assert repr(HoldOutItems()) == "HoldOutItems(ratio=0.2, seed=0)"
