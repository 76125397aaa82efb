from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.utils.csr import entries_of
from tmfun_pyg.utils.schema import INTERACTS, REVERSE
from tmfun_pyg.utils.sparse_rows import SparseRows

# The number of pairs of items with a common user in a block: intermediate
# results then fit in the CPU's caches.
BLOCK_PAIRS = 2**18
# Pairs are numbered with 32 bits.
MAX_CELLS = 2**31 - 1


class SharedUsers:
    r"""Sums the weights of the users that items share, for some items with all
    others at a time. :mod:`torch` itself does not free the result of a product
    of two sparse matrices on the CPU.

    Args:
        data (HeteroData): A graph of
            :class:`~tmfun_pyg.transforms.ToRecGraph`.
        weight (torch.Tensor, optional): The weight of each user, one if not
            given. (default: :obj:`None`)
    """

    def __init__(
        self, data: HeteroData, weight: Optional[Tensor] = None
    ) -> None:
        (self.user_ptr, item), _ = data[INTERACTS].edge_index.get_csr()
        (self.item_ptr, self.user), _ = data[REVERSE].edge_index.get_csr()
        self.num_items = self.item_ptr.numel() - 1
        self.item = item.int()
        num_users = self.user_ptr.numel() - 1
        one = torch.ones(num_users, device=item.device)
        self.weight = one if weight is None else weight

    def blocks(self) -> Tuple[Tensor, ...]:
        r"""Splits the items into blocks small enough for :meth:`rows`."""
        count = self.user_ptr.diff().index_select(0, self.user).cumsum(0)
        num_pairs = F.pad(count, (1, 0)).index_select(0, self.item_ptr[1:])
        item = torch.arange(self.num_items, device=num_pairs.device)
        max_rows = max(1, MAX_CELLS // max(1, self.num_items))
        block = num_pairs // BLOCK_PAIRS + item // max_rows
        size = block.unique_consecutive(return_counts=True)[1]
        return item.split(size.tolist())

    def rows(
        self, item: Tensor, item_weight: Optional[Tensor] = None
    ) -> SparseRows:
        r"""Returns the sums for some items.

        Args:
            item (torch.Tensor): The items, of shape :obj:`[num_rows]`.
            item_weight (torch.Tensor, optional): The factors of the weights
                before summation, of the same shape. (default: :obj:`None`)
        """
        size = item.numel(), self.num_items
        row, entry = entries_of(self.item_ptr, item)
        user = self.user.index_select(0, entry)
        begin = self.user_ptr.index_select(0, user)
        count = self.user_ptr.index_select(0, user + 1) - begin
        # Like "entries_of", with half as many passes over all pairs:
        first = count.cumsum(0) - count
        entry = (begin - first).repeat_interleave(count)
        entry += torch.arange(entry.numel(), device=entry.device)
        cell = self.item.index_select(0, entry)
        cell += (row * self.num_items).int().repeat_interleave(count)
        weight = self.weight.index_select(0, user)
        if item_weight is not None:
            weight = weight * item_weight.index_select(0, row)
        weight = weight.repeat_interleave(count)
        if cell.numel() < size[0] * size[1]:
            cell, place = cell.unique(return_inverse=True)
            value = weight.new_zeros(cell.numel()).index_add_(0, place, weight)
        else:  # There are few zeros.
            table = weight.new_zeros(size[0] * size[1])
            table.index_add_(0, cell, weight)
            cell = table.nonzero().view(-1)
            value = table.index_select(0, cell)
        row = cell // self.num_items
        col = cell - row * self.num_items
        return SparseRows(row.long(), col.long(), value, size)
