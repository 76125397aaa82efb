import torch
from torch_geometric import EdgeIndex

from tmfun_pyg.utils.edges import plain_edges


def test_plain_edges() -> None:
    edges = torch.tensor([[0, 0, 1], [2, 0, 1]])
    assert plain_edges(edges) is edges
    index = EdgeIndex(edges, sparse_size=(2, 3), sort_order="row")
    with torch.inference_mode():
        row, col = plain_edges(index)
    assert type(row) is type(col) is torch.Tensor
    assert row.tolist() == [0, 0, 1]
    assert col.tolist() == [2, 0, 1]
