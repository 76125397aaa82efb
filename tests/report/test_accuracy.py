import math
from typing import Dict, List, Tuple

import numpy as np
import pytest
import torch

from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.report._accuracy import (
    accuracy_by_activity,
    held_out_hits,
    mean_by_bin,
    recall_by_popularity,
)
from tmfun_pyg.report._bins import Bins

DATA = SyntheticMultimodal(60, 40, {}, seed=1, mean_interactions=8.0)[0]
STORE = DATA["user", "interacts", "item"]


def embeddings() -> Tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(60, 4, generator=generator),
        torch.randn(40, 4, generator=generator),
    )


def hits_one_by_one(split: str, k: int) -> List[Tuple[int, int, bool]]:
    """User, item and whether it is found, straight from the definition."""
    user_emb, item_emb = embeddings()
    score = user_emb @ item_emb.t()
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


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("k", [1, 5, 60])
def test_hits_against_loop(split: str, k: int) -> None:
    item, hit = held_out_hits(embeddings(), DATA, split, k)
    expected = hits_one_by_one(split, k)
    assert sorted(zip(item.tolist(), hit.tolist(), strict=True)) == sorted(
        (item, hit) for _, item, hit in expected
    )


@pytest.mark.parametrize("split", ["val", "test"])
def test_recall_by_popularity_against_loop(split: str) -> None:
    count = [0] * 40
    for item in STORE.edge_index[1].tolist():
        count[item] += 1
    out = recall_by_popularity(embeddings(), DATA, split)
    by_bin: Dict[int, List[bool]] = {}
    for _, item, hit in hits_one_by_one(split, 20):
        for place in range(len(out.bins)):
            if out.bins.low[place] <= count[item] <= out.bins.high[place]:
                by_bin.setdefault(place, []).append(hit)
    assert len(by_bin) == len(out.bins) > 3
    for place, hits in by_bin.items():
        share = sum(hits) / len(hits)
        assert out.size[place] == len(hits)
        assert out.mean[place] == pytest.approx(share)
        error = math.sqrt(share * (1 - share) / (len(hits) - 1))
        assert out.error[place] == pytest.approx(error)


def test_cold_items_are_apart() -> None:
    data = SyntheticMultimodal(60, 40, {}, seed=1)[0]
    store = data["user", "interacts", "item"]
    cold = int(store.val_edge_label_index[1, 0])
    store.edge_index = store.edge_index[:, store.edge_index[1] != cold]
    warm = set(store.edge_index[1].tolist())
    trained = set(store.edge_index[0].tolist())
    held_out = store.val_edge_label_index.t().tolist()
    num_cold = sum(i not in warm and u in trained for u, i in held_out)
    out = recall_by_popularity(embeddings(), data, "val")
    assert out.bins.labels[0] == "0"
    assert out.size[0] == num_cold > 0


def test_activity_agrees_with_evaluate() -> None:
    out = accuracy_by_activity(embeddings(), DATA, "val")
    expected = evaluate(embeddings(), DATA, "val", ks=[20])
    for name, values in out.items():
        mean = (values.mean * values.size).sum() / values.size.sum()
        assert mean == pytest.approx(expected[f"{name}@20"], abs=1e-6)
    assert len(out["recall"].bins) > 2


def test_mean_by_bin_by_hand() -> None:
    bins = Bins(np.array([1, 3]), np.array([2, 9]))
    out = mean_by_bin(
        np.array([1, 5, 2, 1]), np.array([0.0, 7.0, 1.0, 2.0]), bins
    )
    assert out.size.tolist() == [3, 1]
    assert out.mean.tolist() == [1, 7]
    # The sample variance of 0, 1, 2 is one.
    assert out.error[0] == pytest.approx(1 / math.sqrt(3))
    assert math.isnan(out.error[1])
