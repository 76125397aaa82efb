"""Options out of range are refused where a model is built."""

import inspect

import pytest
import torch
from every_model import MODELS

from tmfun_pyg.nn.models.embedding_model import Negatives

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
    for value in (LEAST[name] - 1, float("nan")):
        message = rf"^'{name}' must be at least [01] \(got {value}\)$"
        with pytest.raises(ValueError, match=message):
            build(model_cls, **{name: value})


def test_negatives_are_a_number_or_auto():
    for model_cls in MODELS:
        if "softmax_negatives" in inspect.signature(model_cls).parameters:
            with pytest.raises(ValueError, match=r"number or 'auto' .*'all'"):
                build(model_cls, softmax_negatives="all")


@pytest.mark.parametrize("model_cls", MODELS)
def test_feature_sizes(model_cls):
    if "in_channels" not in inspect.signature(model_cls).parameters:
        pytest.skip("the model reads no features")
    for size in (0, -1):
        with pytest.raises(ValueError, match=r"'in_channels.a' .* 1 \(got"):
            build(model_cls, in_channels={"a": size})
    for parameter in build(model_cls).parameters():
        assert not isinstance(parameter, torch.nn.UninitializedParameter)
