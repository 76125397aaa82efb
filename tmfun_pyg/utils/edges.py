from typing import Any, Optional, Tuple

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.data import HeteroData
from torch_geometric.utils import coalesce, degree


def plain_edges(edge_index: Tensor) -> Tensor:
    r"""Returns edges as a plain tensor, without the caches of an
    :class:`~torch_geometric.EdgeIndex`, which cannot be split into rows under
    :class:`torch.inference_mode`.

    Args:
        edge_index (torch.Tensor or EdgeIndex): The edges, of shape
            :obj:`[2, num_edges]`.
    """
    if isinstance(edge_index, EdgeIndex):
        return edge_index.as_tensor()
    return edge_index


def check_graph(data: Any) -> None:
    r"""Checks that an argument is a graph, not a data set.

    Args:
        data (HeteroData): The argument.

    Raises:
        ValueError: If it is anything else.
    """
    if not isinstance(data, HeteroData):
        raise ValueError(
            f"'data' must be a HeteroData, such as dataset[0] (got a "
            f"{type(data).__name__})"
        )


def all_interactions(data: HeteroData) -> Tensor:
    r"""Returns all interactions, of training and of all held-out splits:
    sorted, unique pairs of a user and an item, of shape
    :obj:`[2, num_interactions]`.

    Args:
        data (HeteroData): The graph of a data set.
    """
    store = data["user", "interacts", "item"]
    pairs = [plain_edges(store.edge_index).long()]
    for name, value in store.items():
        if name.endswith("_edge_label_index"):
            pairs.append(value.to(pairs[0]))
    return coalesce(torch.cat(pairs, dim=1))


def reverse(pairs: Tensor) -> Tensor:
    r"""Returns pairs of a user and an item in reverse, sorted by item, and
    then by user if they were before.

    Args:
        pairs (torch.Tensor): The pairs, of shape :obj:`[2, num_pairs]`.
    """
    return pairs.flip(0)[:, pairs[1].argsort(stable=True)]


def graph_k(data: HeteroData) -> Optional[int]:
    r"""Returns the largest number of neighbors of an item in a feature graph,
    the :obj:`k` of :class:`~tmfun_pyg.transforms.FeatureGraph`, or :obj:`None`
    if there are no such graphs.

    Args:
        data (HeteroData): The graph.
    """
    num_items, found = data["item"].num_nodes, []
    for edge_type in data.edge_types:
        if edge_type[1].startswith("similar_"):
            _, target = plain_edges(data[edge_type].edge_index)
            found.append(int(degree(target, num_items).max()))
    return max(found, default=None)


def check_graph_k(expected: Optional[int], found: Optional[int]) -> None:
    r"""Checks that the feature graphs of a data set match those that a model
    was trained with.

    Args:
        expected (int, optional): The :obj:`k` in training, if the model reads
            feature graphs, and it is known.
        found (int, optional): The :obj:`k` of the data set, if it has any.

    Raises:
        ValueError: If they differ.
    """
    if expected is not None and found != expected:
        raise ValueError(
            f"The feature graphs of the data set must be of "
            f"FeatureGraph(k={expected}), as those that the model was trained "
            f"with (got {found or 'no'} neighbors)"
        )


def check_pairs(name: str, pairs: Tensor, size: Tuple[int, int]) -> Tensor:
    r"""Checks pairs of a user and an item, and returns them as 64-bit
    integers: 32-bit ones would overflow when pairs are numbered.

    Args:
        name (str): Their name, for errors.
        pairs (torch.Tensor): The pairs, of shape :obj:`[2, num_pairs]`.
        size (Tuple[int, int]): The number of users and of items.

    Raises:
        ValueError: If they are invalid or out of range, or if one repeats.
    """
    if not isinstance(pairs, Tensor):
        raise ValueError(
            f"{name} must be a tensor (got {type(pairs).__name__})"
        )
    pairs = plain_edges(pairs)
    if pairs.dim() != 2 or pairs.size(0) != 2:
        raise ValueError(
            f"{name} must be of shape [2, num_interactions] (got "
            f"{list(pairs.shape)})"
        )
    if pairs.dtype == torch.bool or pairs.is_floating_point():
        raise ValueError(f"{name} must hold integers (got {pairs.dtype})")
    pairs = pairs.long()
    if pairs.size(1) == 0:
        return pairs
    for row, num_nodes in enumerate(size):
        low, high = (int(x) for x in pairs[row].aminmax())
        if low < 0 or high >= num_nodes:
            raise ValueError(
                f"{name}[{row}] must hold indices from 0 to {num_nodes - 1} "
                f"(got {low if low < 0 else high})"
            )
    repeated = pairs.size(1) - (pairs[0] * size[1] + pairs[1]).unique().numel()
    if repeated > 0:
        raise ValueError(
            f"{name} must hold each pair once (got {repeated} repeated): "
            f"torch_geometric.utils.coalesce removes them"
        )
    return pairs
