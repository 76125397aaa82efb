import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from dense_tmfun import dense_neighbor_scores, dense_neighbors
from toy_data import dense_interactions, make_data

from tmfun_pyg.nn import NeighborScore
from tmfun_pyg.nn.models.neighbor_score import TIE
from tmfun_pyg.transforms import ToRecGraph
from tmfun_pyg.utils import neighbor_scorer, retrieval
from tmfun_pyg.utils.neighbor_scorer import ItemNeighbors, NeighborScorer
from tmfun_pyg.utils.topk import stable_topk
from tmfun_pyg.utils.user_items import UserItems


def draw(num_users=40, num_items=12, density=0.3, seed=0):
    """A graph in which many items share users."""
    generator = torch.Generator().manual_seed(seed)
    data = make_data(1, False)
    r = torch.rand(num_users, num_items, generator=generator) < density
    r[:, -1] = False  # A cold item.
    r[3] = False  # A user without an item.
    data["user"].num_nodes = num_users
    data["item"].num_nodes = num_items
    data["item"].x_m0 = torch.rand(num_items, 3)
    del data["item", "similar_m0", "item"]
    data["user", "interacts", "item"].edge_index = r.nonzero().t()
    return data, ToRecGraph()(data)


def resident_mib():
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) / 2**10


def fitted(graph, k):
    module = NeighborScore(graph["item"].num_nodes, k)
    module.fit(graph)
    torch.nn.init.constant_(module.log_weight, 0.7)
    return module


@pytest.mark.parametrize("k", [1, 3, 11, 20])
def test_neighbors(k):
    data, graph = draw()
    module = fitted(graph, k)
    expected = dense_neighbors(dense_interactions(data), k)
    for i, near in enumerate(expected):
        found = module.similarity[i].nonzero().view(-1)
        assert module.neighbor[i, found].tolist() == list(near)
        for place, (count, root) in zip(found, near.values(), strict=True):
            assert float(module.similarity[i, place]) == pytest.approx(
                count / root
            )
            other = float(module.similarity_to_others[i, place])
            assert other == pytest.approx((count - 1) / root, abs=1e-7)


@pytest.mark.parametrize("k", [3, 12, 20])
@pytest.mark.parametrize("density", [0.02, 0.1, 0.5])
def test_tables_are_those_of_dense_rows(density, k):
    """Also in places of equal keys, and in those behind the last neighbor."""
    data, graph = draw(density=density)
    module, r = fitted(graph, k), dense_interactions(data).float()
    count = (r.t() @ r).fill_diagonal_(0)
    degree = r.sum(dim=0).clamp(min=1)
    scale = (degree.view(-1, 1) * degree).rsqrt()
    key = ((1 + TIE) * count - 1).clamp(min=0) * scale
    _, found = stable_topk(key, min(k, 12))
    count, scale = count.gather(1, found), scale.gather(1, found)
    missing = 0, k - found.size(1)
    for table, value in (
        (module.neighbor, found),
        (module.similarity, count * scale),
        (module.similarity_to_others, (count - 1).clamp(min=0) * scale),
    ):
        assert torch.equal(table, F.pad(value, missing))


def test_half_precision_is_that_of_the_tables_alone():
    _, graph = draw(density=0.5)
    module = fitted(graph, 5)
    half = NeighborScore(12, 5).bfloat16()
    half.fit(graph)
    assert torch.equal(half.neighbor, module.neighbor)
    assert torch.equal(half.similarity, module.similarity.bfloat16())


@pytest.mark.skipif(sys.platform != "linux", reason="Reads /proc.")
def test_fitting_gives_its_memory_back():
    """A product of two sparse matrices of torch does not."""
    _, graph = draw(num_users=300, num_items=1500, density=0.05)
    module = NeighborScore(1500, 3)
    module.fit(graph)
    before = resident_mib()
    for _ in range(2):
        module.fit(graph)  # Of 15 MiB of entries each time.
    assert resident_mib() - before < 20


@pytest.mark.parametrize("k", [2, 20])
@pytest.mark.parametrize("shared", [False, True])
def test_users_are_no_witness_of_their_own_choice(k, shared):
    data, graph = draw()
    module, r = fitted(graph, k), dense_interactions(data)
    user, pos_item = graph["user", "interacts", "item"].edge_index.as_tensor()
    generator = torch.Generator().manual_seed(1)
    size = (1 if shared else len(user), 7)
    neg_item = torch.randint(12, size, generator=generator)
    found = module(graph, user, pos_item, neg_item)
    scores = dense_neighbor_scores(
        r, k, user, pos_item, neg_item.expand(len(user), -1)
    )
    assert (scores[:, 0] > 0).any()
    assert (scores[:, 1:] > 0).any()
    torch.testing.assert_close(found, scores * torch.tensor(0.7).exp())
    (grad,) = torch.autograd.grad(found.sum(), module.log_weight)
    torch.testing.assert_close(grad, found.sum().view(1))


@pytest.mark.parametrize("num_rows", [0, 1])
@pytest.mark.parametrize("num_users", [0, 1])
def test_few_rows(num_rows, num_users):
    """A process may have one user of a batch, or none, and negatives that all
    share in one row, or none of its own.
    """
    _, graph = draw()
    module = fitted(graph, 3)
    edge_index = graph["user", "interacts", "item"].edge_index.as_tensor()
    user, pos_item = edge_index[:, :num_users]
    neg_item = torch.arange(5).expand(max(num_rows, num_users), -1)
    found = module(graph, user, pos_item, neg_item)
    assert found.shape == (num_users, 6)
    every = module(graph, *edge_index, torch.arange(5).view(1, -1))
    torch.testing.assert_close(found, every[:num_users])


def test_sampled_users_stand_for_all_they_have():
    """With all neighbors drawn, a sampled batch is the graph, and with some,
    their mean stands for the mean of all.
    """
    data, graph = draw()
    module = fitted(graph, 5)
    user, pos_item = graph["user", "interacts", "item"].edge_index.as_tensor()
    neg_item = torch.arange(12).view(1, -1)
    expected = module(graph, user, pos_item, neg_item)
    # Other indices, as if sampled:
    order = torch.randperm(12, generator=torch.Generator().manual_seed(2))
    place = order.argsort()
    batch = data.clone()
    edges = data["user", "interacts", "item"].edge_index
    batch["user", "interacts", "item"].edge_index = torch.stack(
        [edges[0], place[edges[1]]]
    )
    batch = ToRecGraph()(batch)
    batch["item"].n_id = order
    found = module(batch, user, place[pos_item], place[neg_item])
    torch.testing.assert_close(found, expected)
    # Twice as many as were drawn:
    batch["user"].degree = 2 * (batch["user"].degree - 1) + 1
    found = module(batch, user, place[pos_item], place[neg_item])
    torch.testing.assert_close(found, expected * 2**0.5)


@pytest.mark.parametrize("k", [2, 20])
def test_scorer(k):
    """Scores of users, of pairs, of some items, and of other users are those
    of the dense sum.
    """
    data, graph = draw()
    module, r = fitted(graph, k), dense_interactions(data)
    generator = torch.Generator().manual_seed(3)
    user_emb = torch.rand(40, 4, generator=generator)
    item_emb = torch.rand(12, 4, generator=generator)
    b = torch.zeros(12, 12)
    for i, near in enumerate(dense_neighbors(r, k)):
        for j, (count, root) in near.items():
            b[j, i] = count / root * torch.tensor(0.7).exp()
    scale = r.sum(dim=1, keepdim=True).clamp(min=1).sqrt()
    expected = user_emb @ item_emb.t() + r @ b / scale

    user, item = r.nonzero().t()
    owned = UserItems.from_edge_index(torch.stack([user, item]), 40)
    scorer = NeighborScorer(user_emb, item_emb, module.neighbors(), owned)
    some = torch.tensor([7, 3, 39, 7])
    torch.testing.assert_close(scorer.score(some), expected[some])
    every = torch.cartesian_prod(torch.arange(40), torch.arange(12)).t()
    torch.testing.assert_close(scorer.pairs(*every), expected.flatten())
    left = torch.tensor([9, 2, 11])
    selected = scorer.select(left)
    torch.testing.assert_close(selected.score(some), expected[some][:, left])
    pairs = torch.tensor([[7, 3, 39], [0, 1, 2]])
    torch.testing.assert_close(
        selected.pairs(*pairs), expected[pairs[0], left[pairs[1]]]
    )
    again = selected.select(torch.tensor([2, 0]))
    torch.testing.assert_close(
        again.score(some), expected[some][:, left[[2, 0]]]
    )
    others = scorer.for_users(
        user_emb[some], UserItems.from_edge_index(r[some].nonzero().t(), 4)
    )
    torch.testing.assert_close(others.score(torch.arange(4)), expected[some])
    torch.testing.assert_close(
        others.pairs(torch.tensor([0, 2]), torch.tensor([5, 6])),
        expected[[7, 39], [5, 6]],
    )
    # The first one is as it was:
    torch.testing.assert_close(scorer.pairs(*every), expected.flatten())


def test_requests_share_what_is_made_of_all_items(monkeypatch):
    """Lists of some items cost no more than their scores: nothing is sorted or
    checked again.
    """
    _, graph = draw()
    module = fitted(graph, 3)
    edges = graph["user", "interacts", "item"].edge_index
    owned = UserItems.from_edge_index(edges, 40)
    embs = torch.rand(40, 4), torch.rand(12, 4)
    scorer = NeighborScorer(*embs, module.neighbors(), owned)
    expected = scorer.score(torch.arange(40))
    monkeypatch.delattr(ItemNeighbors, "lists")
    for module in (retrieval, neighbor_scorer):
        monkeypatch.delattr(module, "check_rankable")
    for left in ([1, 5, 2], [7]):
        found = scorer.select(torch.tensor(left)).score(torch.arange(40))
        torch.testing.assert_close(found, expected[:, left])


def test_weights_that_are_not_finite():
    _, graph = draw()
    module = fitted(graph, 3)
    module.log_weight.data.fill_(torch.nan)
    owned = UserItems.from_edge_index(torch.empty(2, 0, dtype=torch.long), 40)
    with pytest.raises(ValueError, match="weights of neighbors hold NaN or"):
        NeighborScorer(
            torch.rand(40, 4), torch.rand(12, 4), module.neighbors(), owned
        )


@pytest.mark.parametrize("bad", [-1, 12])
def test_neighbors_that_are_no_items(bad):
    """A file may hold anything, and be read beyond the items."""
    _, graph = draw()
    state = fitted(graph, 3).state_dict()
    NeighborScore(12, 3).load_state_dict(state)
    state["neighbor"][5, 1] = bad
    expected = rf"neighbors must be items from 0 to 11 \(got {bad}\)"
    with pytest.raises(RuntimeError, match=expected):
        NeighborScore(12, 3).load_state_dict(state)
