import pytest
import torch
from dense_content import (
    dense_info_nce,
    dense_learned_graph,
    dense_ranking_loss,
    draw_parameters,
    item_mask,
)
from toy_data import dense_light_gcn, make_data

from tmfun_pyg.nn import MICRO
from tmfun_pyg.testing import RankingModelTests, assert_same_loss
from tmfun_pyg.transforms import ToRecGraph


def dense_representations(model, data, k, skip_weight):
    """Those of each modality, and the fused ones."""
    h = [
        dense_learned_graph(model, data, name, k, skip_weight)
        @ model.item_embedding.weight
        for name in model.modalities
    ]
    key, query = model.attention.lin_key, model.attention.att[0]
    rows = []
    for i in range(model.num_items):
        fused = torch.zeros(model.channels)
        present = [
            x[i]
            for x, name in zip(h, model.modalities, strict=True)
            if item_mask(data, name)[i]
        ]
        if present:
            score = [
                query @ (key.weight @ x + key.bias).tanh() for x in present
            ]
            weight = torch.stack(score).softmax(dim=0)
            fused = weight @ torch.stack(present)
        rows.append(fused)
    return h, torch.stack(rows)


def dense_embeddings(model, data, fused):
    users, items = dense_light_gcn(
        data, model.user_embedding.weight, model.item_embedding.weight, 2
    ).split([model.num_users, model.num_items])
    norm = fused.pow(2).sum(dim=1, keepdim=True)
    norm = norm.where(norm > 0, 1.0).sqrt()
    return users, items + fused / norm


def dense_parts(model, data, user, pos_item, neg_item, **kwargs):
    h, fused = dense_representations(model, data, **kwargs)
    emb = dense_embeddings(model, data, fused)
    parts = dense_ranking_loss(model, *emb, user, pos_item, neg_item)
    parts["contrastive"] = 0.7 * sum(
        dense_info_nce(x, fused, pos_item, item_mask(data, name), 0.5)
        for x, name in zip(h, model.modalities, strict=True)
    )
    return parts


class TestMICRO(RankingModelTests):
    model_cls = MICRO
    options = {
        "channels": 4,
        "k": 3,
        "skip_weight": 0.3,
        "contrastive_weight": 0.7,
        "reg_weight": 0.1,
    }
    state_of_data = ("neighbors", "_extra_state")

    def dense_loss(self, model, data, *batch):
        return dense_parts(model, data, *batch, k=3, skip_weight=0.3)


@pytest.mark.parametrize("num_modalities", [1, 2])
@pytest.mark.parametrize("missing", [False, True])
def test_dense_reference(batch, num_modalities, missing):
    data = make_data(num_modalities, missing)
    kwargs = {"k": 2, "skip_weight": 0.3}
    model = MICRO.from_data(
        data,
        channels=4,
        num_layers=2,
        contrastive_weight=0.7,
        reg_weight=0.1,
        **kwargs,
    )
    draw_parameters(model)
    graph = model.prepare(ToRecGraph()(data), epoch=0)
    _, fused = dense_representations(model, data, **kwargs)
    expected = dense_embeddings(model, data, fused)
    found = model.encode(graph)
    torch.testing.assert_close(found[:2], expected, rtol=1e-5, atol=1e-5)
    parts = dense_parts(model, data, *batch, **kwargs)
    assert_same_loss(model, model.loss(graph, *batch), parts)


def test_without_contrast(graph, batch):
    model = MICRO.from_data(graph, contrastive_weight=0.0)
    assert set(model.loss(model.prepare(graph), *batch)) == {"bpr", "reg"}


def test_restored_model_has_the_same_neighbors(graph):
    model, other = (MICRO.from_data(graph, k=1) for _ in range(2))
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


def test_errors():
    with pytest.raises(ValueError, match="one modality for MICRO"):
        MICRO(7, 6, in_channels={})


def test_encode_without_prepare(graph, batch):
    model = MICRO.from_data(graph)
    message = "MICRO reads what its prepare.. returns: .* 'learned_m0'"
    for read in (model.encode, lambda data: model.loss(data, *batch)):
        with pytest.raises(ValueError, match=message):
            read(graph)
