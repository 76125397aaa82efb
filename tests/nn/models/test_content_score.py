import pytest
import torch
from dense_content import item_mask, normalized_features
from toy_data import dense_interactions, make_data

from tmfun_pyg.nn import ContentScore
from tmfun_pyg.nn.models import content_score
from tmfun_pyg.transforms import ToRecGraph

SIZES = {"m0": 3, "m1": 4}
COLD = 4


def make(missing, max_channels=99, tastes=False):
    data = make_data(2, missing)
    if tastes:
        # Users have items of one half, but for one, whom "m0" tells apart:
        pairs = [(u, i) for u in range(6) for i in range(6) if (u + i) % 2]
        pairs = torch.tensor([*pairs, (0, 0)]).t()
        data["user", "interacts", "item"].edge_index = pairs
        data["item"].x_m0[::2, 0] += 5.0
        data["item"].x_m0[1::2, 1] += 5.0
    store = data["user", "interacts", "item"]
    store.edge_index = store.edge_index[:, store.edge_index[1] != COLD]
    module = ContentScore(SIZES, max_channels)
    module.reset_parameters()
    module.fit(ToRecGraph()(data))
    return data, module


@pytest.mark.parametrize("missing", [False, True])
def test_means_and_singular_vectors(missing):
    data, module = make(missing, max_channels=2)
    is_warm = dense_interactions(data).sum(dim=0) > 0
    for name in SIZES:
        x = normalized_features(data, name)[is_warm & item_mask(data, name)]
        mean = x.mean(dim=0)
        torch.testing.assert_close(getattr(module, f"mean_{name}"), mean)
        unit = (x - mean) / (x - mean).norm(dim=1, keepdim=True)
        v = torch.linalg.svd(unit).Vh[:2]
        basis = getattr(module, f"basis_{name}")
        torch.testing.assert_close(
            basis @ basis.t(), v.t() @ v, atol=1e-4, rtol=1e-4
        )


def test_all_columns_keep_all_products():
    data, module = make(missing=False)
    for name, found in zip(
        SIZES, module.items(ToRecGraph()(data)), strict=True
    ):
        x = normalized_features(data, name) - getattr(module, f"mean_{name}")
        x = x / x.norm(dim=1, keepdim=True)
        torch.testing.assert_close(
            found @ found.t(), x @ x.t(), atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("missing", [False, True])
def test_weights_explain_the_interactions_best(missing, monkeypatch):
    """The softmax loss of content alone, by brute force, has its minimum at
    the weights.
    """
    monkeypatch.setattr(content_score, "NUM_NEGATIVES", 3)
    data, module = make(missing, tastes=True)
    r = dense_interactions(data)
    edge_index = ToRecGraph()(data)["user", "interacts", "item"].edge_index
    generator = torch.Generator().manual_seed(0)
    torch.randperm(edge_index.size(1), generator=generator)
    warm = (r.sum(dim=0) > 0).nonzero().view(-1)
    drawn = torch.randint(len(warm), (3,), generator=generator)
    unit = module.items(ToRecGraph()(data))

    def loss(log_weight):
        total = 0.0
        for user, item in edge_index.as_tensor().t().tolist():
            logit = []
            for other in [item, *warm[drawn].tolist()]:
                score = 0.0
                for m, name in enumerate(SIZES):
                    mask = item_mask(data, name)
                    own = [
                        unit[m][j] @ unit[m][other]
                        for j in range(r.size(1))
                        if r[user, j] and mask[j] and j != item
                    ]
                    if own:
                        score = score + log_weight[m].exp() * sum(own) / len(
                            own
                        )
                logit.append(torch.as_tensor(score))
            total = total - torch.stack(logit).log_softmax(dim=0)[0]
        return total / edge_index.size(1)

    best = module.log_weight.detach()
    least = float(loss(best))
    assert best[0].exp() > 0.1
    for m in range(2):
        for step in (0.1, -0.1):
            moved = best.clone()
            moved[m] += step
            if moved[m].exp() >= 0.1:
                assert float(loss(moved)) > least


def test_cold_items_do_not_matter_but_have_a_score():
    data, module = make(missing=False)
    state = {name: x.clone() for name, x in module.state_dict().items()}
    data["item"].x_m0[COLD] = torch.tensor([9.0, -4.0, 1.0])
    graph = ToRecGraph()(data)
    module.fit(graph)
    for name, x in module.state_dict().items():
        torch.testing.assert_close(x, state[name])
    assert module.items(graph)[0][COLD].any()


@pytest.mark.parametrize("missing", [False, True])
def test_prepared_or_not(missing):
    data, module = make(missing)
    graph = ToRecGraph()(data)
    prepared = module.prepare(graph)
    assert "unit_m0" not in graph["item"]
    user, item = data["user", "interacts", "item"].edge_index[:, ::3]
    for args in ((), (user, item), (user, item, item)):
        torch.testing.assert_close(
            module(prepared, *args), module(graph, *args)
        )
