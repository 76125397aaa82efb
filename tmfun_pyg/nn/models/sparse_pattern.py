from typing import Any, Tuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tmfun_pyg.utils.csr import row_pointers


class SparsePattern(torch.nn.Module):
    r"""The places of the entries of a sparse square matrix whose entries are
    computed in each step.

    Products with it, and the inner products at its places, are one sparse
    kernel each, and so are their gradients. It moves with the model from
    device to device, but is no part of its state.

    Args:
        row (torch.Tensor): The row indices, ascending, of shape
            :obj:`[num_entries]`.
        col (torch.Tensor): The column indices, of shape
            :obj:`[num_entries]`.
        num_nodes (int): The number of rows and columns.
    """

    ptr: Tensor
    index: Tensor
    perm: Tensor
    t_ptr: Tensor
    t_index: Tensor

    def __init__(self, row: Tensor, col: Tensor, num_nodes: int) -> None:
        super().__init__()
        self.num_nodes = num_nodes
        # The order of entries in the transposed matrix:
        perm = col.argsort(stable=True)
        for name, tensor in (
            ("ptr", row_pointers(row, num_nodes).int()),
            ("index", col.int()),
            ("perm", perm),
            ("t_ptr", row_pointers(col, num_nodes).int()),
            ("t_index", row[perm].int()),
        ):
            self.register_buffer(name, tensor, persistent=False)

    def dots(self, x: Tensor) -> Tensor:
        r"""Returns the inner product of row and column node of each entry.

        Args:
            x (torch.Tensor): The nodes, of shape
                :obj:`[num_nodes, channels]`.
        """
        with torch.autocast(x.device.type, enabled=False):
            return _Dots.apply(x, self)

    def matmul(self, value: Tensor, x: Tensor) -> Tensor:
        r"""Returns the product with a dense matrix.

        Args:
            value (torch.Tensor): The entries, of shape
                :obj:`[num_entries]`.
            x (torch.Tensor): The dense matrix, of shape
                :obj:`[num_nodes, channels]`.
        """
        with torch.autocast(x.device.type, enabled=False):
            return _MatMul.apply(value, x.to(value.dtype), self)

    def matrix(self, value: Tensor) -> Tensor:
        r"""Returns the matrix of some entries as a sparse CSR tensor."""
        return self._to_csr(self.ptr, self.index, value)

    def transposed(self, value: Tensor) -> Tensor:
        r"""Returns the transposed of :meth:`matrix`."""
        value = value.index_select(0, self.perm)
        return self._to_csr(self.t_ptr, self.t_index, value)

    def sample(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Returns :math:`\mathbf{x}_i^{\top} \mathbf{y}_j` for each entry in
        row :math:`i` and column :math:`j`.
        """
        matrix = self.matrix(x.new_zeros(self.index.numel()))
        return torch.sparse.sampled_addmm(matrix, x, y.t(), beta=0.0).values()

    def _to_csr(self, ptr: Tensor, index: Tensor, value: Tensor) -> Tensor:
        size = (self.num_nodes, self.num_nodes)
        return torch.sparse_csr_tensor(
            ptr, index, value, size, check_invariants=False
        )


class _Dots(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pattern: SparsePattern) -> Tensor:
        ctx.save_for_backward(x)
        ctx.pattern = pattern
        return pattern.sample(x, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        grad = grad.contiguous()  # As sparse libraries need it.
        out = ctx.pattern.matrix(grad) @ x
        return out.add_(ctx.pattern.transposed(grad) @ x), None


class _MatMul(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, value: Tensor, x: Tensor, pattern: SparsePattern
    ) -> Tensor:
        ctx.save_for_backward(value, x)
        ctx.pattern = pattern
        return pattern.matrix(value) @ x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tuple[Tensor, Tensor, None]:
        value, x = ctx.saved_tensors
        grad = grad.contiguous()  # As sparse libraries need it.
        value_grad = ctx.pattern.sample(grad, x)
        return value_grad, ctx.pattern.transposed(value) @ grad, None
