from typing import List, Optional

import numpy as np
from torch_geometric.data import HeteroData, InMemoryDataset

from tmfun_pyg.datasets._fingerprint import fingerprint


class RecDataset(InMemoryDataset):
    """The base class of all data sets: one graph and its vocabularies.

    Attributes:
        modalities (List[str]): The modalities, in the order of the graph.
        user_ids (np.ndarray): Raw user ids (int64 or str), by user index.
        item_ids (np.ndarray): Raw item ids (int64 or str), by item index.
        num_duplicates (int): The number of repeated interactions that were
            dropped.
    """

    modalities: List[str]
    user_ids: np.ndarray
    item_ids: np.ndarray
    num_duplicates: int
    _fingerprint: Optional[str] = None

    @property
    def fingerprint(self) -> str:
        r"""A hash of the raw ids, interactions, splits, features and masks
        as they are stored, before :obj:`transform`, in 32 hexadecimal
        digits. It does not depend on where the files are.
        """
        if self._fingerprint is None:
            self._fingerprint = fingerprint(
                self.get(0), self.user_ids, self.item_ids
            )
        return self._fingerprint

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
        self._fingerprint = None
