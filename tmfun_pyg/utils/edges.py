from torch import Tensor
from torch_geometric import EdgeIndex


def plain_edges(edge_index: Tensor) -> Tensor:
    r"""Returns edges as an ordinary tensor, without the caches of an
    :class:`~torch_geometric.EdgeIndex`, which cannot be cut into rows under
    :class:`torch.inference_mode`.

    Args:
        edge_index (torch.Tensor or EdgeIndex): The edges, of shape
            :obj:`[2, num_edges]`.
    """
    if isinstance(edge_index, EdgeIndex):
        return edge_index.as_tensor()
    return edge_index
