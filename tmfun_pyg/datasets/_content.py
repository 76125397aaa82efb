import warnings
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.datasets._order import stable_order
from tmfun_pyg.datasets.item_table import empty_table

SPLITS = ("training", "validation", "test")
# The interactions of each split in a graph.
SPLIT_KEYS = ("edge_index", "val_edge_label_index", "test_edge_label_index")
# The feature matrix of each modality, and the mask of rows with content.
Features = Dict[str, Tuple[np.ndarray, np.ndarray]]


class Interactions(NamedTuple):
    """Interactions as three arrays of equal length.

    Args:
        user (np.ndarray): The user indices (int32 or int64).
        item (np.ndarray): The item indices.
        label (np.ndarray): The split: 0 for training, 1 for validation, 2
            for test.
    """

    user: np.ndarray
    item: np.ndarray
    label: np.ndarray


class Content(NamedTuple):
    """The content of a data set.

    Args:
        data (HeteroData): The graph.
        modalities (List[str]): The modalities, in the order of the graph.
        user_ids (np.ndarray): The raw user ids, by user index.
        item_ids (np.ndarray): The raw item ids, by item index.
        num_duplicates (int): The number of dropped interactions.
        item_table (pandas.DataFrame): Titles, pictures and groups of the
            items, by item index.
        projections (Dict[str, torch.Tensor]): For each projected modality the
            matrix of shape :obj:`[num_raw_features, num_features]` that raw
            features are multiplied by.
        interaction_times (torch.Tensor, optional): User, item and seconds
            since 1970 of each interaction of the log, if it has times, in
            the order of the pairs, of shape :obj:`[3, num_interactions]`.
    """

    data: HeteroData
    modalities: List[str]
    user_ids: np.ndarray
    item_ids: np.ndarray
    num_duplicates: int
    item_table: pd.DataFrame
    projections: Dict[str, Tensor]
    interaction_times: Optional[Tensor] = None

    @property
    def splits(self) -> List[Tensor]:
        """The training, validation and test interactions."""
        store = self.data["user", "interacts", "item"]
        return [store[key] for key in SPLIT_KEYS]

    def transformed(self, pre_transform: Optional[Callable]) -> "Content":
        """Applies ``pre_transform`` to the graph."""
        if pre_transform is None:
            return self
        data: Any = pre_transform(self.data)
        if not isinstance(data, HeteroData):
            raise ValueError(
                f"'pre_transform' must return a HeteroData object (got "
                f"{type(data).__name__})"
            )
        return self._replace(data=data)


def build_content(
    inter: Interactions,
    features: Features,
    user_ids: np.ndarray,
    item_ids: np.ndarray,
    num_duplicates: int = 0,
) -> Content:
    """Builds the graph from interactions sorted by user, then item."""
    data = HeteroData()
    data["user"].num_nodes = len(user_ids)
    data["item"].num_nodes = len(item_ids)
    for modality, (matrix, present) in features.items():
        data["item"][f"x_{modality}"] = torch.from_numpy(matrix)
        if not present.all():
            data["item"][f"mask_{modality}"] = torch.from_numpy(present)

    store = data["user", "interacts", "item"]
    for label, key in enumerate(SPLIT_KEYS):
        chosen = inter.label == label
        pairs = np.stack([inter.user[chosen], inter.item[chosen]])
        store[key] = torch.from_numpy(pairs.astype(np.int64, copy=False))
    order = torch.from_numpy(stable_order(inter.item[inter.label == 0]))
    rev = store.edge_index[:, order].flip(0)
    data["item", "rev_interacts", "user"].edge_index = rev
    table = empty_table(len(item_ids))
    return Content(
        data, list(features), user_ids, item_ids, num_duplicates, table, {}
    )


def timed(user: np.ndarray, item: np.ndarray, seconds: np.ndarray) -> Tensor:
    """Returns the tensor for ``Content.interaction_times``."""
    return torch.from_numpy(np.stack([user, item, seconds]))


def first_of_pairs(
    user: np.ndarray, item: np.ndarray, *keys: np.ndarray
) -> np.ndarray:
    """Returns the position of the smallest interaction of each (user, item)
    pair, sorted by user, then item. As in :func:`numpy.lexsort`, the last
    key is the primary one, and ties are resolved by position.
    """
    order = order_of_pairs(user, item)
    pair = user[order], item[order]
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (np.diff(pair[0]) != 0) | (np.diff(pair[1]) != 0)
    is_repeated = ~is_first
    is_repeated[:-1] |= ~is_first[1:]
    # Only repeated pairs, which are few, are sorted by the keys.
    among = order[is_repeated]
    by = *(key[among] for key in keys), *(x[is_repeated] for x in pair[::-1])
    order[is_repeated] = among[np.lexsort(by)]
    return order[is_first]


def order_of_pairs(user: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Returns the positions of (user, item) pairs, sorted by user, then item,
    then position.
    """
    pair = user.astype(np.int64)
    pair *= int(item.max()) + 1
    pair += item
    return stable_order(pair)


def check_splits(label: np.ndarray, source: str, found: str) -> None:
    """Raises a :class:`ValueError` if a split has no interaction.

    Args:
        label (numpy.ndarray): The split of each interaction.
        source (str): Their source, named in errors.
        found (str): The end of the error, after "got none".
    """
    count = np.bincount(label, minlength=3)
    split = int(count.argmin())
    if count[split] == 0:
        raise ValueError(
            f"{source} must have at least one {SPLITS[split]} interaction "
            f"(got none {found})"
        )


def warn_duplicates(num_duplicates: int, source: str) -> None:
    """Warns about dropped interactions, if there are any."""
    if num_duplicates > 0:
        warnings.warn(
            f"{source} has {num_duplicates} duplicate interaction(s); the "
            f"earliest of each is kept",
            stacklevel=4,
        )
