import copy

import pytest
import torch
from dense_content import (
    assert_same_loss,
    dense_learned_graph,
    dense_ranking_loss,
    draw_parameters,
)
from torch_geometric.testing import withDevice
from toy_data import dense_light_gcn, make_data

from tmfun_pyg.nn import LATTICE
from tmfun_pyg.nn.models.sparse_pattern import SparsePattern


def dense_embeddings(model, data, k, skip_weight):
    users, items = dense_light_gcn(
        data,
        model.user_embedding.weight,
        model.item_embedding.weight,
        model.num_layers,
    ).split([model.num_users, model.num_items])
    logit = model.graph_logit.exp()
    a = sum(
        weight * dense_learned_graph(model, data, name, k, skip_weight)
        for weight, name in zip(
            logit / logit.sum(), model.modalities, strict=True
        )
    )
    h = model.item_embedding.weight
    for _ in range(model.num_feature_layers):
        h = a @ h
    norm = h.pow(2).sum(dim=1, keepdim=True)
    h = torch.where(norm > 0, h / norm.where(norm > 0, 1.0).sqrt(), 0.0)
    return users, items + h


@pytest.mark.parametrize("num_modalities", [1, 2])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(("k", "num_feature_layers"), [(1, 1), (3, 2), (9, 1)])
def test_dense_reference(
    batch, num_modalities, missing, k, num_feature_layers
):
    data = make_data(num_modalities, missing)
    kwargs = {"k": k, "skip_weight": 0.3}
    model = LATTICE.from_data(
        data,
        channels=4,
        num_layers=2,
        num_feature_layers=num_feature_layers,
        reg_weight=0.1,
        **kwargs,
    )
    draw_parameters(model)
    model.start_epoch(0)
    expected = dense_embeddings(model, data, **kwargs)
    torch.testing.assert_close(model(), expected, rtol=1e-5, atol=1e-5)
    parts = dense_ranking_loss(model, *expected, *batch)
    assert_same_loss(model, model.loss(*batch), parts)


def test_neighbors_are_searched_when_needed(data, batch):
    kwargs = {"k": 2, "skip_weight": 0.0}
    model = LATTICE.from_data(data, channels=4, **kwargs)
    torch.testing.assert_close(
        model(), dense_embeddings(model, data, **kwargs)
    )

    def neighbors():
        return torch.cat([g.pattern.index for g in model.learned.values()])

    start, state = neighbors(), copy.deepcopy(model.state_dict())
    draw_parameters(model)
    model.loss(*batch)
    assert torch.equal(neighbors(), start)
    model.start_epoch(0)
    assert not torch.equal(neighbors(), start)
    model.load_state_dict(state)
    assert torch.equal(neighbors(), start)
    other = LATTICE(7, 6, model.in_channels, channels=4, **kwargs)
    other.load_state_dict(state)  # There is nothing to search yet.
    torch.testing.assert_close(other.bind(data)(), model())


def test_opposite_items_have_finite_gradients(data, batch):
    """Where all similarities are negative, no neighbor counts."""
    data["item"].x_m0 = torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]] * 3)
    data["item"].mask_m0 = torch.arange(6) < 2
    data["item"].mask_m1 = torch.arange(6) < 1
    for name in ("m0", "m1"):
        store = data["item", f"similar_{name}", "item"]
        store.edge_index = store.edge_index[:, :0]
        store.edge_weight = store.edge_weight[:0]
    model = LATTICE.from_data(data, channels=4)
    for learned in model.learned.values():
        torch.nn.init.zeros_(learned.lin.bias)
    model.start_epoch(0)
    assert model.learned["m0"].pattern.index.tolist() == [1, 0]
    assert model.learned["m1"].pattern.index.tolist() == []
    users, items = dense_light_gcn(
        data, model.user_embedding.weight, model.item_embedding.weight, 2
    ).split([7, 6])
    torch.testing.assert_close(model(), (users, items))
    sum(model.loss(*batch).values()).backward()
    for parameter in model.parameters():
        assert bool(parameter.grad.isfinite().all())


def test_missing_features_are_never_read(data, batch):
    model = LATTICE.from_data(data, channels=4, skip_weight=0.0)
    expected = model(), model.loss(*batch)
    data["item"].x_m0[:2] = 1e6
    data["item"].x_m1[0] = 1e6
    model.bind(data)
    torch.testing.assert_close((model(), model.loss(*batch)), expected)
    light = dense_light_gcn(
        data, model.user_embedding.weight, model.item_embedding.weight, 2
    )
    torch.testing.assert_close(model()[1][0], light[7])


@pytest.mark.parametrize("num_nodes", [1, 5])
def test_sparse_pattern(num_nodes):
    matrix = torch.rand(num_nodes, num_nodes, dtype=torch.double)
    row, col = (matrix < 0.4).nonzero().t()
    pattern = SparsePattern(row, col, num_nodes)
    x, y = torch.randn(2, num_nodes, 3, dtype=torch.double)
    value = torch.randn(row.numel(), dtype=torch.double)
    dense = torch.zeros_like(matrix).index_put((row, col), value)
    torch.testing.assert_close(pattern.matmul(value, x), dense @ x)
    torch.testing.assert_close(pattern.dots(x), (x @ x.t())[row, col])
    torch.testing.assert_close(pattern.sample(x, y), (x @ y.t())[row, col])
    for tensor in (x, value):
        tensor.requires_grad_()
    torch.autograd.gradcheck(pattern.dots, x)
    torch.autograd.gradcheck(pattern.matmul, (value, x))
    # Gradients of a sum are one number, expanded:
    (pattern.matmul(value, x).sum() + pattern.dots(x).sum()).backward()
    grads = value.grad, x.grad
    value.grad = x.grad = None
    dense = torch.zeros_like(matrix).index_put((row, col), value)
    ((dense @ x).sum() + (x @ x.t())[row, col].sum()).backward()
    torch.testing.assert_close(grads, (value.grad, x.grad))


@withDevice
def test_on_any_device(data, batch, device):
    model = LATTICE.from_data(data, channels=4)
    expected, parts = model(), model.loss(*batch)
    sum(parts.values()).backward()
    grads = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    model = model.to(device)
    model.start_epoch(0)
    found = model.loss(*(index.to(device) for index in batch))
    for name in parts:
        torch.testing.assert_close(found[name].cpu(), parts[name])
    torch.testing.assert_close(model()[1].cpu(), expected[1])
    sum(found.values()).backward()
    for parameter, grad in zip(model.parameters(), grads, strict=True):
        torch.testing.assert_close(
            parameter.grad.cpu(), grad, rtol=1e-4, atol=1e-5
        )


def test_bf16_autocast_is_near(data, batch):
    model = LATTICE.from_data(data, channels=16)
    expected = model.loss(*batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts = model.loss(*batch)
    for name in parts:
        torch.testing.assert_close(
            parts[name], expected[name], rtol=0.05, atol=1e-4
        )
    sum(parts.values()).backward()


def test_restored_model_has_the_same_neighbors(data):
    model, other = (LATTICE.from_data(data, k=1) for _ in range(2))
    for parameter in model.parameters():  # After the search of an epoch.
        torch.nn.init.normal_(parameter)
    expected = model()
    other.load_state_dict(model.state_dict())
    for found, reference in zip(other(), expected, strict=True):
        assert torch.equal(found, reference)
    names = {name for name, _ in model.named_parameters()}
    added = {f"learned.{m}._extra_state" for m in model.modalities}
    assert set(model.state_dict()) == names | added


def test_errors(data):
    with pytest.raises(ValueError, match="names no modality: LATTICE"):
        LATTICE(7, 6, in_channels={})
    with pytest.raises(ValueError, match=r"'k' must be .* \(got 0\)"):
        LATTICE.from_data(data, k=0)
    with pytest.raises(ValueError, match="'num_feature_layers' must be"):
        LATTICE.from_data(data, num_feature_layers=0)
    for weight in (-0.1, 1.1):
        with pytest.raises(ValueError, match="'skip_weight' must be from"):
            LATTICE.from_data(data, skip_weight=weight)
