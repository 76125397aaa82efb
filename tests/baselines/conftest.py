import pytest
from torch_geometric.data import HeteroData
from toy_data import make_data

from tmfun_pyg.transforms import ToRecGraph


@pytest.fixture
def data() -> HeteroData:
    return make_data(num_modalities=2, missing=True)


@pytest.fixture
def graph(data: HeteroData) -> HeteroData:
    return ToRecGraph()(data)
