import pytest
import torch
import torch.nn.functional as F
from toy_data import NUM_ITEMS, NUM_USERS, dense_interactions, make_data

from tmfun_pyg.nn import MMGCN
from tmfun_pyg.testing import RankingModelTests, assert_same_loss
from tmfun_pyg.transforms import ToRecGraph


def make_model(data, **kwargs):
    model = MMGCN.from_data(data, channels=4, reg_weight=0.1, **kwargs)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def leaky(x):
    return torch.where(x > 0, x, 0.01 * x)


def dense_encode(model, data):
    """The equations of the docstring, node by node."""
    r = dense_interactions(data)
    ids = torch.cat([model.user_embedding.weight, model.item_embedding.weight])
    neighbors = [
        *(row.nonzero().flatten() + model.num_users for row in r),
        *(column.nonzero().flatten() for column in r.t()),
    ]
    total = 0.0
    for name in model.modalities:
        f = data["item"][f"x_{name}"]
        f = (f - f.mean(1, keepdim=True)) / (
            f.var(1, keepdim=True, correction=0) + 1e-5
        ).sqrt()
        f = f @ model.projections[name].weight.t()
        x = torch.cat([model.preferences[name].weight, f])
        x = x / x.pow(2).sum(dim=1, keepdim=True).sqrt()
        mask = data["item"].get(f"mask_{name}", torch.ones(len(f)))
        x = x * torch.cat([torch.ones(len(r)), mask]).view(-1, 1)
        for layer in model.layers[name]:
            w1, w2, w3 = (
                layer.lin_neighbor.weight,
                layer.lin_self.weight,
                layer.lin_out.weight,
            )
            rows = []
            for n, near in enumerate(neighbors):
                h = torch.zeros(4)
                for k in near:
                    h = h + w1 @ x[k] / len(near)
                own = leaky(w2 @ x[n]) + ids[n]
                rows.append(leaky(w3 @ torch.cat([leaky(h), own])))
            x = torch.stack(rows)
        total = total + x
    return total.split([model.num_users, model.num_items])


def dense_parts(model, data, user, pos_item, neg_item):
    user_emb, item_emb = dense_encode(model, data)
    scores = user_emb @ item_emb.t()
    difference = (
        scores[user, pos_item].view(-1, 1) - scores[user.view(-1, 1), neg_item]
    )
    squared = model.user_embedding.weight[user].pow(2).sum()
    for item in (pos_item, neg_item):
        squared = squared + model.item_embedding.weight[item].pow(2).sum()
    for table in model.preferences.values():
        squared = squared + table.weight[user].pow(2).sum()
    return {
        "bpr": F.softplus(-difference).mean(),
        "reg": 0.1 * squared / len(user),
    }


class TestMMGCN(RankingModelTests):
    model_cls = MMGCN
    options = {"channels": 4, "reg_weight": 0.1}

    def dense_loss(self, model, data, *batch):
        return dense_parts(model, data, *batch)


@pytest.mark.parametrize("num_modalities", [1, 2])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_dense_reference(batch, num_layers, missing, num_modalities):
    data = make_data(num_modalities, missing)
    graph = ToRecGraph()(data)
    model = make_model(data, num_layers=num_layers)
    torch.testing.assert_close(
        model(graph), dense_encode(model, data), rtol=1e-5, atol=1e-5
    )
    assert_same_loss(
        model, model.loss(graph, *batch), dense_parts(model, data, *batch)
    )


def test_features_that_are_there_are_read(data, graph):
    model = make_model(data)
    expected = model(graph)[1]
    data["item"].x_m0[2:] = data["item"].x_m0[2:].flip(1)
    assert not torch.allclose(model(ToRecGraph()(data))[1], expected)


def test_shapes_and_state(graph):
    model = MMGCN.from_data(graph, channels=3, num_layers=1)
    assert [list(x.shape) for x in model(graph)] == [
        [NUM_USERS, 3],
        [NUM_ITEMS, 3],
    ]
    expected = {
        "user_embedding.weight": [NUM_USERS, 3],
        "item_embedding.weight": [NUM_ITEMS, 3],
    }
    for name, size in (("m0", 3), ("m1", 4)):
        expected[f"preferences.{name}.weight"] = [NUM_USERS, 3]
        expected[f"projections.{name}.weight"] = [3, size]
        for lin, width in (("neighbor", 3), ("self", 3), ("out", 6)):
            expected[f"layers.{name}.0.lin_{lin}.weight"] = [3, width]
    assert {
        name: list(x.shape) for name, x in model.state_dict().items()
    } == expected


def test_errors(data):
    with pytest.raises(ValueError, match="one modality for MMGCN"):
        MMGCN(7, 6, in_channels={})
    with pytest.raises(ValueError, match=r"'num_layers' .* \(got 0\)"):
        MMGCN.from_data(data, num_layers=0)
