"""What stands where an item lacks a modality is never read."""

import pytest
import torch
from every_model import MODELS

from tmfun_pyg.loader import SampledInteractionDataset
from tmfun_pyg.nn import TMFUN, MultimodalModel
from tmfun_pyg.transforms import ToRecGraph

WITH_CONTENT = [
    model_cls for model_cls in MODELS if issubclass(model_cls, MultimodalModel)
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


def test_all_models_with_content():
    assert len(WITH_CONTENT) == 9


@pytest.mark.parametrize("garbage", [torch.nan, torch.inf, 1e6])
@pytest.mark.parametrize("model_cls", WITH_CONTENT)
def test_whole_graph(model_cls, garbage, data, batch):
    model = model_cls.from_data(data, channels=4)
    found = []
    for raw in (data, poison(data, garbage)):
        graph = model.prepare(ToRecGraph()(raw), epoch=0)
        torch.manual_seed(0)
        loss = model.loss(graph, *batch)
        found.append((model.encode(graph)[:2], compute(model, loss)))
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize("garbage", [torch.nan, torch.inf, 1e6])
@pytest.mark.parametrize("modality_graphs", [True, False])
def test_sampled_neighborhood(modality_graphs, garbage, data):
    model = TMFUN.from_data(
        data, channels=4, num_layers=1, modality_graphs=modality_graphs
    )
    found = []
    for raw in (data, poison(data, garbage)):
        torch.manual_seed(0)
        dataset = SampledInteractionDataset(ToRecGraph()(raw), [-1], -1)
        batch = dataset[torch.arange(8)]
        # A similar item that lacks a modality is among what was drawn:
        assert not batch["similar_item"].mask[:, 0].all()
        user, item = batch["user"], batch["item"]
        index = user.src_index, item.dst_pos_index, item.dst_neg_index
        found.append(compute(model, model.loss(batch, *index)))
    torch.testing.assert_close(found[1], found[0])
