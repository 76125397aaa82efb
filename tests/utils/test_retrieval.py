from typing import Any, List, Optional

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.testing import withDevice

from tmfun_pyg.utils.retrieval import (
    EmbeddingScorer,
    blocked_topk,
    candidate_items,
    default_batch_size,
    rank_block,
    user_blocks,
)
from tmfun_pyg.utils.user_items import UserItems

NOTHING = UserItems(torch.zeros(3, dtype=torch.long), torch.empty(0).long())
EDGE_INDEX = torch.tensor([[2, 0, 2, 0, 3, 2], [1, 4, 0, 2, 3, 3]])


def test_user_blocks() -> None:
    user = torch.arange(7)
    blocks = list(user_blocks(user, num_items=3, batch_size=3))
    assert [b.tolist() for b in blocks] == [[0, 1, 2], [3, 4, 5], [6]]
    assert len(list(user_blocks(user, num_items=3))) == 1
    assert default_batch_size(num_items=10**9) == 1


def test_rank_block_leaves_seen_items_out() -> None:
    user_emb = torch.ones(4, 1)
    item_emb = torch.tensor([[1.0], [5.0], [3.0], [3.0], [4.0]])
    scorer = EmbeddingScorer(user_emb, item_emb)
    seen = UserItems.from_edge_index(EDGE_INDEX, num_users=4)

    user = torch.tensor([2, 1])
    value, item = rank_block(scorer, user, k=3, seen=seen)
    assert value.tolist() == [[4, 3, -torch.inf], [5, 4, 3]]
    assert item.tolist() == [[4, 2, -1], [1, 4, 2]]  # Ties: lower item first.

    value, item = rank_block(scorer, user, k=7)
    assert item.tolist() == [[1, 4, 2, 3, 0, -1, -1]] * 2
    assert value[:, 5:].eq(-torch.inf).all()


@withDevice
@pytest.mark.parametrize("batch_size", [None, 1, 4])
@pytest.mark.parametrize("exclude_seen", [False, True])
def test_blocked_topk(
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

    scorer = EmbeddingScorer(user_emb, item_emb)
    out = blocked_topk(scorer, 4, seen=seen, batch_size=batch_size)
    check(out, torch.arange(5, device=device))
    user = torch.tensor([3, 0, 3], device=device)
    check(blocked_topk(scorer, 4, user, seen, batch_size), user)


def test_blocked_topk_of_no_user() -> None:
    scorer = EmbeddingScorer(torch.ones(2, 1), torch.ones(3, 1))
    user = torch.empty(0, dtype=torch.long)
    value, item = blocked_topk(scorer, 2, user)
    assert value.size() == item.size() == (0, 2)


def test_blocked_topk_bad_k() -> None:
    scorer = EmbeddingScorer(torch.ones(2, 1), torch.ones(3, 1))
    with pytest.raises(ValueError, match=r"'k' must be at least 1 \(got 0\)"):
        blocked_topk(scorer, 0)


def test_blocked_topk_users() -> None:
    scorer = EmbeddingScorer(torch.ones(3, 1), torch.arange(4.0).view(-1, 1))
    expected = [[3, 2], [3, 2]]
    for user in ([0, 2], (0, 2), np.array([0, 2]), torch.tensor([0, 2]).int()):
        assert blocked_topk(scorer, 2, user)[1].tolist() == expected
    for bad, found in (
        (2, r"torch.int64 of shape \[\]"),
        ([[0, 2]], r"torch.int64 of shape \[1, 2\]"),
        ([0.5], "torch.float32"),
        ([True], "torch.bool"),
        ("ab", "a str"),
        (["u1"], "a list"),
        ([0, 3], "3"),
        ([-1], "-1"),
    ):
        with pytest.raises(ValueError, match=rf"^'user' must .*\(got {found}"):
            blocked_topk(scorer, 2, bad)


class _Counter:
    r"""Scores items by a matrix and remembers for whom, as models without
    embeddings do.
    """

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self.num_users, self.num_items = matrix.size()
        self.device = matrix.device
        self.users: List[List[int]] = []

    def score(self, user: Tensor) -> Tensor:
        self.users.append(user.tolist())
        return self.matrix[user]

    def select(self, item: Tensor) -> "_Counter":
        return _Counter(self.matrix[:, item])


def test_any_scorer() -> None:
    matrix = torch.tensor(
        [[1.0, 5.0, 3.0], [2.0, 2.0, 2.0], [0.0, -1.0, 4.0], [7.0, 8.0, 9.0]]
    )
    scorer = _Counter(matrix.clone())
    seen = UserItems.from_edge_index(torch.tensor([[0, 2], [1, 2]]), 4)
    value, item = blocked_topk(scorer, 2, seen=seen, batch_size=3)
    assert item.tolist() == [[2, 0], [0, 1], [0, 1], [2, 1]]
    assert value.tolist() == [[3, 1], [2, 2], [0, -1], [9, 8]]
    # All users, each once, in blocks of the size asked for:
    assert scorer.users == [[0, 1, 2], [3]]
    assert torch.equal(scorer.matrix, matrix)  # What is left out, is in copies.


@withDevice
def test_embedding_scorer(device: torch.device) -> None:
    generator = torch.Generator().manual_seed(0)
    user_emb = torch.randn(4, 3, generator=generator).to(device)
    item_emb = torch.randn(5, 3, generator=generator).to(device)
    scorer = EmbeddingScorer(user_emb, item_emb)
    assert (scorer.num_users, scorer.num_items) == (4, 5)
    assert scorer.device == item_emb.device
    user = torch.tensor([3, 3, 0], device=device)
    expected = (user_emb @ item_emb.t())[user]
    torch.testing.assert_close(scorer.score(user), expected)
    # In the order given, and of the same embeddings:
    item = torch.tensor([4, 0], device=device)
    some = scorer.select(item)
    assert (some.num_users, some.num_items) == (4, 2)
    torch.testing.assert_close(some.score(user), expected[:, item])


def test_embedding_scorer_in_half_precision() -> None:
    # 256 and 257 are the same in bfloat16.
    user_emb = torch.tensor([[1.0, 1.0]], dtype=torch.bfloat16)
    item_emb = torch.tensor([[256.0, 1.0], [256, 0]], dtype=torch.bfloat16)
    scorer = EmbeddingScorer(user_emb, item_emb)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        score = scorer.score(torch.tensor([0]))
    assert score.dtype == torch.float
    assert score.tolist() == [[257.0, 256.0]]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_embedding_scorer_of_a_diverged_model(bad: float) -> None:
    good, other = torch.ones(2, 1), torch.tensor([[0.0], [bad]])
    for pair, name in (((other, good), "user"), ((good, other), "item")):
        with pytest.raises(ValueError, match=f"The {name} embeddings hold N"):
            EmbeddingScorer(*pair)


def test_candidate_items() -> None:
    for items in (
        torch.tensor([3, 1, 3]),
        torch.tensor([False, True, False, True, False]),
    ):
        index, place = candidate_items(items, 5)
        assert index.tolist() == [1, 3]
        assert place.tolist() == [-1, 0, -1, 1, -1]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("place", [0, -1])
def test_embeddings_that_are_not_finite(value: float, place: int) -> None:
    x, empty = torch.randn(5, 3), torch.empty(0, 3)
    EmbeddingScorer(x, empty)
    x[place, place] = value
    with pytest.raises(ValueError, match="The user embeddings hold NaN or"):
        EmbeddingScorer(x, empty)
    with pytest.raises(ValueError, match="The item embeddings hold NaN or"):
        EmbeddingScorer(empty, x)


def test_scores_that_overflow_are_not_ranked() -> None:
    """Embeddings may be finite, and their products not."""
    emb = torch.full((3, 2), 1e30)
    scorer = EmbeddingScorer(emb, emb)
    with pytest.raises(ValueError, match="scores hold NaN or infinity"):
        blocked_topk(scorer, 2)
    # One that is low, or left out as seen, is no reason to go on either:
    low = torch.tensor([[1.0], [1.0], [1e30]])
    scorer = EmbeddingScorer(torch.tensor([[-1e30], [1.0]]), low)
    blocked_topk(scorer, 1, user=[1])
    with pytest.raises(ValueError, match="scores hold NaN or infinity"):
        blocked_topk(scorer, 1, user=[1, 0], batch_size=1)


@pytest.mark.parametrize("k", [1.5, "5", None])
def test_k_must_be_a_whole_number(k: Any) -> None:
    scorer = EmbeddingScorer(torch.ones(2, 1), torch.ones(3, 1))
    with pytest.raises(ValueError, match="'k' must be a whole number"):
        blocked_topk(scorer, k)


def test_scores_of_one_user() -> None:
    """They are by a copy, which is made once; those of more are without."""
    generator = torch.Generator().manual_seed(0)
    user_emb = torch.randn(5, 8, generator=generator)
    item_emb = torch.randn(9, 8, generator=generator)
    scorer = EmbeddingScorer(user_emb, item_emb)
    expected = (user_emb.double() @ item_emb.double().t()).float()
    torch.testing.assert_close(scorer.score(torch.arange(5)), expected)
    assert "by_channel" not in vars(scorer._every)
    for user in range(5):
        found = scorer.score(torch.tensor([user]))
        torch.testing.assert_close(found, expected[[user]])
    copied = vars(scorer._every)["by_channel"]
    assert copied.is_contiguous()
    found.fill_(0.0)  # Scores are the caller's own.
    other = scorer.for_users(-user_emb[:2], NOTHING)
    torch.testing.assert_close(other.score(torch.tensor([1])), -expected[[1]])
    assert vars(other._every)["by_channel"] is copied
    item = torch.tensor([7, 2])
    found = scorer.select(item).score(torch.tensor([3]))
    torch.testing.assert_close(found, expected[[3]][:, item])
    half = EmbeddingScorer(user_emb.half(), item_emb.half())
    assert half.score(torch.tensor([3])).dtype == torch.float


@pytest.mark.parametrize("num_selected", [1, 2, 3, 16])
def test_one_user_needs_no_copy_of_what_is_selected(num_selected: int) -> None:
    """Few are read one by one, and of many the scores are taken."""
    generator = torch.Generator().manual_seed(0)
    user_emb = torch.randn(5, 8, generator=generator)
    item_emb = torch.randn(17, 8, generator=generator)
    expected = user_emb @ item_emb.t()
    item = torch.randperm(17, generator=generator)[:num_selected]
    scorer = EmbeddingScorer(user_emb, item_emb)
    some = scorer.select(item)
    assert some.num_items == num_selected
    found = some.score(torch.tensor([3]))
    torch.testing.assert_close(found, expected[[3]][:, item])
    user = torch.full_like(item, 3)
    pairs = some.pairs(user, torch.arange(num_selected))
    torch.testing.assert_close(pairs, expected[3, item])
    assert "item_emb" not in vars(some)
    assert ("by_channel" in vars(scorer._every)) == (num_selected > 2)
    torch.testing.assert_close(some.score(torch.arange(5)), expected[:, item])
    assert torch.equal(some.item_emb, item_emb[item])
    again = some.select(torch.tensor([0]))
    torch.testing.assert_close(
        again.score(torch.tensor([3, 1])), expected[[3, 1]][:, item[:1]]
    )
