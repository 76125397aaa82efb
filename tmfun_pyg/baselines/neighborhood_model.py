from typing import Iterator, Tuple

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.data import HeteroData

from tmfun_pyg.baselines.item_scorer import ItemScorer
from tmfun_pyg.nn.models.ranking_model import RankingModel
from tmfun_pyg.utils.messages import check_count
from tmfun_pyg.utils.sparse_rows import SparseRows, values_at
from tmfun_pyg.utils.spmm import spmm


class NeighborhoodModel(RankingModel):
    r"""Scores an item by its similarity to a user's items, among the :obj:`k`
    items most similar to it:

    .. math::
        \hat{x}_{ui} = \sum_{j \in \mathcal{N}_u \cap \mathcal{N}_k(i)} s_{ji}

    A subclass implements :meth:`similarities`.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        k (int): The number of neighbors per item.

    Raises:
        ValueError: If :obj:`k` is not positive.
    """

    reads_feature_graphs = False
    has_embeddings = False
    supports_fold_in = True
    neighbor: Tensor
    weight: Tensor

    def __init__(self, num_users: int, num_items: int, k: int) -> None:
        super().__init__(num_users, num_items)
        check_count("k", k)
        size = num_items, min(k, num_items)
        self.register_buffer("neighbor", torch.zeros(size, dtype=torch.long))
        # Before it is fitted, NaN makes every ranking raise:
        self.register_buffer("weight", torch.full(size, torch.nan))

    def similarities(
        self, data: HeteroData
    ) -> Iterator[Tuple[Tensor, SparseRows]]:
        r"""Computes the similarities of all items to some at a time.

        Args:
            data (HeteroData): A graph of
                :class:`~tmfun_pyg.transforms.ToRecGraph`.

        Returns:
            Some items, and one row of non-negative similarities for each of
            them, until there are no further items.
        """
        raise NotImplementedError

    @torch.no_grad()
    def fit(self, data: HeteroData) -> None:
        r"""Finds the neighbors of each item."""
        self.check_data(data)
        for item, rows in self.similarities(data):
            is_own = item[rows.row] == rows.col
            value = rows.value.masked_fill(is_own, 0.0)
            rows = rows._replace(value=value)
            self.neighbor[item], entry = rows.topk(self.weight.size(1))
            self.weight[item] = values_at(value, entry)

    def scorer(self, data: HeteroData) -> ItemScorer:
        r"""Returns a scorer of all items."""
        self.check_data(data)
        item = torch.arange(self.num_items, device=self.weight.device)
        edge_index = EdgeIndex(
            torch.stack(
                [item.view(-1, 1).expand_as(self.neighbor), self.neighbor]
            ).view(2, -1),
            sparse_size=(self.num_items, self.num_items),
            sort_order="row",
        )
        weight = self.weight.view(-1)
        return ItemScorer(data, lambda owned: spmm(edge_index, owned, weight))
