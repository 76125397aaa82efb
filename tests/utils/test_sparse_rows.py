import pytest
import torch
from torch_geometric.testing import withDevice

from tmfun_pyg.utils.sparse_rows import SparseRows, values_at
from tmfun_pyg.utils.topk import stable_topk


@withDevice
@pytest.mark.parametrize("dtype", [torch.float, torch.double])
@pytest.mark.parametrize("num_values", [2, 4, 10**6])
@pytest.mark.parametrize("k", [1, 3, 29, 30])
def test_equals_the_dense_topk(
    device: torch.device, k: int, num_values: int, dtype: torch.dtype
) -> None:
    """With many ties, rows of fewer entries than asked for, and of none."""
    torch.manual_seed(k)
    dense = torch.randint(num_values, (40, 30), device=device).to(dtype)
    dense *= torch.rand_like(dense) < torch.rand_like(dense[:, :1])
    dense[5] = 0
    dense[7, 8:] = 0
    rows = SparseRows.from_dense(dense)
    assert torch.equal(rows.to_dense(), dense)

    value, index = stable_topk(dense, k)
    col, entry = rows.topk(k)
    assert torch.equal(col, index)
    assert torch.equal(values_at(rows.value, entry), value)
    assert torch.equal(entry < 0, value == 0)


def test_entries_of_zero_are_none() -> None:
    rows = SparseRows(
        torch.tensor([0, 0, 1, 1]),
        torch.tensor([1, 3, 0, 2]),
        torch.tensor([0.0, 2, 0, 0]),
        (3, 4),
    )
    col, entry = rows.topk(2)
    assert col.tolist() == [[3, 0], [0, 1], [0, 1]]
    assert entry.tolist() == [[1, -1], [-1, -1], [-1, -1]]


def test_nan_is_not_lost() -> None:
    dense = torch.tensor([[0, 3, torch.nan, 0, 1]])
    rows = SparseRows.from_dense(dense)
    assert rows.topk(3)[0].tolist() == [[2, 1, 4]]


def test_no_rows() -> None:
    col, entry = SparseRows.from_dense(torch.empty(0, 5)).topk(3)
    assert col.size() == entry.size() == (0, 3)
