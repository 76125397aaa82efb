"""Matrices of items by items beside dense references in double precision."""

import pytest
import torch
from toy_data import NUM_ITEMS, NUM_USERS, dense_interactions

from tmfun_pyg.baselines import EASE, GFCF, ItemKNN, RP3beta
from tmfun_pyg.testing import RankingModelTests

USERS = torch.arange(NUM_USERS)


class TestEASE(RankingModelTests):
    model_cls = EASE
    options = {"reg_weight": 3.0}


class TestGFCF(RankingModelTests):
    model_cls = GFCF
    options = {"channels": 4}


class TestItemKNN(RankingModelTests):
    model_cls = ItemKNN
    options = {"k": 5, "shrinkage": 1.0}


class TestRP3beta(RankingModelTests):
    model_cls = RP3beta
    options = {"k": 5, "num_hops": 5}


def ease(r, reg_weight):
    """Each column by least squares without the item itself."""
    out = torch.zeros(NUM_ITEMS, NUM_ITEMS, dtype=torch.double)
    for i in range(NUM_ITEMS):
        others = [j for j in range(NUM_ITEMS) if j != i]
        x = r[:, others]
        gram = x.t() @ x + reg_weight * torch.eye(len(others))
        out[others, i] = torch.linalg.solve(gram, x.t() @ r[:, i])
    return out


def gf_cf(r, channels, alpha):
    user, item = (r.sum(dim=d).clamp(min=1).rsqrt() for d in (1, 0))
    normalized = user.view(-1, 1) * r * item
    v = torch.linalg.svd(normalized).Vh[:channels].t()
    ideal = item.view(-1, 1) * (v @ v.t()) / item
    return normalized.t() @ normalized + alpha * ideal


def cosine(r, shrinkage):
    count = r.t() @ r
    norm = r.sum(dim=0).sqrt()
    return count / (norm.view(-1, 1) * norm + shrinkage)


def walks(r, alpha, beta, num_hops):
    user, item = (r.sum(dim=d).clamp(min=1) for d in (1, 0))
    to_users = (r / user.view(-1, 1).pow(alpha)).t() / item.view(-1, 1).pow(
        alpha
    )
    step = to_users @ r
    return torch.linalg.matrix_power(step, num_hops // 2) / item.pow(beta)


def without_self(s):
    return s - s.diagonal().diag()


@pytest.mark.parametrize(
    ("model_cls", "options", "reference"),
    [
        (EASE, {"reg_weight": 2.0}, lambda r: ease(r, 2.0)),
        (EASE, {"reg_weight": 0.5}, lambda r: ease(r, 0.5)),
        (GFCF, {"channels": 2}, lambda r: gf_cf(r, 2, 0.3)),
        (GFCF, {"channels": 99, "alpha": 2.0}, lambda r: gf_cf(r, 6, 2.0)),
        (ItemKNN, {"k": 6}, lambda r: without_self(cosine(r, 0))),
        (
            ItemKNN,
            {"k": 99, "shrinkage": 3},
            lambda r: without_self(cosine(r, 3)),
        ),
        (RP3beta, {"k": 6}, lambda r: without_self(walks(r, 1.0, 0.6, 3))),
        (
            RP3beta,
            {"k": 6, "alpha": 0.7, "beta": 0.2, "num_hops": 5},
            lambda r: without_self(walks(r, 0.7, 0.2, 5)),
        ),
    ],
)
def test_dense_reference(data, graph, model_cls, options, reference):
    model = model_cls.from_data(data, **options)
    model.fit(graph)
    r = dense_interactions(data).double()
    torch.testing.assert_close(
        model.scorer(graph).score(USERS).double(),
        r @ reference(r),
        atol=2e-5,
        rtol=2e-5,
    )


def test_keeps_the_nearest(data, graph):
    model = ItemKNN.from_data(data, k=2)
    model.fit(graph)
    s = without_self(cosine(dense_interactions(data), 0))
    # Of each column the two largest stay, the first of equal ones:
    kept = s.sort(dim=0, descending=True, stable=True).indices[:2]
    s = torch.zeros_like(s).scatter(0, kept, s.gather(0, kept))
    torch.testing.assert_close(
        model.scorer(graph).score(USERS), dense_interactions(data) @ s
    )


def test_some_items(data, graph):
    model = EASE.from_data(data)
    model.fit(graph)
    scorer, item = model.scorer(graph), torch.tensor([4, 1])
    some = scorer.select(item)
    assert some.num_items == 2
    assert torch.equal(some.score(USERS), scorer.score(USERS)[:, item])


def test_too_many_items_for_ease():
    with pytest.raises(ValueError, match=r"30000 \(got 30001.* 10 GiB\)"):
        EASE(5, 30_001)


@pytest.mark.parametrize(
    ("model_cls", "options", "message"),
    [
        (EASE, {"reg_weight": 0.0}, r"'reg_weight' must be positive"),
        (ItemKNN, {"k": 0}, "'k' must be at least 1"),
        (ItemKNN, {"shrinkage": -1.0}, "'shrinkage' must be at least 0"),
        (RP3beta, {"num_hops": 4}, r"'num_hops' must be odd \(got 4\)"),
        (GFCF, {"channels": 0}, "'channels' must be at least 1"),
    ],
)
def test_bad_options(data, model_cls, options, message):
    with pytest.raises(ValueError, match=message):
        model_cls.from_data(data, **options)
