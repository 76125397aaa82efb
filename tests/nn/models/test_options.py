"""Options out of range are refused where a model is built."""

import inspect

import pytest
import torch
from every_model import MODELS
from toy_data import dense_interactions, make_data

from tmfun_pyg.nn.models.embedding_model import Negatives
from tmfun_pyg.transforms import ToRecGraph

# The least that each option may be; bounds on both sides are tested with
# their models.
LEAST = {
    "num_users": 1,
    "num_items": 1,
    "channels": 1,
    "k": 1,
    "num_layers": 0,
    "softmax_negatives": 0,
    "score_channels": 0,
    "eps": 0,
    "reg_weight": 0,
    "content_weight": 0,
    "feature_weight": 0,
    "alignment_weight": 0,
    "contrastive_weight": 0,
    "pair_weight": 0,
    "neighbors": 0,
}
SIZES = {"num_users": 3, "num_items": 4, "in_channels": {"a": 2}}
CASES = [
    (model_cls, name)
    for model_cls in MODELS
    for name, parameter in inspect.signature(model_cls).parameters.items()
    if parameter.annotation in (int, float, Negatives)
]
WITH_NEGATIVES = [
    model_cls
    for model_cls in MODELS
    if "softmax_negatives" in inspect.signature(model_cls).parameters
]


def build(model_cls, **options):
    sizes = dict(SIZES)
    if "in_channels" not in inspect.signature(model_cls).parameters:
        del sizes["in_channels"]
    return model_cls(**{**sizes, **options})


@pytest.mark.parametrize(("model_cls", "name"), CASES)
def test_numbers(model_cls, name):
    if name == "temperature":
        for value in (0, -1.0, float("nan")):
            with pytest.raises(ValueError, match="'temperature' must be posi"):
                build(model_cls, temperature=value)
        return
    if name in ("dropout", "prune", "skip_weight"):
        for value in (-0.1, 1.1, float("nan")):
            with pytest.raises(ValueError, match=f"'{name}' must be .*{value}"):
                build(model_cls, **{name: value})
        return
    least = LEAST[name]
    message = rf"^'{name}' must be at least [01] \(got {least - 1}\)$"
    with pytest.raises(ValueError, match=message):
        build(model_cls, **{name: least - 1})
    parameter = inspect.signature(model_cls).parameters[name]
    whole = parameter.annotation is not float
    kind = "a whole number" if whole else "at least 0"
    for value in (float("nan"), *([2.5, True] if whole else [])):
        with pytest.raises(ValueError, match=rf"^'{name}' must be {kind}"):
            build(model_cls, **{name: value})
    if whole:
        with pytest.raises(ValueError, match=rf"^'{name}' must be at most"):
            build(model_cls, **{name: 2**63})


@pytest.mark.parametrize("model_cls", WITH_NEGATIVES)
@pytest.mark.parametrize("value", ["all", None, 3.5, True, float("nan")])
def test_negatives_are_a_number_or_auto(model_cls, value):
    message = f"'softmax_negatives' must be a whole number or 'auto'.*{value!r}"
    with pytest.raises(ValueError, match=message):
        build(model_cls, softmax_negatives=value)


@pytest.mark.parametrize("model_cls", WITH_NEGATIVES)
def test_no_model_forgets_to_limit_negatives(model_cls):
    """Where interactions are pruned, they count as well."""
    torch.manual_seed(0)
    data = make_data(3, missing=False)
    graph = ToRecGraph()(data)
    options = {"softmax_negatives": "auto", "prune": 0.8}
    known = inspect.signature(model_cls).parameters
    options = {k: v for k, v in options.items() if k in known}
    model = model_cls.from_data(graph, channels=4, **options)
    user, pos_item = graph["user", "interacts", "item"].edge_index.as_tensor()
    neg_item = (pos_item.view(-1, 1) + torch.arange(10)) % model.num_items
    assert neg_item.numel() > 128
    counted = 4 * dense_interactions(data).sum(dim=1)[user] ** 2
    found = []
    model.rank_loss.register_forward_pre_hook(
        lambda _, args: found.append((args[2], args[4]))
    )
    parts = model.loss(model.prepare(graph, epoch=0), user, pos_item, neg_item)
    assert "softmax" in parts
    ((neg_emb, count),) = found
    assert neg_emb.flatten(0, 1)[: model.rank_loss.num_negatives].size(0) == 128
    assert torch.equal(count, counted)


@pytest.mark.parametrize("model_cls", MODELS)
def test_feature_sizes(model_cls):
    if "in_channels" not in inspect.signature(model_cls).parameters:
        pytest.skip("the model reads no features")
    for size in (0, -1):
        with pytest.raises(ValueError, match=r"'in_channels.a' .* 1 \(got"):
            build(model_cls, in_channels={"a": size})
    for parameter in build(model_cls).parameters():
        assert not isinstance(parameter, torch.nn.UninitializedParameter)
