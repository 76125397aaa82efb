import pytest
import torch
from dense_content import item_mask, normalized_features
from toy_data import dense_interactions, make_data

from tmfun_pyg.nn import ContentScore
from tmfun_pyg.transforms import ToRecGraph

SIZES = {"m0": 3, "m1": 4}
COLD = 4


def make(missing, max_channels=99):
    data = make_data(2, missing)
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


def test_cold_items_do_not_matter_but_have_a_score():
    data, module = make(missing=False)
    state = {name: x.clone() for name, x in module.state_dict().items()}
    data["item"].x_m0[COLD] = torch.tensor([9.0, -4.0, 1.0])
    graph = ToRecGraph()(data)
    module.fit(graph)
    for name, x in module.state_dict().items():
        torch.testing.assert_close(x, state[name])
    assert module.items(graph)[0][COLD].any()


@pytest.mark.parametrize("beyond", [0, 1])
@pytest.mark.parametrize("missing", [False, True])
def test_prepared_or_not(missing, beyond, monkeypatch):
    data, module = make(missing)
    graph = ToRecGraph()(data)
    size = data["user"].num_nodes * module.channels
    kept = "tmfun_pyg.nn.models.content_score.KEPT"
    monkeypatch.setattr(kept, size - beyond)
    prepared = module.prepare(graph)
    assert ("profile_m0" in prepared["user"]) == (beyond == 0)
    assert "unit_m0" not in graph["item"]
    user, item = data["user", "interacts", "item"].edge_index[:, ::3]
    for args in ((), (user, item), (user, item, item)):
        torch.testing.assert_close(
            module(prepared, *args), module(graph, *args)
        )


class OnGPU(torch.Tensor):
    is_cuda = True
    __torch_function__ = torch._C._disabled_torch_function_impl


def test_means_are_kept_on_a_gpu(monkeypatch):
    """There each batch would compute those of all users again."""
    monkeypatch.setattr("tmfun_pyg.nn.models.content_score.KEPT", 0)
    data, module = make(missing=False)
    graph = ToRecGraph()(data)
    assert "profile_m0" not in module.prepare(graph)["user"]
    graph["user"].mask = graph["user"].mask.as_subclass(OnGPU)
    assert "profile_m0" in module.prepare(graph)["user"]


@pytest.mark.parametrize("negatives", ["shared", "own"])
@pytest.mark.parametrize("leave_one_out", [False, True])
def test_scores_are_inner_products(negatives, leave_one_out):
    data, module = make(missing=True)
    graph = ToRecGraph()(data)
    torch.nn.init.normal_(module.log_weight)
    user, item = data["user", "interacts", "item"].edge_index[:, ::3]
    exclude = item if leave_one_out else None
    num_rows = 1 if negatives == "shared" else len(user)
    other = torch.randint(data["item"].num_nodes, (num_rows, 3))
    users, items = module(graph, user, exclude=exclude)
    rows = torch.cat([item.view(-1, 1), other.expand(len(user), -1)], dim=1)
    expected = torch.einsum("bc,bnc->bn", users, items[rows])
    found = module.scores(graph, user, item, other, exclude)
    torch.testing.assert_close(found, expected)
    probe = torch.randn_like(found)
    torch.testing.assert_close(
        torch.autograd.grad(found, module.log_weight, probe),
        torch.autograd.grad(expected, module.log_weight, probe),
    )
