import pytest
import torch
from torch_geometric.data import HeteroData
from toy_data import make_data

from tmfun_pyg.transforms import ToRecGraph


@pytest.fixture(autouse=True)
def seed() -> None:
    """Weights of so small models may agree by chance where they must not."""
    torch.manual_seed(0)


@pytest.fixture
def data() -> HeteroData:
    return make_data(num_modalities=2, missing=True)


@pytest.fixture
def graph(data: HeteroData) -> HeteroData:
    return ToRecGraph()(data)


@pytest.fixture
def batch():
    user = torch.tensor([0, 1, 1, 3])
    pos_item = torch.tensor([0, 2, 3, 1])
    neg_item = torch.tensor([[1, 2], [4, 5], [5, 5], [0, 4]])
    return user, pos_item, neg_item
