import pytest
import torch
import torch.nn.functional as F
from tmfun_pyg.nn.models.new_items import NewItems
from torch_geometric.data import HeteroData
from toy_data import dense_interactions

from tmfun_pyg.nn import TMFUN
from tmfun_pyg.transforms import FeatureGraph

NUM_USERS, NUM_ITEMS, NUM_NEW = 80, 60, 10


@pytest.fixture
def data() -> HeteroData:
    """Users like one of two kinds of items, which the content of all but item
    0 tells. The last items are new.
    """
    kind = torch.arange(NUM_ITEMS) % 2
    likes = torch.arange(NUM_USERS) % 2
    probability = torch.full((NUM_USERS, NUM_ITEMS), 0.02)
    probability[likes.view(-1, 1) == kind] = 0.2
    probability[:, -NUM_NEW:] = 0.0
    edge_index = torch.rand_like(probability).lt(probability).nonzero().t()

    data = HeteroData()
    data["user"].num_nodes = NUM_USERS
    data["item"].num_nodes = NUM_ITEMS
    data["user", "interacts", "item"].edge_index = edge_index.contiguous()
    for name, size in [("image", 8), ("text", 5)]:
        x = torch.randn(NUM_ITEMS, size)
        x[:, 0] += 4.0 * kind
        data["item"][f"x_{name}"] = x
        data["item"][f"mask_{name}"] = torch.arange(NUM_ITEMS) > 0
    return FeatureGraph(k=3)(data)


@pytest.mark.parametrize("channels", [2, 64])
def test_dense_profiles(data: HeteroData, channels: int) -> None:
    graph = TMFUN.from_data(data, channels=4).graph
    new_items = NewItems(graph, ["image", "text"], channels)

    r = dense_interactions(data).double()
    known = r.sum(dim=0) > 0
    assert known.sum() == NUM_ITEMS - NUM_NEW
    parts = []
    for name in ["image", "text"]:
        x = data["item"][f"x_{name}"]
        x = F.layer_norm(x, x.shape[1:]).double()
        has = data["item"][f"mask_{name}"]
        parts.append((x - x[known & has].mean(dim=0)) * has.view(-1, 1))
    f = torch.cat(parts, dim=1)
    gram = f[known].t() @ f[known]
    gram += gram.trace() / 256 * torch.eye(f.size(1))
    degree = r.sum(dim=1, keepdim=True).clamp(min=1)
    c = (r / degree).t() @ r
    c.fill_diagonal_(0.0)
    solve = gram.inverse() @ f[known].t()
    metric = solve @ c[known][:, known] @ solve.t()

    value, vector = torch.linalg.eigh(metric)
    value = value.clamp(min=0.0)
    assert value.count_nonzero() > 2  # So that two of them are a choice.
    value[:-channels] = 0.0
    metric = vector @ value.diag() @ vector.t()
    item = new_items.item_profile.double()
    user = new_items.user_profile.double()
    assert item.size(1) == min(channels, f.size(1))
    torch.testing.assert_close(
        item @ item.t(), f @ metric @ f.t(), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        user @ item.t(), r / degree @ f @ metric @ f.t(), rtol=1e-4, atol=1e-5
    )


def test_profiles_tell_what_users_like(data: HeteroData) -> None:
    graph = TMFUN.from_data(data, channels=4).graph
    new_items = NewItems(graph, ["image", "text"], 4)
    score = new_items.user_profile @ new_items.item_profile[-NUM_NEW:].t()
    # The even users like the even items, and users without items have no
    # preference at all:
    active = dense_interactions(data).sum(dim=1) > 0
    margin = score[:, ::2].mean(dim=1) - score[:, 1::2].mean(dim=1)
    assert (margin[::2] > 0)[active[::2]].float().mean() > 0.9
    assert (margin[1::2] < 0)[active[1::2]].float().mean() > 0.9
    assert not margin[~active].any()


def test_two_products_of_one_spread(data: HeteroData) -> None:
    model = TMFUN.from_data(data, channels=4)
    with torch.no_grad():
        user_emb, item_emb = model()
        branches = model.encode()
        estimate = model.estimate(branches)
        users = (branches.collaborative + branches.content)[:NUM_USERS]
    by_embedding = users @ estimate.t()
    new_items = model.new_items
    scale = new_items.scale(users, estimate, model.graph.is_new)
    profile = new_items.item_profile
    by_profile = scale * new_items.user_profile @ profile.t()
    spreads = []
    for score in [by_embedding, by_profile]:
        score = score[:, :-NUM_NEW]
        spreads.append(score.var(dim=1, correction=0).mean().sqrt())
    assert spreads[0] > 0
    torch.testing.assert_close(spreads[0], spreads[1])
    torch.testing.assert_close(
        (user_emb @ item_emb.t())[:, -NUM_NEW:],
        (0.5 * (by_embedding + by_profile))[:, -NUM_NEW:],
    )


def test_known_items_do_not_hear_of_new_ones(data: HeteroData) -> None:
    model = TMFUN.from_data(data, channels=4)
    with torch.no_grad():
        user_emb, item_emb = model()
        score = user_emb @ item_emb.t()
        # Other content of one new item leaves all scores but its own:
        data["item"].x_image[-1] += torch.randn(8)
        user_emb, item_emb = model.bind(data)()
    found = user_emb @ item_emb.t()
    torch.testing.assert_close(found[:, :-1], score[:, :-1])
    assert not torch.allclose(found[:, -1], score[:, -1])


def test_no_content_gives_no_profile(data: HeteroData) -> None:
    for name in ["image", "text"]:
        data["item"][f"x_{name}"] = torch.ones(NUM_ITEMS, 3)
    data = FeatureGraph(k=3)(data)
    model = TMFUN.from_data(data, channels=4)
    with torch.no_grad():
        user_emb, item_emb = model()
    assert not model.new_items.item_profile.any()
    assert user_emb.isfinite().all()
    assert item_emb.isfinite().all()
