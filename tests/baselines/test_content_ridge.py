import pytest
import torch
import torch.nn.functional as F
from toy_data import NUM_ITEMS, NUM_USERS, dense_interactions, make_data

from tmfun_pyg.baselines import ContentRidge
from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.testing import RankingModelTests
from tmfun_pyg.transforms import ToRecGraph

COLD = 2


class TestContentRidge(RankingModelTests):
    model_cls = ContentRidge


@pytest.fixture
def data():
    """Two modalities that some items lack, and a cold item."""
    data = make_data(2, missing=True)
    store = data["user", "interacts", "item"]
    is_kept = store.edge_index[1] != COLD
    store.edge_index = store.edge_index[:, is_kept]
    return data


def features(data):
    """Row by row, as they are defined."""
    is_warm = dense_interactions(data).sum(dim=0) > 0
    parts = []
    for name in ("m0", "m1"):
        x, mask = data["item"][f"x_{name}"], data["item"][f"mask_{name}"]
        x = F.layer_norm(x.double(), x.shape[1:], eps=0)
        x = x - x[mask & is_warm].mean(dim=0)
        parts.append(x / x.norm(dim=1, keepdim=True) * mask.view(-1, 1))
    return torch.cat(parts, dim=1), is_warm


@pytest.mark.parametrize("reg_weight", [0.1, 10.0])
def test_least_squares_of_each_user(data, reg_weight):
    """The L2 term is a row for each column, with a target of zero."""
    model = ContentRidge.from_data(data, reg_weight=reg_weight)
    found = model.scorer(ToRecGraph()(data)).score(torch.arange(NUM_USERS))
    x, is_warm = features(data)
    penalty = reg_weight**0.5 * torch.eye(x.size(1), dtype=x.dtype)
    for user, r in enumerate(dense_interactions(data).double()):
        target = torch.cat([r[is_warm], x.new_zeros(x.size(1))])
        rows = torch.cat([x[is_warm], penalty])
        solution = torch.linalg.lstsq(rows, target.view(-1, 1)).solution
        expected = (x @ solution).view(-1).float()
        torch.testing.assert_close(found[user], expected)


def test_cold_items_change_no_other_score(data):
    model = ContentRidge.from_data(data)
    user_emb, item_emb = model(ToRecGraph()(data))
    data["item"].x_m0[COLD] += 100.0 * torch.arange(3)
    other_user, other_item = model(ToRecGraph()(data))
    assert torch.equal(user_emb, other_user)
    is_other = torch.arange(NUM_ITEMS) != COLD
    assert torch.equal(item_emb[is_other], other_item[is_other])
    assert not torch.equal(item_emb[COLD], other_item[COLD])


@pytest.mark.parametrize("reg_weight", [1e-6, 1e-3])
def test_more_features_than_items(reg_weight):
    """The dual form has a matrix of items by items."""
    data = SyntheticMultimodal(50, 40, {"image": 64}, seed=0)[0]
    model = ContentRidge.from_data(data, reg_weight=reg_weight)
    graph = ToRecGraph()(data)
    found = model.scorer(graph).score(torch.arange(50))
    x = model(graph)[1].double()
    r = torch.zeros(50, 40, dtype=torch.double)
    r[tuple(data["user", "interacts", "item"].edge_index)] = 1.0
    warm = x[r.sum(dim=0) > 0]
    gram = warm @ warm.t() + reg_weight * torch.eye(len(warm))
    expected = r[:, r.sum(dim=0) > 0] @ torch.linalg.solve(gram, warm @ x.t())
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=0)


def test_errors():
    with pytest.raises(ValueError, match=r"must be finite \(got inf\)"):
        ContentRidge(3, 4, reg_weight=float("inf"))
    with pytest.raises(ValueError, match=r"'reg_weight' must .* \(got 0\)"):
        ContentRidge(3, 4, reg_weight=0)
    data = make_data(0, False)
    with pytest.raises(ValueError, match=r"for ContentRidge \(got none\)"):
        ContentRidge(NUM_USERS, NUM_ITEMS)(ToRecGraph()(data))
