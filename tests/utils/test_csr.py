import torch

from tmfun_pyg.utils.csr import entries_of


def test_by_hand():
    ptr = torch.tensor([0, 2, 3, 3, 5, 5])
    for dtype in (torch.int, torch.long):
        row, entry = entries_of(ptr.to(dtype), torch.tensor([3, 2, 0, 3]))
        assert row.tolist() == [0, 0, 2, 2, 3, 3]
        assert entry.tolist() == [3, 4, 0, 1, 3, 4]
    row, entry = entries_of(ptr, torch.empty(0, dtype=torch.long))
    assert row.numel() == entry.numel() == 0
