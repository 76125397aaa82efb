import re
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from torch_geometric.data import HeteroData, InMemoryDataset

from tmfun_pyg.datasets._fingerprint import fingerprint
from tmfun_pyg.datasets._inter import Interactions

# A matrix, and the mask of its rows that hold content (None: all do).
Features = Dict[str, Tuple[np.ndarray, Optional[np.ndarray]]]


class RecDataset(InMemoryDataset):
    """What all data sets share: one graph, and its vocabularies.

    Attributes:
        modalities (List[str]): The modalities, in the order of the graph.
        user_ids (np.ndarray): Raw user ids (int64 or str), by user index.
        item_ids (np.ndarray): Raw item ids (int64 or str), by item index.
        num_duplicates (int): Repeated interactions that were dropped.
    """

    modalities: List[str]
    user_ids: np.ndarray
    item_ids: np.ndarray
    num_duplicates: int

    @property
    def fingerprint(self) -> str:
        r"""Stands for the content of the data set, in 32 hexadecimal digits:
        ids, interactions, splits, features and masks. It is the same wherever
        the files lie.
        """
        return fingerprint(self[0], self.user_ids, self.item_ids)

    def _set_content(
        self,
        data: HeteroData,
        modalities: List[str],
        user_ids: np.ndarray,
        item_ids: np.ndarray,
        num_duplicates: int,
    ) -> None:
        self.data = data
        self.modalities = modalities
        self.user_ids = user_ids
        self.item_ids = item_ids
        self.num_duplicates = num_duplicates


def check_modalities(modalities: Sequence[str]) -> List[str]:
    """Checks that the names can be parts of attributes and edge types."""
    if isinstance(modalities, str):
        raise ValueError(
            f"modalities: found the string '{modalities}', expected a list "
            f"of names such as ['{modalities}']"
        )
    for modality in modalities:
        if re.fullmatch(r"[A-Za-z0-9_-]+", modality) is None:
            raise ValueError(
                f"modalities: found the name '{modality}', expected letters, "
                f"digits, '_' and '-' alone"
            )
    if len(set(modalities)) < len(modalities):
        raise ValueError(
            f"modalities: found {list(modalities)}, expected each name once"
        )
    return list(modalities)


def build_data(
    num_users: int,
    num_items: int,
    inter: Interactions,
    features: Features,
) -> HeteroData:
    """Builds the graph from interactions sorted by user, then item."""
    data = HeteroData()
    data["user"].num_nodes = num_users
    data["item"].num_nodes = num_items
    for modality, (matrix, present) in features.items():
        data["item"][f"x_{modality}"] = torch.from_numpy(matrix)
        if present is not None:
            data["item"][f"mask_{modality}"] = torch.from_numpy(present)

    train, val, test = (
        torch.from_numpy(np.stack([inter.user[chosen], inter.item[chosen]]))
        for chosen in (inter.label == split for split in range(3))
    )
    store = data["user", "interacts", "item"]
    store.edge_index = train
    store.val_edge_label_index = val
    store.test_edge_label_index = test
    reverse = train[:, train[1].argsort(stable=True)].flip(0)
    data["item", "rev_interacts", "user"].edge_index = reverse.contiguous()
    return data


def apply_pre_transform(
    data: HeteroData,
    pre_transform: Optional[Callable],
) -> HeteroData:
    """Applies ``pre_transform``, which must return a graph of this schema."""
    if pre_transform is None:
        return data
    out: Any = pre_transform(data)
    if not isinstance(out, HeteroData):
        raise ValueError(
            f"pre_transform: found a return value of type "
            f"'{type(out).__name__}', expected 'HeteroData'"
        )
    return out
