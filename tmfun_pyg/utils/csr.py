from typing import Tuple

import torch
from torch import Tensor


def entries_of(ptr: Tensor, index: Tensor) -> Tuple[Tensor, Tensor]:
    r"""Returns the entries of some rows of a matrix in compressed rows, one
    row after the other: the position in :obj:`index` of the row that each
    belongs to, and its own position among all entries.

    The number of entries has to be known: on a GPU the host waits for it.

    Args:
        ptr (torch.Tensor): Where each row begins, and where the last one ends,
            of shape :obj:`[num_rows + 1]`.
        index (torch.Tensor): The rows, of any number. They may be repeated.
    """
    # "index_select" throughout, which is far faster here than brackets.
    begin = ptr.index_select(0, index)
    count = ptr.index_select(0, index + 1) - begin
    row = torch.arange(index.numel(), device=ptr.device)
    row = row.repeat_interleave(count)
    first = count.cumsum(0) - count  # Where a row begins in the output.
    entry = torch.arange(row.numel(), device=ptr.device)
    return row, entry + (begin - first).index_select(0, row)
