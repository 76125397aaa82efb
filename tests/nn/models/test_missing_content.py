"""What stands where an item lacks a modality is never read."""

import pytest
import torch
from every_model import MODELS
from tmfun_pyg.nn.models.multimodal_graph import MultimodalGraph
from toy_data import make_data, needs_sampler

from tmfun_pyg.loader import SampledInteractionDataset
from tmfun_pyg.nn import TMFUN, MultimodalRecommender

WITH_CONTENT = [
    model_cls
    for model_cls in MODELS
    if issubclass(model_cls, (TMFUN, MultimodalRecommender))
]


def poison(data, value):
    out = data.clone()
    for name in ("m0", "m1"):
        mask = data["item"][f"mask_{name}"]
        x = data["item"][f"x_{name}"]
        out["item"][f"x_{name}"] = x.masked_fill(~mask.view(-1, 1), value)
    return out


def compute(model, parts):
    """Returns the loss and its gradients."""
    loss = sum(parts.values())
    return loss, torch.autograd.grad(
        loss, list(model.parameters()), materialize_grads=True
    )


@pytest.mark.parametrize("garbage", [torch.nan, torch.inf, 1e6])
@pytest.mark.parametrize("model_cls", WITH_CONTENT)
def test_whole_graph(model_cls, garbage, data, batch):
    model = model_cls.from_data(data, channels=4)
    found = []
    for bound in (data, poison(data, garbage)):
        model.bind(bound).start_epoch(0)
        torch.manual_seed(0)
        found.append((model(), compute(model, model.loss(*batch))))
    torch.testing.assert_close(found[1], found[0])


@needs_sampler
@pytest.mark.parametrize("garbage", [torch.nan, torch.inf, 1e6])
@pytest.mark.parametrize("modality_graphs", [True, False])
def test_sampled_neighborhood(modality_graphs, garbage, data):
    model = TMFUN.from_data(
        data, channels=4, num_layers=1, modality_graphs=modality_graphs
    )
    found = []
    for sampled in (data, poison(data, garbage)):
        torch.manual_seed(0)
        batch = SampledInteractionDataset(sampled, [-1], -1)[torch.arange(8)]
        # A similar item that lacks a modality is among what was drawn:
        assert not batch["similar_item"].mask_m0.all()
        found.append(compute(model, model.sampled_loss(batch)))
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize("featured", ["item", "source"])
def test_features_of_a_graph(featured):
    data = make_data(num_modalities=2, missing=True)
    graphs = [
        MultimodalGraph(d, {"m0": 3, "m1": 4}, True, featured)
        for d in (data, poison(data, torch.nan))
    ]
    for name in ("m0", "m1"):
        x, other = (graph.features(name) for graph in graphs)
        assert torch.equal(x, other)
        mask = data["item"][f"mask_{name}"]
        assert not x[~mask].any()
        assert bool((x[mask] != 0).any(dim=1).all())
