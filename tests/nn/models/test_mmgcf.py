import pytest
import torch
from dense_content import (
    dense_ranking_loss,
    draw_parameters,
    item_mask,
    normalized_features,
)
from toy_data import dense_light_gcn, edges_of, make_data

from tmfun_pyg.nn import MMGCF
from tmfun_pyg.testing import RankingModelTests, assert_same_loss
from tmfun_pyg.transforms import ToRecGraph

OPTIONS = {"channels": 4, "num_layers": 2, "reg_weight": 0.1}


def merge(model, parts, linear):
    if model.fusion == "concat":
        return linear.weight @ torch.cat(parts) + linear.bias
    total = sum(parts)
    return total / len(parts) if model.fusion == "mean" else total


def dense_item(model, v, content):
    """The embedding of one item."""
    if model.weighting == "equal":
        c = content[0]
        if len(content) > 1:
            c = merge(model, content, model.lin_content)
        return merge(model, [v, c], model.lin_all)
    if model.weighting == "alpha":
        a = 1 / (1 + (-model.alpha).exp())
        parts = [a * v] + [(1 - a) * p for p in content]
        return merge(model, parts, model.lin_all)
    parts = [len(content) * v / v.norm()]
    parts += [p / p.norm() if p.any() else p for p in content]
    return merge(model, parts, model.lin_all)


def dense_embeddings(model, data):
    users, items = dense_light_gcn(
        data,
        model.user_embedding.weight,
        model.item_embedding.weight,
        model.num_layers,
    ).split([model.num_users, model.num_items])
    rows = []
    for i, v in enumerate(items):
        content = []
        for name in model.modalities:
            linear = model.projections[name]
            x = normalized_features(data, name)[i]
            p = linear.weight @ x + linear.bias
            is_there = item_mask(data, name)[i]
            content.append(p if is_there else torch.zeros_like(p))
        rows.append(dense_item(model, v, content))
    return users, torch.stack(rows)


def dense_parts(model, data, *batch):
    users, items = dense_embeddings(model, data)
    return dense_ranking_loss(model, users, items, *batch)


class TestMMGCF(RankingModelTests):
    model_cls = MMGCF
    options = OPTIONS

    def dense_loss(self, model, data, *batch):
        return dense_parts(model, data, *batch)


class TestMMGCFOfAll(TestMMGCF):
    options = {**OPTIONS, "fusion": "concat", "weighting": "alpha"}


@pytest.mark.parametrize("num_modalities", [1, 2, 3])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("weighting", ["equal", "alpha", "normalized"])
@pytest.mark.parametrize("fusion", ["mean", "sum", "concat"])
def test_dense_reference(batch, num_modalities, missing, weighting, fusion):
    data = make_data(num_modalities, missing)
    model = MMGCF.from_data(
        data, **OPTIONS, fusion=fusion, weighting=weighting, prune=0.5
    )
    draw_parameters(model)
    graph = ToRecGraph()(data)
    expected = dense_embeddings(model, data)
    torch.testing.assert_close(model(graph), expected, rtol=1e-5, atol=1e-5)
    # On the edges of an epoch:
    pruned = model.prepare(graph, epoch=3)
    kept = torch.tensor(sorted(edges_of(pruned))).t()
    store = data["user", "interacts", "item"]
    assert kept.size(1) == round(0.5 * store.edge_index.size(1))
    store.edge_index = kept
    parts = dense_parts(model, data, *batch)
    assert_same_loss(model, model.loss(pruned, *batch), parts)


def test_pruning_is_for_epochs_of_training(graph):
    model = MMGCF.from_data(graph, channels=4, prune=0.5)
    assert edges_of(model.prepare(graph)) == edges_of(graph)
    assert edges_of(model.prepare(graph, epoch=0)) < edges_of(graph)


def test_softmax(data, graph, batch):
    model = MMGCF.from_data(data, **OPTIONS, softmax_negatives=3)
    draw_parameters(model)
    parts = dense_parts(model, data, *batch)
    assert set(parts) == {"softmax", "reg"}
    assert_same_loss(model, model.loss(graph, *batch), parts)


def test_form_of_fusion(data):
    """Both weights begin equal, and what is not read is not there."""
    model = MMGCF.from_data(data, weighting="alpha")
    assert model.alpha.sigmoid() == 0.5
    names = set(dict(model.named_parameters()))
    plain = {name for name, _ in MMGCF.from_data(data).named_parameters()}
    assert names - plain == {"alpha"}
    concat = MMGCF.from_data(data, channels=4, fusion="concat")
    assert concat.lin_content.weight.shape == (4, 8)
    assert concat.lin_all.weight.shape == (4, 8)
    for weighting in ("alpha", "normalized"):
        model = MMGCF.from_data(
            data, channels=4, fusion="concat", weighting=weighting
        )
        assert model.lin_content is None
        assert model.lin_all.weight.shape == (4, 12)


def test_errors(data):
    with pytest.raises(ValueError, match="one modality for MMGCF"):
        MMGCF(7, 6, in_channels={})
    for option, choices in (
        ("fusion", r"\['mean', 'sum', 'concat'\]"),
        ("weighting", r"\['equal', 'alpha', 'normalized'\]"),
    ):
        message = rf"^'{option}' must be one of {choices} \(got 'max'\)$"
        with pytest.raises(ValueError, match=message):
            MMGCF.from_data(data, **{option: "max"})
