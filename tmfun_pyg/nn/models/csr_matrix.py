import warnings
from typing import Tuple

import torch
from torch import Tensor

from tmfun_pyg.nn.spmm import spmm


class CSRMatrix(torch.nn.Module):
    r"""A constant sparse matrix that a model holds, ready for products whose
    backward pass is as cheap as the forward pass.

    The matrix is brought into compressed rows once, together with its
    transposed; a symmetric matrix is held once. It moves with the model from
    device to device, but is no part of its state: it belongs to the data.

    Args:
        row (torch.Tensor): The row indices of the entries, of shape
            :obj:`[num_entries]`.
        col (torch.Tensor): The column indices, of shape
            :obj:`[num_entries]`.
        value (torch.Tensor): The entries, of shape :obj:`[num_entries]`.
        size ((int, int)): The number of rows and columns.
    """

    ptr: Tensor
    index: Tensor
    value: Tensor
    t_ptr: Tensor
    t_index: Tensor
    t_value: Tensor

    def __init__(
        self, row: Tensor, col: Tensor, value: Tensor, size: Tuple[int, int]
    ) -> None:
        super().__init__()
        self.size = size
        forward = _compress(row, col, value, size)
        backward = _compress(col, row, value, size[::-1])
        self.is_symmetric = size[0] == size[1] and all(
            torch.equal(a, b) for a, b in zip(forward, backward, strict=True)
        )
        # Three dense buffers each: sparse ones can't be copied or broadcast.
        for name, tensor in zip(
            ("ptr", "index", "value"), forward, strict=True
        ):
            self.register_buffer(name, tensor, persistent=False)
        if not self.is_symmetric:
            for name, tensor in zip(
                ("t_ptr", "t_index", "t_value"), backward, strict=True
            ):
                self.register_buffer(name, tensor, persistent=False)
        with warnings.catch_warnings():
            # torch says once in a process that CSR tensors are in beta:
            warnings.filterwarnings("ignore", ".*Sparse CSR.*")
            _ = self.adj_t

    @property
    def adj_t(self) -> Tensor:
        r"""The matrix as a sparse CSR tensor."""
        return torch.sparse_csr_tensor(
            self.ptr, self.index, self.value, self.size, check_invariants=False
        )

    @property
    def adj(self) -> Tensor:
        r"""The transposed matrix as a sparse CSR tensor."""
        if self.is_symmetric:
            return self.adj_t
        return torch.sparse_csr_tensor(
            self.t_ptr,
            self.t_index,
            self.t_value,
            self.size[::-1],
            check_invariants=False,
        )

    def forward(self, x: Tensor) -> Tensor:
        r"""Returns the product with a dense matrix :obj:`x`."""
        return spmm(self.adj_t, self.adj, x)

    def extra_repr(self) -> str:
        """Shows size and number of entries."""
        return f"{self.size[0]}, {self.size[1]}, nnz={self.value.numel()}"


def _compress(
    row: Tensor, col: Tensor, value: Tensor, size: Tuple[int, int]
) -> Tuple[Tensor, Tensor, Tensor]:
    perm = (row * size[1] + col).argsort()
    count = torch.bincount(row, minlength=size[0])
    ptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
    return ptr, col[perm], value[perm]
