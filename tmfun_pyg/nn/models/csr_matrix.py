import warnings
from typing import Tuple

import torch
from torch import Tensor

from tmfun_pyg.nn.spmm import spmm


class CSRMatrix(torch.nn.Module):
    r"""A constant sparse matrix that a model holds, ready for products whose
    backward pass is as cheap as the forward pass.

    The matrix is brought into compressed rows once, together with its
    transposed. It moves with the model from
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
        # Three dense buffers each: sparse ones can't be copied or broadcast.
        for prefix, compressed in (
            ("", _compress(row, col, value, size)),
            ("t_", _compress(col, row, value, size[::-1])),
        ):
            for name, tensor in zip(
                ("ptr", "index", "value"), compressed, strict=True
            ):
                self.register_buffer(prefix + name, tensor, persistent=False)
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

    def rows(self, index: Tensor) -> "CSRMatrix":
        r"""Returns some rows as a matrix of their own.

        The number of their entries has to be known to make it: on a GPU the
        host waits for it.

        Args:
            index (torch.Tensor): The rows, of shape :obj:`[num_rows]`. They
                may be repeated.
        """
        begin = self.ptr[index]
        count = self.ptr[index + 1] - begin
        row = torch.arange(index.numel(), device=index.device)
        row = row.repeat_interleave(count)
        first = count.cumsum(0) - count  # Where a row begins in the new one.
        entry = torch.arange(row.numel(), device=index.device)
        entry += (begin - first)[row]
        size = (index.numel(), self.size[1])
        return CSRMatrix(row, self.index[entry], self.value[entry], size)

    def extra_repr(self) -> str:
        """Shows size and number of entries."""
        return f"{self.size[0]}, {self.size[1]}, nnz={self.value.numel()}"


def _compress(
    row: Tensor, col: Tensor, value: Tensor, size: Tuple[int, int]
) -> Tuple[Tensor, Tensor, Tensor]:
    perm = (row * size[1] + col).argsort()
    count = torch.bincount(row, minlength=size[0])
    ptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
    col = col[perm]
    if value.numel() <= torch.iinfo(torch.int).max:
        # What sparse libraries compute with, and would convert to each time:
        ptr, col = ptr.int(), col.int()
    return ptr, col, value[perm]
