"""Sparse products on an EdgeIndex, as fast backward as forward."""

import warnings
from typing import Any, Tuple

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.typing import OptTensor


def spmm(
    edge_index: EdgeIndex,
    x: Tensor,
    edge_weight: OptTensor = None,
    transpose: bool = False,
) -> Tensor:
    r"""Computes the product :math:`\mathbf{A} \mathbf{X}` of a sparse matrix
    with a dense one, or :math:`\mathbf{A}^{\top} \mathbf{X}` with
    :obj:`transpose`. Its backward pass is one more sparse product each for
    :math:`\mathbf{X}` and, if requested, the weights, whereas
    :meth:`torch_geometric.EdgeIndex.matmul` fails for bipartite graphs.

    The product is computed in the precision of the weights, at least single
    precision, even under :class:`torch.autocast`: sums over neighbors lose
    digits in half precision, and few sparse kernels support it.

    Args:
        edge_index (EdgeIndex): The positions of the entries of
            :math:`\mathbf{A}` as :math:`(\textrm{row}, \textrm{column})`,
            sorted by either.
        x (torch.Tensor): The dense matrix :math:`\mathbf{X}`, of shape
            :obj:`[num_columns, channels]`, or :obj:`[num_rows, channels]` with
            :obj:`transpose`.
        edge_weight (torch.Tensor, optional): The entries, of shape
            :obj:`[num_edges]`, with or without gradient. Ones if not given.
            (default: :obj:`None`)
        transpose (bool, optional): If set to :obj:`True`, multiplies with the
            transposed matrix. (default: :obj:`False`)
    """
    if edge_weight is None:
        edge_weight = x.new_ones(edge_index.size(1))
    edge_weight = edge_weight.to(
        torch.promote_types(edge_weight.dtype, torch.float)
    )
    with torch.autocast(x.device.type, enabled=False):
        x = x.to(edge_weight.dtype)
        return _SpMM.apply(edge_weight, x, edge_index, transpose)


def sddmm(edge_index: EdgeIndex, x: Tensor, y: Tensor) -> Tensor:
    r"""Computes the inner product :math:`\mathbf{x}_i^{\top} \mathbf{y}_j` of
    the row and column node of each edge, without gathering them.

    Args:
        edge_index (EdgeIndex): The edges, sorted by row or column.
        x (torch.Tensor): The row nodes, of shape
            :obj:`[num_rows, channels]`.
        y (torch.Tensor): The column nodes, of shape
            :obj:`[num_columns, channels]`.
    """
    with torch.autocast(x.device.type, enabled=False):
        return _SDDMM.apply(x, y, edge_index)


def to_csr(
    edge_index: EdgeIndex, edge_weight: Tensor, transpose: bool = False
) -> Tensor:
    r"""Returns :math:`\mathbf{A}`, or :math:`\mathbf{A}^{\top}`, as a sparse
    CSR tensor, from the caches of an :class:`~torch_geometric.EdgeIndex`. On
    the CPU, its indices have 32 bits if these suffice.

    Args:
        edge_index (EdgeIndex): The edges, sorted by row or column.
        edge_weight (torch.Tensor): The entries, of shape
            :obj:`[num_edges]`.
        transpose (bool, optional): If set to :obj:`True`, returns the
            transposed matrix. (default: :obj:`False`)
    """
    view = edge_index.get_csc() if transpose else edge_index.get_csr()
    (ptr, index), perm = view
    if perm is not None:
        edge_weight = edge_weight.index_select(0, perm)
    size = tuple(edge_index.get_sparse_size())
    return _csr(ptr, index, edge_weight, size[::-1] if transpose else size)


def product(matrix: Tensor, x: Tensor) -> Tensor:
    r"""Computes the product of a sparse CSR tensor with a dense matrix,
    without a gradient.

    Args:
        matrix (torch.Tensor): The result of :func:`to_csr`.
        x (torch.Tensor): The dense matrix, of shape
            :obj:`[num_columns, channels]`.
    """
    # "matrix @ x" fills and copies the result before it computes it:
    out = x.new_empty(matrix.size(0), x.size(1))
    return torch.addmm(out, matrix, x.contiguous(), beta=0, out=out)


def _csr(
    ptr: Tensor, index: Tensor, value: Tensor, size: Tuple[int, ...]
) -> Tensor:
    if index.device.type == "cpu" and index.numel() < 2**31:
        # MKL uses these, and would convert others for each product:
        ptr, index = ptr.int(), index.int()
    with warnings.catch_warnings():
        # torch warns once per process that CSR tensors are in beta:
        warnings.filterwarnings("ignore", ".*Sparse CSR.*")
        return torch.sparse_csr_tensor(
            ptr, index, value, size, check_invariants=False
        )


def _sample(edge_index: EdgeIndex, x: Tensor, y: Tensor) -> Tensor:
    """Computes the inner products in the order of the edges."""
    size = tuple(edge_index.get_sparse_size())
    if edge_index.is_sorted_by_row:
        (ptr, index), _ = edge_index.get_csr()
    else:
        (ptr, index), _ = edge_index.get_csc()
        x, y, size = y, x, size[::-1]
    zeros = _csr(ptr, index, x.new_zeros(index.numel()), size)
    # Sparse libraries read rows one after the other:
    x, y = x.contiguous(), y.contiguous()
    return torch.sparse.sampled_addmm(zeros, x, y.t(), beta=0.0).values()


class _SpMM(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        edge_weight: Tensor,
        x: Tensor,
        edge_index: EdgeIndex,
        transpose: bool,
    ) -> Tensor:
        ctx.save_for_backward(
            edge_weight, x if ctx.needs_input_grad[0] else None
        )
        ctx.edge_index, ctx.transpose = edge_index, transpose
        return product(to_csr(edge_index, edge_weight, transpose), x)

    @staticmethod
    def backward(
        ctx: Any, grad: Tensor
    ) -> Tuple[OptTensor, OptTensor, None, None]:
        edge_weight, x = ctx.saved_tensors
        weight_grad = x_grad = None
        if ctx.needs_input_grad[0]:
            rows, columns = (x, grad) if ctx.transpose else (grad, x)
            weight_grad = _SDDMM.apply(rows, columns, ctx.edge_index)
        if ctx.needs_input_grad[1]:
            x_grad = _SpMM.apply(
                edge_weight, grad, ctx.edge_index, not ctx.transpose
            )
        return weight_grad, x_grad, None, None


class _SDDMM(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, edge_index: EdgeIndex
    ) -> Tensor:
        ctx.save_for_backward(x, y)
        ctx.edge_index = edge_index
        return _sample(edge_index, x, y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tuple[OptTensor, OptTensor, None]:
        x, y = ctx.saved_tensors
        grad = grad.contiguous()
        x_grad = y_grad = None
        if ctx.needs_input_grad[0]:
            x_grad = _SpMM.apply(grad, y, ctx.edge_index, False)
        if ctx.needs_input_grad[1]:
            y_grad = _SpMM.apply(grad, x, ctx.edge_index, True)
        return x_grad, y_grad, None
