import pytest
import torch
import torch.nn.functional as F
from dense_content import normalized_features
from toy_data import NUM_ITEMS, NUM_USERS, make_data

from tmfun_pyg.nn import VBPR
from tmfun_pyg.testing import RankingModelTests, assert_same_loss
from tmfun_pyg.transforms import ToRecGraph


def make_model(data):
    model = VBPR.from_data(data, channels=4, reg_weight=0.1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def dense_features(data):
    """Normalized item by item, zero where a modality is missing."""
    out = []
    for name in ("m0", "m1"):
        if f"x_{name}" not in data["item"]:
            continue
        x = normalized_features(data, name)
        mask = data["item"].get(f"mask_{name}", torch.ones(len(x)))
        out.append(x * mask.view(-1, 1))
    return torch.cat(out, dim=1)


def dense_scores(model, f):
    """Eq. 4 term by term."""
    e, beta = model.lin_content.weight, model.lin_bias.weight[0]
    return (
        model.user_embedding.weight @ model.item_embedding.weight.t()
        + model.user_content.weight @ (e @ f.t())
        + model.item_bias.weight[:, 0]
        + f @ beta
    )


def dense_parts(model, data, user, pos_item, neg_item):
    scores = dense_scores(model, dense_features(data))
    difference = (
        scores[user, pos_item].view(-1, 1) - scores[user.view(-1, 1), neg_item]
    )
    squared = (
        model.user_embedding.weight[user].pow(2).sum()
        + model.user_content.weight[user].pow(2).sum()
    )
    for item in (pos_item, neg_item):
        squared = squared + model.item_embedding.weight[item].pow(2).sum()
        squared = squared + model.item_bias.weight[item].pow(2).sum()
    return {
        "bpr": F.softplus(-difference).mean(),
        "reg": 0.1 * squared / len(user),
    }


class TestVBPR(RankingModelTests):
    model_cls = VBPR
    options = {"channels": 4, "reg_weight": 0.1}

    def dense_loss(self, model, data, *batch):
        return dense_parts(model, data, *batch)


@pytest.mark.parametrize("num_modalities", [1, 2])
@pytest.mark.parametrize("missing", [False, True])
def test_dense_reference(batch, num_modalities, missing):
    data = make_data(num_modalities, missing)
    graph = ToRecGraph()(data)
    model = make_model(data)
    user_emb, item_emb = model(graph)
    torch.testing.assert_close(
        user_emb @ item_emb.t(), dense_scores(model, dense_features(data))
    )
    assert_same_loss(
        model, model.loss(graph, *batch), dense_parts(model, data, *batch)
    )


def test_features_that_are_there_are_read(data, graph):
    model = make_model(data)
    expected = model(graph)[1]
    data["item"].x_m0[2:] = data["item"].x_m0[2:].flip(1)
    assert not torch.allclose(model(ToRecGraph()(data))[1], expected)


def test_items_without_interactions_are_scored_from_content(data):
    model = make_model(data)
    edge_index = data["user", "interacts", "item"].edge_index
    keep = edge_index[1] != 3
    data["user", "interacts", "item"].edge_index = edge_index[:, keep]
    graph = ToRecGraph()(data)
    with torch.no_grad():
        model.item_embedding.weight[3] = 0.0
        model.item_bias.weight[3] = 0.0
    f = dense_features(data)[3]
    expected = model.user_content.weight @ model.lin_content(f)
    expected = expected + model.lin_bias(f)
    user_emb, item_emb = model(graph)
    torch.testing.assert_close(user_emb @ item_emb[3], expected)
    assert expected.std() > 0


def test_shapes_and_state(graph):
    model = VBPR.from_data(graph, channels=3)
    assert [list(x.shape) for x in model(graph)] == [
        [NUM_USERS, 7],
        [NUM_ITEMS, 7],
    ]
    assert {name: list(x.shape) for name, x in model.state_dict().items()} == {
        "user_embedding.weight": [NUM_USERS, 3],
        "item_embedding.weight": [NUM_ITEMS, 3],
        "user_content.weight": [NUM_USERS, 3],
        "item_bias.weight": [NUM_ITEMS, 1],
        "lin_content.weight": [3, 7],
        "lin_bias.weight": [1, 7],
    }


def test_errors():
    with pytest.raises(ValueError, match="one modality for VBPR"):
        VBPR(7, 6, in_channels={})
