"""Top-k along the rows of a score matrix, with a defined order of ties."""

from typing import NamedTuple, Tuple

import torch
from torch import Tensor

# How many columns make a block, and from how many times k columns on blocks
# pay, as measured on the CPU.
WIDTH = 64
MIN_RATIO = 512
# How many times k columns are looked at for lists with few of a group.
WIDER = 4


class GroupLimit(NamedTuple):
    r"""How many columns of a group a list may hold.

    Args:
        group (torch.Tensor): The group of each column, :obj:`-1` for those
            without, of which a list may hold any number, of shape
            :obj:`[n]`.
        most (int): The largest number of a group.
    """

    group: Tensor
    most: int


def stable_topk(scores: Tensor, k: int) -> Tuple[Tensor, Tensor]:
    r"""Returns the :obj:`k` largest entries of each row, ties broken by the
    lower column.

    :func:`torch.topk` leaves the order of equal entries open, so that a list
    may differ between block sizes, devices and versions. Here the result is a
    function of the scores alone. It costs another pass over those rows only
    where entries equal the last one returned.

    Args:
        scores (torch.Tensor): The scores, of shape :obj:`[num_rows, n]`.
        k (int): The number of entries to return, at most :obj:`n`.

    Returns:
        The values and the columns, both of shape :obj:`[num_rows, k]`, in
        descending order of value, then ascending order of column.
    """
    # One entry more than asked for tells whether topk chose among equals:
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
    r"""Like :func:`torch.topk`, but faster for rows of many times :obj:`k`
    columns on the CPU.

    The :obj:`k` largest entries of a row are found in those :obj:`k` blocks
    of columns that have the largest maxima: an entry of any other block is
    at most as large as each of these :obj:`k` maxima.

    Args:
        scores (torch.Tensor): The scores, of shape :obj:`[num_rows, n]`.
        k (int): The number of entries to return, at most :obj:`n`.

    Returns:
        The values and the columns, both of shape :obj:`[num_rows, k]`, in
        descending order of value. Which columns of equal entries are
        returned, and in which order, is not defined.
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
    # What is left over at the end of a row makes another, narrower block.
    block = torch.nn.functional.pad(block, (0, 1), value=n // WIDTH)
    first = block.gather(1, index // WIDTH) * WIDTH
    return value, first + index % WIDTH


def grouped_topk(
    scores: Tensor, k: int, limit: GroupLimit
) -> Tuple[Tensor, Tensor]:
    r"""Like :func:`stable_topk`, but with few columns of each group: a column
    is passed over if the list holds as many of its group already as it may.

    Args:
        scores (torch.Tensor): The scores, of shape :obj:`[num_rows, n]`.
        k (int): The number of entries to return, at most :obj:`n`.
        limit (GroupLimit): How many of a group.

    Returns:
        Values and columns as those of :func:`stable_topk`. Where fewer than
        :obj:`k` may be returned, the values at the end are :obj:`-inf`.
    """
    value = scores.new_full((len(scores), k), -torch.inf)
    index = torch.zeros_like(value, dtype=torch.long)
    length = index.new_zeros(len(scores))
    row = torch.arange(len(scores), device=scores.device)
    # A group more stands for the columns without.
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
        # Again where there may be more, without what was looked at and the
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
    """Returns how many entries before it in its row are of an entry's
    group.
    """
    ordered, order = group.sort(dim=1, stable=True)
    place = torch.arange(group.size(1), device=group.device)
    begins = torch.ones_like(group, dtype=torch.bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    begin = (place * begins).cummax(dim=1).values
    return torch.empty_like(order).scatter_(1, order, place - begin)
