from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.data import HeteroData

from tmfun_pyg.utils.csr import entries_of
from tmfun_pyg.utils.neighbor_scorer import ItemNeighbors
from tmfun_pyg.utils.pair_index import PairIndex
from tmfun_pyg.utils.shared_users import SharedUsers
from tmfun_pyg.utils.sparse_rows import values_at
from tmfun_pyg.utils.spmm import spmm

# Ranks pairs with a single common user behind all others:
TIE = 1e-4


class NeighborScore(torch.nn.Module):
    r"""Scores an item by how often it co-occurs with a user's items, with a
    single weight (our reading). Embeddings with few channels represent such
    pairs of items poorly:

    .. math::
        \hat{y}_{ui} = \frac{w}{\sqrt{|\mathcal{N}_u|}} \sum_{j \in
        \mathcal{N}_u \cap \mathcal{N}_k(i)} s_{ji}, \qquad
        s_{ji} = \frac{|\mathcal{U}_i \cap \mathcal{U}_j|}
        {\sqrt{|\mathcal{U}_i| \, |\mathcal{U}_j|}}

    The neighbors :math:`\mathcal{N}_k(i)` are the :math:`k` items with the
    highest :math:`s_{ji}`, computed with one fewer common user; pairs with a
    single common user come last.

    In training, a user's own choice does not count as evidence: for the
    positive item of a row, :math:`|\mathcal{U}_i \cap \mathcal{U}_j|` is one
    less, and :math:`\mathcal{N}_u` excludes it for all items of the row. The
    neighbor lists come from all users, so the choice may still have made
    :math:`j` a neighbor.

    Args:
        num_items (int): The number of items.
        k (int): The number :math:`k` of neighbors of an item.
    """

    neighbor: Tensor
    similarity: Tensor
    similarity_to_others: Tensor

    def __init__(self, num_items: int, k: int) -> None:
        super().__init__()
        self.k = k
        size = num_items, k
        self.register_buffer("neighbor", torch.zeros(size, dtype=torch.long))
        self.register_buffer("similarity", torch.zeros(size))
        self.register_buffer("similarity_to_others", torch.zeros(size))
        self.log_weight = torch.nn.Parameter(torch.empty(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets the weight to one."""
        torch.nn.init.zeros_(self.log_weight)

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        num_items = self.neighbor.size(0)
        low, high = (int(x) for x in self.neighbor.aminmax())
        if low < 0 or high >= num_items:
            error_msgs = args[-1]
            error_msgs.append(
                f"neighbors must be items from 0 to {num_items - 1} (got "
                f"{low if low < 0 else high})"
            )

    @property
    def is_fitted(self) -> bool:
        r"""Whether any item has neighbors."""
        return bool(self.similarity.any())

    @torch.no_grad()
    def fit(self, data: HeteroData) -> None:
        r"""Finds the neighbors of each item.

        Args:
            data (HeteroData): A graph of
                :class:`~tmfun_pyg.transforms.ToRecGraph`.
        """
        num_items, k = self.neighbor.shape
        # Half precision is too coarse for counts:
        dtype = torch.promote_types(self.similarity.dtype, torch.float)
        degree = data["item"].degree.to(dtype).clamp(min=1)
        shared = SharedUsers(data)
        for block in shared.blocks():
            rows = shared.rows(block)
            item, other = block[rows.row], rows.col
            count = rows.value.to(degree.dtype)
            scale = (degree[item] * degree[other]).rsqrt()
            key = ((1 + TIE) * count - 1).clamp(min=0) * scale
            key = key.masked_fill(item == other, 0)
            found, entry = rows._replace(value=key).topk(min(k, num_items))
            for table, value in (
                (self.neighbor, found),
                (self.similarity, values_at(count * scale, entry)),
                (
                    self.similarity_to_others,
                    values_at((count - 1) * scale, entry),
                ),
            ):
                value = F.pad(value, (0, k - value.size(1)))
                table[block] = value.to(table.dtype)

    def forward(
        self, data: HeteroData, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Tensor:
        r"""Computes the scores of the rows of a batch, of shape
        :obj:`[num_rows, 1 + num_negatives]`.

        Args:
            data (HeteroData): A graph of
                :class:`~tmfun_pyg.transforms.ToRecGraph`, or a sampled batch,
                in which a user's items are the sampled ones.
            user (torch.Tensor): The users, of shape :obj:`[num_rows]`.
            pos_item (torch.Tensor): An item each of them interacted with, of
                shape :obj:`[num_rows]`.
            neg_item (torch.Tensor): Items to compare with, of shape
                :obj:`[num_rows, num_negatives]`, or one row for all users.
        """
        scores = self._unweighted(data, user, pos_item, neg_item)
        return scores * self.log_weight.exp()

    def _unweighted(
        self, data: HeteroData, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Tensor:
        graph = _Graph(data, self.neighbor.size(0))
        is_own = graph.holds(user, pos_item)
        of_pos = graph.sums_of(
            user, pos_item, self.neighbor, self.similarity_to_others
        )
        if neg_item.size(0) == 1 != user.numel():
            of_neg = self._of_shared(graph, user, pos_item, neg_item[0], is_own)
        else:
            of_neg = self._of_own(graph, user, pos_item, neg_item)
        scores = torch.cat([of_pos.view(-1, 1), of_neg], dim=1)
        # A user's sampled items stand for all items of the user:
        count = (graph.count(user) - is_own.long()).clamp(min=1)
        wanted = (data["user"].degree[user] - 1).clamp(min=1)
        return scores * (wanted.sqrt() / count).view(-1, 1)

    def rows(
        self, data: HeteroData, user: Tensor, item: Tensor, other: Tensor
    ) -> Tensor:
        r"""Returns unweighted scores as in :meth:`ContentScore.rows`, of shape
        :obj:`[1, num_rows, 1 + num_others]`.
        """
        scores = self._unweighted(data, user, item, other.view(1, -1))
        return scores.unsqueeze(0)

    def _of_shared(
        self,
        graph: "_Graph",
        user: Tensor,
        pos_item: Tensor,
        neg_item: Tensor,
        is_own: Tensor,
    ) -> Tensor:
        """Returns sums for items shared by all users, as a product of the
        users' rows with a table of these items.
        """
        item = graph.among_all(neg_item)
        near, value = self.neighbor[item].t(), self.similarity[item].t()
        size, place = self.neighbor.size(0), None
        if _is_by_rows(user):
            # Few items are neighbors of these. Only they have a row; all
            # others share a last row of zeros.
            listed, near = near.unique(return_inverse=True)
            rows = torch.arange(listed.numel(), device=listed.device)
            place = listed.new_full((size,), listed.numel())
            place[listed] = rows
            size = listed.numel() + 1
        # Added, since unused slots point to the first item:
        table = value.new_zeros(size, item.numel())
        table.scatter_add_(0, near, value)
        sums = graph.product(user, table, place)
        index = graph.among_all(pos_item)
        index = index if place is None else place[index]
        own = table[index] * is_own.view(-1, 1)
        # Rounding may turn zeros negative:
        return (sums - own).clamp(min=0)

    def _of_own(
        self, graph: "_Graph", user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Tensor:
        row = torch.arange(user.numel(), device=user.device)
        row = row.view(-1, 1).expand_as(neg_item).flatten()
        out = graph.sums_of(
            user[row],
            neg_item.flatten(),
            self.neighbor,
            self.similarity,
            exclude=pos_item[row],
        )
        return out.view_as(neg_item)

    @torch.no_grad()
    def neighbors(self) -> ItemNeighbors:
        r"""Returns the neighbors of all items, with their weighted
        similarities.
        """
        weight = self.similarity * self.log_weight.exp()
        return ItemNeighbors(self.neighbor, weight)


class _Graph:
    """Looks up the items of users by global item indices, also in a sampled
    batch.
    """

    def __init__(self, data: HeteroData, num_items: int) -> None:
        self.edge_index = data["user", "interacts", "item"].edge_index
        (self.ptr, col), _ = self.edge_index.get_csr()
        self.n_id = data["item"].get("n_id")
        row = self.edge_index.as_tensor()[0]
        is_whole = self.n_id is None
        self.pairs = PairIndex(row, self.among_all(col), num_items, is_whole)

    def among_all(self, item: Tensor) -> Tensor:
        return item if self.n_id is None else self.n_id[item]

    def count(self, user: Tensor) -> Tensor:
        return self.ptr[user + 1] - self.ptr[user]

    def holds(self, user: Tensor, item: Tensor) -> Tensor:
        """Returns whether users have items of the batch."""
        return self.pairs.holds(user, self.among_all(item))

    def sums_of(
        self,
        user: Tensor,
        item: Tensor,
        neighbor: Tensor,
        value: Tensor,
        exclude: Optional[Tensor] = None,
    ) -> Tensor:
        """Returns the sum over those neighbors of an item that a user has."""
        index = self.among_all(item)
        near = neighbor[index]
        is_own = self.pairs.holds(user.view(-1, 1), near)
        if exclude is not None:
            is_own = is_own & (near != self.among_all(exclude).view(-1, 1))
        return (value[index] * is_own).sum(dim=1)

    def product(
        self, user: Tensor, table: Tensor, place: Optional[Tensor]
    ) -> Tensor:
        """Returns the sums of the rows of a table over the items of users.
        Item i has the row place[i]; the last row is zero, for all items
        without one. Without places, each item has its own row.
        """
        if place is None:
            local = table if self.n_id is None else table[self.n_id]
            return spmm(self.edge_index, local)[user]
        asked, inverse = user.unique(return_inverse=True)
        (ptr, col), _ = self.edge_index.get_csr()
        row, entry = entries_of(ptr, asked)
        col = place[self.among_all(col.index_select(0, entry))]
        is_there = col < table.size(0) - 1
        rows = EdgeIndex(
            torch.stack([row[is_there], col[is_there]]),
            sparse_size=(asked.numel(), table.size(0)),
            sort_order="row",
        )
        return spmm(rows, table).index_select(0, inverse)


def _is_by_rows(user: Tensor) -> bool:
    """Whether to multiply only the rows of some users. On a GPU, the host
    would wait for their number of entries longer than the whole product takes.
    """
    return not user.is_cuda
