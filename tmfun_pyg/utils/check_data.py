"""Checks of input graphs."""

import warnings
from typing import Any, Optional

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.utils.edges import check_pairs
from tmfun_pyg.utils.messages import name_items
from tmfun_pyg.utils.schema import INTERACTS


def check_data(data: HeteroData) -> None:
    r"""Checks the items of a graph made by a data set or by hand: their
    number, features, masks and feature graphs.

    Args:
        data (HeteroData): The graph.

    Raises:
        ValueError: If a part of it is invalid.
    """
    num_items = _num_nodes(data, "item")
    for name, value in data["item"].to_dict().items():
        where = f"data['item'].{name}"
        if name.startswith("x_"):
            _check_features(where, value, num_items)
        elif name.startswith("mask_"):
            _check_mask(where, value, num_items)
    for edge_type in data.edge_types:
        if edge_type[1].startswith("similar_"):
            size = (_num_nodes(data, edge_type[0]), num_items)
            _check_weighted(data, edge_type, size)


def check_interactions(data: HeteroData) -> Tensor:
    r"""Checks the training interactions, and returns them.

    Args:
        data (HeteroData): The graph.

    Raises:
        ValueError: If there are none, or they are invalid.
    """
    where = f"data{list(INTERACTS)}"
    if INTERACTS not in data.edge_types:
        raise ValueError(f"{where} holds no training interaction")
    store = data[INTERACTS]
    if "edge_index" not in store:
        raise ValueError(
            f"{where} must have an 'edge_index' (got {list(store.keys())})"
        )
    if "edge_weight" in store:
        raise ValueError(
            f"{where}.edge_weight must be removed: no model reads weights of "
            f"interactions"
        )
    size = _num_nodes(data, "user"), _num_nodes(data, "item")
    pairs = check_pairs(f"{where}.edge_index", store.edge_index, size)
    if pairs.numel() == 0:
        raise ValueError(f"{where}.edge_index holds no training interaction")
    return pairs


def check_finite(where: str, x: Tensor, index: Optional[Tensor] = None) -> None:
    r"""Checks that the features of items are finite.

    Args:
        where (str): Their name, for errors.
        x (torch.Tensor): The features, one row per item.
        index (torch.Tensor, optional): The items, all of them if not given.
            (default: :obj:`None`)

    Raises:
        ValueError: If they hold NaN or Inf.
    """
    bad = ~x.isfinite().all(dim=1)
    if bool(bad.any()):
        index = (
            torch.arange(len(x), device=x.device) if index is None else index
        )
        raise ValueError(
            f"{where} must be finite (got NaN or Inf for "
            f"{name_items(index[bad].cpu().numpy())})"
        )


def _num_nodes(data: HeteroData, node_type: str) -> int:
    # If it is not given, PyG infers it, with a warning.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        size = data[node_type].num_nodes
    if not isinstance(size, int) or size < 1:
        raise ValueError(
            f"data['{node_type}'].num_nodes must be given, at least 1 (got "
            f"{size})"
        )
    return size


def _check_features(where: str, value: Any, num_items: int) -> None:
    if not isinstance(value, Tensor) or value.is_complex():
        found = getattr(value, "dtype", type(value).__name__)
        raise ValueError(f"{where} must be a tensor of numbers (got {found})")
    shape = list(value.shape)
    if len(shape) != 2 or shape[0] != num_items or shape[1] == 0:
        raise ValueError(
            f"{where} must be of shape [{num_items}, num_features] (got "
            f"{shape})"
        )


def _check_mask(where: str, value: Any, num_items: int) -> None:
    is_mask = isinstance(value, Tensor) and value.dtype == torch.bool
    if not is_mask or list(value.shape) != [num_items]:
        found = (
            f"{value.dtype} of shape {list(value.shape)}"
            if isinstance(value, Tensor)
            else type(value).__name__
        )
        raise ValueError(
            f"{where} must be a tensor of bool of shape [{num_items}] (got "
            f"{found})"
        )


def _check_weighted(data: HeteroData, edge_type: Any, size: Any) -> None:
    where, store = f"data{list(edge_type)}", data[edge_type]
    if "edge_index" not in store:
        raise ValueError(
            f"{where} must have an 'edge_index' (got {list(store.keys())})"
        )
    pairs = check_pairs(f"{where}.edge_index", store.edge_index, size)
    weight = store.get("edge_weight")
    if weight is None:
        return
    shape = [pairs.size(1)]
    if not isinstance(weight, Tensor) or list(weight.shape) != shape:
        found = getattr(weight, "shape", type(weight).__name__)
        raise ValueError(
            f"{where}.edge_weight must be of shape {shape} (got "
            f"{list(found) if isinstance(found, tuple) else found})"
        )
    if not bool(weight.isfinite().all()):
        raise ValueError(f"{where}.edge_weight must be finite")
