import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tmfun_pyg.baselines import EASE
from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.transforms import ToRecGraph

FOLDER = Path(__file__).parents[2] / "benchmarks"
ARGS = ["--channels", "8", "--epochs", "1", "--batch-size", "99", "--k", "5"]
ARGS += ["--accelerator", "cpu", "--seeds", "1", "--folds", "2"]


class Small:
    """Stands for the synthetic data set."""

    def __init__(self, seed: int) -> None:
        self.data = SyntheticMultimodal(50, 60, seed=seed)[0]

    def __getitem__(self, index: int) -> Any:
        return self.data


def test_same_as_by_hand(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    options = importlib.import_module("_options")
    monkeypatch.setattr(options, "SyntheticMultimodal", Small)
    module = importlib.import_module("fold_in")
    args = ["--out", str(tmp_path), "--models", "EASE", "LightGCN", *ARGS]
    monkeypatch.setattr(sys, "argv", ["fold_in.py", *args])
    module.main()
    found = json.loads((tmp_path / "synthetic/fold_in.json").read_text())
    assert set(found) == {"EASE", "LightGCN"}

    data = Small(0)[0]
    store = data["user", "interacts", "item"]
    r = torch.zeros(50, 60)
    r[tuple(store.edge_index)] = 1.0
    test = torch.zeros(50, 60)
    test[tuple(store.test_edge_label_index)] = 1.0
    rank = sorted(range(50), key=lambda user: (r[user].sum(), user))
    fold = torch.empty(50, dtype=torch.long)
    fold[rank] = torch.arange(50) % 2

    def recall(is_trained: torch.Tensor, known: torch.Tensor = r) -> np.ndarray:
        """Of all users, with a model of some, by what is known of them."""
        other = Small(0)[0]
        edge_index = other["user", "interacts", "item"].edge_index
        edge_index = edge_index[:, is_trained[edge_index[0]]]
        other["user", "interacts", "item"].edge_index = edge_index
        graph = ToRecGraph()(other)
        model = EASE.from_data(graph)
        model.fit(graph)
        score = (known @ model.weight).masked_fill(r > 0, -torch.inf)
        top = score.argsort(dim=1, descending=True, stable=True)[:, :20]
        return (test.gather(1, top).sum(1) / test.sum(1)).numpy()

    trained = recall(fold >= 0)
    parts = [recall(fold == 1), recall(fold == 0)]
    own = fold.numpy()
    folded_in = np.where(own == 0, parts[0], parts[1])
    known = np.where(own == 0, parts[1], parts[0])
    is_judged = np.isfinite(trained) & (r.sum(1) > 0).numpy()
    means = [x[is_judged].mean() for x in (folded_in, known, trained)]
    expected = [*means, means[0] / means[1]]
    assert found["EASE"][:4] == pytest.approx(expected, rel=1e-5)
    few = torch.zeros(50, 60)
    few[tuple(module.first(store.edge_index, 2))] = 1.0
    assert few.sum(1).tolist() == r.sum(1).clamp(max=2).tolist()
    assert (few <= r).all()
    low, high = found["EASE"][4:6]
    assert low < expected[-1] < high

    def by_two(n: int) -> np.ndarray:
        edge_index = store.edge_index[:, fold[store.edge_index[0]] == n]
        user, row = edge_index[0].unique(return_inverse=True)
        pairs = module.first(torch.stack([row, edge_index[1]]), 2)
        few = torch.zeros(50, 60)
        few[user[pairs[0]], pairs[1]] = 1.0
        return recall(fold != n, few)

    curve = np.where(own == 0, by_two(0), by_two(1))[is_judged].mean()
    assert found["EASE"][7] == pytest.approx(curve, rel=1e-5)
