"""Lists by an index beside exact ones, with filters."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tmfun_pyg.datasets.item_table import empty_table
from tmfun_pyg.recommender.export import Exported
from tmfun_pyg.recommender.item_index import build_index
from tmfun_pyg.utils.neighbor_scorer import ItemNeighbors, NeighborTables
from tmfun_pyg.utils.user_items import UserItems

faiss = pytest.importorskip("faiss")
NUM_USERS, NUM_ITEMS, K = 60, 20_000, 20


@pytest.fixture(scope="module")
def exported():
    """Users and items around centres; the last user is not known."""
    torch.manual_seed(0)
    centres = torch.randn(141, 64)

    def around(num_rows):
        row = torch.randint(len(centres), (num_rows,))
        return centres[row] + torch.randn(num_rows, 64)

    seen = torch.randint(NUM_ITEMS, (2, 30 * NUM_USERS))
    seen[0] %= NUM_USERS
    known = torch.arange(NUM_USERS) < NUM_USERS - 1
    popularity = torch.rand(NUM_ITEMS)
    return Exported(
        around(NUM_USERS),
        around(NUM_ITEMS) * (torch.rand(NUM_ITEMS, 1) + 0.5),
        np.arange(NUM_USERS),
        np.arange(NUM_ITEMS),
        UserItems.from_edge_index(seen.unique(dim=1), NUM_USERS),
        known,
        popularity,
        popularity,
        "popular",
        empty_table(NUM_ITEMS),
        False,
    )


@pytest.fixture(scope="module", params=["ivf", "hnsw"])
def index(request, exported):
    return build_index(exported.item_emb, request.param)


def recall(found, expected):
    """The share of the exact lists that was found. They are as long."""
    lists = zip(found.lists(), expected.lists(), strict=True)
    pairs = [({*row}, {*exact}) for row, exact in lists]
    assert all(len(row) == len(exact) for row, exact in pairs)
    return np.mean([len(row & exact) / len(exact) for row, exact in pairs])


@pytest.mark.parametrize("left", [1.0, 0.5, 0.3, 0.05, 0.001])
@pytest.mark.parametrize("name", ["items", "exclude_items", "by user"])
def test_recall_with_filters(exported, index, left, name):
    rng = np.random.default_rng(0)
    drawn = rng.permutation(NUM_ITEMS)
    end = round(left * NUM_ITEMS)
    options = {
        "items": {"items": drawn[:end]},
        "exclude_items": {"exclude_items": drawn[end:]},
        "by user": {"items": dict.fromkeys(range(50), drawn[:end])},
    }[name]
    found = exported.recommend(k=K, index=index, **options)
    expected = exported.recommend(k=K, **options)
    assert recall(found, expected) >= 0.95
    assert found.known.tolist() == expected.known.tolist()
    # Popular items need no index:
    assert found.item_id[-1].tolist() == expected.item_id[-1].tolist()
    same = found.item_id == expected.item_id
    np.testing.assert_allclose(
        found.score[same], expected.score[same], 1e-5, 1e-5
    )


def test_items_next_to_each_other(exported, index):
    """Those left are nobody's best, which the index finds first."""
    best = exported.recommend(range(20), k=2000, exclude_seen=False).item_id
    options = {"users": range(20), "exclude_items": best[:, :200].flatten()}
    found = exported.recommend(k=K, index=index, **options)
    assert recall(found, exported.recommend(k=K, **options)) >= 0.95


def test_groups(exported, index):
    groups = {item: item % 30 for item in range(NUM_ITEMS)}
    options = {"max_per_group": 1, "groups": groups}
    found = exported.recommend(k=K, index=index, **options)
    assert recall(found, exported.recommend(k=K, **options)) >= 0.95


def test_other_items(exported):
    other = build_index(exported.item_emb[:40])
    with pytest.raises(ValueError, match=r"the 20000 items \(got 40\)"):
        exported.recommend(index=other)


@pytest.mark.parametrize("channels", [64, 5])
def test_other_vectors(exported, channels):
    """Distances would be taken for scores, and the worst items be first."""
    other = faiss.IndexFlatL2(channels)
    other.add(np.zeros((NUM_ITEMS, channels), np.float32))
    with pytest.raises(ValueError, match=r"channels by inner product \(got "):
        exported.recommend(index=other)
    with pytest.raises(ValueError, match=r"index of faiss \(got a str\)"):
        exported.recommend(index="items.faiss")


def test_cold_share(exported):
    exported = replace(exported, scores_cold=True)
    with pytest.raises(ValueError, match=r"'cold_share' must be 0 together"):
        exported.recommend(index=object(), cold_share=0.1)


@pytest.mark.parametrize("num_found", [K, 3 * K])
def test_neighbors_of_long_histories(exported, num_found):
    """Where a user has most of what the index finds, the items that neighbors
    add to fill the list, but others may be better.
    """
    exported = replace(exported, item_emb=exported.item_emb[:1000])
    scores = exported.user_emb @ exported.item_emb.t()
    rank = scores.argsort(dim=1, descending=True)
    seen = rank[:, : num_found - 1].sort().values
    rowptr = torch.arange(NUM_USERS + 1) * seen.size(1)
    owned = UserItems(rowptr, seen.flatten())
    # Each item gains a little from 20 others:
    near = torch.randint(1000, (1000, 20), generator=torch.manual_seed(1))
    tables = NeighborTables(
        ItemNeighbors(near, torch.full(near.shape, 0.1)), owned
    )
    exported = replace(
        exported,
        item_ids=np.arange(1000),
        seen=owned,
        popularity=exported.popularity[:1000],
        fallback_score=exported.fallback_score[:1000],
        neighbors=tables,
    )
    index = build_index(exported.item_emb)
    for options in ({}, {"exclude_items": np.arange(0, 1000, 3)}):
        found = exported.recommend(k=K, index=index, **options)
        expected = exported.recommend(k=K, **options)
        assert found.lists() == expected.lists()
        np.testing.assert_allclose(found.score, expected.score, 1e-5, 1e-5)
