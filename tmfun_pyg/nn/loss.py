"""Losses that PyG does not have."""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def info_nce(
    x: Tensor,
    y: Tensor,
    temperature: float = 0.2,
    index: Optional[Tensor] = None,
    symmetric: bool = False,
    chunk_size: int = 4096,
) -> Tensor:
    r"""The InfoNCE loss between two views of the same nodes, from the
    `"Representation Learning with Contrastive Predictive Coding"
    <https://arxiv.org/abs/1807.03748>`_ paper (Eq. 4), with in-batch
    negatives and cosine similarity:

    .. math::
        \mathcal{L} = - \frac{1}{N} \sum_{n=1}^{N} \log \frac
        {\exp(\cos(\mathbf{x}_n, \mathbf{y}_n) / \tau)}
        {\sum_{k \in \{n\} \cup \mathcal{K}_n}
        \exp(\cos(\mathbf{x}_n, \mathbf{y}_k) / \tau)}

    where :math:`\mathcal{K}_n` holds the rows of other nodes than that of
    row :math:`n`.

    The value does not depend on the lengths of the vectors. The gradient
    does: it grows as one over the length.

    Args:
        x (torch.Tensor): The first view, of shape :obj:`[N, channels]`.
        y (torch.Tensor): The second view, of shape :obj:`[N, channels]`.
        temperature (float, optional): The temperature :math:`\tau`.
            (default: :obj:`0.2`)
        index (torch.Tensor, optional): The node of each row, of shape
            :obj:`[N]`. Rows of the same node are no negatives of each other.
            If not given, every row is a node of its own.
            (default: :obj:`None`)
        symmetric (bool, optional): If set to :obj:`True`, returns the mean of
            both directions, :math:`\mathbf{x}` against :math:`\mathbf{y}`
            and :math:`\mathbf{y}` against :math:`\mathbf{x}`.
            (default: :obj:`False`)
        chunk_size (int, optional): The number of rows compared with all
            others at a time. Memory is bounded by
            :obj:`chunk_size * N` similarities; with more than one chunk they
            are computed again in the backward pass. (default: :obj:`4096`)

    Raises:
        ValueError: If the shapes differ, the views are empty, or
            :obj:`temperature` or :obj:`chunk_size` is not positive.
    """
    if x.dim() != 2 or x.shape != y.shape or x.size(0) == 0:
        raise ValueError(
            f"'x' and 'y' must be of one shape [N, channels] with N > 0 "
            f"(got {list(x.shape)} and {list(y.shape)})"
        )
    if index is not None and index.shape != x.shape[:1]:
        raise ValueError(
            f"'index' must be of shape [{x.size(0)}] "
            f"(got {list(index.shape)})"
        )
    if temperature <= 0:
        raise ValueError(f"'temperature' must be positive (got {temperature})")
    if chunk_size < 1:
        raise ValueError(f"'chunk_size' must be positive (got {chunk_size})")

    with torch.autocast(x.device.type, enabled=False):
        # Half precision is too coarse for exponents of 1 / temperature:
        dtype = torch.promote_types(x.dtype, torch.float)
        x = F.normalize(x.to(dtype), dim=-1)
        y = F.normalize(y.to(dtype), dim=-1)
        loss = _one_way(x, y, temperature, index, chunk_size)
        if symmetric:
            loss = (loss + _one_way(y, x, temperature, index, chunk_size)) / 2
    return loss


def _one_way(
    x: Tensor,
    y: Tensor,
    temperature: float,
    index: Optional[Tensor],
    chunk_size: int,
) -> Tensor:
    num_rows = x.size(0)
    if num_rows <= chunk_size:
        return _chunk_loss(x, y, temperature, index, 0) / num_rows
    total = x.new_zeros(())
    for start in range(0, num_rows, chunk_size):
        total = total + checkpoint(
            _chunk_loss,
            x[start : start + chunk_size],
            y,
            temperature,
            index,
            start,
            use_reentrant=False,
            preserve_rng_state=False,
        )
    return total / num_rows


def _chunk_loss(
    x: Tensor, y: Tensor, temperature: float, index: Optional[Tensor], start: int
) -> Tensor:
    target = torch.arange(start, start + x.size(0), device=x.device)
    logits = (x / temperature) @ y.t()
    if index is not None:
        same = index[target].view(-1, 1) == index.view(1, -1)
        same[torch.arange(x.size(0), device=x.device), target] = False
        logits = logits.masked_fill(same, float("-inf"))
    return F.cross_entropy(logits, target, reduction="sum")
