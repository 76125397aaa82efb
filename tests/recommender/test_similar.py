"""Items and users that are similar, and scores of pairs."""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData

from tmfun_pyg.baselines import ContentKNN, ItemKNN
from tmfun_pyg.datasets import MultimodalRecDataset
from tmfun_pyg.nn import TMFUN, LightGCN
from tmfun_pyg.recommender import Recommender

ITEMS = [f"i{item:02}" for item in range(25)]


def unit(data: HeteroData, modality: str) -> np.ndarray:
    """Unit vectors of features, standardized and centered as documented."""
    x = data["item"][f"x_{modality}"].double().numpy()
    x = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    warm = np.unique(data["user", "item"].edge_index[1])
    x = x - x[warm].mean(0)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("by", ["visual", "text", "content"])
def test_by_content(make_recommender: Any, by: str) -> None:
    recommender = make_recommender(LightGCN)  # Which reads no features.
    names = ["visual", "text"] if by == "content" else [by]
    vectors = [unit(recommender.dataset[0], name) for name in names]
    cosine = np.mean([x @ x.T for x in vectors], axis=0)
    found, score = recommender.similar_items(ITEMS, 6, by)
    order = (-cosine).argsort(axis=1)[:, :6]
    assert found.tolist() == [[ITEMS[i] for i in row] for row in order]
    expected = np.take_along_axis(cosine, order, axis=1)
    np.testing.assert_allclose(score, expected, atol=1e-5)


def test_items_without_the_modality() -> None:
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    log = pandas.DataFrame(
        {"user_id": np.arange(60) // 3, "item_id": np.arange(60) % 12}
    )
    x = {
        "a": rng.normal(size=(12, 4)),
        "b": (range(5), rng.normal(size=(5, 3))),
    }
    dataset = MultimodalRecDataset.from_interactions(log, x)
    model = LightGCN.from_data(dataset[0])
    recommender = Recommender(model, dataset)
    found, score = recommender.similar_items([3], 9, by="b")
    assert found[0, 0] == 3
    assert sorted(found[0, :5]) == [0, 1, 2, 3, 4]
    assert found[0, 5:].tolist() == [-1] * 4
    assert np.isneginf(score[0, 5:]).all()
    message = r"'ids' must have the modality 'b' .* 2 item\(s\): 7, 9\)"
    with pytest.raises(ValueError, match=message):
        recommender.similar_items([3, 9, 7], 9, by="b")
    assert recommender.similar_items([7], 9, by="content")[0][0, 0] == 7
    with pytest.raises(ValueError, match=r"embedding, content, a, b \(got 'c'"):
        recommender.similar_items([3], by="c")


@pytest.mark.parametrize("by", ["embedding", "a", "content"])
def test_equal_items(by: str) -> None:
    """Each is the first of its own list, of k entries."""
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    log = {"user_id": np.arange(240) // 6, "item_id": np.arange(240) % 30}
    x = {"a": rng.normal(size=(5, 7)).repeat(6, 0), "b": np.ones((30, 3))}
    dataset = MultimodalRecDataset.from_interactions(pandas.DataFrame(log), x)
    recommender = Recommender(LightGCN.from_data(dataset[0]), dataset)
    item_emb = recommender.scorer.item_emb
    item_emb[:] = item_emb[:5].repeat_interleave(6, 0)
    found, score = recommender.similar_items(range(30), 4, by)
    assert found[:, 0].tolist() == [*range(30)]
    assert (found // 6 == np.arange(30)[:, None] // 6).all()
    assert (np.diff(score) <= 0).all()
    np.testing.assert_allclose(score, 0.5 if by == "content" else 1, atol=1e-6)
    # Where it may be: 7 is of those allowed, 8 is not, and 20 is left out.
    found, _ = recommender.similar_items(
        [7, 8, 20], 2, by, items=[6, 7, 18, 19, 20], exclude_items=[20]
    )
    assert found.tolist() == [[7, 6], [6, 7], [18, 19]]
    groups = {item: item // 6 for item in range(30)}
    found, _ = recommender.similar_items(
        range(30), 3, by, max_per_group=1, groups=groups
    )
    assert found[:, 0].tolist() == [*range(30)]
    assert [len({*row // 6}) for row in found] == [3] * 30


def test_equal_users(make_recommender: Any) -> None:
    recommender = make_recommender(LightGCN)
    recommender.scorer.user_emb[:] = recommender.scorer.user_emb[3]
    users = recommender.dataset.user_ids
    found, score = recommender.similar_users(users, 2)
    assert found[:, 0].tolist() == users.tolist()
    np.testing.assert_allclose(score, 1, atol=1e-6)


@pytest.mark.parametrize("by", ["embedding", "content"])
def test_filters(make_recommender: Any, by: str) -> None:
    recommender = make_recommender(TMFUN)
    asked = ["i03", "i20"]
    every, _ = recommender.similar_items(asked, 25, by)
    groups = {item: item[1] for item in ITEMS}
    items = {"i20": ITEMS[:15]}
    found, _ = recommender.similar_items(
        asked, 4, by, items, ["i07", "i03"], 2, groups
    )
    for who, ranked, listed in zip(asked, every, found, strict=True):
        expected: list = []
        for item in ranked:
            count = sum(groups[i] == groups[item] for i in expected)
            allowed = item in items.get(who, ITEMS) and count < 2
            if allowed and item not in ("i07", "i03"):
                expected.append(item)
        expected = [*expected, "", "", ""][:4]
        assert listed.tolist() == expected


def with_cold_items(recommender: Recommender, *items: int) -> Recommender:
    """The same without the training interactions of some items."""
    data = recommender.dataset[0]
    store = data["user", "item"]
    keep = ~torch.isin(store.edge_index[1], torch.tensor(items))
    store.edge_index = store.edge_index[:, keep]
    data["item", "user"].edge_index = store.edge_index.flip(0)
    recommender.dataset.data = data
    return Recommender(recommender.model, recommender.dataset)


def test_items_never_trained(make_recommender: Any) -> None:
    """They have embeddings as drawn where a model reads no features."""
    recommender = with_cold_items(make_recommender(LightGCN), 3, 8)
    warm = [item for item in ITEMS if item not in ("i03", "i08")]
    with pytest.warns(UserWarning, match=r"none, .* 2 item\(s\): i03, i08$"):
        found, score = recommender.similar_items(warm, 25)
    for row, item in zip(found.tolist(), warm, strict=True):
        assert row[0] == item
        assert sorted(row) == ["", "", *warm]
    assert np.isneginf(score[:, 23:]).all()
    with warnings.catch_warnings():  # That was told once.
        warnings.simplefilter("error")
        again, _ = recommender.similar_items(warm, 25)
        assert (again == found).all()
        every, _ = recommender.similar_items(["i03"], 25, by="content")
        assert sorted(every[0]) == ITEMS
        with pytest.raises(ValueError, match="'ids' must have training") as err:
            recommender.similar_items(["i04", "i08", "i03"], 2)
    assert str(err.value) == (
        "'ids' must have training interactions to be compared by the embedding "
        "of LightGCN, which reads no features (got 2 item(s): i03, i08)"
    )
    recommender = with_cold_items(make_recommender(TMFUN), 3)
    every, _ = recommender.similar_items(["i03"], 25)
    assert sorted(every[0]) == ITEMS


def test_more_than_there_are(make_recommender: Any) -> None:
    """Lists are as long as there are items or users."""
    recommender = make_recommender(LightGCN)
    many = 10**15
    for by in ("embedding", "text"):
        found, score = recommender.similar_items(["i03"], many, by)
        assert sorted(found[0]) == ITEMS
        assert score.shape == (1, 25)
    found, _ = recommender.similar_items(["i03", "i04"], many, items=ITEMS[:5])
    assert found.shape == (2, 5)
    found, _ = recommender.similar_users(["ü1"], many)
    assert found.shape == (1, 30)


def test_similar_users(make_recommender: Any) -> None:
    recommender = make_recommender(LightGCN)
    data = recommender.dataset[0]
    store = data["user", "item"]
    keep = store.edge_index[0] > 2  # Three users with no training item.
    store.edge_index = store.edge_index[:, keep]
    data["item", "user"].edge_index = store.edge_index.flip(0)
    recommender.dataset.data = data
    recommender = Recommender(recommender.model, recommender.dataset)
    users = recommender.dataset.user_ids
    emb = recommender.scorer.user_emb.double().numpy()
    emb = emb / np.linalg.norm(emb, axis=1, keepdims=True)
    found, score = recommender.similar_users(users[[9, 1, 4]], k=28)
    for row, user in ((0, 9), (2, 4)):
        cosine = emb[3:] @ emb[user]
        order = (-cosine).argsort()
        assert found[row, :27].tolist() == users[3:][order].tolist()
        np.testing.assert_allclose(score[row, :27], cosine[order], atol=1e-6)
        assert found[row, 27] == ""
    assert set(found[1]) == {""}
    with pytest.raises(ValueError, match=r"'ids' must be .*\(got nobody\)"):
        recommender.similar_users(["nobody"])


@pytest.mark.parametrize("cls", [LightGCN, TMFUN, ContentKNN, ItemKNN])
def test_scores_of_pairs(
    make_recommender: Any, cls: Any, monkeypatch: Any
) -> None:
    recommender = make_recommender(cls)
    if cls is ItemKNN:
        recommender.model.fit(recommender.data)
    users = [*recommender.dataset.user_ids, "nobody"]
    found = recommender.recommend(users, 25, exclude_seen=False)
    pairs = [
        (u, i) for u, row in zip(users, found.lists(), strict=True) for i in row
    ]
    expected = found.score.ravel()
    order = np.random.default_rng(0).permutation(len(pairs))
    user, item = zip(*(pairs[place] for place in order), strict=True)
    for limit in (2**22, 100):
        monkeypatch.setattr("tmfun_pyg.recommender.pair_scores.BLOCK", limit)
        score, known, source = recommender.score(user, item)
        assert (known == (np.array(user) != "nobody")).all()
        assert (source == np.where(known, "model", "most-popular")).all()
        bound = 1e-6 * np.abs(expected).max()
        np.testing.assert_allclose(score, expected[order], atol=bound)


def test_sources_of_pairs(make_recommender: Any) -> None:
    """Are those of recommend, and none where there is no score."""
    recommender = make_recommender(LightGCN)
    table = recommender.dataset.item_table
    table["group"] = [item[1] for item in ITEMS]
    recommender = replace(recommender, fallback="group:group", unknown="warn")
    users = ["ü3", "nobody", "nobody", "ü3"]
    with pytest.warns(UserWarning, match=r"'items' .* \(got x\)"):
        found = recommender.score(users, ["i03", "i04", "x", "x"])
    assert found.source.tolist() == ["model", "group:group", "", ""]
    assert np.isnan(found.score).tolist() == [False, False, True, True]
    lists = recommender.recommend(users[:2], k=2)
    assert lists.source.tolist() == found.source[:2].tolist()


def test_no_pairs(make_recommender: Any) -> None:
    recommender = make_recommender(LightGCN)
    assert recommender.score([], []).score.shape == (0,)
    assert recommender.score(["nobody"], ["i03"]).score.dtype == np.float32
    for users, items, message in (
        (["ü1"], ["i03", "i04"], r"of one length \(got 1 and 2\)"),
        (["ü1", "x"], ["i03", "y"], r"'items' must be .*\(got y\)"),
        ("ü1", ["i03"], "'users' must be a list of ids"),
    ):
        with pytest.raises(ValueError, match=message):
            recommender.score(users, items)
    assert torch.is_grad_enabled()
