"""Lists of users that are unknown to the model."""

import re
from typing import Any, NamedTuple, Optional

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.training.checkpoint import Dataset
from tmfun_pyg.utils.edges import plain_edges

POPULAR = "popular"
SECONDS_OF_A_DAY = 86_400


class Fallback(NamedTuple):
    r"""Scores items for users without a training interaction.

    Args:
        days (int, optional): The number of days that count, all if not given.
        column (str, optional): The column of the item table whose groups
            take turns.
    """

    days: Optional[int] = None
    column: Optional[str] = None

    @classmethod
    def parse(cls, text: Any) -> "Fallback":
        r"""Reads :obj:`"popular"`, :obj:`"popular:30d"` or
        :obj:`"group:COLUMN"`.

        Raises:
            ValueError: If it is anything else.
        """
        form = r"popular(?::([1-9]\d{0,5})d)?|group:(.+)"
        found = re.fullmatch(form, text) if isinstance(text, str) else None
        if found is None:
            raise ValueError(
                f"'fallback' must be popular, popular:DAYSd, such as "
                f"popular:30d, or group:COLUMN (got {text!r})"
            )
        return cls(None if found[1] is None else int(found[1]), found[2])

    def check(self, dataset: Dataset) -> None:
        r"""Checks that a data set has the data needed.

        Raises:
            ValueError: If it has no times, or no such column.
        """
        if self.days is not None and dataset.interaction_times is None:
            raise ValueError(
                f"'fallback' must be popular or group:COLUMN for a data set "
                f"without dates of its interactions, which 'prepare' reads "
                f"with time_col=... (got popular:{self.days}d)"
            )
        if self.column is not None:
            columns = list(dataset.item_table)
            if self.column not in columns:
                raise ValueError(
                    f"'fallback' must name a column of the item table, "
                    f"{', '.join(columns) or 'which has none'} (got "
                    f"group:{self.column})"
                )

    def scores(self, dataset: Dataset, data: HeteroData) -> Tensor:
        r"""Returns a score for each item, of shape :obj:`[num_items]`. A
        fraction breaks ties by the number of all training interactions.

        Args:
            dataset (MultimodalRecDataset or SyntheticMultimodal): The data
                set.
            data (HeteroData): Its graph of
                :class:`~tmfun_pyg.transforms.ToRecGraph`.
        """
        count = data["item"].degree.cpu().double()
        if self.days is None and self.column is None:
            return count.float()
        share = count / (count.max() + 1)
        if self.column is None:
            return (self._recent(dataset, data) + share).float()
        group = pd.factorize(dataset.item_table[self.column])[0]
        place = _place_in_group(count.numpy(), group)
        return (share - torch.from_numpy(place)).float()

    def _recent(self, dataset: Dataset, data: HeteroData) -> Tensor:
        """Counts the training interactions of items in the last days."""
        assert self.days is not None
        assert dataset.interaction_times is not None
        num_items = data["item"].num_nodes
        edge_index = data["user", "interacts", "item"].edge_index
        pairs = plain_edges(edge_index).cpu()
        user, item, seconds = dataset.interaction_times
        logged = user * num_items + item
        trained = torch.isin(logged, pairs[0] * num_items + pairs[1])
        item, seconds = item[trained], seconds[trained]
        first = seconds.max() - self.days * SECONDS_OF_A_DAY
        return torch.bincount(item[seconds > first], minlength=num_items)

    @property
    def source(self) -> str:
        r"""The :obj:`source` of fallback lists."""
        if self.column is not None:
            return f"group:{self.column}"
        return "most-popular" if self.days is None else f"popular:{self.days}d"


def _place_in_group(count: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Returns the number of items that precede each item in its group: those
    with a larger count, or the same count and a lower index.
    """
    order = np.argsort(-count, kind="stable")
    place = pd.Series(group[order]).groupby(group[order]).cumcount()
    out = np.empty(len(count))
    out[order] = place
    return out
