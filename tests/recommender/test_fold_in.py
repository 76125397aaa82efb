from concurrent.futures import ThreadPoolExecutor
from typing import Any, List

import numpy as np
import pytest
import torch
from dense_tmfun import dense_folded_in_user
from toy_data import dense_folded_in

from tmfun_pyg.baselines import (
    EASE,
    GFCF,
    ContentKNN,
    ContentRidge,
    ItemKNN,
    MostPopular,
)
from tmfun_pyg.nn import BPRMF, MMGCN, TMFUN, VBPR, LightGCN
from tmfun_pyg.recommender import Recommender

NEW = {"new": ["i01", "i07", "i19"], 5: ["i04"]}


def train_items(recommender: Recommender, user: str) -> List[str]:
    index = recommender.dataset.user_ids.tolist().index(user)
    edges = recommender.dataset[0]["user", "interacts", "item"].edge_index
    item = edges[1, edges[0] == index]
    return recommender.dataset.item_ids[item].tolist()


def row_of(recommender: Recommender, user: str) -> int:
    return recommender.dataset.user_ids.tolist().index(user)


def fit(recommender: Recommender) -> Recommender:
    recommender.model.fit(recommender.data)
    return recommender


def test_light_gcn_by_hand(make_recommender: Any) -> None:
    recommender = make_recommender(LightGCN)
    model = recommender.model
    emb, known = recommender.fold_in(NEW)
    assert known.tolist() == [True, True]
    tables = model.user_embedding.weight, model.item_embedding.weight
    for row, own in enumerate(([1, 7, 19], [4])):
        expected = dense_folded_in(recommender.dataset[0], *tables, 3, own)
        assert emb[row] == pytest.approx(expected.detach().numpy(), abs=1e-5)
    score = emb[0] @ recommender.scorer.item_emb.detach().numpy().T
    score[[1, 7, 19]] = -np.inf
    best = score.argsort()[::-1][:5]
    found = recommender.recommend(history=NEW, k=5)
    assert found.item_id[0].tolist() == [f"i{item:02}" for item in best]
    assert found.score[0] == pytest.approx(score[best], abs=1e-5)


def test_tmfun_by_hand(make_recommender: Any) -> None:
    recommender = fit(make_recommender())
    emb, _ = recommender.fold_in(NEW)
    for row, own in enumerate(([1, 7, 19], [4])):
        data = recommender.dataset[0]
        expected = dense_folded_in_user(recommender.model, data, own)
        assert emb[row] == pytest.approx(expected.detach().numpy(), abs=1e-5)


def test_new_items(make_recommender: Any, features: Any) -> None:
    """They count by their content, and in the profiles of users."""
    larger = fit(make_recommender()).add_items(["x", "y", "z"], features)
    emb, known = larger.fold_in({"u": ["y"], "v": ["x", "i03"]})
    assert known.all()
    for row, own in enumerate(([26], [25, 3])):
        data = larger.dataset[0]
        expected = dense_folded_in_user(larger.model, data, own)
        profile = larger._cold.item_profile[own].mean(dim=0)
        expected = torch.cat([expected, profile]).detach().numpy()
        assert emb[row] == pytest.approx(expected, abs=1e-5)
    found = larger.recommend(history={"u": ["y"]}, k=3, items=["x", "y", "z"])
    assert sorted(found.lists()[0]) == ["x", "z"]


@pytest.mark.parametrize(
    "cls",
    [TMFUN, LightGCN, MMGCN, EASE, GFCF, ItemKNN, ContentKNN, ContentRidge],
)
def test_known_users(make_recommender: Any, cls: Any) -> None:
    """What is stored, and nothing more, gives the scores of training. Nobody
    else's move.
    """
    recommender = fit(make_recommender(cls))
    users = ["ü3", "ü29"]
    own = recommender.recommend(k=30)
    rows = [row_of(recommender, user) for user in users]
    found = recommender.recommend(history={"ü3": [], "ü29": []}, k=30)
    assert found.user_id.tolist() == users
    assert (found.item_id == own.item_id[rows]).all()
    np.testing.assert_allclose(found.score, own.score[rows], 1e-5, 1e-5)
    recommender.recommend(history={"ü3": ["i01", "i02"], "new": ["i05"]})
    after = recommender.recommend(k=30)
    assert np.array_equal(after.score, own.score)
    assert (after.item_id == own.item_id).all()


def test_replaced(make_recommender: Any) -> None:
    """With the items of training alone, what is missing from the row is the
    ID embedding.
    """
    recommender = make_recommender(LightGCN)
    history = {"ü3": train_items(recommender, "ü3")}
    emb, _ = recommender.fold_in(history, replace=True)
    stranger, _ = recommender.fold_in({"new": history["ü3"]})
    assert np.array_equal(emb, stranger)
    row = row_of(recommender, "ü3")
    own = recommender.scorer.user_emb[row]
    id_emb = recommender.model.user_embedding.weight[row].detach()
    np.testing.assert_allclose(emb[0], own - id_emb / 4, rtol=1e-4, atol=1e-5)
    kept, _ = recommender.fold_in(history)
    np.testing.assert_allclose(kept[0], own, rtol=1e-5)


@pytest.mark.parametrize("cls", [TMFUN, LightGCN, EASE])
def test_requests_are_independent(make_recommender: Any, cls: Any) -> None:
    """One after the other, and at once."""
    recommender = fit(make_recommender(cls))
    requests = [
        {f"new {n}": [f"i{n:02}", f"i{n + 7:02}"], "ü3": [f"i{n + 3:02}"]}
        for n in range(12)
    ]

    def answer(history: Any) -> Any:
        return recommender.recommend(history=history, k=30)

    alone = [
        fit(make_recommender(cls)).recommend(history=history, k=30)
        for history in requests[::-1]
    ][::-1]
    in_turn = [answer(history) for history in requests]
    with ThreadPoolExecutor(4) as pool:
        at_once = [*pool.map(answer, requests)]
    for found in (in_turn, at_once):
        for one, expected in zip(found, alone, strict=True):
            assert (one.item_id == expected.item_id).all()
            np.testing.assert_allclose(one.score, expected.score, 1e-5, 1e-5)


def test_what_is_seen(make_recommender: Any) -> None:
    """What is in a history, and what is stored of training, validation and
    test.
    """
    recommender = make_recommender(LightGCN)
    everything = {*recommender.dataset.item_ids.tolist()}
    left = recommender.recommend(k=30).lists()
    users = recommender.dataset.user_ids.tolist()
    history = {u: row[:2] for u, row in zip(users, left, strict=True)}
    found = recommender.recommend(history=history, k=30)
    for row, items in zip(found.lists(), left, strict=True):
        assert {*row} == {*items[2:]}
    found = recommender.recommend(history=history, k=30, replace=True)
    for row, items in zip(found.lists(), left, strict=True):
        assert {*row} == everything - {*items[:2]}
    found = recommender.recommend(history=history, k=30, exclude_seen=False)
    assert all({*row} == everything for row in found.lists())


@pytest.mark.parametrize("cls", [TMFUN, LightGCN, EASE])
def test_marks(make_recommender: Any, cls: Any) -> None:
    recommender = fit(make_recommender(cls))
    history = {"new": ["i01", "i01"], "ü3": ["i02"], "nothing": []}
    found = recommender.recommend(history=history, k=4)
    assert found.user_id.tolist() == ["new", "ü3", "nothing"]
    assert found.known.tolist() == [True, True, False]
    assert found.folded_in.tolist() == [True, True, False]
    assert found.source.tolist() == ["folded-in", "folded-in", "most-popular"]
    popular = recommender.recommend(["nobody"], k=4)
    assert (found.item_id[2] == popular.item_id[0]).all()
    plain = recommender.recommend(["ü3", "nobody"])
    assert plain.source.tolist() == ["model", "most-popular"]
    assert not plain.folded_in.any()
    once = recommender.recommend(history={"new": ["i01"]}, k=4)
    assert once.score[0] == pytest.approx(found.score[0])


def test_items_that_nobody_had(make_recommender: Any) -> None:
    """A model without content knows nothing of them."""
    recommender = make_recommender(LightGCN)
    dataset = recommender.dataset
    data = dataset[0]
    store = data["user", "interacts", "item"]
    store.edge_index = store.edge_index[:, store.edge_index[1] != 4]
    dataset = dataset.replace(data, dataset.item_ids)
    recommender.model.fingerprint = dataset.fingerprint
    recommender = Recommender(recommender.model, dataset)
    history = {"u": ["i04"], "v": ["i04", "i07"], "w": ["i07"]}
    emb, known = recommender.fold_in(history)
    assert known.tolist() == [False, True, True]
    assert np.array_equal(emb[1], emb[2])
    found = recommender.recommend(history=history, k=30)
    assert found.source.tolist() == ["most-popular", "folded-in", "folded-in"]
    assert "i04" not in found.lists()[0] + found.lists()[1]


def test_users_without_a_training_interaction(make_recommender: Any) -> None:
    """Their ID embeddings are as drawn: they are as new ones."""
    recommender = make_recommender(LightGCN)
    dataset = recommender.dataset
    data = dataset[0]
    store = data["user", "interacts", "item"]
    is_out = store.edge_index[0] == 3
    store.test_edge_label_index = store.edge_index[:, is_out]
    store.edge_index = store.edge_index[:, ~is_out]
    dataset = dataset.replace(data, dataset.item_ids)
    recommender.model.fingerprint = dataset.fingerprint
    recommender = Recommender(recommender.model, dataset)
    user = str(dataset.user_ids[3])
    history = {user: ["i04"], "new": ["i04"]}
    emb, _ = recommender.fold_in(history)
    assert np.array_equal(emb[0], emb[1])
    listed, others = recommender.recommend(history=history, k=30).lists()
    assert len(listed) < len(others) == 24  # Without those of test.


def test_integers(make_recommender: Any) -> None:
    recommender = make_recommender(LightGCN, names=False)
    found = recommender.recommend(history={100: [3, "7"], 5: np.array([1])})
    assert found.user_id.tolist() == [100, 5]
    assert found.user_id.dtype == found.item_id.dtype == np.int64
    nobody = recommender.recommend(history={}, k=3)
    assert nobody.item_id.shape == (0, 3)


def test_bad_histories(make_recommender: Any) -> None:
    recommender = make_recommender(LightGCN)
    unknown = {"a": ["i01", "p", "q", "r"], "b": ["p", "s", "t", "u"]}
    for history, match in (
        (["i01"], r"must map ids of users .* \(got a list\)"),
        ({"a": "i01"}, r"'history\[a\]' must be a list of ids \(got 'i01'\)"),
        ({"a": [1.5]}, r"'history\[a\]' must hold integers or strings"),
        ({1: ["i01"], "1": ["i02"]}, r"user once \(got twice, as text, 1\)"),
        (
            unknown,
            r"'items of history' must be in the data set, with ids such "
            r"as i00 \(got 6 others: p, q, r, s, t, \.\.\.\)",
        ),
    ):
        with pytest.raises(ValueError, match=match):
            recommender.recommend(history=history)
    with pytest.raises(ValueError, match="'users' must be left out"):
        recommender.recommend(["ü3"], history=NEW)
    with pytest.raises(ValueError, match="'replace' must come with 'history'"):
        recommender.recommend(["ü3"], replace=True)
    for cls, options in (
        (BPRMF, {}),
        (VBPR, {}),
        (LightGCN, {"num_layers": 0}),
    ):
        other = make_recommender(cls, **options)
        match = rf"'model' must know users by .*\(got {cls.__name__}"
        with pytest.raises(ValueError, match=match):
            other.recommend(history=NEW)
    with pytest.raises(ValueError, match=r"EASE has no embeddings.*'fold_in'"):
        make_recommender(EASE).fold_in(NEW)


def test_most_popular(make_recommender: Any) -> None:
    recommender = make_recommender(MostPopular)
    everybody = recommender.recommend(["nobody"], k=30).lists()[0]
    found = recommender.recommend(history={"new": ["i08"]}, k=30)
    everybody.remove("i08")
    assert found.lists()[0] == everybody


@pytest.mark.parametrize("replace", [False, True])
def test_a_server_adds_the_neighbors_itself(
    make_recommender: Any, tmp_path: Any, replace: bool
) -> None:
    """By the arrays of an export alone."""
    recommender = make_recommender()
    recommender.export(tmp_path / "serving")
    item_emb = np.load(tmp_path / "serving/item_embedding.npy")
    near = np.load(tmp_path / "serving/neighbors.npz")
    history = {"new": ["i01", "i07"], "ü3": ["i04", "i05"]}
    emb, _ = recommender.fold_in(history, replace)
    row = row_of(recommender, "ü3")
    begin, end = near["trained_rowptr"][row : row + 2]
    mine = [] if replace else near["trained_col"][begin:end].tolist()
    found = recommender.recommend(
        history=history, replace=replace, k=25, exclude_seen=False
    )
    for user, own in enumerate(([1, 7], [*{4, 5, *mine}])):
        gain = near["weight"] * np.isin(near["neighbor"], own)
        assert gain.any()
        score = item_emb @ emb[user] + gain.sum(axis=1) / len(own) ** 0.5
        place = [int(name[1:]) for name in found.item_id[user]]
        assert score[place] == pytest.approx(found.score[user], abs=1e-5)
