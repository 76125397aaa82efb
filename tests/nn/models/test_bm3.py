import pytest
import torch
import torch.nn.functional as F
from dense_content import normalized_features
from toy_data import NUM_ITEMS, NUM_USERS, dense_light_gcn, make_data

from tmfun_pyg.nn import BM3
from tmfun_pyg.testing import RankingModelTests, assert_same_loss
from tmfun_pyg.transforms import ToRecGraph


def make_model(data, **kwargs):
    model = BM3.from_data(data, channels=4, reg_weight=0.1, **kwargs)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def dense_encode(model, data):
    item_id = model.item_embedding.weight
    user, item = dense_light_gcn(
        data, model.user_embedding.weight, item_id, model.num_layers
    ).split([model.num_users, model.num_items])
    return user, item + item_id


def distance(a, b):
    return 1 - (a @ b) / (a.pow(2).sum() * b.pow(2).sum()).sqrt().clamp(1e-8)


def dense_parts(model, data, user, pos_item, keep):
    """The losses, one interaction at a time. The targets are multiplied with
    what ``keep`` holds, users first, then items, then each modality.
    """
    w, b = model.predictor.weight, model.predictor.bias
    users, items = dense_encode(model, data)
    rec, reg = [], []
    align = {name: [] for name in model.modalities}
    mask = {name: [] for name in model.modalities}
    for n, (u, i) in enumerate(zip(user, pos_item, strict=True)):
        h_u, h_i = users[u], items[i]
        to_u, to_i = h_u.detach() * keep[0][n], h_i.detach() * keep[1][n]
        rec.append(distance(w @ h_u + b, to_i) + distance(w @ h_i + b, to_u))
        reg.append(h_u.pow(2).sum() + h_i.pow(2).sum())
        for m, name in enumerate(model.modalities):
            present = data["item"].get(f"mask_{name}")
            if present is not None and not present[i]:
                continue
            lin = model.projections[name]
            h = lin.weight @ normalized_features(data, name)[i] + lin.bias
            online = w @ h + b
            align[name].append(distance(online, to_i))
            mask[name].append(distance(online, h.detach() * keep[2 + m][n]))

    def mean(terms):
        return torch.stack(terms).mean() if terms else torch.zeros(())

    return {
        "rec": mean(rec),
        "align": 3.0 * sum(mean(terms) for terms in align.values()),
        "mask": 3.0 * sum(mean(terms) for terms in mask.values()),
        "reg": 0.1 * mean(reg),
    }


class TestBM3(RankingModelTests):
    model_cls = BM3
    options = {"channels": 4, "alignment_weight": 3.0, "reg_weight": 0.1}

    def dense_loss(self, model, data, user, pos_item, neg_item):
        keep = [torch.ones(len(user), 4)] * 4
        return dense_parts(model, data, user, pos_item, keep)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("num_modalities", [1, 2])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("num_layers", [0, 2])
def test_dense_reference(batch, num_layers, missing, num_modalities, training):
    data = make_data(num_modalities, missing)
    torch.manual_seed(3)
    model = make_model(
        data, num_layers=num_layers, dropout=0.25, alignment_weight=3.0
    ).train(training)
    user, pos_item, _ = batch
    graph = ToRecGraph()(data)
    h_user, h_item = dense_encode(model, data)
    torch.testing.assert_close(
        model(graph), (model.predictor(h_user), model.predictor(h_item))
    )

    ones = torch.ones(len(user), 4)
    keep = [ones] * (2 + num_modalities)
    if training:
        torch.manual_seed(4)  # Dropout of ones is the factor drawn.
        keep = [F.dropout(x, 0.25) for x in keep]
        assert any(bool((x == 0).any()) for x in keep[1:])
    expected = dense_parts(model, data, user, pos_item, keep)
    torch.manual_seed(4)
    assert_same_loss(model, model.loss(graph, *batch), expected)


def test_dropout_in_training_alone(graph, batch):
    model = make_model(graph, dropout=0.5)
    torch.testing.assert_close(model(graph), model(graph))
    for mode in (True, False):
        first, second = (
            model.train(mode).loss(graph, *batch) for _ in range(2)
        )
        assert (first["rec"] != second["rec"]) == mode


def test_negatives_are_not_read(graph, batch):
    model = make_model(graph).eval()
    user, pos_item, neg_item = batch
    torch.testing.assert_close(
        model.loss(graph, user, pos_item, neg_item),
        model.loss(graph, user, pos_item, neg_item.flip(0)),
    )


def test_features_that_are_there_are_read(data, graph, batch):
    model = make_model(graph).eval()
    expected = model.loss(graph, *batch)
    data["item"].x_m0[2:] = data["item"].x_m0[2:].flip(1)
    found = model.loss(ToRecGraph()(data), *batch)
    assert found["align"] != expected["align"]


def test_batch_without_content(graph):
    """Only item 0, which has no modality."""
    model = make_model(graph)
    zero = torch.zeros(2, dtype=torch.long)
    parts = model.loss(graph, zero, zero, zero.view(-1, 1))
    assert parts["align"] == parts["mask"] == 0
    sum(parts.values()).backward()
    for name, parameter in model.named_parameters():
        assert bool(parameter.grad.isfinite().all()), name
        if name.startswith("projections"):
            assert parameter.grad.abs().max() == 0


def test_shapes_and_state(graph):
    model = BM3.from_data(graph, channels=3)
    assert [list(x.shape) for x in model(graph)] == [
        [NUM_USERS, 3],
        [NUM_ITEMS, 3],
    ]
    assert {name: list(x.shape) for name, x in model.state_dict().items()} == {
        "user_embedding.weight": [NUM_USERS, 3],
        "item_embedding.weight": [NUM_ITEMS, 3],
        "projections.m0.weight": [3, 3],
        "projections.m0.bias": [3],
        "projections.m1.weight": [3, 4],
        "projections.m1.bias": [3],
        "predictor.weight": [3, 3],
        "predictor.bias": [3],
    }


def test_errors(data):
    with pytest.raises(ValueError, match="at least one modality for BM3"):
        BM3(7, 6, in_channels={})
    with pytest.raises(ValueError, match=r"'dropout' .* \(got 1.0\)"):
        BM3.from_data(data, dropout=1.0)
