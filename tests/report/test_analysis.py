from typing import Dict, List, Tuple

import numpy as np
import pytest
import torch

from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.nn import TMFUN, LightGCN
from tmfun_pyg.report.analysis import (
    ModalityWeights,
    choose_items,
    describe,
    find_hits,
    find_items,
    judge,
    modality_weights,
    project_items,
    why_no_weights,
)
from tmfun_pyg.transforms import FeatureGraph, ToRecGraph
from tmfun_pyg.utils.retrieval import EmbeddingScorer
from tmfun_pyg.utils.user_items import UserItems

DATASET = SyntheticMultimodal(60, 40, {}, seed=1, mean_interactions=8.0)
DATA = ToRecGraph()(DATASET[0])
STORE = DATASET[0]["user", "interacts", "item"]
SEEN = UserItems.from_edge_index(STORE.edge_index, 60)


def scorer() -> EmbeddingScorer:
    generator = torch.Generator().manual_seed(0)
    return EmbeddingScorer(
        torch.randn(60, 4, generator=generator),
        torch.randn(40, 4, generator=generator),
    )


def hits_one_by_one(split: str, k: int) -> List[Tuple[int, int, bool]]:
    """User, item and whether it is found, straight from the definition."""
    score = scorer().user_emb @ scorer().item_emb.t()
    train = set(map(tuple, STORE.edge_index.t().tolist()))
    trained = {user for user, _ in train}
    out = []
    for user, item in STORE[f"{split}_edge_label_index"].t().tolist():
        if user not in trained:
            continue
        better = [
            other
            for other in range(40)
            if (user, other) not in train
            and float(score[user, other]) > float(score[user, item])
        ]
        out.append((user, item, len(better) < k))
    return out


@pytest.mark.parametrize("k", [1, 5, 60])
def test_hits_against_loop(k: int) -> None:
    expected = hits_one_by_one("val", k)
    judged = torch.tensor(sorted({user for user, _, _ in expected}))
    item, hit = find_hits(scorer(), STORE.val_edge_label_index, SEEN, judged, k)
    assert sorted(zip(item.tolist(), hit.tolist(), strict=True)) == sorted(
        (item, hit) for _, item, hit in expected
    )


@pytest.mark.parametrize("split", ["val", "test"])
def test_popularity_against_loop(split: str) -> None:
    count = [0] * 40
    for item in STORE.edge_index[1].tolist():
        count[item] += 1
    out = judge(scorer(), DATA, split).popularity
    by_bin: Dict[int, List[bool]] = {}
    for _, item, hit in hits_one_by_one(split, 20):
        for place in range(len(out.size)):
            if out.bins.low[place] <= count[item] <= out.bins.high[place]:
                by_bin.setdefault(place, []).append(hit)
    assert len(by_bin) == len(out.size) > 3
    for place, hits in by_bin.items():
        assert out.size[place] == len(hits)
        assert out.mean[place] == pytest.approx(sum(hits) / len(hits))


def test_accuracy_agrees_with_evaluate() -> None:
    out = judge(scorer(), DATA, "val")
    expected = evaluate(scorer(), DATA, "val", beyond_accuracy=True)
    assert out.metrics == expected
    for name, values in out.activity.items():
        mean = (values.mean * values.size).sum() / values.size.sum()
        assert mean == pytest.approx(expected[f"{name}@20"], abs=1e-6)
    assert len(out.activity["recall"].size) > 2


def test_projection_against_svd() -> None:
    torch.manual_seed(3)
    x = torch.randn(200, 8) * torch.tensor([5.0, 3, 1, 1, 1, 1, 1, 1]) + 7
    out = project_items(x)
    centered = (x - x.mean(dim=0)).double()
    _, s, vt = torch.linalg.svd(centered, full_matrices=False)
    assert out.item.tolist() == list(range(200))
    expected = (centered @ vt[:2].t()).numpy()
    for axis in range(2):
        sign = np.sign(expected[:, axis] @ out.place[:, axis])
        np.testing.assert_allclose(
            out.place[:, axis], sign * expected[:, axis], atol=1e-5
        )
    share = (s[:2] ** 2 / (s**2).sum()).numpy()
    np.testing.assert_allclose(out.share, share, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_projection_signs(seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.randn(50, 6).double()
    place = torch.from_numpy(project_items(x).place)
    axes = torch.linalg.lstsq(x - x.mean(dim=0), place).solution
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    assert (largest > 0).all()


def test_projection_of_some_items() -> None:
    torch.manual_seed(0)
    x = torch.randn(100, 5)
    every, some = project_items(x), project_items(x, max_points=10)
    assert len(set(some.item.tolist())) == 10
    assert some.item.tolist() == project_items(x, 10).item.tolist()
    np.testing.assert_array_equal(some.place, every.place[some.item])
    np.testing.assert_array_equal(some.share, every.share)


def test_projection_of_few_dimensions() -> None:
    one = project_items(torch.tensor([[1.0], [3.0], [5.0]]))
    np.testing.assert_allclose(one.place, [[-2, 0], [0, 0], [2, 0]])
    assert one.share.tolist() == [1, 0]
    same = project_items(torch.ones(4, 3))
    assert same.place.tolist() == [[0, 0]] * 4
    assert same.share.tolist() == [0, 0]


def test_weights_by_popularity() -> None:
    first = np.array([0.5, 0.1, 0.5, 0.2, 0.9, 0.0])
    weights = ModalityWeights(
        ["a", "b"],
        np.stack([first, 1 - first], axis=1),
        np.array([True, True, True, True, True, False]),
        np.array([0, 2, 2, 2, 0, 2]),
    )
    out = weights.by_popularity()
    assert list(out) == ["a", "b"]
    assert out["a"].bins.labels == ["0", "2"]
    assert out["a"].size.tolist() == [2, 3]
    np.testing.assert_allclose(out["a"].mean, [0.7, 0.2])
    np.testing.assert_allclose(out["b"].mean, [0.3, 0.8])
    # From the lower and to the upper quartile.
    np.testing.assert_allclose(out["a"].error, [[0.1, 0.05], [0.1, 0.15]])


def test_weights_of_a_model() -> None:
    dataset = SyntheticMultimodal(
        30, 20, missing={"visual": 0.3}, pre_transform=FeatureGraph(3)
    )
    data = ToRecGraph()(dataset[0])
    torch.manual_seed(0)
    model = TMFUN.from_data(data, channels=8).eval()
    assert why_no_weights(model, data) == ""
    with torch.no_grad():
        out = modality_weights(model, data)
    assert out.modalities == ["visual", "textual"]
    np.testing.assert_array_equal(
        out.is_complete, dataset[0]["item"].mask_visual
    )
    assert out.is_complete.sum() == 14
    np.testing.assert_allclose(out.weight.sum(axis=1), 1, rtol=1e-5)
    assert (out.weight[~out.is_complete, 0] == 0).all()
    assert out.popularity.sum() == data["user"].degree.sum()


def test_why_no_weights() -> None:
    data = ToRecGraph()(
        SyntheticMultimodal(
            30, 20, {"visual": 4}, pre_transform=FeatureGraph(3)
        )[0]
    )
    for model, why in (
        (LightGCN.from_data(data), "LightGCN does not"),
        (TMFUN.from_data(data), "one modality, visual"),
        (TMFUN.from_data(data, attention=False), "without its modality"),
    ):
        assert why in why_no_weights(model, data)


def test_choose_items() -> None:
    count = np.array([5, 0, 9, 1, 7, 3, 2, 8, 4, 6, 11, 10, 0])
    out = choose_items(count, [])
    groups = ["most popular"] * 4 + ["random"] * 4 + ["least popular"] * 4
    assert [why for why, _ in out] == groups
    items = [item for _, item in out]
    assert items[:4] == [10, 11, 2, 7]
    assert items[8:] == [6, 3, 1, 12]
    assert set(items[4:8]) <= {0, 4, 5, 8, 9}
    assert len(set(items)) == 12
    assert out == choose_items(count, [])

    few = choose_items(np.array([3, 1, 2]), [])
    assert few == [("most popular", item) for item in (0, 2, 1)]
    asked = choose_items(count, [4, 1])
    assert asked == [("asked for", 4), ("asked for", 1)]


def test_find_items() -> None:
    assert find_items(np.array([10, 12, 30]), ["30", 10, "30"]) == [2, 0]
    assert find_items(np.array(["a", "<b>"]), ["<b>"]) == [1]
    assert find_items(np.array(["a"]), []) == []
    with pytest.raises(ValueError, match=r"'items'.*'10' \(got \['7', 'x'\]"):
        find_items(np.array([10, 12]), ["12", "7", "x"])


def test_describe() -> None:
    dataset = SyntheticMultimodal(30, 20, missing={"visual": 0.3})
    out = describe(dataset)
    num_train = dataset[0]["user", "interacts", "item"].edge_index.size(1)
    assert out["data set"] == "SyntheticMultimodal"
    assert (out["users"], out["items"]) == ("30", "20")
    assert out["density of training"] == f"{num_train / 600:.3%}"
    assert "visual (" in out["modalities"]
    assert "features, 14 items)" in out["modalities"]
    assert describe(DATASET)["modalities"] == "none"
