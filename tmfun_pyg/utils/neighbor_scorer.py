from copy import copy
from functools import cached_property
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric.index import index2ptr

from tmfun_pyg.utils.csr import entries_of
from tmfun_pyg.utils.pair_index import PairIndex
from tmfun_pyg.utils.retrieval import EmbeddingScorer, check_rankable
from tmfun_pyg.utils.user_items import UserItems

# The items that each item adds a score to, in CSR format, and these scores:
Lists = Tuple[Tensor, Tensor, Tensor]


class ItemNeighbors(NamedTuple):
    r"""The neighbors of items, which add to their scores if a user has them.

    Args:
        neighbor (torch.Tensor): The neighbors, of shape :obj:`[num_items, k]`.
        weight (torch.Tensor): The score that each of them adds, of shape
            :obj:`[num_items, k]`, zero if there are fewer.
    """

    neighbor: Tensor
    weight: Tensor

    def lists(self, num_others: int) -> Lists:
        r"""Returns the same, grouped by neighbor.

        Args:
            num_others (int): The number of items that may be neighbors.
        """
        entry = self.weight.flatten().nonzero().view(-1)
        near, order = self.neighbor.flatten()[entry].sort(stable=True)
        entry = entry[order]
        item = entry // self.neighbor.size(1)
        return index2ptr(near, num_others), item, self.weight.flatten()[entry]


class NeighborTables(NamedTuple):
    r"""The inputs of a score by neighbors.

    Args:
        neighbors (ItemNeighbors): The neighbors of all items.
        owned (UserItems): The items of all users that count.
    """

    neighbors: ItemNeighbors
    owned: UserItems

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "NeighborTables":
        r"""Returns the tables from the result of :meth:`arrays`.

        Args:
            arrays (Dict[str, np.ndarray]): The arrays.
        """
        neighbor, weight, rowptr, col = (
            torch.from_numpy(arrays[name])
            for name in ("neighbor", "weight", "trained_rowptr", "trained_col")
        )
        return cls(ItemNeighbors(neighbor, weight), UserItems(rowptr, col))

    def arrays(self) -> Dict[str, Any]:
        r"""Returns the tables as arrays by name, as they are saved."""
        return {
            "neighbor": self.neighbors.neighbor.numpy(),
            "weight": self.neighbors.weight.numpy(),
            "trained_rowptr": self.owned.rowptr.numpy(),
            "trained_col": self.owned.col.numpy(),
        }


def neighbor_entries(
    lists: Lists, owned: UserItems, user: Tensor
) -> Tuple[Tensor, Tensor, Tensor]:
    r"""Returns the scores that neighbors add for some users: the positions in
    :obj:`user`, items, and values, perhaps several per item.

    Args:
        lists ((torch.Tensor, torch.Tensor, torch.Tensor)): The result of
            :meth:`ItemNeighbors.lists`.
        owned (UserItems): The items of all users.
        user (torch.Tensor): The users, of shape :obj:`[num_rows]`.
    """
    ptr, item, weight = lists
    row, own = owned.edges_of(user)
    place, entry = entries_of(ptr, own)
    row = row.index_select(0, place)
    scale = _scale(owned, user).to(weight.dtype).index_select(0, row)
    value = weight.index_select(0, entry) * scale
    return row, item.index_select(0, entry), value


def _scale(owned: UserItems, user: Tensor) -> Tensor:
    ptr = owned.rowptr
    count = ptr.index_select(0, user + 1) - ptr.index_select(0, user)
    return count.clamp(min=1).double().rsqrt()


class NeighborScorer(EmbeddingScorer):
    r"""Scores by inner product, and by the neighbors of an item that a user
    has:

    .. math::
        \hat{y}_{ui} = \mathbf{x}_u^{\top} \mathbf{x}_i + \frac{1}
        {\sqrt{|\mathcal{N}_u|}} \sum_{j \in \mathcal{N}_u \cap \mathcal{N}(i)}
        w_{ji}

    Args:
        user_emb (torch.Tensor): The embeddings of all users, of shape
            :obj:`[num_users, channels]`.
        item_emb (torch.Tensor): The embeddings of all items, of shape
            :obj:`[num_items, channels]`.
        neighbors (ItemNeighbors): The neighbors of all items.
        owned (UserItems): The items :math:`\mathcal{N}_u` of all users.

    Raises:
        ValueError: If the embeddings or the weights are not finite.
    """

    def __init__(
        self,
        user_emb: Tensor,
        item_emb: Tensor,
        neighbors: ItemNeighbors,
        owned: UserItems,
    ) -> None:
        super().__init__(user_emb, item_emb)
        check_rankable("weights of neighbors", neighbors.weight)
        self.neighbors, self.owned = neighbors, owned
        # If some items are selected, the position of each item among them:
        self.place: Optional[Tensor] = None

    @classmethod
    def from_tables(
        cls, scorer: EmbeddingScorer, tables: NeighborTables
    ) -> "NeighborScorer":
        r"""Adds neighbors to inner products.

        Args:
            scorer (EmbeddingScorer): The scorer by inner product.
            tables (NeighborTables): The tables of neighbors.
        """
        return cls(scorer.user_emb, scorer.item_emb, *tables)

    def tables(self) -> NeighborTables:
        r"""Returns a copy of the neighbor tables, in float32, on the CPU."""
        neighbor, weight = (x.cpu().clone() for x in self.neighbors)
        owned = UserItems(*(x.cpu().clone() for x in self.owned))
        return NeighborTables(ItemNeighbors(neighbor, weight.float()), owned)

    def score(self, user: Tensor) -> Tensor:
        r"""Returns the scores of all items for some users."""
        scores = super().score(user)
        row, item, value = self.from_neighbors(user)
        return scores.index_put_((row, item), value.float(), accumulate=True)

    def from_neighbors(self, user: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        r"""Returns the scores that neighbors add for some users: the positions
        in :obj:`user`, items, and values, perhaps several per item.

        Args:
            user (torch.Tensor): The users, of shape :obj:`[num_rows]`.
        """
        row, item, value = neighbor_entries(self._lists, self.owned, user)
        if self.place is None:
            return row, item, value
        item = self.place.index_select(0, item)
        left = item >= 0
        return row[left], item[left], value[left]

    def pairs(self, user: Tensor, item: Tensor) -> Tensor:
        r"""Returns the scores of pairs."""
        index = self._among_all(item)
        near, weight = (table[index] for table in self.neighbors)
        is_own = self._pairs.holds(user.view(-1, 1), near)
        scale = _scale(self.owned, user).to(weight.dtype)
        total = (weight * is_own).sum(dim=1) * scale
        return super().pairs(user, item) + total.float()

    def select(self, item: Tensor) -> "NeighborScorer":
        r"""Returns a scorer of only some of the items, each once."""
        out = super().select(item)
        out.place = item.new_full((self._catalogue_size,), -1)
        out.place[out.index] = torch.arange(item.numel(), device=self.device)
        vars(out)["_lists"] = self._lists  # Built once, for all requests.
        return out

    def for_users(self, user_emb: Tensor, owned: UserItems) -> "NeighborScorer":
        r"""Returns a scorer of the items for other users."""
        out = copy(self)
        out._set_users(user_emb)
        out.owned = owned
        vars(out)["_lists"] = self._lists  # Built once, for all of them.
        vars(out).pop("_pairs", None)
        return out

    @property
    def _catalogue_size(self) -> int:
        return self.neighbors.neighbor.size(0)

    @cached_property
    def _lists(self) -> Lists:
        return self.neighbors.lists(self._catalogue_size)

    @cached_property
    def _pairs(self) -> PairIndex:
        every = torch.arange(self.num_users, device=self.device)
        return PairIndex(*self.owned.edges_of(every), self._catalogue_size)
