"""Lists with places for cold items, worked out by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from tmfun_pyg.baselines import ContentKNN
from tmfun_pyg.nn import TMFUN, LightGCN
from tmfun_pyg.recommender.cold_slots import ColdSlots
from tmfun_pyg.recommender.export import load_exported
from tmfun_pyg.utils.topk import GroupLimit

INF = torch.inf
# Warm items 0 to 5, cold ones 6 to 9, whose scores are far below.
IS_COLD = torch.tensor([False] * 6 + [True] * 4)
SCORES = torch.tensor([5.0, 6, 7, 8, 9, 9, 1, 3, 2, 2])


def rank(
    share: float,
    k: int,
    scores: Tensor = SCORES,
    limit: Optional[GroupLimit] = None,
) -> List[int]:
    slots = ColdSlots(share, IS_COLD, torch.tensor([True]))
    user = torch.zeros(1, dtype=torch.long)
    value, index = slots.rank(scores.view(1, -1).clone(), k, user, limit)
    found = index[0].tolist()
    expected = [scores[i].item() if i >= 0 else -INF for i in found]
    assert value[0].tolist() == expected
    return found


@pytest.mark.parametrize(
    ("share", "k", "expected"),
    [
        # The middle of the list, and of its halves:
        (0.25, 4, [4, 5, 7, 3]),
        (0.5, 4, [4, 7, 5, 8]),
        (0.4, 5, [4, 7, 5, 8, 3]),
        (0.2, 5, [4, 5, 7, 3, 2]),
        (0.75, 4, [7, 4, 8, 9]),
        (1.0, 3, [7, 8, 9]),
        (1.0, 4, [7, 8, 9, 6]),
        # Half a place is one, and less is none:
        (0.1, 5, [4, 5, 7, 3, 2]),
        (0.09, 5, [4, 5, 3, 2, 1]),
        # There are but four cold and six warm ones:
        (1.0, 5, [7, 8, 4, 9, 6]),
        (0.1, 10, [4, 7, 5, 8, 3, 2, 9, 1, 6, 0]),
    ],
)
def test_by_hand(share: float, k: int, expected: List[int]) -> None:
    assert rank(share, k) == expected


def test_left_out() -> None:
    scores = SCORES.clone()
    scores[[4, 7, 9]] = -INF
    assert rank(0.5, 4, scores) == [5, 8, 3, 6]
    scores[8] = -INF  # One is left.
    assert rank(0.5, 4, scores) == [5, 3, 6, 2]
    scores[:6] = -INF
    assert rank(0.5, 4, scores) == [6, -1, -1, -1]
    scores[6] = -INF
    assert rank(0.5, 4, scores) == [-1] * 4


def test_few_of_a_group() -> None:
    group = torch.tensor([0, 0, 1, 1, 2, -1, 0, 2, 2, -1])
    # Cold are 7 and 9, as 8 is of the group of 7, and so is 4:
    assert rank(0.5, 4, limit=GroupLimit(group, 1)) == [5, 7, 3, 9]
    # Without warm items of other groups, 6 takes the last place:
    scores = SCORES.clone()
    scores[:4] = -INF
    assert rank(0.5, 4, scores, GroupLimit(group, 1)) == [7, 5, 9, 6]
    # Both 7 and 8 are in then, and leave no place for 4:
    assert rank(0.5, 4, scores, GroupLimit(group, 2)) == [7, 5, 8, 9]


def test_against_loop() -> None:
    torch.manual_seed(0)
    group = torch.randint(-1, 5, (40,))
    is_cold = torch.rand(40) < 0.3
    scores = torch.randint(20, (200, 40)).float()
    scores[torch.rand(200, 40) < torch.rand(200, 1)] = -INF
    known = torch.rand(200) < 0.9
    user = torch.arange(200)
    for share in (0.05, 0.3, 0.8):
        for most in (1, 3, 40):
            slots = ColdSlots(share, is_cold, known)
            limit = GroupLimit(group, most)
            _, index = slots.rank(scores, 12, user, limit)
            for row in range(200):
                wanted = share if known[row] else None
                expected = loop(scores[row], is_cold, group, most, wanted)
                assert index[row].tolist() == expected


def loop(
    scores: Tensor,
    is_cold: Tensor,
    group: Tensor,
    most: int,
    share: Optional[float],
    k: int = 12,
) -> List[int]:
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    order = [i for i in order if scores[i] > -INF]
    count: Dict[int, int] = {}
    taken: List[int] = []

    def take(items: List[int], most_taken: int) -> None:
        for i in items:
            of = int(group[i])
            free = of < 0 or count.get(of, 0) < most
            if free and i not in taken and len(taken) < most_taken:
                taken.append(i)
                count[of] = count.get(of, 0) + 1

    if share is None:
        take(order, k)
        return taken + [-1] * (k - len(taken))
    cold = [i for i in order if is_cold[i]]
    warm = [i for i in order if not is_cold[i]]
    take(cold, int(share * k + 0.5))
    take(warm, k)
    take(cold, k)
    cold = [i for i in cold if i in taken]
    warm = [i for i in warm if i in taken]
    n = len(taken)
    places = {(2 * j + 1) * n // (2 * len(cold)) for j in range(len(cold))}
    out = [(cold if p in places else warm).pop(0) for p in range(n)]
    return out + [-1] * (k - n)


@pytest.mark.parametrize("cls", [TMFUN, ContentKNN])
def test_recommend(make_recommender: Any, cls: Any, tmp_path: Path) -> None:
    recommender = make_recommender(cls)
    rng = np.random.default_rng(1)
    features = {"visual": rng.normal(size=(6, 8))}
    new = [f"n{i}" for i in range(6)]
    larger = recommender.add_items(new, features)
    plain = recommender.recommend(k=10)
    found = larger.recommend(k=10, cold_share=0.2)
    is_new = np.isin(found.item_id, new)
    assert (is_new.nonzero()[1].reshape(-1, 2) == [3 - 1, 8 - 1]).all()
    assert (found.item_id[~is_new] == plain.item_id[:, :8].ravel()).all()
    only = larger.recommend(k=2, items=new)
    assert (found.item_id[is_new] == only.item_id.ravel()).all()
    assert found.score[is_new] == pytest.approx(only.score.ravel())

    # Filters hold, and an export is the same:
    table = {"group": ["x"] * 31}
    larger.dataset.item_table = pd.DataFrame(table)
    kwargs: Dict[str, Any] = {
        "k": 10,
        "cold_share": 0.3,
        "exclude_items": ["n0", "n1", "i03"],
        "max_per_group": 7,
    }
    found = larger.recommend(**kwargs)
    assert not np.isin(found.item_id, kwargs["exclude_items"]).any()
    assert (np.isin(found.item_id, new).sum(axis=1) == 3).all()
    assert {len(row) for row in found.lists()} == {7}
    larger.export(tmp_path / "out")
    assert load_exported(tmp_path / "out").recommend(**kwargs).lists() == (
        found.lists()
    )

    # Those of a history, and those of whom nothing is known:
    history = {"new": ["i01", "n2"], "nobody": []}
    folded = larger.recommend(history=history, k=10, cold_share=0.2)
    assert np.isin(folded.item_id[0], new).nonzero()[0].tolist() == [2, 7]
    assert "n2" not in folded.item_id[0]
    assert not np.isin(folded.item_id[1], new).any()


def test_by_estimates(make_recommender: Any, tmp_path: Path) -> None:
    recommender = make_recommender(TMFUN)
    cold = [f"i{i:02}" for i in range(20, 25)]
    data = recommender.dataset._data  # Nobody has chosen five items.
    store = data["user", "interacts", "item"]
    store.edge_index = store.edge_index[:, store.edge_index[1] < 20]
    reverse = data["item", "rev_interacts", "user"]
    reverse.edge_index = reverse.edge_index[:, reverse.edge_index[0] < 20]
    recommender.dataset._data_list = None
    assert not recommender.cold_items
    found = recommender.recommend(k=10, cold_share=0.2)
    best = replace(recommender, cold_items=True)
    for part, other in zip(
        found, best.recommend(k=10, cold_share=0.2), strict=True
    ):
        assert (part == other).all()
    # Users of test may have some of the five already:
    num_cold = np.isin(found.item_id, cold).sum(axis=1)
    assert num_cold.max() == 2
    recommender.export(tmp_path / "plain")
    with pytest.raises(ValueError, match=r"^'cold_share' .* an export without"):
        load_exported(tmp_path / "plain").recommend(cold_share=0.2)
    best.export(tmp_path / "best")
    exported = load_exported(tmp_path / "best")
    assert exported.recommend(k=10, cold_share=0.2).lists() == found.lists()


def test_refused(make_recommender: Any) -> None:
    for cls, share, match in (
        (LightGCN, 0.1, r"must be 0 where .*\(got 0\.1 for LightGCN\)"),
        (TMFUN, 1.5, "must be at most 1"),
        (TMFUN, -0.1, "must be at least 0"),
        (TMFUN, float("nan"), "got nan"),
        (TMFUN, None, r"must be a number \(got None\)"),
    ):
        with pytest.raises(ValueError, match=rf"^'cold_share' [^\n]*{match}"):
            make_recommender(cls).recommend(cold_share=share)
