import pytest
import torch
from dense_content import (
    dense_info_nce,
    dense_ranking_loss,
    dense_similar,
    draw_parameters,
    item_mask,
    normalized_features,
)
from toy_data import NUM_USERS, dense_interactions, dense_light_gcn, make_data

from tmfun_pyg.nn import MGCN
from tmfun_pyg.testing import RankingModelTests, assert_same_loss
from tmfun_pyg.transforms import ToRecGraph


def dense_branches(model, data):
    """The behavior and the fused representations of all nodes."""
    item_emb = model.item_embedding.weight
    behavior = dense_light_gcn(
        data, model.user_embedding.weight, item_emb, model.num_layers
    )
    r = dense_interactions(data)
    normalized = r / (r.sum(1, keepdim=True) * r.sum(0)).clamp(min=1).sqrt()
    h, present = [], []
    for name in model.modalities:
        x = normalized_features(data, name)
        first, second = model.convs[name].gate
        for linear in (first, second):  # No activation between them.
            x = x @ linear.weight.t() + linear.bias
        items = dense_similar(data, name) @ (item_emb * x.sigmoid())
        h.append(torch.cat([normalized @ items, items]))
        mask = item_mask(data, name)
        present.append(torch.cat([(r @ mask.float()) > 0, mask]))

    key, query = model.attention.lin_key, model.attention.att[0]
    weight = model.preference.weight.view(len(h), -1, model.channels)
    bias = model.preference.bias.view(len(h), -1)
    rows = []
    for n in range(len(behavior)):
        fused = torch.zeros(model.channels)
        own = [m for m in range(len(h)) if present[m][n]]
        if own:
            x = torch.stack([h[m][n] for m in own])
            score = (x @ key.weight.t() + key.bias).tanh() @ query
            shared = score.softmax(dim=0) @ x
            fused = shared
            for m in own:
                gate = (weight[m] @ behavior[n] + bias[m]).sigmoid()
                fused = fused + gate * (h[m][n] - shared)
        rows.append(fused / (len(h) + 1))
    return behavior, torch.stack(rows), torch.stack(present).any(dim=0)


def dense_embeddings(model, data):
    behavior, fused, _ = dense_branches(model, data)
    return (behavior + fused).split([model.num_users, model.num_items])


def dense_parts(model, data, user, pos_item, neg_item):
    behavior, fused, mask = dense_branches(model, data)
    emb = dense_embeddings(model, data)
    parts = dense_ranking_loss(model, *emb, user, pos_item, neg_item)
    parts["contrastive"] = 0.7 * sum(
        dense_info_nce(fused, behavior, node, mask, 0.2)
        for node in (user, pos_item + model.num_users)
    )
    return parts


class TestMGCN(RankingModelTests):
    model_cls = MGCN
    options = {"channels": 4, "contrastive_weight": 0.7, "reg_weight": 0.1}

    def dense_loss(self, model, data, *batch):
        return dense_parts(model, data, *batch)


@pytest.mark.parametrize("num_modalities", [1, 2])
@pytest.mark.parametrize("missing", [False, True])
def test_dense_reference(batch, num_modalities, missing):
    data = make_data(num_modalities, missing)
    graph = ToRecGraph()(data)
    model = MGCN.from_data(
        data, channels=4, num_layers=2, contrastive_weight=0.7, reg_weight=0.1
    )
    draw_parameters(model)
    expected = dense_embeddings(model, data)
    torch.testing.assert_close(model(graph), expected, rtol=1e-5, atol=1e-5)
    parts = dense_parts(model, data, *batch)
    assert_same_loss(model, model.loss(graph, *batch), parts)


def test_without_contrast(graph, batch):
    model = MGCN.from_data(graph, contrastive_weight=0.0)
    assert set(model.loss(graph, *batch)) == {"bpr", "reg"}


def test_items_without_content_are_known_by_behavior(data, graph):
    model = MGCN.from_data(graph, channels=4)
    behavior, _, _ = dense_branches(model, data)
    torch.testing.assert_close(model(graph)[1][0], behavior[NUM_USERS])


def test_encoding_of_rows(graph, batch):
    """All that is told of the rows of a batch is told of these rows."""
    model = MGCN.from_data(graph, channels=4)
    user, item, _ = batch
    every = model.encode(graph)
    found = model.encode(graph, user, item)
    for name in ("behavior", "content", "mask"):
        pair = getattr(every, name)
        torch.testing.assert_close(
            tuple(getattr(found, name)), (pair.user[user], pair.item[item])
        )


def test_errors():
    with pytest.raises(ValueError, match="one modality for MGCN"):
        MGCN(7, 6, in_channels={})
