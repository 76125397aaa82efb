from typing import NamedTuple

from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.data import HeteroData

from tmfun_pyg.utils.schema import similar_source


class Similar(NamedTuple):
    r"""A feature graph, in the form that layers take.

    Args:
        edge_index (EdgeIndex): From similar items to items, sorted by column.
        edge_weight (torch.Tensor): The weights, of shape :obj:`[num_edges]`.
    """

    edge_index: EdgeIndex
    edge_weight: Tensor


def similar(data: HeteroData, modality: str) -> Similar:
    r"""Returns the feature graph of a modality. Its sources are the items, or
    in a sampled batch the nodes of type :obj:`"similar_item"`.

    Args:
        data (HeteroData): A graph of
            :class:`~tmfun_pyg.transforms.ToRecGraph`.
        modality (str): The modality.
    """
    store = data[similar_source(data), f"similar_{modality}", "item"]
    return Similar(store.edge_index, store.edge_weight)
