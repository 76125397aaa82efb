import pytest
import torch
import torch.nn.functional as F
from dense_content import draw_parameters
from dense_tmfun import dense_cold_scores, dense_embeddings
from torch_geometric.data import HeteroData
from toy_data import dense_interactions, make_data

from tmfun_pyg.nn import TMFUN, ColdItems, LightGCN
from tmfun_pyg.transforms import FeatureGraph, ToRecGraph

NUM_USERS, NUM_ITEMS, NUM_COLD = 80, 60, 10


@pytest.fixture
def data() -> HeteroData:
    """Users like one of two kinds of items, which the content of all but item
    0 tells. The last items are cold.
    """
    kind = torch.arange(NUM_ITEMS) % 2
    likes = torch.arange(NUM_USERS) % 2
    probability = torch.full((NUM_USERS, NUM_ITEMS), 0.02)
    probability[likes.view(-1, 1) == kind] = 0.2
    probability[:, -NUM_COLD:] = 0.0
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


def extended(model, graph):
    with torch.no_grad():
        encoding = model.encode(graph)
    cold_items = ColdItems.fit(model, graph)
    return cold_items, encoding, cold_items.extend(encoding)


@pytest.mark.parametrize("num_modalities", [1, 2, 4])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("cold", [[2], [2, 4]])
def test_dense_reference(num_modalities, missing, cold):
    """Cold items are scored as if known, and warm ones as ever."""
    data = make_data(num_modalities, missing)
    store = data["user", "interacts", "item"]
    is_warm = ~torch.isin(store.edge_index[1], torch.tensor(cold))
    store.edge_index = store.edge_index[:, is_warm]
    model = TMFUN.from_data(data, channels=4, num_layers=2)
    graph = ToRecGraph()(data)
    model.fit(graph)
    draw_parameters(model)
    _, _, (users, items) = extended(model, graph)
    user_emb, item_emb = dense_embeddings(model, data)
    expected = user_emb @ item_emb.t()
    is_known = dense_interactions(data).sum(dim=0) > 0
    assert not bool(is_known[cold].any())
    others = dense_cold_scores(model, data)
    expected[:, ~is_known] = others[:, ~is_known].float()
    width = user_emb.size(1)
    torch.testing.assert_close(users[:, :width], user_emb)
    torch.testing.assert_close(items[is_known, :width], item_emb[is_known])
    assert not items[is_known, width:].any()
    torch.testing.assert_close(
        users @ items.t(), expected.detach(), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("channels", [2, 64])
def test_dense_profiles(data: HeteroData, channels: int) -> None:
    cold_items = ColdItems(ToRecGraph()(data), channels)

    r = dense_interactions(data).double()
    warm = r.sum(dim=0) > 0
    assert warm.sum() == NUM_ITEMS - NUM_COLD
    parts = []
    for name in ["image", "text"]:
        x = data["item"][f"x_{name}"]
        x = F.layer_norm(x.double(), x.shape[1:], eps=0)
        has = data["item"][f"mask_{name}"]
        parts.append((x - x[warm & has].mean(dim=0)) * has.view(-1, 1))
    f = torch.cat(parts, dim=1)
    gram = f[warm].t() @ f[warm]
    gram += gram.trace() / 256 * torch.eye(f.size(1))
    degree = r.sum(dim=1, keepdim=True).clamp(min=1)
    c = (r / degree).t() @ r
    c.fill_diagonal_(0.0)
    solve = gram.inverse() @ f[warm].t()
    metric = solve @ c[warm][:, warm] @ solve.t()

    value, vector = torch.linalg.eigh(metric)
    value = value.clamp(min=0.0)
    assert value.count_nonzero() > 2  # So that two of them are a choice.
    value[:-channels] = 0.0
    metric = vector @ value.diag() @ vector.t()
    item = cold_items.item_profile.double()
    user = cold_items.user_profile.double()
    assert item.size(1) == min(channels, f.size(1))
    torch.testing.assert_close(
        item @ item.t(), f @ metric @ f.t(), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        user @ item.t(), r / degree @ f @ metric @ f.t(), rtol=1e-4, atol=1e-5
    )


def test_profiles_tell_what_users_like(data: HeteroData) -> None:
    cold_items = ColdItems(ToRecGraph()(data), channels=4)
    score = cold_items.user_profile @ cold_items.item_profile[-NUM_COLD:].t()
    # The even users like the even items, and users without items have no
    # preference at all:
    active = dense_interactions(data).sum(dim=1) > 0
    margin = score[:, ::2].mean(dim=1) - score[:, 1::2].mean(dim=1)
    assert (margin[::2] > 0)[active[::2]].float().mean() > 0.9
    assert (margin[1::2] < 0)[active[1::2]].float().mean() > 0.9
    assert not margin[~active].any()


def test_two_products_of_one_spread(data: HeteroData) -> None:
    model, graph = TMFUN.from_data(data, channels=4), ToRecGraph()(data)
    model.fit(graph)
    cold_items, encoding, (users, items) = extended(model, graph)
    user_emb, score = encoding.user.split([4, 13], dim=1)
    by_embedding = user_emb @ cold_items.estimate(encoding).t()
    by_content = score @ encoding.item[:, 4:].t()
    by_profile = cold_items.user_profile @ cold_items.item_profile.t()

    def spread(score):
        score = score[:, :-NUM_COLD]
        return score.var(dim=1, correction=0).mean().sqrt()

    assert spread(by_embedding) > 0
    by_profile *= spread(by_embedding) / spread(by_profile)
    torch.testing.assert_close(
        (users @ items.t())[:, -NUM_COLD:],
        (0.5 * (by_embedding + by_profile) + by_content)[:, -NUM_COLD:],
    )


def test_warm_items_do_not_hear_of_cold_ones(data: HeteroData) -> None:
    model = TMFUN.from_data(data, channels=4)
    _, _, (user_emb, item_emb) = extended(model, ToRecGraph()(data))
    score = user_emb @ item_emb.t()
    # Other content of one cold item leaves all scores but its own:
    data["item"].x_image[-1] += torch.randn(8)
    _, _, (user_emb, item_emb) = extended(model, ToRecGraph()(data))
    found = user_emb @ item_emb.t()
    torch.testing.assert_close(found[:, :-1], score[:, :-1])
    assert not torch.allclose(found[:, -1], score[:, -1])


def test_no_content_gives_no_profile(data: HeteroData) -> None:
    for name in ["image", "text"]:
        data["item"][f"x_{name}"] = torch.ones(NUM_ITEMS, 3)
    data = FeatureGraph(k=3)(data)
    model = TMFUN.from_data(data, channels=4)
    cold_items, _, (users, items) = extended(model, ToRecGraph()(data))
    assert not cold_items.item_profile.any()
    assert users.isfinite().all()
    assert items.isfinite().all()


def test_models_without_use_for_it(data: HeteroData) -> None:
    with pytest.raises(ValueError, match=r"like TMFUN \(got LightGCN\)"):
        ColdItems.fit(LightGCN.from_data(data), ToRecGraph()(data))
