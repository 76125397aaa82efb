"""Top-k along the rows of a score matrix, with a defined order of ties."""

from typing import Tuple

import torch
from torch import Tensor


def stable_topk(scores: Tensor, k: int) -> Tuple[Tensor, Tensor]:
    r"""Returns the :obj:`k` largest entries of each row, ties broken by the
    lower column.

    :func:`torch.topk` leaves the order of equal entries open, so that a list
    may differ between block sizes, devices and versions. Here the result is a
    function of the scores alone, at the price of one more pass over them.

    Args:
        scores (torch.Tensor): The scores, of shape :obj:`[num_rows, n]`.
        k (int): The number of entries to return, at most :obj:`n`.

    Returns:
        The values and the columns, both of shape :obj:`[num_rows, k]`, in
        descending order of value, then ascending order of column.
    """
    index = scores.topk(k, dim=1, sorted=False).indices
    threshold = scores.gather(1, index).amin(dim=1, keepdim=True)

    # Where more than k entries reach the k-th value, topk chose among equals:
    straddles = (scores >= threshold).sum(dim=1) > k
    if bool(straddles.any()):
        tied_scores, tied_threshold = scores[straddles], threshold[straddles]
        above = tied_scores > tied_threshold
        equal = tied_scores == tied_threshold
        room = k - above.sum(dim=1, keepdim=True)
        chosen = above | (equal & (equal.cumsum(dim=1, dtype=torch.int) <= room))
        index[straddles] = chosen.nonzero()[:, 1].view(-1, k)

    index = index.sort(dim=1).values
    value, order = scores.gather(1, index).sort(
        dim=1, descending=True, stable=True
    )
    return value, index.gather(1, order)
