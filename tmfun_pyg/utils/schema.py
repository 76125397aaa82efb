"""The names of the parts of a graph, and checks based on them."""

from typing import List

from torch_geometric import EdgeIndex
from torch_geometric.data import HeteroData

INTERACTS = ("user", "interacts", "item")
REVERSE = ("item", "rev_interacts", "user")
# Similar items of a sample. Their own neighborhoods are not read: as nodes of
# a separate type without incoming edges, they end the sampling.
SIMILAR = "similar_item"


def modalities_of(data: HeteroData) -> List[str]:
    r"""Returns the names of the modalities of a data set.

    Args:
        data (HeteroData): The data set.
    """
    names = data["item"].to_dict()
    return [name[2:] for name in names if name.startswith("x_")]


def is_rec_graph(data: HeteroData) -> bool:
    r"""Whether :class:`~tmfun_pyg.transforms.ToRecGraph` has been applied.

    Args:
        data (HeteroData): The graph.
    """
    if INTERACTS not in data.edge_types:
        return False
    store = data[INTERACTS]
    # PyG's own data sets may hold an EdgeIndex, too, but without weights:
    return (
        isinstance(store.get("edge_index"), EdgeIndex)
        and "edge_weight" in store
    )


def is_sampled_batch(data: HeteroData) -> bool:
    r"""Whether a graph is a sample of a larger one.

    Args:
        data (HeteroData): The graph.
    """
    return "n_id" in data["item"]


def similar_source(data: HeteroData) -> str:
    r"""Returns the type of the source nodes of feature graphs.

    Args:
        data (HeteroData): The graph.
    """
    return SIMILAR if is_sampled_batch(data) else "item"
