"""Product of a constant sparse matrix with a dense one."""

from typing import Any, Tuple

import torch
from torch import Tensor


class _SpMM(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, adj_t: Tensor, adj: Tensor, x: Tensor) -> Tensor:
        ctx.adj = adj  # Constants, and save_for_backward knows no CSR.
        return adj_t @ x

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> Tuple[None, None, Tensor]:
        return None, None, ctx.adj @ grad_out


def spmm(adj_t: Tensor, adj: Tensor, x: Tensor) -> Tensor:
    r"""Computes :math:`\mathbf{A}^{\top} \mathbf{X}` with a backward pass as
    cheap as the forward pass.

    Autograd transposes a sparse matrix anew in every backward pass. Whoever
    holds a constant graph has the transposed matrix already: for a symmetric
    graph it is the matrix itself.

    The product is computed in the precision of :obj:`adj_t`, also under
    :class:`torch.autocast`, since sums over neighbors lose digits in half
    precision and sparse kernels rarely offer it.

    Args:
        adj_t (torch.Tensor): The matrix :math:`\mathbf{A}^{\top}` of shape
            :obj:`[n, m]`, sparse CSR, without gradient.
        adj (torch.Tensor): Its transposed :math:`\mathbf{A}` of shape
            :obj:`[m, n]`, sparse CSR; :obj:`adj_t` itself if symmetric.
        x (torch.Tensor): The dense matrix of shape :obj:`[m, channels]`.
    """
    with torch.autocast(x.device.type, enabled=False):
        return _SpMM.apply(adj_t, adj, x.to(adj_t.dtype))
