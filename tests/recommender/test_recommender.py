import inspect
from dataclasses import replace
from typing import Any, Dict, Sequence, Tuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.baselines import ContentKNN, MostPopular
from tmfun_pyg.datasets.item_table import empty_table
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.explain import explain
from tmfun_pyg.nn import TMFUN, Embeddings, LightGCN, RankingModel
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.recommender import raw_ids as module
from tmfun_pyg.recommender.export import Exported
from tmfun_pyg.transforms import ToRecGraph
from tmfun_pyg.utils.neighbor_scorer import NeighborScorer
from tmfun_pyg.utils.retrieval import blocked_topk
from tmfun_pyg.utils.user_items import UserItems


class ItemScorer:
    """Scores by how often items were chosen by the same users."""

    def __init__(self, chosen: Tensor, weight: Tensor) -> None:
        self.chosen, self.weight = chosen, weight
        self.num_users, self.num_items = len(chosen), weight.size(1)
        self.device = weight.device

    def score(self, user: Tensor) -> Tensor:
        return self.chosen[user] @ self.weight

    def select(self, item: Tensor) -> "ItemScorer":
        return ItemScorer(self.chosen, self.weight[:, item])


class CoCounts(RankingModel):
    """A model of items by items, without embeddings."""

    def encode(self, data: HeteroData, *args: Any) -> Tuple[Tensor, ...]:
        raise AssertionError("there are none")

    def loss(self, *args: Any) -> Dict[str, Tensor]:
        return {}

    def scorer(self, data: HeteroData) -> ItemScorer:
        user, item = data["user", "interacts", "item"].edge_index
        chosen = torch.zeros(self.num_users, self.num_items, dtype=torch.double)
        chosen[user, item] = 1.0
        weight = chosen.t() @ chosen
        return ItemScorer(chosen, weight.fill_diagonal_(0.0))


class Fixed(RankingModel):
    """Four items whose angles are known."""

    item_emb = torch.tensor([[1.0, 0.0], [2.0, 2.0], [0.0, 3.0], [-1.0, 0.0]])

    def encode(self, data: HeteroData, *args: Any) -> Tuple[Tensor, ...]:
        return Embeddings(torch.ones(self.num_users, 2), self.item_emb)

    def loss(self, *args: Any) -> Dict[str, Tensor]:
        return {}


class FourItems:
    """A data set of two users and four items."""

    modalities: tuple = ()
    user_ids = np.array([7, 3])
    item_ids = np.array(["a", "b", "c", "d"])
    item_table = empty_table(4)

    def __init__(self, user: Sequence[int], item: Sequence[int]) -> None:
        self.edge_index = torch.tensor([user, item])

    def __getitem__(self, index: int) -> HeteroData:
        data = HeteroData()
        data["user"].num_nodes, data["item"].num_nodes = 2, 4
        data["user", "interacts", "item"].edge_index = self.edge_index
        reverse = self.edge_index.flip(0)
        data["item", "rev_interacts", "user"].edge_index = reverse
        return data


def seen_of(recommender: Recommender) -> UserItems:
    """What users have in the whole log."""
    store = recommender.dataset[0]["user", "interacts", "item"]
    edges = torch.cat(
        [
            store.edge_index,
            store.val_edge_label_index,
            store.test_edge_label_index,
        ],
        dim=1,
    )
    assert edges.size(1) == 30 * 6
    return UserItems.from_edge_index(edges, recommender.model.num_users)


@pytest.mark.parametrize("cls", [TMFUN, LightGCN, MostPopular, ContentKNN])
def test_same_as_model(make_recommender: Any, cls: Any) -> None:
    recommender = make_recommender(cls)
    model, dataset = recommender.model.eval(), recommender.dataset
    scorer = model.scorer(ToRecGraph()(dataset[0]))
    assert isinstance(scorer, NeighborScorer) == (cls is TMFUN)
    score, item = blocked_topk(scorer, 4, seen=seen_of(recommender))
    found = recommender.recommend(k=4)
    assert found.known.all()
    assert (found.user_id == dataset.user_ids).all()
    assert (found.item_id == dataset.item_ids[item.numpy()]).all()
    assert np.array_equal(found.score, score.numpy())
    seen_too = recommender.recommend(k=4, exclude_seen=False)
    score, item = blocked_topk(scorer, 4)
    assert (seen_too.item_id == dataset.item_ids[item.numpy()]).all()


@pytest.mark.parametrize("names", [True, False])
def test_raw_ids(make_recommender: Any, names: bool) -> None:
    recommender = make_recommender(names=names)
    everyone = recommender.recommend(k=3)
    users = recommender.dataset.user_ids.tolist()[::-1]
    assert isinstance(users[0], str if names else int)
    found = recommender.recommend(users, k=3)
    assert found.user_id.tolist() == users
    assert found.user_id.dtype.kind == ("U" if names else "i")
    assert found.item_id.dtype == recommender.dataset.item_ids.dtype
    assert (found.item_id == everyone.item_id[::-1]).all()
    assert (found.score == everyone.score[::-1]).all()
    # What comes out goes in, as text too, as it is read from files:
    items = found.item_id[0]
    as_text = recommender.recommend(map(str, users), k=3, items=items)
    assert as_text.known.all()
    assert sorted(as_text.item_id[0]) == sorted(items)
    as_text = recommender.recommend(users, k=3, items=map(str, items))
    assert sorted(as_text.item_id[0]) == sorted(items)
    nearest, _ = recommender.similar_items(items, k=1)
    assert nearest[:, 0].tolist() == items.tolist()


def test_chunks(make_recommender: Any, monkeypatch: Any) -> None:
    recommender = make_recommender()
    whole = recommender.recommend(k=3)
    monkeypatch.setattr(module, "CHUNK", 10)
    parts = list(recommender.recommend_iter(k=3))
    assert [len(part.user_id) for part in parts] == [10, 10, 10]
    chunked = recommender.recommend(k=3)
    for name in ("user_id", "item_id", "known"):
        assert np.array_equal(getattr(chunked, name), getattr(whole, name))
    # A product of other sizes may be rounded otherwise:
    np.testing.assert_allclose(chunked.score, whole.score, rtol=1e-6)
    nobody = recommender.recommend([], k=3)
    shapes = [(0,), (0, 3), (0, 3), (0,), (0,), (0,)]
    assert [part.shape for part in nobody] == shapes


def test_embeddings_once(make_recommender: Any, monkeypatch: Any) -> None:
    recommender = make_recommender()
    encode, calls = TMFUN.encode, []

    def counted(self: TMFUN, *args: Any, **kwargs: Any) -> Any:
        calls.append(self.training)
        assert not torch.is_grad_enabled()
        return encode(self, *args, **kwargs)

    monkeypatch.setattr(TMFUN, "encode", counted)
    recommender.model.train()
    assert calls == []
    recommender.recommend(["ü3"], k=2)
    recommender.recommend(k=2, items=["i03", "i07"])
    recommender.similar_items(["i03"])
    recommender.evaluate("val")
    assert calls == [False]
    assert recommender.model.training
    assert not recommender.scorer.user_emb.requires_grad


def test_unknown_users(make_recommender: Any) -> None:
    recommender = make_recommender()
    item_ids = recommender.dataset.item_ids
    _, trained = recommender.dataset[0]["user", "interacts", "item"].edge_index
    count = torch.bincount(trained, minlength=25)
    order = np.lexsort((np.arange(25), -count.numpy()))[:3]
    found = recommender.recommend(["ü3", "nobody"], k=3)
    assert found.known.tolist() == [True, False]
    assert (found.item_id[1] == item_ids[order]).all()
    assert found.score[1].tolist() == count[order].tolist()
    few = recommender.recommend(["nobody"], k=2, items=item_ids[[4, 9]])
    first, second = (4, 9) if count[4] >= count[9] else (9, 4)
    assert few.item_id[0].tolist() == item_ids[[first, second]].tolist()


def test_users_without_items() -> None:
    dataset = FourItems([0, 0, 0], [1, 2, 3])
    found = Recommender(Fixed(2, 4), dataset).recommend([7, 3], k=2)
    assert found.known.tolist() == [True, False]
    assert found.item_id[0, 0] == "a"
    assert np.isinf(found.score[0, 1])
    assert found.item_id[1].tolist() == ["b", "c"]
    assert found.score[1].tolist() == [1.0, 1.0]


def test_some_items(make_recommender: Any) -> None:
    recommender = make_recommender()
    user_emb, item_emb = recommender.model.eval()(recommender.data)
    seen, ids = seen_of(recommender), recommender.dataset.item_ids
    items = [7, 3, 11]
    found = recommender.recommend(k=2, items=ids[items])
    for user in range(30):
        mine = seen.edges_of(torch.tensor([user]))[1].tolist()
        left = [item for item in items if item not in mine]
        score = (item_emb[left] @ user_emb[user]).tolist()
        best = sorted(zip(score, left, strict=True), reverse=True)[:2]
        length = int(np.isfinite(found.score[user]).sum())
        assert length == len(best)
        listed = found.item_id[user, :length].tolist()
        assert listed == [ids[item] for _, item in best]


def test_similar_items() -> None:
    dataset = FourItems([0, 0, 1, 1], [0, 1, 2, 3])
    recommender = Recommender(Fixed(2, 4), dataset)
    item, score = recommender.similar_items(["a", "c"], k=3)
    # b is at 45 degrees of a and c, which are at 90 of each other, as c and d.
    assert item.tolist() == [["a", "b", "c"], ["c", "b", "a"]]
    half = 0.5**0.5
    np.testing.assert_allclose(score, [[1, half, 0], [1, half, 0]], atol=1e-6)
    item, score = recommender.similar_items(["d"], k=6)
    assert item.tolist() == [["d", "c", "b", "a"]]
    np.testing.assert_allclose(score, [[1, 0, -half, -1]], atol=1e-6)


def test_without_embeddings(make_recommender: Any) -> None:
    recommender = make_recommender(CoCounts)
    scorer = recommender.model.scorer(recommender.data)
    seen = seen_of(recommender)
    found = recommender.recommend(k=5)
    for user in range(30):
        score = scorer.score(torch.tensor([user]))[0]
        score[seen.edges_of(torch.tensor([user]))[1]] = -torch.inf
        best = score.sort(descending=True, stable=True)
        ids = recommender.dataset.item_ids[best.indices[:5].numpy()]
        assert found.item_id[user].tolist() == ids.tolist()
        assert found.score[user].tolist() == best.values[:5].tolist()
    (top,) = recommender.recommend(["ü3"], k=1).item_id
    rest = sorted({*recommender.dataset.item_ids} - {*top})
    second = recommender.recommend(["ü3"], k=1, items=rest).item_id[0]
    assert second == recommender.recommend(["ü3"], k=2).item_id[0, 1]
    metrics = recommender.evaluate("val", ks=[5])
    assert metrics == evaluate(scorer, recommender.data, "val", ks=[5])
    assert metrics["recall@5"] > 0
    for call in (
        lambda: recommender.similar_items(["i03"]),
        lambda: recommender.export("folder"),
    ):
        with pytest.raises(ValueError, match="CoCounts has no embeddings"):
            call()


def test_evaluate_and_explain(make_recommender: Any) -> None:
    recommender = make_recommender()
    model, data = recommender.model.eval(), recommender.data
    for split in ("val", "test"):
        expected = evaluate(model, data, split)
        assert recommender.evaluate(split) == expected
    found = recommender.explain("ü3", "i07")
    ids = recommender.dataset.user_ids, recommender.dataset.item_ids
    user, item = (
        int((x == raw).argmax())
        for x, raw in zip(ids, ["ü3", "i07"], strict=True)
    )
    expected = explain(model, data, user, item, *ids)
    assert found.to_json() == expected.to_json()
    assert (found.user_id, found.item_id) == ("ü3", "i07")
    top = recommender.recommend(["ü3"], k=1)
    explained = recommender.explain("ü3", top.item_id[0, 0])
    assert explained.score == pytest.approx(float(top.score[0, 0]), rel=1e-5)


def test_bad_arguments(make_recommender: Any) -> None:
    recommender = make_recommender()
    assert repr(recommender) == "Recommender(TMFUN, num_users=30, num_items=25)"
    for call, match in (
        (lambda: recommender.recommend(k=0), r"'k' must be at least 1 \(got 0"),
        (lambda: recommender.recommend("ü3"), r"a list of ids \(got 'ü3'\)"),
        (lambda: recommender.recommend(5), r"'users' must .*\(got 5\)"),
        (lambda: recommender.recommend(items=5), r"'items' must .*\(got 5\)"),
        (lambda: recommender.recommend(items=[]), "'items' must hold"),
        (lambda: recommender.recommend(items=["i03", "x"]), "'items' .* i0.*x"),
        (lambda: recommender.recommend(exclude_seen="no"), "be True or False"),
        (lambda: recommender.name_items(5, []), r"'name' must be a text"),
        (lambda: replace(recommender, cold_items=1), "True or False .got 1"),
        (lambda: replace(recommender, unknown="x"), r"'unknown' must .*'x'"),
        (lambda: replace(recommender, model=None), "'model' must .*NoneType"),
        (lambda: recommender.similar_items(["x"]), r"'ids' must .*\(got x\)"),
        (lambda: recommender.similar_items(["i03"], k=0), "'k' must be"),
        (lambda: recommender.explain("x", "i03"), r"'user' must .*\(got x\)"),
        (lambda: recommender.explain("ü3", "x"), r"'item' must .*\(got x\)"),
    ):
        with pytest.raises(ValueError, match=match):
            call()
    popular = make_recommender(MostPopular)
    with pytest.raises(ValueError, match=r"2 channels .*1 of MostPopular\)"):
        popular.similar_items(["i03"])
    with pytest.raises(ValueError, match=r"'dataset' must .* a HeteroData\)"):
        Recommender(recommender.model, recommender.dataset[0])
    cold = replace(make_recommender(LightGCN), cold_items=True)
    with pytest.raises(ValueError, match="LightGCN"):
        cold.recommend()


@pytest.mark.parametrize("names", [True, False])
def test_short_lists_end_without_ids(make_recommender: Any, names: Any) -> None:
    """An item that is not recommended must not look like one that is."""
    recommender = make_recommender(names=names)
    found = recommender.recommend([recommender.dataset.user_ids[0]], 999)
    is_left = np.isfinite(found.score[0])
    assert 0 < is_left.sum() <= len(recommender.dataset.item_ids)
    assert set(found.item_id[0, ~is_left].tolist()) == {"" if names else -1}


def test_text_that_is_no_id(make_recommender: Any) -> None:
    recommender = make_recommender()
    for bad in (" 5", "5\n", "5\0", "\ud800", ""):
        for name in ("users", "items"):
            with pytest.raises(
                ValueError, match=f"'{name}' must hold ids without"
            ):
                recommender.recommend(**{name: ["i03", bad]})


@pytest.mark.parametrize(
    "users",
    [[1.0], [None], [True], [[1]], [b"1"], np.array([0.5]), torch.ones(1)],
)
def test_ids_of_another_kind(make_recommender: Any, users: Any) -> None:
    """They are mistakes, and no unknown users."""
    with pytest.raises(ValueError, match="'users' must hold integers or str"):
        make_recommender(names=False).recommend(users)


@pytest.mark.parametrize(
    ("users", "found"),
    [
        (0, "0"),
        (np.int64(3), r"(np.int64\(3\)|3)"),
        (b"ab", "b'ab'"),
        ({"u1": 2}, "{'u1': 2}"),
        (np.array(3), r"a ndarray of shape \[\]"),
        (torch.tensor(3), r"a Tensor of shape \[\]"),
        (np.ones((2, 1), dtype=int), r"a ndarray of shape \[2, 1\]"),
        (torch.ones(1, 2).long(), r"a Tensor of shape \[1, 2\]"),
    ],
)
def test_no_lists_of_ids(make_recommender: Any, users: Any, found: str) -> None:
    recommender = make_recommender(names=False)
    for call in (
        lambda: recommender.recommend(users),
        lambda: recommender.recommend(items={7: users}),
        lambda: recommender.similar_items(users),
    ):
        with pytest.raises(ValueError, match=rf"list of ids \(got {found}\)$"):
            call()


def with_cold_users(recommender: Recommender, num_users: int) -> Recommender:
    """Takes the first users out of training; validation and test stay."""
    data = recommender.dataset[0]
    store = data["user", "interacts", "item"]
    edge_index = store.edge_index[:, store.edge_index[0] >= num_users]
    store.edge_index = edge_index
    data["item", "rev_interacts", "user"].edge_index = edge_index.flip(0)
    recommender.dataset.data = data
    return Recommender(recommender.model, recommender.dataset)


@pytest.mark.parametrize("cls", [TMFUN, CoCounts])
def test_users_without_a_training_item(make_recommender: Any, cls: Any) -> None:
    """They get what is popular, without what they have in other splits."""
    recommender = with_cold_users(make_recommender(cls), 8)
    ids = recommender.dataset.item_ids
    store = recommender.dataset[0]["user", "interacts", "item"]
    count = np.bincount(store.edge_index[1], minlength=25)
    held_out = torch.cat(
        [store.val_edge_label_index, store.test_edge_label_index], dim=1
    )
    found = recommender.recommend(k=25)
    assert found.known.tolist() == [False] * 8 + [True] * 22
    num_held_out = 0
    for user in range(8):
        mine = held_out[1, held_out[0] == user].tolist()
        num_held_out += len(mine)
        order = np.lexsort((np.arange(25), -count))
        order = [item for item in order.tolist() if item not in mine]
        assert found.lists()[user] == ids[order].tolist()
        assert found.score[user, : len(order)].tolist() == count[order].tolist()
    assert num_held_out > 0
    # Of some items, too, and whoever is asked for at the same time:
    few = recommender.recommend(found.user_id[[20, 0]], k=2, items=ids[:9])
    assert few.known.tolist() == [True, False]
    expected = [raw for raw in found.lists()[0] if raw in ids[:9]]
    assert few.lists()[1] == expected[:2]


def test_lists(make_recommender: Any) -> None:
    """Rows that end early are lists that are shorter."""
    recommender = make_recommender(names=False)
    found = recommender.recommend(k=25)
    assert (found.item_id == -1).sum() == 30 * 6
    store = recommender.dataset[0]["user", "interacts", "item"]
    for user, items in enumerate(found.lists()):
        mine = torch.cat([e[1, e[0] == user] for e in store.values()])
        assert len(items) == 19
        assert {*items} | {*mine.tolist()} == set(range(25))


def test_forms_of_ids(make_recommender: Any) -> None:
    recommender = make_recommender(names=False)
    ids = recommender.dataset.user_ids[:3]
    expected = recommender.recommend(ids.tolist(), 4)
    for users in (
        *(ids, tuple(ids), iter(ids), ids.astype(np.uint8), map(str, ids)),
        *(torch.from_numpy(ids), torch.from_numpy(ids).int()),
    ):
        found = recommender.recommend(users, 4)
        assert (found.item_id == expected.item_id).all()
        assert found.user_id.astype(int).tolist() == ids.tolist()
        assert found.known.all()
    with pytest.raises(ValueError, match="'ids' must be a list of ids"):
        recommender.similar_items("abc")


def test_arguments_of_recommend() -> None:
    """One list for both, and that of an export in the same order."""
    names = ["self", "users", "k", "items", "exclude_seen", "history"]
    names += ["replace", "exclude_items", "max_per_group", "groups"]
    names += ["cold_share"]
    for method in (Recommender.recommend, Recommender.recommend_iter):
        assert [*inspect.signature(method).parameters] == names
    served = [x for x in names if x not in ("history", "replace")]
    found = inspect.signature(Exported.recommend).parameters
    assert [*found] == [*served, "index"]
