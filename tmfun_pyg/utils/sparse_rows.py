from typing import NamedTuple, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor


class SparseRows(NamedTuple):
    r"""Rows of a sparse matrix as its non-zero entries, sorted by row, then
    column.

    Args:
        row (torch.Tensor): The row of each entry, of shape
            :obj:`[num_entries]`.
        col (torch.Tensor): The column of each entry, of the same shape.
        value (torch.Tensor): The entries, in float32 or float64, of the same
            shape.
        size ((int, int)): The number of rows and of columns.
    """

    row: Tensor
    col: Tensor
    value: Tensor
    size: Tuple[int, int]

    @classmethod
    def from_dense(cls, x: Tensor) -> "SparseRows":
        r"""Returns the rows of a dense matrix.

        Args:
            x (torch.Tensor): The matrix, of shape
                :obj:`[num_rows, num_columns]`.
        """
        row, col = x.nonzero(as_tuple=True)
        return cls(row, col, x[row, col], (x.size(0), x.size(1)))

    def to_dense(self) -> Tensor:
        r"""Returns the rows as a dense matrix."""
        out = self.value.new_zeros(self.size)
        return out.index_put_((self.row, self.col), self.value)

    def topk(self, k: int) -> Tuple[Tensor, Tensor]:
        r"""Returns the largest entries of each row, in the order of
        :func:`~tmfun_pyg.utils.topk.stable_topk`. No entry may be negative.

        Args:
            k (int): The number of entries to return, at most the number of
                columns.

        Returns:
            The columns, and the positions among all entries, both of shape
            :obj:`[num_rows, k]`. If a row has no further entry, the position
            is :obj:`-1`, and the column is that of a zero.
        """
        kept = self.value.nonzero().view(-1)
        row = self.row.index_select(0, kept)
        value = self.value.index_select(0, kept)
        # Non-negative floats sort like their bits, and integers sort several
        # times faster, in ascending order:
        as_bits = torch.int if value.dtype == torch.float else torch.long
        order = value.view(as_bits).neg().sort(stable=True).indices
        row = row.index_select(0, order).int()
        order = order.index_select(0, row.sort(stable=True).indices)

        count = row.bincount(minlength=self.size[0]).view(-1, 1)
        place = torch.arange(k, device=row.device)
        is_missing = place >= count
        place = (count.cumsum(0) - count + place).masked_fill(is_missing, 0)
        # One more entry, which stands for missing ones:
        order = F.pad(order, (0, 1))
        entry = F.pad(kept, (0, 1))[order[place]].masked_fill(is_missing, -1)
        col = F.pad(self.col, (0, 1), value=k)[entry]
        return col.where(~is_missing, _first_zeros(col, is_missing)), entry


def values_at(value: Tensor, entry: Tensor) -> Tensor:
    r"""Returns entries by the positions of :meth:`SparseRows.topk`, zero for
    missing ones.

    Args:
        value (torch.Tensor): The entries, of shape :obj:`[num_entries]`.
        entry (torch.Tensor): The positions, of any shape.
    """
    return F.pad(value, (0, 1))[entry]


def _first_zeros(col: Tensor, is_missing: Tensor) -> Tensor:
    """Returns the lowest columns that a row does not have, for its missing
    ones. All of them are among the first columns, as many as a row is long.
    """
    num_rows, k = col.shape
    has = torch.zeros(num_rows, k + 1, dtype=torch.bool, device=col.device)
    has.scatter_(1, col.clamp(max=k), True)
    free = has[:, :k].byte().sort(dim=1, stable=True).indices
    return free.gather(1, (is_missing.cumsum(1) - 1).clamp(min=0))
