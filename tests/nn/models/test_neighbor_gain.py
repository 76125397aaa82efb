import pytest
import torch
from dense_tmfun import dense_neighbors
from toy_data import make_data

from tmfun_pyg.nn import TMFUN
from tmfun_pyg.nn.models import neighbor_gain as module
from tmfun_pyg.nn.models.neighbor_gain import neighbor_gain
from tmfun_pyg.transforms import ToRecGraph

K = 5
NUM_USERS, NUM_ITEMS = 300, 40


def graph_of(users):
    """A graph of users who have the items that are listed."""
    data = make_data(1, False)
    data["item"].num_nodes = NUM_ITEMS
    generator = torch.Generator().manual_seed(0)
    data["item"].x_m0 = torch.rand(NUM_ITEMS, 5, generator=generator)
    del data["item", "similar_m0", "item"]
    data["user"].num_nodes = len(users)
    pairs = [(u, i) for u, items in enumerate(users) for i in items]
    data["user", "interacts", "item"].edge_index = torch.tensor(pairs).t()
    return ToRecGraph()(data)


def draw(strength, count=4, seed=0):
    """Users who choose by popularity, and items of one block of four by as
    much more as is said.
    """
    generator = torch.Generator().manual_seed(seed)
    p = 1 / torch.arange(1, NUM_ITEMS + 1).float().sqrt()
    block = torch.arange(NUM_USERS).view(-1, 1) % 10
    is_own = torch.randperm(NUM_ITEMS, generator=generator) // 4 == block
    p = p * (1 + strength * is_own)
    return torch.multinomial(p, count, generator=generator).tolist()


def least(parts):
    """The least loss over two weights of at least 0.1, on ever finer grids."""
    low, high = torch.full((2,), 0.1), torch.full((2,), 60.0)
    for _ in range(30):
        grid = [torch.linspace(low[m], high[m], 9) for m in range(2)]
        weight = torch.cartesian_prod(*grid).double()
        logit = torch.einsum("wm,mbn->wbn", weight, parts)
        loss = -logit.log_softmax(dim=2)[:, :, 0].mean(dim=1)
        best = weight[loss.argmin()].float()
        step = (high - low) / 8
        low, high = (best - step).clamp(min=0.1), best + step
    return float(loss.min())


@pytest.mark.parametrize("strength", [0.0, 3.0, 30.0])
def test_dense_reference(strength, monkeypatch):
    """One choice of some users is told from items that they do not have."""
    monkeypatch.setattr(module, "NUM_OTHERS", 7)
    monkeypatch.setattr(module, "BLOCK", 16)
    users = [*draw(strength), [0]]  # Who has but one is not asked.
    graph = graph_of(users)
    found = neighbor_gain(graph, K)

    generator = torch.Generator().manual_seed(0)
    asked = torch.randperm(NUM_USERS, generator=generator)[:120]  # A tenth.
    place = torch.rand(120, generator=generator, dtype=torch.double)
    left = [sorted(items) for items in users]
    held = [
        left[u].pop(int(x * 4))
        for u, x in zip(asked.tolist(), place.tolist(), strict=True)
    ]
    r = torch.zeros(len(users), NUM_ITEMS)
    for u, items in enumerate(left):
        r[u, items] = 1.0
    degree = r.sum(dim=0)
    warm = degree.nonzero().view(-1)
    other = torch.randint(len(warm), (120, 7), generator=generator)
    near = dense_neighbors(r, K)
    popularity = torch.zeros(120, 8, dtype=torch.double)
    score = torch.zeros(120, 8, dtype=torch.double)
    for n, u in enumerate(asked.tolist()):
        for place, i in enumerate([held[n], *warm[other[n]].tolist()]):
            own = [near[i][j] for j in left[u] if j in near[i]]
            score[n, place] = sum(c / root for c, root in own) / 3**0.5
            is_out = place > 0 and i in users[u]
            popularity[n, place] = -1e9 if is_out else degree[i].log1p()
    alone = torch.stack([popularity, torch.zeros_like(score)])
    both = torch.stack([popularity, score])
    assert found == pytest.approx(least(alone) - least(both), abs=1e-4)


def test_popularity_is_no_gain():
    """Nor are neighbors that a user's own choice has made."""
    gains = [neighbor_gain(graph_of(draw(0.0, seed=s)), K) for s in range(5)]
    assert max(gains) < 0.04
    gains = [neighbor_gain(graph_of(draw(9.0, seed=s)), K) for s in range(5)]
    assert min(gains) > 0.05


def test_a_few_active_users():
    """Whose items belong together do not speak for all others."""
    few = [list(range(n % 2, NUM_ITEMS, 2)) for n in range(8)]
    many = [items[:2] for items in draw(0.0)]  # With 600 of 760 choices.
    alone = neighbor_gain(graph_of(few), K)
    assert alone > 0.5
    assert neighbor_gain(graph_of([*few, *many]), K) < alone / 10


@pytest.mark.parametrize("users", [[[0], [1], [1]], [[0, 1], [1, 2]]])
def test_nobody_to_ask(users):
    """No user has two items, or a tenth of the interactions is none."""
    assert neighbor_gain(graph_of(users), K) == 0.0


@pytest.mark.parametrize("users", [[range(NUM_ITEMS)] * 9, [[0, 1]] * 30])
def test_users_who_have_all_items(users):
    assert neighbor_gain(graph_of(users), K) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("strength", [0.0, 30.0])
@pytest.mark.parametrize("score_channels", [0, 256])
def test_the_weight_that_a_model_begins_with(strength, score_channels):
    """Other weights are as if there were no neighbor score, if it has the
    least.
    """
    graph = graph_of(draw(strength))
    model, without = (
        TMFUN.from_data(
            graph,
            neighbors=k,
            score_channels=score_channels,
            modality_graphs=False,
            item_graph=False,
        )
        for k in (K, 0)
    )
    model.fit(graph)
    without.fit(graph)
    weight = model.neighbor_score.log_weight.exp().item()
    if strength > 0:
        assert weight > 1.0
        return
    assert weight == pytest.approx(0.1)
    if score_channels > 0:
        found = [x.content_score.log_weight.item() for x in (model, without)]
        assert found[0] == found[1]
