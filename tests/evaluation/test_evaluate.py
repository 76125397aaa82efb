import math
from typing import Dict, List, Optional, Set, Tuple

import pytest
import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.testing import withDevice

from tmfun_pyg import baselines
from tmfun_pyg.baselines import MostPopular
from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.evaluation import RankingEvaluator, evaluate, per_user_metrics
from tmfun_pyg.nn import Embeddings, RankingModel
from tmfun_pyg.transforms import ToRecGraph
from tmfun_pyg.utils.retrieval import EmbeddingScorer, blocked_topk
from tmfun_pyg.utils.user_items import UserItems


def make_data(
    num_users: int, num_items: int, density: float, seed: int
) -> HeteroData:
    r"""Draws interactions; in expectation a third of the users has none in
    training, and a third none held out.
    """
    generator = torch.Generator().manual_seed(seed)
    data = HeteroData()
    data["user"].num_nodes = num_users
    data["item"].num_nodes = num_items
    drawn = torch.rand(num_users, num_items, generator=generator) < density
    part = torch.randint(3, drawn.size(), generator=generator)
    without = torch.randint(3, (num_users, 1), generator=generator)
    drawn &= part != without
    store = data["user", "interacts", "item"]
    for i, name in enumerate(
        ("edge_index", "val_edge_label_index", "test_edge_label_index")
    ):
        pair = (drawn & (part == i)).nonzero()
        pair = pair[torch.randperm(pair.size(0), generator=generator)]
        store[name] = pair.t().contiguous()
    return data


def items_of(edge_index: Tensor) -> Dict[int, Set[int]]:
    out: Dict[int, Set[int]] = {}
    for user, item in edge_index.t().tolist():
        out.setdefault(user, set()).add(item)
    return out


def reference(
    user_emb: Tensor,
    item_emb: Tensor,
    data: HeteroData,
    split: str,
    k: int,
    items: Optional[Set[int]] = None,
) -> Dict[str, float]:
    r"""One user after the other, straight from the definitions."""
    store = data["user", "interacts", "item"]
    train = items_of(store.edge_index)
    held_out = items_of(store[f"{split}_edge_label_index"])
    scores = (user_emb @ item_emb.t()).tolist()
    rows: List[Tuple[float, float, float, float]] = []
    for user in range(user_emb.size(0)):
        if user not in train or user not in held_out:
            continue
        candidates = items or set(range(item_emb.size(0)))
        candidates = candidates - train[user]
        ranking = sorted(
            candidates, key=lambda item: (-scores[user][item], item)
        )
        relevant = held_out[user]
        hits, dcg, precisions = 0, 0.0, 0.0
        for place, item in enumerate(ranking[:k], start=1):
            if item in relevant:
                hits += 1
                dcg += 1 / math.log2(place + 1)
                precisions += hits / place
        best = min(k, len(relevant))
        idcg = sum(1 / math.log2(p + 1) for p in range(1, best + 1))
        rows.append(
            (hits / len(relevant), dcg / idcg, hits / k, precisions / best)
        )
    mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    names = ("recall", "ndcg", "precision", "map")
    return {f"{n}@{k}": m for n, m in zip(names, mean, strict=True)}


@withDevice
@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("batch_size", [None, 7])
@pytest.mark.parametrize("num_values", [2, 4, 1000])  # Few values, many ties.
@pytest.mark.parametrize("density", [0.1, 0.9])
def test_against_slow_reference(
    device: torch.device,
    split: str,
    batch_size: Optional[int],
    num_values: int,
    density: float,
) -> None:
    data = make_data(60, 30, density, seed=num_values)
    torch.manual_seed(num_values)
    user_emb = torch.randint(num_values, (60, 2)).float()
    item_emb = torch.randint(num_values, (30, 2)).float()
    ks = [1, 5, 20, 30, 50]  # More than there are items, too.

    out = evaluate(
        (user_emb.to(device), item_emb.to(device)), data, split, ks, batch_size
    )
    expected: Dict[str, float] = {}
    for k in ks:
        expected.update(reference(user_emb, item_emb, data, split, k))
    assert out == pytest.approx(expected, rel=1e-5)


@withDevice
@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("density", [0.1, 0.9])
@pytest.mark.parametrize("k", [1, 20, 50])
def test_per_user_metrics(
    device: torch.device, split: str, density: float, k: int
) -> None:
    data = make_data(60, 30, density, seed=k)
    torch.manual_seed(k)
    emb = torch.randn(60, 2).to(device), torch.randn(30, 2).to(device)
    out = per_user_metrics(emb, data, split, k, batch_size=7)
    expected = evaluate(emb, data, split, ks=[k])
    for name in ("recall", "ndcg"):
        assert out[name].size() == out["user"].size()
        mean = float(out[name].mean())
        assert mean == pytest.approx(expected[f"{name}@{k}"], abs=1e-6)

    # The metrics of one user are those of a data set without the others:
    assert out["user"].tolist() == sorted(set(out["user"].tolist()))
    store = data["user", "interacts", "item"]
    held_out = store[f"{split}_edge_label_index"]
    for place in (0, -1):
        user = int(out["user"][place])
        store[f"{split}_edge_label_index"] = held_out[:, held_out[0] == user]
        expected = evaluate(emb, data, split, ks=[k])
        for name in ("recall", "ndcg"):
            value = float(out[name][place])
            assert value == pytest.approx(expected[f"{name}@{k}"], abs=1e-6)


def test_some_users() -> None:
    data = make_data(60, 30, density=0.5, seed=0)
    emb = torch.randn(60, 2), torch.randn(30, 2)
    out = per_user_metrics(emb, data, "val", k=5)
    place = torch.tensor([7, 2, 3])
    found = evaluate(emb, data, "val", ks=[5], users=out["user"][place])
    for name in ("recall", "ndcg"):
        mean = float(out[name][place].mean())
        assert found[f"{name}@5"] == pytest.approx(mean)
    with pytest.raises(ValueError, match="'users' must have both"):
        evaluate(emb, data, "val", users=torch.tensor([60]))


@withDevice
@pytest.mark.parametrize("as_mask", [False, True])
@pytest.mark.parametrize("num_values", [2, 1000])  # Few values, many ties.
@pytest.mark.parametrize("density", [0.2, 0.9])
def test_some_items_against_slow_reference(
    device: torch.device, as_mask: bool, num_values: int, density: float
) -> None:
    data = make_data(60, 30, density, seed=num_values)
    store = data["user", "interacts", "item"]
    # Users have training interactions with these and with others:
    items = torch.tensor([29, 3, 17, 8, 3, 21, 0, 5, 12])
    mask = torch.zeros(30, dtype=torch.bool)
    mask[items] = True
    test = store.test_edge_label_index
    store.some_edge_label_index = test[:, mask[test[1]]]
    torch.manual_seed(num_values)
    user_emb = torch.randint(num_values, (60, 2)).float()
    item_emb = torch.randint(num_values, (30, 2)).float()
    emb = user_emb.to(device), item_emb.to(device)
    given = mask if as_mask else items
    ks = [1, 3, 8, 20]

    out = evaluate(emb, data, "some", ks, 7, given)
    expected: Dict[str, float] = {}
    for k in ks:
        expected.update(
            reference(user_emb, item_emb, data, "some", k, set(items.tolist()))
        )
        users = per_user_metrics(emb, data, "some", k, 7, given)
        for name in ("recall", "ndcg"):
            mean = float(users[name].mean())
            assert mean == pytest.approx(expected[f"{name}@{k}"], abs=1e-6)
    assert out == pytest.approx(expected, rel=1e-5)

    everything = torch.ones(30, dtype=torch.bool)
    assert evaluate(emb, data, ks=ks, items=everything) == evaluate(
        emb, data, ks=ks
    )
    with pytest.raises(ValueError, match="not in 'items'"):
        evaluate(emb, data, "test", ks, items=given)


def test_empty_places_are_no_hits() -> None:
    # User 0 has one candidate left; the place after it, if numbered -1, would
    # read as the last item of the row before.
    data = HeteroData()
    data["user"].num_nodes = 2
    data["item"].num_nodes = 3
    store = data["user", "interacts", "item"]
    store.edge_index = torch.tensor([[0, 1, 1], [0, 0, 1]])
    store.val_edge_label_index = torch.tensor([[0, 1], [2, 2]])
    emb = torch.zeros(2, 1), torch.zeros(3, 1)
    out = evaluate(emb, data, "val", ks=[2])
    assert out["precision@2"] == 0.5
    assert out["recall@2"] == 1.0
    assert per_user_metrics(emb, data, "val", 2)["recall"].tolist() == [1, 1]


class _Fixed(RankingModel):
    def encode(
        self,
        data: HeteroData,
        user: Optional[Tensor] = None,
        item: Optional[Tensor] = None,
        exclude: Optional[Tensor] = None,
    ) -> Embeddings:
        # Training would add noise:
        noise = float("nan") if self.training else 0.0
        torch.manual_seed(0)
        user_emb = torch.randn(self.num_users, 4) + noise
        return Embeddings(user_emb, torch.randn(self.num_items, 4))

    def loss(
        self, data: HeteroData, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        return {}


def test_model_is_evaluated_without_noise() -> None:
    data = make_data(20, 30, 0.3, seed=0)
    model = _Fixed.from_data(data)
    out = evaluate(model, data, "val")
    assert model.training
    assert out == evaluate(model.eval()(data), data, "val")
    assert not model.training
    assert [key for key in out if key.startswith("recall")] == [
        "recall@5",
        "recall@10",
        "recall@20",
        "recall@50",
    ]
    assert set(out) == {
        f"{name}@{k}"
        for name in ("recall", "ndcg", "precision", "map")
        for k in (5, 10, 20, 50)
    }


class _ItemItem:
    r"""Scores items by their similarities to a user's items."""

    def __init__(self, history: Tensor, similarity: Tensor) -> None:
        self.history = history
        self.similarity = similarity
        self.num_users = history.size(0)
        self.num_items = similarity.size(1)
        self.device = similarity.device

    def score(self, user: Tensor) -> Tensor:
        return self.history[user] @ self.similarity

    def select(self, item: Tensor) -> "_ItemItem":
        return _ItemItem(self.history, self.similarity[:, item])


class _ItemModel(_Fixed):
    def scorer(self, data: HeteroData) -> _ItemItem:
        return make_item_item(data)


def make_item_item(data: HeteroData) -> _ItemItem:
    r"""A matrix of small integers, so that sums are exact and many tie."""
    history = torch.zeros(data["user"].num_nodes, data["item"].num_nodes)
    user, item = data["user", "interacts", "item"].edge_index
    history[user, item] = 1.0
    size = (data["item"].num_nodes,) * 2
    generator = torch.Generator().manual_seed(0)
    similarity = torch.randint(-3, 4, size, generator=generator).float()
    return _ItemItem(history, similarity)


@pytest.mark.parametrize("batch_size", [None, 7])
def test_scorer_without_embeddings(batch_size: Optional[int]) -> None:
    data = make_data(60, 30, 0.4, seed=1)
    scorer = make_item_item(data)
    emb = scorer.history, scorer.similarity.t()
    items = torch.arange(0, 30, 2)
    store = data["user", "interacts", "item"]
    test = store.test_edge_label_index
    store.even_edge_label_index = test[:, test[1] % 2 == 0]
    for split, given in (("test", None), ("even", items)):
        candidates = None if given is None else set(items.tolist())
        for k in (1, 5, 50):
            expected = reference(*emb, data, split, k, candidates)
            kwargs = {"batch_size": batch_size, "items": given}
            out = evaluate(scorer, data, split, [k], **kwargs)
            assert out == pytest.approx(expected, rel=1e-5)
            users = per_user_metrics(scorer, data, split, k, **kwargs)
            for name in ("recall", "ndcg"):
                mean = float(users[name].mean())
                assert mean == pytest.approx(expected[f"{name}@{k}"], rel=1e-5)

    _, found = blocked_topk(scorer, 8, batch_size=batch_size)
    expected_list = (emb[0] @ emb[1].t()).sort(
        dim=1, descending=True, stable=True
    )
    assert torch.equal(found, expected_list.indices[:, :8])


def test_model_without_embeddings() -> None:
    data = make_data(60, 30, 0.4, seed=1)
    model = _ItemModel.from_data(data)
    found = evaluate(model, data)
    assert found == evaluate(make_item_item(data), data)
    assert found != evaluate(model.eval()(data), data)


def test_graph_of_models() -> None:
    data = make_data(60, 30, 0.4, seed=1)
    graph = ToRecGraph()(data)
    torch.manual_seed(0)
    emb = torch.randn(60, 4), torch.randn(30, 4)
    for items in (None, torch.ones(30, dtype=torch.bool)):
        expected_metrics = evaluate(emb, data)
        assert evaluate(emb, graph, items=items) == expected_metrics
        with torch.inference_mode():
            assert evaluate(emb, graph, items=items) == expected_metrics
    found, expected = (per_user_metrics(emb, d) for d in (graph, data))
    for name, value in expected.items():
        assert type(found[name]) is Tensor
        assert torch.equal(found[name], value)


def test_autocast_does_not_touch_scores() -> None:
    data = make_data(20, 30, 0.3, seed=0)
    torch.manual_seed(0)
    emb = torch.randn(20, 4), torch.randn(30, 4)
    expected = evaluate(emb, data)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert evaluate(emb, data) == expected


def test_bad_arguments() -> None:
    data = make_data(20, 30, 0.3, seed=0)
    user_emb, item_emb = torch.randn(20, 4), torch.randn(30, 4)
    with pytest.raises(ValueError, match=r"'ks' .* \(got \[0, 5\]\)"):
        evaluate((user_emb, item_emb), data, ks=[0, 5])
    with pytest.raises(ValueError, match=r"'ks' .* \(got \[\]\)"):
        evaluate((user_emb, item_emb), data, ks=[])
    with pytest.raises(ValueError, match=r"'ks' must be a list .* \(got 5\)"):
        evaluate((user_emb, item_emb), data, ks=5)
    for pair, message in (
        (
            (user_emb[:19], item_emb),
            "must score the 20 users of 'data' \\(got 19",
        ),
        (
            (user_emb, item_emb[:3]),
            "must score the 30 items of 'data' \\(got 3",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(pair, data)
    with pytest.raises(ValueError, match=r"one of \['val', 'test'\]"):
        evaluate((user_emb, item_emb), data, split="train")
    for ranker in ((user_emb, item_emb), MostPopular.from_data(data)):
        with pytest.raises(ValueError, match=r"dataset\[0\] \(got a list\)"):
            evaluate(ranker, [data])
    item_emb[3, 1] = torch.nan
    with pytest.raises(ValueError, match="The item embeddings hold NaN"):
        evaluate((user_emb, item_emb), data)


def test_evaluator_averages_over_blocks() -> None:
    seen = UserItems.from_edge_index(torch.tensor([[0, 1], [0, 0]]), 2)
    item_emb = torch.tensor([[3.0], [2.0], [1.0]])
    scorer = EmbeddingScorer(torch.ones(2, 1), item_emb)
    evaluator = RankingEvaluator(scorer, seen, ks=[1])
    evaluator.update(torch.tensor([0]), torch.tensor([[0], [1]]))
    evaluator.update(torch.tensor([1]), torch.tensor([[0], [2]]))
    assert evaluator.compute()["recall@1"] == 0.5


def test_empty_block_changes_nothing() -> None:
    seen = UserItems.from_edge_index(torch.tensor([[0], [0]]), 1)
    item_emb = torch.tensor([[3.0], [2.0], [1.0]])
    scorer = EmbeddingScorer(torch.ones(1, 1), item_emb)
    empty = torch.empty(0, dtype=torch.long)
    evaluator = RankingEvaluator(scorer, seen, ks=[1, 5])
    evaluator.update(empty, empty.new_empty(2, 0))
    assert set(evaluator.compute().values()) == {0.0}
    evaluator = RankingEvaluator(scorer, seen, ks=[1, 5])
    evaluator.update(torch.tensor([0]), torch.tensor([[0], [1]]))
    evaluator.update(empty, empty.new_empty(2, 0))
    assert evaluator.compute()["recall@1"] == 1.0
    assert evaluator.compute()["precision@5"] == pytest.approx(0.2)


def test_overflowing_scores_are_not_judged() -> None:
    data = SyntheticMultimodal(60, 40, {"visual": 8}, 0)[0]
    emb = [torch.full((size, 2), 1e30) for size in (60, 40)]
    for judge in (evaluate, per_user_metrics):
        with pytest.raises(ValueError, match="scores hold NaN or infinity"):
            judge(tuple(emb), data)
    with pytest.raises(ValueError, match="'ks' must be a list of whole"):
        evaluate(tuple(emb), data, ks=[2.5])


@pytest.mark.parametrize("name", ["EASE", "ItemKNN", "RP3beta", "GFCF", "IALS"])
def test_unfitted_model_is_not_judged(name: str) -> None:
    data = ToRecGraph()(SyntheticMultimodal(60, 40, {"visual": 8}, 0)[0])
    model = getattr(baselines, name).from_data(data)
    with pytest.raises(ValueError, match="was the model never fitted"):
        evaluate(model, data)
