import copy
import hashlib
from typing import Dict, List, Optional

import numpy as np
import pandas as pd
from torch import Tensor
from torch_geometric.data import HeteroData, InMemoryDataset

from tmfun_pyg.datasets._content import SPLIT_KEYS, Content
from tmfun_pyg.datasets.features import to_numpy


class RecDataset(InMemoryDataset):
    """The base class of all data sets: one graph and its vocabularies.

    Its attributes are those of
    :class:`~tmfun_pyg.datasets.MultimodalRecDataset`, and:

    Attributes:
        num_added (int): The number of items at the end that were added in
            memory and are in no file.
    """

    modalities: List[str]
    user_ids: np.ndarray
    item_ids: np.ndarray
    num_duplicates: int
    item_table: pd.DataFrame
    projections: Dict[str, Tensor]
    interaction_times: Optional[Tensor] = None
    num_added: int = 0
    _fingerprint: Optional[str] = None

    @property
    def fingerprint(self) -> str:
        r"""A hash of the raw ids, interactions, splits, features and masks
        as they are stored, before :obj:`transform`, in 32 hexadecimal
        digits. It does not depend on where the files are.
        """
        if self._fingerprint is None:
            data = super().get(0)
            self._fingerprint = _hash(data, self.user_ids, self.item_ids)
        return self._fingerprint

    def get(self, idx: int) -> HeteroData:
        r"""Returns the graph, with the fingerprint of the data set, by which
        a model recognizes its data.
        """
        data = super().get(idx)
        data.fingerprint = self.fingerprint
        return data

    def replace(self, data: HeteroData, item_ids: np.ndarray) -> "RecDataset":
        """Returns a copy with another graph and its item ids, which begin
        with those of this data set.
        """
        out = copy.copy(self)
        out.data, out.item_ids, out._fingerprint = data, item_ids, None
        out.num_added += len(item_ids) - len(self.item_ids)
        out.item_table = self.item_table.reindex(
            range(len(item_ids)), fill_value=""
        )
        return out

    def set_content(self, content: Content) -> None:
        """Sets the graph and its vocabularies."""
        for name, value in content._asdict().items():
            setattr(self, name, value)
        self._fingerprint = None


def _hash(data: HeteroData, user_ids: np.ndarray, item_ids: np.ndarray) -> str:
    """Returns a hash of ids, interactions with their splits, features and
    masks, in 32 hexadecimal digits. Derived data, such as feature graphs, is
    left out.
    """
    digest = hashlib.sha256()

    def add(name: str, array: np.ndarray) -> None:
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)

    for name, ids in (("user_ids", user_ids), ("item_ids", item_ids)):
        if ids.dtype.kind == "U":
            # Equal strings may be stored at different widths.
            ids = ids.astype(f"U{max(1, int(np.char.str_len(ids).max()))}")
            ids = ids.view(np.uint32)
        add(name, ids)
    store = data["user", "interacts", "item"]
    for name in SPLIT_KEYS:
        if name in store:
            add(name, to_numpy(store[name]))
    item = data["item"].to_dict()
    for name in sorted(item):
        if name.startswith(("x_", "mask_")):
            add(name, to_numpy(item[name]))
    return digest.hexdigest()[:32]
