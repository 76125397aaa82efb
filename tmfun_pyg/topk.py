"""Top-k along the rows of a score matrix, with a defined order of ties."""

from typing import Tuple

import torch
from torch import Tensor


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
    value, index = scores.topk(min(k + 1, scores.size(1)), dim=1)
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
