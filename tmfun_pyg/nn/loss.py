"""Losses that PyG does not have."""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# By default a chunk of similarities takes at most 64 MiB:
CHUNK_SIMILARITIES = 2**24


def info_nce(
    x: Tensor,
    y: Tensor,
    temperature: float = 0.2,
    index: Optional[Tensor] = None,
    mask: Optional[Tensor] = None,
    symmetric: bool = False,
    chunk_size: Optional[int] = None,
) -> Tensor:
    r"""The InfoNCE loss between two views of the same nodes, from the
    `"Representation Learning with Contrastive Predictive Coding"
    <https://arxiv.org/abs/1807.03748>`_ paper (Eq. 4), with in-batch
    negatives and cosine similarity:

    .. math::
        \mathcal{L} = - \frac{1}{N} \sum_{n=1}^{N} \log \frac
        {\exp(\cos(\mathbf{x}_n, \mathbf{y}_n) / \tau)}
        {\sum_{k=1}^{N} \exp(\cos(\mathbf{x}_n, \mathbf{y}_k) / \tau)}

    The value does not depend on the lengths of the vectors. The gradient
    does: it grows as one over the length.

    Args:
        x (torch.Tensor): The first view, of shape :obj:`[N, channels]`.
        y (torch.Tensor): The second view, of shape :obj:`[N, channels]`.
        temperature (float, optional): The temperature :math:`\tau`.
            (default: :obj:`0.2`)
        index (torch.Tensor, optional): The node of each row, of shape
            :obj:`[N]`, where nodes may be repeated. Each node then counts
            once, as if repeated rows had been taken out, but without waiting
            for the device to count them. (default: :obj:`None`)
        mask (torch.Tensor, optional): :obj:`False` for rows that do not take
            part, of shape :obj:`[N]`, the same for rows of the same node. If
            no row does, the loss is zero. (default: :obj:`None`)
        symmetric (bool, optional): If set to :obj:`True`, returns the mean of
            both directions, :math:`\mathbf{x}` against :math:`\mathbf{y}`
            and :math:`\mathbf{y}` against :math:`\mathbf{x}`.
            (default: :obj:`False`)
        chunk_size (int, optional): The number of rows compared with all
            others at a time, which bounds the memory: with more than one
            chunk, similarities are computed again in the backward pass. If
            not given, a chunk takes at most 64 MiB in single precision.
            (default: :obj:`None`)

    Raises:
        ValueError: If the shapes differ, the views are empty, or
            :obj:`temperature` or :obj:`chunk_size` is not positive.
    """
    if x.dim() != 2 or x.shape != y.shape or x.size(0) == 0:
        raise ValueError(
            f"'x' and 'y' must be of one shape [N, channels] with N > 0 "
            f"(got {list(x.shape)} and {list(y.shape)})"
        )
    for name, tensor in (("index", index), ("mask", mask)):
        if tensor is not None and tensor.shape != x.shape[:1]:
            raise ValueError(
                f"'{name}' must be of shape [{x.size(0)}] "
                f"(got {list(tensor.shape)})"
            )
    if temperature <= 0:
        raise ValueError(f"'temperature' must be positive (got {temperature})")
    if chunk_size is None:
        chunk_size = max(1, CHUNK_SIMILARITIES // x.size(0))
    if chunk_size < 1:
        raise ValueError(f"'chunk_size' must be positive (got {chunk_size})")

    with torch.autocast(x.device.type, enabled=False):
        # Half precision is too coarse for exponents of 1 / temperature:
        dtype = torch.promote_types(x.dtype, torch.float)
        x = F.normalize(x.to(dtype), dim=-1)
        y = F.normalize(y.to(dtype), dim=-1)
        share = (
            x.new_ones(x.size(0)) if index is None else _share(index, dtype)
        )
        if mask is not None:
            share = share * mask
        loss = _one_way(x, y, temperature, share, chunk_size)
        if symmetric:
            loss = (loss + _one_way(y, x, temperature, share, chunk_size)) / 2
    return loss


def _share(index: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns one over the number of rows of the same node, for each row."""
    ascending = index.sort().values
    end = torch.searchsorted(ascending, index, right=True)
    return 1 / (end - torch.searchsorted(ascending, index)).to(dtype)


def _one_way(
    x: Tensor,
    y: Tensor,
    temperature: float,
    share: Tensor,
    chunk_size: int,
) -> Tensor:
    if x.size(0) <= chunk_size:
        total = _chunk_loss(x, y, temperature, share, 0)
    else:
        total = x.new_zeros(())
        for start in range(0, x.size(0), chunk_size):
            total = total + checkpoint(
                _chunk_loss,
                x[start : start + chunk_size],
                y,
                temperature,
                share,
                start,
                use_reentrant=False,
                preserve_rng_state=False,
            )
    return total / share.sum().clamp(min=torch.finfo(share.dtype).tiny)


def _chunk_loss(
    x: Tensor, y: Tensor, temperature: float, share: Tensor, start: int
) -> Tensor:
    # A node of c rows adds c equal terms to a sum of exponentials, so that
    # -log(c) on the logits of these rows counts it once. The bottom of the
    # range takes a row out and, unlike -inf, keeps every gradient finite.
    bias = share.log().clamp(min=torch.finfo(share.dtype).min)
    logits = torch.addmm(bias, x, y.t(), alpha=1 / temperature)
    row = torch.arange(start, start + x.size(0), device=x.device)
    loss = F.cross_entropy(logits, row, reduction="none") + bias[row]
    return (loss * share[row]).sum()
