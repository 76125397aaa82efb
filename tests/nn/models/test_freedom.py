import pytest
import torch
import torch.nn.functional as F
from dense_content import (
    dense_ranking_loss,
    dense_similar,
    draw_parameters,
    item_mask,
    normalized_features,
)
from toy_data import dense_light_gcn, edges_of, make_data

from tmfun_pyg.nn import FREEDOM
from tmfun_pyg.testing import RankingModelTests, assert_same_loss
from tmfun_pyg.transforms import ToRecGraph


def dense_embeddings(model, data):
    users, items = dense_light_gcn(
        data,
        model.user_embedding.weight,
        model.item_embedding.weight,
        model.num_layers,
    ).split([model.num_users, model.num_items])
    graphs = [dense_similar(data, name) for name in model.modalities]
    s = sum(graphs) / len(graphs)
    return users, items + s @ model.item_embedding.weight


def dense_parts(model, data, *batch, interactions=None):
    """The losses, on other interactions if they are given."""
    pruned = data.clone()
    if interactions is not None:
        pruned["user", "interacts", "item"].edge_index = interactions
    users, items = dense_embeddings(model, pruned)
    parts = dense_ranking_loss(model, users, items, *batch)
    parts["feature"] = 0.0
    for name in model.modalities:
        linear = model.projections[name]
        x = normalized_features(data, name) @ linear.weight.t() + linear.bias
        mask = item_mask(data, name)
        for u, i, negatives in zip(*batch, strict=True):
            for j in negatives:
                if mask[i] and mask[j]:
                    term = -F.logsigmoid(users[u] @ (x[i] - x[j]))
                    parts["feature"] += 0.7 * term / batch[2].numel()
    return parts


class TestFREEDOM(RankingModelTests):
    model_cls = FREEDOM
    options = {"channels": 4, "feature_weight": 0.7, "reg_weight": 0.1}

    def dense_loss(self, model, data, *batch):
        return dense_parts(model, data, *batch)


@pytest.mark.parametrize("num_modalities", [1, 2])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("prune", [0.0, 0.5])
def test_dense_reference(batch, num_modalities, missing, prune):
    data = make_data(num_modalities, missing)
    graph = ToRecGraph()(data)
    model = FREEDOM.from_data(
        data,
        channels=4,
        num_layers=2,
        prune=prune,
        feature_weight=0.7,
        reg_weight=0.1,
    )
    draw_parameters(model)
    pruned = model.prepare(graph, epoch=3)
    kept = torch.tensor(sorted(edges_of(pruned))).t()
    whole = graph["user", "interacts", "item"].edge_index
    assert kept.size(1) == round((1 - prune) * whole.size(1))
    expected = dense_embeddings(model, data)
    torch.testing.assert_close(model(graph), expected, rtol=1e-5, atol=1e-5)
    parts = dense_parts(model, data, *batch, interactions=kept)
    assert_same_loss(model, model.loss(pruned, *batch), parts)


def test_pruning_is_for_epochs_of_training(graph):
    """And not for evaluation, which names none."""
    model = FREEDOM.from_data(graph, channels=4, prune=0.5)
    whole = edges_of(graph)
    assert edges_of(model.prepare(graph)) == whole
    kept = edges_of(model.prepare(graph, epoch=0))
    assert len(kept) == round(0.5 * len(whole))
    assert kept < whole
    # Not from what is left of the epoch before:
    assert edges_of(model.prepare(graph)) == whole
    assert edges_of(model.eval().prepare(graph, epoch=0)) == kept


def test_without_loss_on_features(graph, batch):
    model = FREEDOM.from_data(graph, feature_weight=0.0)
    assert set(model.loss(model.prepare(graph), *batch)) == {"bpr", "reg"}
    assert len(model.projections) == 0


def test_errors(data):
    with pytest.raises(ValueError, match="one modality for FREEDOM"):
        FREEDOM(7, 6, in_channels={})
    for prune in (-0.1, 1.0):
        with pytest.raises(ValueError, match=r"'prune' must .* \(got"):
            FREEDOM.from_data(data, prune=prune)
    model = FREEDOM.from_data(data)
    for name in ("m0", "m1"):
        del data["item", f"similar_{name}", "item"]
    with pytest.raises(ValueError, match=r"apply tmfun_pyg\.transforms"):
        model(ToRecGraph()(data))


def test_encode_without_prepare(graph, batch):
    model = FREEDOM.from_data(graph)
    message = "FREEDOM reads what its prepare.. returns: .* 'similar'"
    for read in (model.encode, lambda data: model.loss(data, *batch)):
        with pytest.raises(ValueError, match=message):
            read(graph)


def test_pruned_graph_in_double_precision(graph, batch):
    model = FREEDOM.from_data(graph, channels=4, prune=0.5)
    expected = model.loss(model.prepare(graph, epoch=0), *batch)
    model.double()
    data = model.prepare(model.in_own_precision(graph), epoch=0)
    for store in data.stores:
        for value in store.values():
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                assert value.dtype == torch.double
    found = model.loss(data, *batch)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.dtype == torch.double
        torch.testing.assert_close(value.float(), expected[name])
