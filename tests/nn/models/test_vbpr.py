import pytest
import torch
from toy_data import NUM_ITEMS, NUM_USERS, make_data

from tmfun_pyg.nn import VBPR


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
        x = data["item"][f"x_{name}"]
        x = (x - x.mean(1, keepdim=True)) / (
            x.var(1, keepdim=True, correction=0) + 1e-5
        ).sqrt()
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


@pytest.mark.parametrize("num_modalities", [1, 2])
@pytest.mark.parametrize("missing", [False, True])
def test_dense_reference(batch, num_modalities, missing):
    data = make_data(num_modalities, missing)
    model = make_model(data)
    user, pos_item, neg_item = batch
    scores = dense_scores(model, dense_features(data))
    user_emb, item_emb = model()
    torch.testing.assert_close(user_emb @ item_emb.t(), scores)

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
    expected = {
        "bpr": -difference.sigmoid().log().mean(),
        "reg": 0.1 * squared / len(user),
    }
    parts = model.loss(*batch)
    assert set(parts) == set(expected)
    for name in parts:
        torch.testing.assert_close(parts[name], expected[name])
    parameters = list(model.parameters())
    found = torch.autograd.grad(sum(parts.values()), parameters)
    wanted = torch.autograd.grad(sum(expected.values()), parameters)
    for grad, other in zip(found, wanted, strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(grad, other, rtol=1e-4, atol=1e-6)


def test_missing_features_are_never_read(data, batch):
    model = make_model(data)
    expected = model(), model.loss(*batch)
    present = data["item"].x_m0[2:].clone()
    data["item"].x_m0[:2] = 1e6 * torch.randn(2, 3)
    model.bind(data)
    torch.testing.assert_close((model(), model.loss(*batch)), expected)
    data["item"].x_m0[2:] = present.flip(1)  # These are.
    assert not torch.allclose(model.bind(data)()[1], expected[0][1])


def test_items_without_interactions_are_scored_from_content(data):
    model = make_model(data)
    edge_index = data["user", "interacts", "item"].edge_index
    keep = edge_index[1] != 3
    data["user", "interacts", "item"].edge_index = edge_index[:, keep]
    model.bind(data)
    with torch.no_grad():
        model.item_embedding.weight[3] = 0.0
        model.item_bias.weight[3] = 0.0
    f = dense_features(data)[3]
    expected = model.user_content.weight @ model.lin_content(f)
    expected = expected + model.lin_bias(f)
    user_emb, item_emb = model()
    torch.testing.assert_close(user_emb @ item_emb[3], expected)
    assert expected.std() > 0


def test_shapes_and_state(data):
    model = VBPR.from_data(data, channels=3)
    assert [list(x.shape) for x in model()] == [[NUM_USERS, 7], [NUM_ITEMS, 7]]
    assert {name: list(x.shape) for name, x in model.state_dict().items()} == {
        "user_embedding.weight": [NUM_USERS, 3],
        "item_embedding.weight": [NUM_ITEMS, 3],
        "user_content.weight": [NUM_USERS, 3],
        "item_bias.weight": [NUM_ITEMS, 1],
        "lin_content.weight": [3, 7],
        "lin_bias.weight": [1, 7],
    }


def test_errors():
    with pytest.raises(ValueError, match="names no modality: VBPR"):
        VBPR(7, 6, in_channels={})
