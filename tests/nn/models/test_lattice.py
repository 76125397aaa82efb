import copy

import pytest
import torch
from dense_content import (
    dense_learned_graph,
    dense_ranking_loss,
    draw_parameters,
)
from torch_geometric.testing import withDevice
from toy_data import dense_light_gcn, make_data

from tmfun_pyg.nn import LATTICE
from tmfun_pyg.testing import RankingModelTests, assert_same_loss
from tmfun_pyg.transforms import ToRecGraph


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
    h = a @ model.item_embedding.weight
    norm = h.pow(2).sum(dim=1, keepdim=True)
    h = torch.where(norm > 0, h / norm.where(norm > 0, 1.0).sqrt(), 0.0)
    return users, items + h


def neighbors(model):
    return torch.cat([g.neighbors for g in model.learned.values()], dim=1)


class TestLATTICE(RankingModelTests):
    model_cls = LATTICE
    options = {"channels": 4, "k": 3, "skip_weight": 0.3, "reg_weight": 0.1}
    state_of_data = ("neighbors", "_extra_state")

    def dense_loss(self, model, data, *batch):
        emb = dense_embeddings(model, data, 3, 0.3)
        return dense_ranking_loss(model, *emb, *batch)


@pytest.mark.parametrize("num_modalities", [1, 2])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("k", [1, 3, 9])
def test_dense_reference(batch, num_modalities, missing, k):
    data = make_data(num_modalities, missing)
    kwargs = {"k": k, "skip_weight": 0.3}
    model = LATTICE.from_data(
        data, channels=4, num_layers=2, reg_weight=0.1, **kwargs
    )
    draw_parameters(model)
    graph = model.prepare(ToRecGraph()(data), epoch=0)
    expected = dense_embeddings(model, data, **kwargs)
    found = model.encode(graph)[:2]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    parts = dense_ranking_loss(model, *expected, *batch)
    assert_same_loss(model, model.loss(graph, *batch), parts)


def test_neighbors_are_searched_in_each_epoch_and_kept():
    data = make_data(2, missing=False)
    graph = ToRecGraph()(data)
    kwargs = {"k": 1, "skip_weight": 0.0}
    model = LATTICE.from_data(data, channels=4, **kwargs)
    torch.testing.assert_close(  # Searched, as there were none.
        model(graph), dense_embeddings(model, data, **kwargs)
    )
    start, state = neighbors(model), copy.deepcopy(model.state_dict())
    draw_parameters(model)
    expected = model(graph)
    assert torch.equal(neighbors(model), start)
    model.prepare(graph, epoch=0)
    assert not torch.equal(neighbors(model), start)
    assert not torch.allclose(model(graph)[1], expected[1])
    torch.testing.assert_close(
        model(graph), dense_embeddings(model, data, **kwargs)
    )
    model.reset_parameters()
    assert all(g.neighbors is None for g in model.learned.values())

    # Those of a checkpoint take the place of others:
    model.load_state_dict(state)
    assert torch.equal(neighbors(model), start)
    torch.testing.assert_close(
        model(graph), dense_embeddings(model, data, **kwargs)
    )


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
    graph = model.prepare(ToRecGraph()(data), epoch=0)
    assert model.learned["m0"].neighbors.tolist() == [[0, 1], [1, 0]]
    assert model.learned["m1"].neighbors.tolist() == [[], []]
    users, items = dense_light_gcn(
        data, model.user_embedding.weight, model.item_embedding.weight, 2
    ).split([7, 6])
    torch.testing.assert_close(model.encode(graph)[:2], (users, items))
    sum(model.loss(graph, *batch).values()).backward()
    for parameter in model.parameters():
        assert bool(parameter.grad.isfinite().all())


def test_items_without_content_are_those_of_lightgcn(data, graph):
    model = LATTICE.from_data(data, channels=4, skip_weight=0.0)
    light = dense_light_gcn(
        data, model.user_embedding.weight, model.item_embedding.weight, 2
    )
    torch.testing.assert_close(model(graph)[1][0], light[7])


@withDevice
def test_on_any_device(graph, batch, device):
    model = LATTICE.from_data(graph, channels=4)
    expected, parts = model(graph), model.loss(model.prepare(graph), *batch)
    sum(parts.values()).backward()
    grads = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    model = model.to(device)
    graph = model.prepare(copy.copy(graph).to(device), epoch=0)
    found = model.loss(graph, *(index.to(device) for index in batch))
    for name in parts:
        torch.testing.assert_close(found[name].cpu(), parts[name])
    torch.testing.assert_close(model.encode(graph)[1].cpu(), expected[1])
    sum(found.values()).backward()
    for parameter, grad in zip(model.parameters(), grads, strict=True):
        torch.testing.assert_close(
            parameter.grad.cpu(), grad, rtol=1e-4, atol=1e-5
        )


def test_bf16_autocast_is_near(graph, batch):
    model = LATTICE.from_data(graph, channels=16)
    graph = model.prepare(graph)
    expected = model.loss(graph, *batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts = model.loss(graph, *batch)
    for name in parts:
        torch.testing.assert_close(
            parts[name], expected[name], rtol=0.05, atol=1e-4
        )
    sum(parts.values()).backward()


def test_restored_model_has_the_same_neighbors(graph):
    model, other = (LATTICE.from_data(graph, k=1) for _ in range(2))
    model.prepare(graph)
    for parameter in model.parameters():  # After the search of an epoch.
        torch.nn.init.normal_(parameter)
    expected = model(graph)
    other.load_state_dict(model.state_dict())
    for found, reference in zip(other(graph), expected, strict=True):
        assert torch.equal(found, reference)
    names = {name for name, _ in model.named_parameters()}
    added = {f"learned.{m}._extra_state" for m in model.modalities}
    assert set(model.state_dict()) == names | added


def test_errors(data):
    with pytest.raises(ValueError, match="one modality for LATTICE"):
        LATTICE(7, 6, in_channels={})
    with pytest.raises(ValueError, match=r"'k' must be .* \(got 0\)"):
        LATTICE.from_data(data, k=0)
    for weight in (-0.1, 1.1):
        with pytest.raises(ValueError, match="'skip_weight' must be from"):
            LATTICE.from_data(data, skip_weight=weight)


def test_encode_without_prepare(graph, batch):
    model = LATTICE.from_data(graph)
    message = "LATTICE reads what its prepare.. returns: .* 'learned_m0'"
    for read in (model.encode, lambda data: model.loss(data, *batch)):
        with pytest.raises(ValueError, match=message):
            read(graph)
