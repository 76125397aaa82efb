import torch

from tmfun_pyg.utils.user_items import UserItems

EDGE_INDEX = torch.tensor([[2, 0, 2, 0, 3, 2], [1, 4, 0, 2, 3, 3]])


def test_by_hand() -> None:
    seen = UserItems.from_edge_index(EDGE_INDEX, num_users=5)
    assert seen.rowptr.tolist() == [0, 2, 2, 5, 6, 6]
    assert seen.col.tolist() == [2, 4, 0, 1, 3, 3]

    row, item = seen.edges_of(torch.tensor([2, 4, 0, 2]))
    assert row.tolist() == [0, 0, 0, 2, 2, 3, 3, 3]
    assert item.tolist() == [0, 1, 3, 2, 4, 0, 1, 3]

    row, item = seen.edges_of(torch.tensor([1, 4]))
    assert row.numel() == item.numel() == 0


def test_without_interactions() -> None:
    empty = torch.empty(2, 0, dtype=torch.long)
    seen = UserItems.from_edge_index(empty, num_users=2)
    assert seen.rowptr.tolist() == [0, 0, 0]
    assert seen.edges_of(torch.tensor([1]))[0].numel() == 0


def test_select() -> None:
    seen = UserItems.from_edge_index(EDGE_INDEX, num_users=5)
    some = seen.select(torch.tensor([-1, 0, -1, 1, 2]))
    assert some.rowptr.tolist() == [0, 1, 1, 3, 4, 4]
    assert some.col.tolist() == [2, 0, 1, 1]
