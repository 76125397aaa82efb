import pytest
import torch
import torch.nn.functional as F
from toy_data import NUM_ITEMS, NUM_USERS, dense_interactions, make_data

from tmfun_pyg.baselines import ContentKNN
from tmfun_pyg.testing import RankingModelTests
from tmfun_pyg.transforms import ToRecGraph


class TestContentKNN(RankingModelTests):
    model_cls = ContentKNN


def cosine(x, y):
    norm = x.norm() * y.norm()
    return float(x @ y / norm) if norm > 0 else 0.0


def dense_scores(data, names):
    """User by user and item by item, as it is defined."""
    r = dense_interactions(data)
    out = torch.zeros(NUM_USERS, NUM_ITEMS)
    for name in names:
        x = data["item"][f"x_{name}"]
        x = F.layer_norm(x.double(), x.shape[1:], eps=0).float()
        mask = data["item"].get(f"mask_{name}", torch.ones(len(x)).bool())
        x = x - x[mask & (r.sum(dim=0) > 0)].mean(dim=0)
        for user in range(NUM_USERS):
            own = [j for j in range(len(x)) if r[user, j] > 0 and mask[j]]
            for i in range(len(x)):
                if mask[i] and len(own) > 0:
                    total = sum(cosine(x[i], x[j]) for j in own)
                    out[user, i] += total / len(own) / len(names)
    return out


@pytest.mark.parametrize("num_modalities", [1, 2, 3])
@pytest.mark.parametrize("missing", [False, True])
def test_dense_reference(num_modalities, missing):
    data = make_data(num_modalities, missing)
    names = [f"m{m}" for m in range(num_modalities)]
    user_emb, item_emb = ContentKNN.from_data(data)(ToRecGraph()(data))
    assert user_emb.size(1) == sum(range(3, 3 + num_modalities))
    torch.testing.assert_close(
        user_emb @ item_emb.t(), dense_scores(data, names)
    )


def test_what_is_missing_is_not_read(data, graph):
    model = ContentKNN.from_data(data)
    expected = model(graph)
    for name in ("m0", "m1"):
        x = data["item"][f"x_{name}"]
        x[~data["item"][f"mask_{name}"]] = torch.nan
    for found, emb in zip(model(ToRecGraph()(data)), expected, strict=True):
        assert torch.equal(found, emb)


def test_where_features_lie_does_not_matter(data, graph):
    model = ContentKNN.from_data(data)
    expected = model(graph)
    data["item"].x_m0 = 5 * data["item"].x_m0 + 100
    torch.testing.assert_close(
        model(ToRecGraph()(data)), expected, atol=1e-4, rtol=0
    )


def test_cold_items_change_no_other_score(data):
    """The mean is that of the warm items."""
    store = data["user", "interacts", "item"]
    is_kept = store.edge_index[1] != 2
    store.edge_index = store.edge_index[:, is_kept]
    model = ContentKNN.from_data(data)
    user_emb, item_emb = model(ToRecGraph()(data))
    data["item"].x_m0[2] += 100.0 * torch.arange(3)
    other_user, other_item = model(ToRecGraph()(data))
    assert torch.equal(user_emb, other_user)
    is_other = torch.arange(NUM_ITEMS) != 2
    assert torch.equal(item_emb[is_other], other_item[is_other])


def test_nothing_to_train(graph):
    model = ContentKNN.from_data(graph)
    assert list(model.parameters()) == []
    assert model.state_dict() == {}
    user = torch.arange(NUM_USERS)
    assert model.scorer(graph).score(user).isfinite().all()


def test_no_features():
    data = make_data(0, False)
    with pytest.raises(ValueError, match=r"for ContentKNN \(got none\)"):
        ContentKNN(NUM_USERS, NUM_ITEMS)(ToRecGraph()(data))
