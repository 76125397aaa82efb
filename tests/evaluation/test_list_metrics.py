import math
from itertools import combinations
from typing import Any, Dict, List, Optional

import pytest
import torch
from torch_geometric.data import HeteroData
from torch_geometric.metrics import LinkPredAveragePopularity, LinkPredCoverage
from torch_geometric.testing import withDevice
from toy_data import make_data

from tmfun_pyg.baselines.content_knn import unit_features
from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.evaluation import ListMetrics, evaluate, list_metrics
from tmfun_pyg.transforms import ToRecGraph
from tmfun_pyg.utils import retrieval
from tmfun_pyg.utils.retrieval import EmbeddingScorer, blocked_topk
from tmfun_pyg.utils.user_items import UserItems


@withDevice
def test_by_hand(device: torch.device) -> None:
    """Four users and four items, which 4, 2, 1 and 0 users have."""
    degree = torch.tensor([4, 2, 1, 0], device=device)
    # The last item has no content:
    content = torch.tensor([[1, 0], [0, 1], [1, 0], [0, 0]], dtype=torch.float)
    lists = ListMetrics([2, 1, 3], degree, 4, content.to(device))
    # Of three items left for a user, or fewer; 4 is none:
    first = [[0, 1, 4], [0, 2, 4]]
    for block in (first, [[0, 1, 2]], [[0, 3, 4]]):
        lists.update(torch.tensor(block, device=device))
    assert lists.compute() == pytest.approx(
        {
            # Item 0 alone is shown, four times.
            "coverage@1": 1 / 4,
            "gini@1": 1,
            "novelty@1": 0,  # All have it.
            "popularity@1": 4,
            "cold_share@1": 0,
            # Shown 4, 2, 1 and 1 times; none has a diversity of one item.
            "coverage@2": 1,
            "gini@2": (-3 * 1 - 1 * 1 + 1 * 2 + 3 * 4) / (3 * 8),
            "novelty@2": (4 * 0 + 2 * 1 + 1 * 2 + 1 * 2) / 8,
            "popularity@2": (4 * 4 + 2 * 2 + 1 * 1 + 1 * 0) / 8,
            "cold_share@2": 1 / 8,
            "diversity@2": (1 + 0 + 1) / 3,  # The fourth list has one vector.
            # Shown 4, 2, 2 and 1 times:
            "coverage@3": 1,
            "gini@3": (-3 * 1 - 1 * 2 + 1 * 2 + 3 * 4) / (3 * 9),
            "novelty@3": (4 * 0 + 2 * 1 + 2 * 2 + 1 * 2) / 9,
            "popularity@3": (4 * 4 + 2 * 2 + 2 * 1 + 1 * 0) / 9,
            "cold_share@3": 1 / 9,
            "diversity@3": (1 + 0 + 2 / 3) / 3,  # Of 3 pairs, one is alike.
        }
    )


def test_equal_shares_have_no_gini() -> None:
    degree = torch.tensor([1, 1, 1])
    lists = ListMetrics([2], degree, 3)
    lists.update(torch.tensor([[0, 1], [1, 2], [2, 0]]))
    assert lists.compute() == pytest.approx(
        {
            "coverage@2": 1,
            "gini@2": 0,
            "novelty@2": math.log2(3),
            "popularity@2": 1,
            "cold_share@2": 0,
        }
    )


def reference(
    lists: List[List[int]], data: HeteroData, items: List[int], k: int
) -> Dict[str, float]:
    """One place after the other, straight from the definitions."""
    user, item = data["user", "interacts", "item"].edge_index.tolist()
    units = unit_features(data)
    masks = data["item"].mask
    shown = [item for listed in lists for item in listed[:k]]
    count = sorted(shown.count(i) for i in items)
    size, degree = len(items), {i: item.count(i) for i in items}

    def gap(i: int, j: int) -> float:
        return 1 - float(sum(x[i] @ x[j] for x in units) / len(units))

    spreads = []
    for listed in lists:
        full = [i for i in listed[:k] if masks[i, -1]]
        gaps = [gap(i, j) for i, j in combinations(full, 2)]
        spreads += [sum(gaps) / len(gaps)] if gaps else []
    gaps = [abs(a - b) for a in count for b in count]
    out = {
        "coverage": len(set(shown)) / size,
        "gini": sum(gaps) / (2 * (size - 1) * len(shown)),
        "novelty": sum(
            -math.log2(max(degree[i], 1) / len(set(user))) for i in shown
        ),
        "popularity": sum(degree[i] for i in shown),
        "cold_share": sum(degree[i] == 0 for i in shown),
    }
    for name in ("novelty", "popularity", "cold_share"):
        out[name] /= len(shown)
    if spreads:
        out["diversity"] = sum(spreads) / len(spreads)
    return {f"{name}@{k}": value for name, value in out.items()}


@pytest.fixture(scope="module")
def data() -> HeteroData:
    """Sixty users, one of whom has nothing in training, and thirty items, of
    which the last is cold, and some lack a modality or both.
    """
    missing = {"visual": 0.5, "textual": 0.5}
    sizes = {"visual": 6, "textual": 4}
    data = SyntheticMultimodal(60, 30, sizes, missing=missing)[0]
    store = data["user", "interacts", "item"]
    user, item = store.edge_index
    store.edge_index = store.edge_index[:, (user != 7) & (item != 29)]
    return data


@withDevice
@pytest.mark.parametrize("is_graph", [False, True])
@pytest.mark.parametrize("only", [None, range(0, 30, 2)])
def test_against_slow_reference(
    device: torch.device,
    is_graph: bool,
    only: Optional[range],
    data: HeteroData,
    monkeypatch: Any,
) -> None:
    graph = ToRecGraph()(data)
    torch.manual_seed(0)
    emb = torch.randn(60, 4), torch.randn(30, 4)
    items = list(range(30)) if only is None else list(only)
    given = None if only is None else torch.tensor(items)
    for store in (data, graph):
        pairs = store["user", "interacts", "item"]
        held_out = pairs.test_edge_label_index
        is_given = torch.isin(held_out[1], torch.tensor(items))
        pairs.some_edge_label_index = held_out[:, is_given]
    for module in (retrieval, list_metrics):
        monkeypatch.setattr(module, "default_batch_size", lambda size: 7)
    ks = [1, 5, 28, 40]  # Longer than what is left for some, and for all.
    found = evaluate(
        tuple(x.to(device) for x in emb),
        (graph if is_graph else data).to(device),
        "some",
        ks,
        items=given,
        beyond_accuracy=True,
    )

    store = graph["user", "interacts", "item"]
    trained, held_out = store.edge_index, store.some_edge_label_index
    judged = set(trained[0].tolist()) & set(held_out[0].tolist())
    have = set(zip(*trained.tolist(), strict=True))
    score = emb[0] @ emb[1].t()
    lists = [
        sorted(
            (i for i in items if (user, i) not in have),
            key=lambda i, user=user: -float(score[user, i]),
        )
        for user in sorted(judged)
    ]
    expected = evaluate(emb, data.cpu(), "some", ks, items=given)
    for k in ks:
        expected.update(reference(lists, graph.cpu(), items, k))
    assert found == pytest.approx(expected, abs=1e-5)
    assert "diversity@5" in found
    assert "diversity@1" not in found


def test_full_lists_against_pyg(data: HeteroData) -> None:
    torch.manual_seed(0)
    emb = torch.randn(60, 4), torch.randn(30, 4)
    found = evaluate(emb, data, ks=[5], beyond_accuracy=True)
    store = data["user", "interacts", "item"]
    degree = store.edge_index[1].bincount(minlength=30)
    held_out = store.test_edge_label_index[0].unique()
    user = held_out[torch.isin(held_out, store.edge_index[0])]
    seen = UserItems.from_edge_index(store.edge_index, 60)
    _, item = blocked_topk(EmbeddingScorer(*emb), 5, user, seen)
    for name, metric in (
        ("coverage@5", LinkPredCoverage(5, 30)),
        ("popularity@5", LinkPredAveragePopularity(5, degree)),
    ):
        metric.update(item, torch.empty(2, 0, dtype=torch.long))
        assert float(metric.compute()) == pytest.approx(found[name])


def test_without_content() -> None:
    data = make_data(num_modalities=0, missing=False)
    store = data["user", "interacts", "item"]
    store.test_edge_label_index = torch.tensor([[0], [5]])
    store.edge_index = store.edge_index[:, store.edge_index[1] != 5]
    emb: Any = torch.ones(7, 1), torch.arange(6.0).view(-1, 1)
    found = evaluate(emb, data, ks=[1], beyond_accuracy=True)
    assert found["cold_share@1"] == 1
    assert found["recall@1"] == 1
    assert not any(name.startswith("diversity") for name in found)
