"""Top-k along the rows of a score matrix, with a defined order of ties."""

from typing import NamedTuple, Tuple

import torch
from torch import Tensor

# The number of columns in a block, and the multiple of k columns from which
# blocks pay off, as measured on the CPU.
WIDTH = 64
MIN_RATIO = 512
# The multiple of k columns to read at a time for lists with limited groups.
WIDER = 4


class GroupLimit(NamedTuple):
    r"""Limits the number of columns of a group in a list.

    Args:
        group (torch.Tensor): The group of each column, of shape :obj:`[n]`.
            Columns with :obj:`-1` have none, and are not limited.
        most (int): The largest number of columns per group.
    """

    group: Tensor
    most: int


def stable_topk(scores: Tensor, k: int) -> Tuple[Tensor, Tensor]:
    r"""Returns the :obj:`k` largest entries of each row, ties broken by the
    lower column.

    :func:`torch.topk` leaves the order of ties undefined, so lists may differ
    between block sizes, devices and versions. Here, the result depends only on
    the scores. Only rows with ties to the last entry returned cost another
    pass.

    Args:
        scores (torch.Tensor): The scores, of shape :obj:`[num_rows, n]`.
        k (int): The number of entries to return, at most :obj:`n`.

    Returns:
        The values and the columns, both of shape :obj:`[num_rows, k]`, in
        descending order of value, then ascending order of column.
    """
    # One entry more than requested shows whether topk chose among ties:
    value, index = wide_topk(scores, min(k + 1, scores.size(1)))
    last, index = value[:, k - 1 : k], index[:, :k]
    straddles = (last == value[:, k:]).any(dim=1)
    if bool(straddles.any()):
        tied, threshold = scores[straddles], last[straddles]
        above, equal = tied > threshold, tied == threshold
        room = k - above.sum(dim=1, keepdim=True)
        chosen = above | (
            equal & (equal.cumsum(dim=1, dtype=torch.int) <= room)
        )
        index[straddles] = chosen.nonzero()[:, 1].view(-1, k)

    index = index.sort(dim=1).values
    value, order = scores.gather(1, index).sort(
        dim=1, descending=True, stable=True
    )
    return value, index.gather(1, order)


def wide_topk(scores: Tensor, k: int) -> Tuple[Tensor, Tensor]:
    r"""Like :func:`torch.topk`, but faster on the CPU for rows with many times
    :obj:`k` columns.

    The :obj:`k` largest entries of a row are in the :obj:`k` blocks of columns
    with the largest maxima: an entry of any other block is at most as large as
    each of these :obj:`k` maxima.

    Args:
        scores (torch.Tensor): The scores, of shape :obj:`[num_rows, n]`.
        k (int): The number of entries to return, at most :obj:`n`.

    Returns:
        The values and the columns, both of shape :obj:`[num_rows, k]`, in
        descending order of value. The choice and order of ties is undefined.
    """
    n = scores.size(1)
    if scores.is_cuda or n < MIN_RATIO * k:
        return scores.topk(k, dim=1)
    whole = n - n % WIDTH
    blocks = scores[:, :whole].unflatten(1, (-1, WIDTH))
    block = blocks.amax(dim=2).topk(k, dim=1).indices
    row = torch.arange(len(scores), device=scores.device)
    entry = torch.cat(
        [blocks[row.unsqueeze(1), block].flatten(1), scores[:, whole:]], dim=1
    )
    value, index = entry.topk(k, dim=1)
    # The remaining columns of a row form another, narrower block.
    block = torch.nn.functional.pad(block, (0, 1), value=n // WIDTH)
    first = block.gather(1, index // WIDTH) * WIDTH
    return value, first + index % WIDTH


def grouped_topk(
    scores: Tensor, k: int, limit: GroupLimit
) -> Tuple[Tensor, Tensor]:
    r"""Like :func:`stable_topk`, but with a limit per group: a column is
    skipped if the list is already full for its group.

    Args:
        scores (torch.Tensor): The scores, of shape :obj:`[num_rows, n]`.
        k (int): The number of entries to return, at most :obj:`n`.
        limit (GroupLimit): The limit per group.

    Returns:
        Values and columns as in :func:`stable_topk`. If fewer than :obj:`k`
        may be returned, the values at the end are :obj:`-inf`.
    """
    value = scores.new_full((len(scores), k), -torch.inf)
    index = torch.zeros_like(value, dtype=torch.long)
    length = index.new_zeros(len(scores))
    row = torch.arange(len(scores), device=scores.device)
    # One more group stands for the columns without any.
    free = int(limit.group.max()) + 1
    group_of = limit.group.where(limit.group >= 0, free)
    taken = index.new_zeros(1, 1).expand(len(scores), free + 1)
    count = group_of.bincount(minlength=free + 1)
    count[:free].clamp_(max=limit.most)
    longest = min(k, int(count.sum()))
    width = min(WIDER * k, scores.size(1))
    while row.numel() > 0:
        found, column = stable_topk(scores, width)
        group = group_of[column]
        place = _place_in_group(group) + taken.gather(1, group)
        kept = (place < limit.most) | (group == free)
        kept &= found > -torch.inf
        at = kept.cumsum(dim=1) - 1 + length[row].unsqueeze(1)
        source = (kept & (at < k)).nonzero(as_tuple=True)
        target = row[source[0]], at[source]
        value[target], index[target] = found[source], column[source]
        length[row] += kept.sum(dim=1)
        # Repeat for rows that may have more, without the columns read and the
        # groups that are full:
        more = (length[row] < longest) & (found[:, -1] > -torch.inf)
        row, column, group = row[more], column[more], group[more]
        taken = taken[more].scatter_add(1, group, kept[more].long())
        is_full = taken >= limit.most
        is_full[:, free] = False
        scores = scores[more].scatter(1, column, -torch.inf)
        scores = scores.masked_fill(is_full[:, group_of], -torch.inf)
    return value, index


def _place_in_group(group: Tensor) -> Tensor:
    """Counts the earlier entries of the same group in each entry's row."""
    ordered, order = group.sort(dim=1, stable=True)
    place = torch.arange(group.size(1), device=group.device)
    begins = torch.ones_like(group, dtype=torch.bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    begin = (place * begins).cummax(dim=1).values
    return torch.empty_like(order).scatter_(1, order, place - begin)
