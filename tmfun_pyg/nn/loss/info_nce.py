from typing import Any, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tmfun_pyg.utils.messages import check_count, check_positive

# The maximum number of rows of a batch to contrast: the cost is quadratic.
MAX_ROWS = 1024
# A chunk of similarities takes at most 64 MiB in single precision:
CHUNK_SIMILARITIES = 2**24


def info_nce(
    x: Tensor,
    y: Tensor,
    temperature: float = 0.2,
    index: Optional[Tensor] = None,
    mask: Optional[Tensor] = None,
    same: Sequence[Tensor] = (),
    max_rows: Optional[int] = MAX_ROWS,
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
    does: it grows as one over the length. It cannot be differentiated twice.

    Args:
        x (torch.Tensor): The first view, of shape :obj:`[N, channels]`.
        y (torch.Tensor): The second view, of shape :obj:`[N, channels]`.
        temperature (float, optional): The temperature :math:`\tau`.
            (default: :obj:`0.2`)
        index (torch.Tensor, optional): The node of each row, of shape
            :obj:`[N]`, where nodes may be repeated. Each node then counts
            once, as if repeated rows were removed, but without waiting for the
            device to count them; rows that differ share the weight of their
            node. (default: :obj:`None`)
        mask (torch.Tensor, optional): :obj:`False` for rows to leave out, of
            shape :obj:`[N]`. If no row is left, the loss is zero.
            (default: :obj:`None`)
        same (Sequence[torch.Tensor], optional): Groupings of the rows, each of
            shape :obj:`[N]`. Rows of the same group in one of them are not
            negatives of each other, such as pairs of a user and an item that
            share the user or the item. (default: :obj:`()`)
        max_rows (int, optional): The number of rows to use, the first ones,
            since the cost is quadratic; all of them if :obj:`None`.
            (default: :obj:`1024`)

    Raises:
        ValueError: If the shapes differ, the views are empty, or
            :obj:`temperature` or :obj:`max_rows` is not positive.
        RuntimeError: If second derivatives are requested.
    """
    if x.dim() != 2 or x.shape != y.shape or x.size(0) == 0:
        raise ValueError(
            f"'x' and 'y' must be of one shape [N, channels] with N > 0 "
            f"(got {list(x.shape)} and {list(y.shape)})"
        )
    groupings = [("same", tensor) for tensor in same]
    for name, tensor in (("index", index), ("mask", mask), *groupings):
        if tensor is not None and tensor.shape != x.shape[:1]:
            raise ValueError(
                f"'{name}' must be of shape [{x.size(0)}] "
                f"(got {list(tensor.shape)})"
            )
    check_positive("temperature", temperature)
    if max_rows is not None:
        check_count("max_rows", max_rows)

    part = slice(max_rows)
    x, y, same = x[part], y[part], [group[part] for group in same]
    index = None if index is None else index[part]
    if mask is not None:  # Rows to leave out may hold NaN.
        mask = mask[part]
        x, y = (v.masked_fill(~mask.view(-1, 1), 0.0) for v in (x, y))
        if index is not None:  # They must not count as rows of their node.
            least = torch.iinfo(index.dtype).min
            index = index.masked_fill(~mask, least)
    with torch.autocast(x.device.type, enabled=False):
        # Half precision is too coarse for exponents of 1 / temperature:
        dtype = torch.promote_types(x.dtype, torch.float)
        x = F.normalize(x.to(dtype), dim=-1)
        y = F.normalize(y.to(dtype), dim=-1)
        share = x.new_ones(x.size(0)) if index is None else _share(index, dtype)
        if mask is not None:
            share = share * mask
        groups = tuple(_numbered(group, dtype) for group in same)
        return _InfoNCE.apply(x, y, temperature, share, groups)


def _share(index: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns one over the number of rows of the same node, for each row."""
    index = index.contiguous()
    ascending = index.sort().values
    end = torch.searchsorted(ascending, index, right=True)
    return 1 / (end - torch.searchsorted(ascending, index)).to(dtype)


def _numbered(group: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns numbers smaller than the number of rows, the same for rows of
    the same group.
    """
    group = group.contiguous()
    return torch.searchsorted(group.sort().values, group).to(dtype)


class _InfoNCE(torch.autograd.Function):
    """One direction of the loss between unit vectors.

    The gradient takes the same exponentials as the value. It is computed along
    with it, chunk by chunk, so that no matrix of all pairs is kept for the
    backward pass or computed twice.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        temperature: float,
        share: Tensor,
        same: Sequence[Tensor],
    ) -> Tensor:
        tiny = torch.finfo(share.dtype).tiny
        weight = share / share.sum().clamp(min=tiny)
        # A node with c rows adds c equal terms to a sum of exponentials, so
        # adding -log(c) to the logits of these rows counts it once. The lowest
        # number removes a row and, unlike -inf, stays finite.
        bias = share.log().clamp(min=torch.finfo(share.dtype).min)
        # Transposed, since products with a transposed matrix copy that first:
        x_grad, y_grad = torch.empty_like(x), y.new_zeros(y.t().shape)
        log_sum = torch.empty_like(weight)
        chunk_size = max(1, CHUNK_SIMILARITIES // x.size(0))
        for start in range(0, x.size(0), chunk_size):
            chunk = slice(start, start + chunk_size)
            logits = torch.addmm(bias, x[chunk], y.t(), alpha=1 / temperature)
            equal = logits.new_empty(logits.shape if same else 0)
            for group in same:
                # As floats, which are compared and added far faster:
                torch.eq(group[chunk].view(-1, 1), group, out=equal)
                equal.diagonal(offset=start).zero_()
                logits.add_(equal, alpha=torch.finfo(logits.dtype).min)
            largest = logits.amax(dim=1, keepdim=True)
            exp = logits.sub_(largest).exp_()
            total = exp.sum(dim=1)
            log_sum[chunk] = total.log() + largest.squeeze(1)
            scale = (weight[chunk] / (total * temperature)).view(-1, 1)
            x_grad[chunk] = scale * (exp @ y)
            y_grad.addmm_((scale * x[chunk]).t(), exp)
        scale = (weight / temperature).view(-1, 1)
        ctx.save_for_backward(
            x_grad.addcmul_(scale, y, value=-1),
            y_grad.t().addcmul_(scale, x, value=-1),
        )
        cosine = (x * y).sum(dim=1)
        return (weight * (log_sum - cosine / temperature)).sum()

    @staticmethod
    def backward(
        ctx: Any, grad: Tensor
    ) -> Tuple[Tensor, Tensor, None, None, None]:
        # "once_differentiable" misses the case of a constant gradient:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "info_nce cannot be differentiated twice: leave out "
                "'create_graph'"
            )
        x_grad, y_grad = ctx.saved_tensors
        return grad * x_grad, grad * y_grad, None, None, None
