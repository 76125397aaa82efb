"""Compressed rows: where each row begins and ends among all entries."""

from typing import Tuple

import torch
from torch import Tensor


def row_pointers(row: Tensor, num_rows: int) -> Tensor:
    r"""Returns where each row begins, and where the last one ends, of shape
    :obj:`[num_rows + 1]`.

    Args:
        row (torch.Tensor): The row of each entry, in any order, of shape
            :obj:`[num_entries]`.
        num_rows (int): The number of rows.
    """
    count = torch.bincount(row, minlength=num_rows)
    return torch.cat([count.new_zeros(1), count.cumsum(0)])


def entries_of(ptr: Tensor, index: Tensor) -> Tuple[Tensor, Tensor]:
    r"""Returns the entries of some rows, one row after the other: the position
    in :obj:`index` of the row that each belongs to, and its own position among
    all entries.

    The number of entries has to be known: on a GPU the host waits for it.

    Args:
        ptr (torch.Tensor): The pointers of :func:`row_pointers`.
        index (torch.Tensor): The rows, of shape :obj:`[num_rows]`. They may be
            repeated.
    """
    # "index_select" throughout, which is far faster here than brackets.
    begin = ptr.index_select(0, index)
    count = ptr.index_select(0, index + 1) - begin
    row = torch.arange(index.numel(), device=ptr.device)
    row = row.repeat_interleave(count)
    first = count.cumsum(0) - count  # Where a row begins in the output.
    entry = torch.arange(row.numel(), device=ptr.device)
    return row, entry + (begin - first).index_select(0, row)
