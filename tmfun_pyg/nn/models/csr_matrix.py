import warnings
from typing import List, Tuple

import torch
from torch import Tensor

from tmfun_pyg.nn.spmm import spmm
from tmfun_pyg.utils.csr import entries_of, row_pointers

Compressed = Tuple[Tensor, Tensor, Tensor]


class CSRMatrix(torch.nn.Module):
    r"""A constant sparse matrix that a model holds, ready for products whose
    backward pass is as cheap as the forward pass.

    The matrix is held in compressed rows, and its transposed as well. It moves
    with the model from device to device, but is no part of its state: it
    belongs to the data.

    Args:
        matrix ((torch.Tensor, torch.Tensor, torch.Tensor)): Where each row
            begins and ends, the column indices and the entries.
        transposed ((torch.Tensor, torch.Tensor, torch.Tensor)): The same for
            the transposed matrix.
        size ((int, int)): The number of rows and columns.
    """

    ptr: Tensor
    index: Tensor
    value: Tensor
    t_ptr: Tensor
    t_index: Tensor
    t_value: Tensor

    def __init__(
        self, matrix: Compressed, transposed: Compressed, size: Tuple[int, int]
    ) -> None:
        super().__init__()
        self.size = size
        # Three dense buffers each: sparse ones can't be copied or broadcast.
        for prefix, compressed in (("", matrix), ("t_", transposed)):
            for name, tensor in zip(
                ("ptr", "index", "value"), compressed, strict=True
            ):
                self.register_buffer(prefix + name, tensor, persistent=False)

    @classmethod
    def from_coo(
        cls, row: Tensor, col: Tensor, value: Tensor, size: Tuple[int, int]
    ) -> "CSRMatrix":
        r"""Builds the matrix from its entries in any order.

        Args:
            row (torch.Tensor): The row indices, of shape
                :obj:`[num_entries]`.
            col (torch.Tensor): The column indices, of shape
                :obj:`[num_entries]`.
            value (torch.Tensor): The entries, of shape :obj:`[num_entries]`.
            size ((int, int)): The number of rows and columns.
        """
        out = cls(
            _compress(row, col, value, size),
            _compress(col, row, value, size[::-1]),
            size,
        )
        with warnings.catch_warnings():
            # torch says once in a process that CSR tensors are in beta:
            warnings.filterwarnings("ignore", ".*Sparse CSR.*")
            _ = out.adj_t
        return out

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

    def has_few_entries(self, index: Tensor) -> bool:
        r"""Whether products with some rows are faster from :meth:`rows` than
        as a part of the product with all.

        On a GPU they never are: the host would have to wait for the device,
        for longer than the whole product takes.

        Args:
            index (torch.Tensor): The rows, of shape :obj:`[num_rows]`. They
                may be repeated.
        """
        if index.is_cuda:
            return False
        begin = self.ptr.index_select(0, index)
        count = self.ptr.index_select(0, index + 1) - begin
        return 2 * int(count.sum()) < self.value.numel()

    def rows(
        self, index: Tensor, row_scale: Tensor, col_scale: Tensor
    ) -> List["CSRMatrix"]:
        r"""Returns some rows as matrices of their own, which differ in how
        they are scaled.

        The number of their entries has to be known to make them: on a GPU the
        host waits for it.

        Args:
            index (torch.Tensor): The rows, of shape :obj:`[num_rows]`. They
                may be repeated.
            row_scale (torch.Tensor): What to multiply each of these rows with,
                of shape :obj:`[num_rows, num_matrices]`.
            col_scale (torch.Tensor): What to multiply each column with, of
                shape :obj:`[num_columns, num_matrices]`.
        """
        row, entry = entries_of(self.ptr, index)
        col = self.index.index_select(0, entry)
        dtype = col.dtype
        ptr = row_pointers(row, index.numel()).to(dtype)
        perm = col.argsort()
        t_ptr = row_pointers(col, self.size[1]).to(dtype)
        t_index = row.index_select(0, perm).to(dtype)

        value = self.value.index_select(0, entry)
        scale = row_scale.index_select(0, row) * col_scale.index_select(0, col)
        out = []
        for factor in scale.unbind(dim=1):
            scaled = value * factor
            out.append(
                CSRMatrix(
                    (ptr, col, scaled),
                    (t_ptr, t_index, scaled.index_select(0, perm)),
                    (index.numel(), self.size[1]),
                )
            )
        return out

    def extra_repr(self) -> str:
        """Shows size and number of entries."""
        return f"{self.size[0]}, {self.size[1]}, nnz={self.value.numel()}"


def _compress(
    row: Tensor, col: Tensor, value: Tensor, size: Tuple[int, int]
) -> Compressed:
    perm = (row * size[1] + col).argsort()
    ptr, col = row_pointers(row, size[0]), col[perm]
    if value.numel() <= torch.iinfo(torch.int).max:
        # What sparse libraries compute with, and would convert to each time:
        ptr, col = ptr.int(), col.int()
    return ptr, col, value[perm]
