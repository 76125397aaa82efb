import pytest
import torch
import torch.nn.functional as F
from dense_content import (
    assert_same_loss,
    assert_state_is_free_of_data,
    dense_ranking_loss,
    dense_similar,
    draw_parameters,
    item_mask,
    normalized_features,
)
from torch_geometric.data import HeteroData
from toy_data import dense_interactions, dense_light_gcn, make_data

from tmfun_pyg.nn import FREEDOM


def edges_of(graph):
    """The edges that a graph holds, as pairs."""
    return {
        tuple(e) for e in graph.to_user.adj_t.to_dense().nonzero().tolist()
    }


def dense_embeddings(model, data, weights):
    users, items = dense_light_gcn(
        data,
        model.user_embedding.weight,
        model.item_embedding.weight,
        model.num_layers,
    ).split([model.num_users, model.num_items])
    s = sum(w * dense_similar(data, name) for name, w in weights.items())
    h = model.item_embedding.weight
    for _ in range(model.feature_conv.num_layers):
        h = s @ h
    return users, items + h


@pytest.mark.parametrize("num_modalities", [1, 2])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("prune", [0.0, 0.5])
def test_dense_reference(batch, num_modalities, missing, prune):
    data = make_data(num_modalities, missing)
    weights = {"m0": 1.0} if num_modalities == 1 else {"m0": 0.25, "m1": 0.75}
    model = FREEDOM.from_data(
        data,
        channels=4,
        num_layers=2,
        num_feature_layers=2,
        prune=prune,
        modality_weights={name: 4 * w for name, w in weights.items()},
        feature_weight=0.7,
        reg_weight=0.1,
    )
    draw_parameters(model)
    expected = dense_embeddings(model, data, weights)
    model.start_epoch(3)
    torch.testing.assert_close(model(), expected, rtol=1e-5, atol=1e-5)

    pruned = data.clone()
    kept = sorted(edges_of(model.pruned_graph))
    pruned["user", "interacts", "item"].edge_index = torch.tensor(kept).t()
    users, items = dense_embeddings(model, pruned, weights)
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
    assert_same_loss(model, model.loss(*batch), parts)


def test_modalities_weigh_the_same_by_default(data):
    model = FREEDOM.from_data(data, channels=4)
    expected = dense_embeddings(model, data, {"m0": 0.5, "m1": 0.5})
    torch.testing.assert_close(model(), expected)


def test_pruning_is_for_training(data, batch):
    model = FREEDOM.from_data(data, channels=4, prune=0.5)
    draw_parameters(model)
    whole = edges_of(model.graph)
    assert edges_of(model.pruned_graph) == whole
    expected, unpruned = model(), model.loss(*batch)
    model.start_epoch(0)
    assert len(edges_of(model.pruned_graph)) == round(0.5 * len(whole))
    assert edges_of(model.pruned_graph) < whole
    torch.testing.assert_close(model(), expected)
    assert not torch.equal(model.loss(*batch)["bpr"], unpruned["bpr"])
    model.eval()
    torch.testing.assert_close(model.loss(*batch), unpruned)
    torch.testing.assert_close(model.bind(data).train().loss(*batch), unpruned)


def test_pruning_depends_on_the_epoch_alone(data):
    models = [FREEDOM.from_data(data, prune=0.5) for _ in range(2)]
    drawn = []
    for epoch in range(5):
        for model in models:
            torch.rand(1)  # Other draws do not matter.
            model.start_epoch(epoch)
        first, second = (edges_of(model.pruned_graph) for model in models)
        assert first == second
        drawn.append(frozenset(first))
    assert len(set(drawn)) > 1
    models[0].start_epoch(0)
    assert edges_of(models[0].pruned_graph) == drawn[0]


def test_edges_are_drawn_by_degree(data):
    """The first draw has the probabilities of the weights."""
    r = dense_interactions(data)
    weight = r / (r.sum(1, keepdim=True) * r.sum(0)).clamp(min=1).sqrt()
    num_edges = int(r.sum())
    model = FREEDOM.from_data(data, channels=4, prune=1 - 1 / num_edges)
    count = torch.zeros_like(r)
    num_epochs = 2000
    for epoch in range(num_epochs):
        model.start_epoch(epoch)
        ((user, item),) = edges_of(model.pruned_graph)
        count[user, item] += 1
    expected = num_epochs * weight / weight.sum()
    assert expected[r > 0].max() > 1.5 * expected[r > 0].min()
    statistic = ((count - expected) ** 2 / expected)[r > 0].sum()
    # Chi-squared: its mean, and six standard deviations.
    assert statistic < num_edges - 1 + 6 * (2 * (num_edges - 1)) ** 0.5
    assert count[r == 0].sum() == 0


def test_missing_features_are_never_read(data, batch):
    model = FREEDOM.from_data(data, channels=4)
    expected = model(), model.loss(*batch)
    data["item"].x_m0[:2] = 1e6
    data["item"].x_m1[0] = 1e6
    model.bind(data)
    torch.testing.assert_close((model(), model.loss(*batch)), expected)


def test_without_loss_on_features(data, batch):
    model = FREEDOM.from_data(data, feature_weight=0.0)
    assert set(model.loss(*batch)) == {"bpr", "reg"}
    assert len(model.projections) == 0


def test_state(data):
    model = FREEDOM.from_data(data)
    model.start_epoch(0)
    assert_state_is_free_of_data(model)


def test_errors(data):
    with pytest.raises(ValueError, match="names no modality: FREEDOM"):
        FREEDOM(7, 6, in_channels={})
    for prune in (-0.1, 1.0):
        with pytest.raises(ValueError, match=r"'prune' must .* \(got"):
            FREEDOM.from_data(data, prune=prune)
    for weights in ({"m0": 1.0}, {"m0": -1.0, "m1": 2.0}, {"m0": 0, "m1": 0}):
        with pytest.raises(ValueError, match="'modality_weights' must name"):
            FREEDOM.from_data(data, modality_weights=weights)
    bare = HeteroData()
    bare["user"].num_nodes, bare["item"].num_nodes = 7, 6
    for name in ("m0", "m1"):
        bare["item"][f"x_{name}"] = data["item"][f"x_{name}"]
    bare["user", "interacts", "item"].edge_index = data[
        "user", "interacts", "item"
    ].edge_index
    with pytest.raises(ValueError, match=r"apply tmfun_pyg\.transforms"):
        FREEDOM.from_data(bare)
