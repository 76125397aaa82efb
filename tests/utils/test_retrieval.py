from typing import Optional

import pytest
import torch
from torch import Tensor
from torch_geometric.testing import withDevice

from tmfun_pyg.utils.retrieval import (
    default_batch_size,
    rank_block,
    top_k,
    user_blocks,
)
from tmfun_pyg.utils.user_items import UserItems

EDGE_INDEX = torch.tensor([[2, 0, 2, 0, 3, 2], [1, 4, 0, 2, 3, 3]])


def test_seen_items() -> None:
    seen = UserItems.from_edge_index(EDGE_INDEX, num_users=5)
    assert seen.rowptr.tolist() == [0, 2, 2, 5, 6, 6]
    assert seen.col.tolist() == [2, 4, 0, 1, 3, 3]

    row, item = seen.edges_of(torch.tensor([2, 4, 0, 2]))
    assert row.tolist() == [0, 0, 0, 2, 2, 3, 3, 3]
    assert item.tolist() == [0, 1, 3, 2, 4, 0, 1, 3]

    row, item = seen.edges_of(torch.tensor([1, 4]))
    assert row.numel() == item.numel() == 0


def test_seen_items_without_interactions() -> None:
    empty = torch.empty(2, 0, dtype=torch.long)
    seen = UserItems.from_edge_index(empty, num_users=2)
    assert seen.rowptr.tolist() == [0, 0, 0]
    assert seen.edges_of(torch.tensor([1]))[0].numel() == 0


def test_user_blocks() -> None:
    user = torch.arange(7)
    blocks = list(user_blocks(user, num_items=3, batch_size=3))
    assert [b.tolist() for b in blocks] == [[0, 1, 2], [3, 4, 5], [6]]
    assert len(list(user_blocks(user, num_items=3))) == 1
    assert default_batch_size(num_items=10**9) == 1


def test_rank_block_leaves_seen_items_out() -> None:
    user_emb = torch.ones(4, 1)
    item_emb = torch.tensor([[1.0], [5.0], [3.0], [3.0], [4.0]])
    seen = UserItems.from_edge_index(EDGE_INDEX, num_users=4)

    user = torch.tensor([2, 1])
    value, item = rank_block(user_emb, item_emb, user, k=3, seen=seen)
    assert value.tolist() == [[4, 3, -torch.inf], [5, 4, 3]]
    assert item.tolist() == [[4, 2, -1], [1, 4, 2]]  # Ties: lower item first.

    value, item = rank_block(user_emb, item_emb, user, k=7)
    assert item.tolist() == [[1, 4, 2, 3, 0, -1, -1]] * 2
    assert value[:, 5:].eq(-torch.inf).all()


@withDevice
@pytest.mark.parametrize("batch_size", [None, 1, 4])
@pytest.mark.parametrize("exclude_seen", [False, True])
def test_top_k(
    device: torch.device, batch_size: Optional[int], exclude_seen: bool
) -> None:
    torch.manual_seed(0)
    user_emb = torch.randint(3, (5, 2), device=device).float()
    item_emb = torch.randint(3, (6, 2), device=device).float()
    edge_index = EDGE_INDEX.to(device)
    scores = user_emb @ item_emb.t()
    seen: Optional[UserItems] = None
    if exclude_seen:
        seen = UserItems.from_edge_index(edge_index, num_users=5)
        scores[edge_index[0], edge_index[1]] = -torch.inf
    expected, order = scores.sort(dim=1, descending=True, stable=True)
    order = order.masked_fill(expected == -torch.inf, -1)

    def check(out: tuple[Tensor, Tensor], user: Tensor) -> None:
        assert torch.equal(out[0], expected[user, :4])
        assert torch.equal(out[1], order[user, :4])

    out = top_k(user_emb, item_emb, 4, seen=seen, batch_size=batch_size)
    check(out, torch.arange(5, device=device))
    user = torch.tensor([3, 0, 3], device=device)
    check(top_k(user_emb, item_emb, 4, user, seen, batch_size), user)


def test_top_k_of_no_user() -> None:
    user = torch.empty(0, dtype=torch.long)
    value, item = top_k(torch.ones(2, 1), torch.ones(3, 1), 2, user)
    assert value.size() == item.size() == (0, 2)


def test_top_k_bad_k() -> None:
    with pytest.raises(ValueError, match=r"'k' must be at least 1 \(got 0\)"):
        top_k(torch.ones(2, 1), torch.ones(3, 1), 0)
