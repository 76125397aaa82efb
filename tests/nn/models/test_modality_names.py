"""Names of modalities that modules have for something else."""

import pytest
import torch
from every_model import MODELS

from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.nn import MultimodalModel
from tmfun_pyg.transforms import FeatureGraph, ToRecGraph

WITH_CONTENT = [
    model_cls for model_cls in MODELS if issubclass(model_cls, MultimodalModel)
]


@pytest.fixture(scope="module")
def data():
    data = SyntheticMultimodal(30, 25, {"dotted": 6, "type": 5, "keys": 4})[0]
    data["item"]["x_image.small"] = data["item"].pop("x_dotted")
    return ToRecGraph()(FeatureGraph(k=3)(data))


@pytest.mark.parametrize("model_cls", WITH_CONTENT)
def test_any_name_will_do(model_cls, data):
    model = model_cls.from_data(data)
    model.fit(data)
    batch = torch.tensor([0, 1]), torch.tensor([2, 3]), torch.tensor([[4], [5]])
    sum(model.loss(model.prepare(data, 0), *batch).values()).backward()
    again = model_cls.from_data(data)
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        expected, found = (
            module.eval()(module.prepare(data)) for module in (model, again)
        )
    for a, b in zip(expected, found, strict=True):
        assert torch.equal(a, b)
