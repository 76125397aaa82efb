import math

import pytest
import torch
from dense_content import item_mask
from dense_tmfun import dense_neighbor_scores
from torch_geometric.data import HeteroData
from toy_data import dense_interactions, make_data

from tmfun_pyg.nn import ContentScore, NeighborScore
from tmfun_pyg.nn.models import score_weights
from tmfun_pyg.nn.models.score_weights import fit_weights
from tmfun_pyg.transforms import ToRecGraph

SIZES = {"m0": 3, "m1": 4}
COLD = 4


def make_interactions(missing):
    data = make_data(2, missing)
    # Users have items of one half, but for one, whom "m0" tells apart:
    pairs = [(u, i) for u in range(6) for i in range(6) if (u + i) % 2]
    pairs = torch.tensor([*pairs, (0, 0)]).t()
    pairs = pairs[:, pairs[1] != COLD]
    data["user", "interacts", "item"].edge_index = pairs
    data["item"].x_m0[::2, 0] += 5.0
    data["item"].x_m0[1::2, 1] += 5.0
    return data, ToRecGraph()(data)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("neighbors", [False, True])
def test_weights_explain_the_interactions_best(missing, neighbors, monkeypatch):
    """The softmax loss of the scores alone, by brute force, has its minimum at
    the weights.
    """
    monkeypatch.setattr(score_weights, "NUM_NEGATIVES", 3)
    data, graph = make_interactions(missing)
    parts = [ContentScore(SIZES, 99)]
    parts += [NeighborScore(6, 2)] if neighbors else []
    for part in parts:
        part.reset_parameters()
        part.fit(graph)
    weights = [part.log_weight for part in parts]
    fit_weights(graph, [part.rows for part in parts], weights)
    best = torch.cat(weights).detach()

    r = dense_interactions(data)
    edge_index = graph["user", "interacts", "item"].edge_index.as_tensor()
    generator = torch.Generator().manual_seed(0)
    torch.randperm(edge_index.size(1), generator=generator)
    warm = (r.sum(dim=0) > 0).nonzero().view(-1)
    other = warm[torch.randint(len(warm), (3,), generator=generator)]
    unit = parts[0].items(graph)
    masks = [item_mask(data, name) for name in SIZES]
    near = dense_neighbor_scores(
        r, 2, *edge_index, other.expand(edge_index.size(1), -1)
    )

    def loss(log_weight):
        total = 0.0
        for n, (user, item) in enumerate(edge_index.t().tolist()):
            logit = []
            for place, at in enumerate([item, *other.tolist()]):
                score = near[n, place] * log_weight[-1].exp() * neighbors
                for m, mask in enumerate(masks):
                    own = [
                        unit[m][j] @ unit[m][at]
                        for j in range(r.size(1))
                        if r[user, j] and mask[j] and j != item
                    ]
                    mean = sum(own) / max(1, len(own))
                    score = score + log_weight[m].exp() * mean
                logit.append(score)
            total = total - torch.stack(logit).log_softmax(dim=0)[0]
        return total / edge_index.size(1)

    least = float(loss(best))
    assert best[0].exp() > 0.1
    for m in range(len(best)):
        for step in (0.1, -0.1):
            moved = best.clone()
            moved[m] += step
            if moved[m].exp() >= 0.1:
                assert float(loss(moved)) > least


def fit_to(*tables):
    """Returns the weights fitted to scores of four interactions and of an
    item to compare each with.
    """
    data = HeteroData()
    data["item"].degree = torch.ones(4)
    data["user", "interacts", "item"].edge_index = torch.arange(4).expand(2, 4)
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in tables]
    parts = [torch.tensor([table]) for table in tables]
    scores = [lambda *_, part=part: part for part in parts]
    fit_weights(data, scores, weights)
    return [weight.exp().item() for weight in weights]


# The first column wins three times of four against one other, by one:
MOSTLY = [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 4.0])
def test_weights_undo_the_scale_of_scores(scale):
    """Whose odds are three to one has the weight log(3)."""
    scaled = [[scale * value for value in row] for row in MOSTLY]
    assert fit_to(scaled)[0] == pytest.approx(math.log(3) / scale, rel=1e-5)


def test_scores_that_mislead_have_the_least_weight():
    """And the others the best beside it."""
    misleading = [[0.0, 1.0], *[[0.0, 0.0]] * 3]
    first, second = fit_to(MOSTLY, misleading)
    assert second == pytest.approx(0.1)
    margin = torch.tensor([first - second, first, first, -first])
    missed = torch.sigmoid(-margin)  # The slope of the loss of each row.
    assert missed[:3].sum().item() == pytest.approx(missed[3].item())


def test_weights_of_scores_without_a_best():
    """Of two that are the same, the sum counts, and each has half of it; what
    says nothing keeps its weight; what tells all apart has a finite one.
    """
    half = math.log(3) / 2
    nothing = [[0.0, 0.0]] * 4
    found = fit_to(MOSTLY, MOSTLY, nothing)
    assert found == pytest.approx([half, half, 1.0], rel=1e-5)
    assert 10.0 < fit_to([[1.0, 0.0]] * 4)[0] < 100.0


def test_scores_that_are_much_the_same():
    """The slope of the loss is zero for weights above the bound, and not
    negative for those at it.
    """
    generator = torch.Generator().manual_seed(15)
    parts = torch.randn(6, 200, 65, generator=generator).mul(0.3).clamp(-1, 1)
    parts += 0.6 * torch.randn(1, 200, 65, generator=generator)
    parts[:, :, 0] += 0.3 * torch.rand(6, 1, generator=generator)
    data = HeteroData()
    data["item"].degree = torch.ones(4)
    data["user", "interacts", "item"].edge_index = torch.arange(4).expand(2, 4)
    weights = [torch.nn.Parameter(torch.zeros(6))]
    fit_weights(data, [lambda *_: parts], weights)
    weight = weights[0].exp().detach().requires_grad_()
    logit = torch.einsum("m,mbn->bn", weight, parts)
    loss = -logit.log_softmax(dim=1)[:, 0].mean()
    (slope,) = torch.autograd.grad(loss, weight)
    is_bound = weight < 0.1 + 1e-3
    assert 0 < is_bound.sum() < 6
    assert slope[is_bound].min() > -1e-4
    assert slope[~is_bound].abs().max() < 1e-4
