import copy

import pytest
import torch
from toy_data import dense_interactions, make_data

from tmfun_pyg.nn import TMFUN, LightGCN
from tmfun_pyg.nn.models import embedding_model
from tmfun_pyg.transforms import ToRecGraph
from tmfun_pyg.utils.singular_vectors import singular_vectors


@pytest.fixture
def data():
    return make_data(2, True)


def normalized(data):
    """The interactions, normalized, as a dense matrix."""
    r = dense_interactions(data).double()
    by_user = r.sum(dim=1, keepdim=True).clamp(min=1)
    by_item = r.sum(dim=0, keepdim=True).clamp(min=1)
    return r / (by_user * by_item).sqrt()


def added_by_fit(model, graph):
    """What `fit` adds to the two tables."""
    tables = [model.user_embedding, model.item_embedding]
    before = [table.weight.detach().clone() for table in tables]
    model.fit(graph)
    return [
        table.weight.detach() - old
        for table, old in zip(tables, before, strict=True)
    ]


def test_singular_vectors(data):
    """Two of them, by a dense decomposition. The first value is one."""
    found = singular_vectors(ToRecGraph()(data), 2)
    u, value, vt = torch.linalg.svd(normalized(data), full_matrices=False)
    assert found.user.shape == (data["user"].num_nodes, 2)
    torch.testing.assert_close(found.value, value[:2].float())
    assert found.value[0].item() == pytest.approx(1.0)
    product = found.user * found.value @ found.item.t()
    expected = u[:, :2] * value[:2] @ vt[:2]
    torch.testing.assert_close(product, expected.float())


@pytest.mark.parametrize("model_cls", [LightGCN, TMFUN])
@pytest.mark.parametrize("channels", [2, 9])
def test_start(data, model_cls, channels):
    """Their inner products are the best approximation of the normalized
    interactions by so many channels, up to a factor, and the mean square of
    the norms of rows is nine. Columns beyond these vectors stay as drawn.
    """
    graph = ToRecGraph()(data)
    model = model_cls.from_data(graph, channels=channels, svd_start=True)
    user, item = added_by_fit(model, graph)
    for rows in (user, item):
        mean = rows.pow(2).sum(dim=1).mean()
        assert mean.item() == pytest.approx(9.0, rel=1e-5)
    u, value, vt = torch.linalg.svd(normalized(data), full_matrices=False)
    rank = min(channels, len(value))
    assert (user[:, rank:] == 0).all()
    assert (item[:, rank:] == 0).all()
    expected = (u[:, :rank] * value[:rank] @ vt[:rank]).float()
    product = user @ item.t()
    factor = product.norm() / expected.norm()
    torch.testing.assert_close(product, factor * expected, atol=1e-5, rtol=1e-4)
    # And users alone are as the vectors and their values have them:
    gram = (u[:, :rank] * value[:rank] @ u[:, :rank].t()).float()
    gram *= user.pow(2).sum() / gram.trace()
    torch.testing.assert_close(user @ user.t(), gram, atol=1e-5, rtol=1e-4)


def test_start_is_made_once(data):
    """Neither what has been fitted, nor what is loaded is added to."""
    graph = ToRecGraph()(data)
    model = LightGCN.from_data(graph, channels=2, svd_start=True)
    assert added_by_fit(copy.deepcopy(model), graph)[0].abs().max() > 0
    other = copy.deepcopy(model)
    other.load_state_dict(model.state_dict())
    assert added_by_fit(other, graph)[0].abs().max() == 0
    added_by_fit(model, graph)
    assert added_by_fit(model, graph)[0].abs().max() == 0
    below = LightGCN.from_data(graph)  # Of too few interactions.
    below.fit(graph)
    below.svd_start = True
    assert added_by_fit(below, graph)[0].abs().max() == 0
    model.reset_parameters()
    assert added_by_fit(model, graph)[0].abs().max() > 0


def test_scores_are_fitted_once(data):
    """Neither what has been trained, nor what is loaded is fitted anew."""
    graph = ToRecGraph()(data)
    model = TMFUN.from_data(graph, channels=2)
    other = copy.deepcopy(model)
    model.fit(graph)
    weights = [model.content_score.log_weight, model.neighbor_score.log_weight]
    assert all(weight.ne(0).all() for weight in weights)
    for weight in weights:
        torch.nn.init.constant_(weight, 0.5)
    other.load_state_dict(model.state_dict())
    for known in (model, other):
        known.fit(graph)
        assert known.content_score.log_weight.eq(0.5).all()
        assert known.neighbor_score.log_weight.eq(0.5).all()
    # Other weights alone leave them to be fitted:
    light = LightGCN.from_data(graph, channels=2).state_dict()
    fresh = TMFUN.from_data(graph, channels=2)
    fresh.load_state_dict(light, strict=False)
    fresh.fit(graph)
    assert fresh.neighbor_score.similarity.any()
    assert fresh.content_score.log_weight.ne(0).all()
    model.reset_parameters()
    model.fit(graph)
    assert model.neighbor_score.log_weight.ne(0.5).all()


def test_automatic_start(data, monkeypatch):
    """It begins with a number of interactions."""
    graph = ToRecGraph()(data)
    count = graph["user", "interacts", "item"].edge_index.size(1)
    for least, is_added in [(count, True), (count + 1, False)]:
        monkeypatch.setattr(embedding_model, "LARGE", least)
        for model_cls in (LightGCN, TMFUN):
            user, item = added_by_fit(model_cls.from_data(graph), graph)
            assert (user.abs().max() > 0) == is_added
            assert (item.abs().max() > 0) == is_added
        never = LightGCN.from_data(graph, svd_start=False)
        assert added_by_fit(never, graph)[0].abs().max() == 0


@pytest.mark.parametrize("svd_start", ["always", 1, None])
def test_unknown_start(svd_start):
    with pytest.raises(ValueError, match="must be True, False or 'auto'"):
        LightGCN(3, 4, svd_start=svd_start)
