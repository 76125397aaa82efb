import importlib
import json
import shutil
import sys
from pathlib import Path
from statistics import mean, stdev
from types import ModuleType
from typing import Any, Dict, Iterator, List

import pytest
from lightning.pytorch import seed_everything

from tmfun_pyg.baselines import ContentKNN
from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.nn import LightGCN
from tmfun_pyg.transforms import HoldOutItems, ToRecGraph

FOLDER = Path(__file__).parents[2] / "benchmarks"
CLOSED = ["ContentKNN", "ContentRidge"]
MODELS = ["Random", "ContentKNN", "LightGCN", "VBPR", "TMFUN", "ContentRidge"]
SMALL = ["--channels", "8", "--epochs", "1", "--batch-size", "99", "--k", "5"]
SMALL += ["--accelerator", "cpu", "--seeds", "2"]


class Small:
    """Stands for the synthetic data set."""

    def __init__(self, seed: int) -> None:
        self.data = SyntheticMultimodal(50, 60, seed=seed)[0]

    def __getitem__(self, index: int) -> Any:
        return self.data


@pytest.fixture(scope="module")
def cold() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        options = importlib.import_module("_options")
        patch.setattr(options, "SyntheticMultimodal", Small)
        yield importlib.import_module("cold")


def run(cold: ModuleType, out: Path, *args: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        argv = ["cold.py", "--out", str(out.parent), *SMALL, *args]
        patch.setattr(sys, "argv", argv)
        cold.main()


def read(out: Path, label: str, seed: int = 0) -> Dict[str, Any]:
    return json.loads((out / label / f"seed_{seed}.json").read_text())


@pytest.fixture(scope="module")
def done(cold: ModuleType, tmp_path_factory: Any) -> Path:
    out = tmp_path_factory.mktemp("cold") / "synthetic"
    run(cold, out, "--set", "LightGCN.num_layers=1")
    return out


def test_runs(done: Path) -> None:
    for name in MODELS:
        for seed in range(1 if name in CLOSED else 2):
            found = read(done, name, seed)
            assert found["data"]["cold_items"] == 12
            assert found["settings"]["ratio"] == 0.2
            assert set(found) >= {"commit", "versions", "hardware"}
    assert not (done / "ContentKNN" / "seed_1.json").exists()
    assert read(done, "LightGCN")["params"]["num_layers"] == 1
    # Cold items are ranked among fewer items there:
    for name in MODELS:
        found = read(done, name)
        assert (
            found["cold_among_cold"]["recall@20"]
            >= found["cold_among_all"]["recall@20"]
        )


def test_same_as_by_hand(done: Path) -> None:
    data = ToRecGraph()(HoldOutItems(0.2, 0)(Small(0)[0]))
    model = ContentKNN.from_data(data)
    found = read(done, "ContentKNN")
    is_cold = data["item"].is_cold
    expected = evaluate(model, data, "cold_test", items=is_cold)
    assert found["cold_among_cold"] == expected
    assert found["cold_among_all"] == evaluate(model, data, "cold_test")
    assert found["warm_among_all"] == evaluate(model, data, "test")
    assert found["val"] == evaluate(model, data, "val")


def test_table(done: Path) -> None:
    rows = json.loads((done / "cold.json").read_text())["models"]
    assert [row["label"] for row in rows] == MODELS
    text = (done / "cold.md").read_text()
    assert "12 of 60 items are cold" in text
    for row in rows:
        for ranking in ("cold_among_cold", "cold_among_all", "warm_among_all"):
            for metric in ("recall@20", "ndcg@20"):
                values = [
                    read(done, row["label"], seed)[ranking][metric]
                    for seed in row["seeds"]
                ]
                cell = f"{mean(values):.4f}"
                title = f"{ranking.replace('_', ' ')} {metric[0].upper()}@20"
                assert row["metrics"][title]["mean"] == mean(values)
                if len(values) > 1:
                    assert row["metrics"][title]["std"] == stdev(values)
                    cell += f" ± {stdev(values):.4f}"
                assert f"| {cell} |" in text


def test_shares(done: Path) -> None:
    rows = json.loads((done / "cold.json").read_text())["shares"]
    names = ["ContentKNN", "TMFUN", "ContentRidge"]
    shares = [0.0, 0.05, 0.1, 0.2]
    found = [(row["model"], row["share"]) for row in rows]
    assert found == [(name, share) for name in names for share in shares]
    for row in rows[::4]:  # Without a share they are as they were.
        seeds = range(1 if row["model"] in CLOSED else 2)
        for kind in ("warm", "cold"):
            runs = [read(done, row["model"], seed) for seed in seeds]
            expected = mean(x[f"{kind}_among_all"]["recall@20"] for x in runs)
            assert row[f"{kind} R@20"] == pytest.approx(expected)

    # Two of 20 places, by hand:
    data = ToRecGraph()(HoldOutItems(0.2, 0)(Small(0)[0]))
    user_emb, item_emb = ContentKNN.from_data(data)(data)
    scores, is_cold = user_emb @ item_emb.t(), data["item"].is_cold
    store = data["user", "interacts", "item"]
    scores[tuple(store.edge_index)] = -float("inf")
    shown, recalls = set(), {}
    for title, pairs in (
        ("warm R@20", store.test_edge_label_index),
        ("cold R@20", store.cold_test_edge_label_index),
    ):
        recall = []
        for user in range(50):
            order = scores[user].argsort(descending=True, stable=True).tolist()
            cold = [item for item in order if is_cold[item]][:2]
            warm = [item for item in order if not is_cold[item]][:18]
            wanted = pairs[1, pairs[0] == user].tolist()
            shown |= set(cold)
            if wanted:
                hit = set(wanted) & {*cold, *warm}
                recall.append(len(hit) / len(wanted))
        recalls[title] = mean(recall)
    row = rows[2]
    for title, value in recalls.items():
        assert row[title] == pytest.approx(value)
    assert row["cold items shown"] == pytest.approx(len(shown) / 12)
    relative = row["warm R@20"] / rows[0]["warm R@20"]
    assert row["warm, of that at 0"] == pytest.approx(relative)
    relative = rows[6]["cold R@20"] / row["cold R@20"]
    assert rows[6]["cold, of ContentKNN's"] == pytest.approx(relative)
    assert "With a share of lists of 20" in (done / "cold.md").read_text()


def test_shares_without_embeddings(
    cold: ModuleType, done: Path, tmp_path: Path
) -> None:
    out = tmp_path / "synthetic"
    shutil.copytree(done, out)
    (out / "ContentKNN" / "seed_0.npz").unlink()
    with pytest.raises(ValueError, match=r"seed_0\.npz must exist"):
        run(cold, out, "--models", "ContentKNN")


def test_finished_runs_are_not_repeated(
    cold: ModuleType, done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: List[str] = []
    real = cold.Runs.train

    def train(runs: Any, name: str, *args: Any) -> Any:
        trained.append(name)
        return real(runs, name, *args)

    monkeypatch.setattr(cold.Runs, "train", train)
    args = ["--set", "LightGCN.num_layers=1"]
    before = (done / "cold.json").read_text()
    run(cold, done, *args)
    assert trained == []
    (done / "VBPR" / "seed_1.json").unlink()
    run(cold, done, *args)
    assert trained == ["VBPR"]
    after = (done / "cold.json").read_text()
    for row, other in zip(
        json.loads(after)["models"], json.loads(before)["models"], strict=True
    ):
        assert row["metrics"] == other["metrics"]

    with pytest.raises(ValueError, match="made with the settings"):
        run(cold, done, "--models", "VBPR", "--ratio", "0.3")


def test_nothing_is_learned_of_cold_items(
    cold: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    real = cold.Runs.train

    def train(runs: Any, *args: Any) -> Any:
        out = real(runs, *args)
        found.append((runs.data, out[0].item_embedding.weight.detach()))
        return out

    monkeypatch.setattr(cold.Runs, "train", train)
    run(cold, tmp_path / "synthetic", "--models", "LightGCN", "--seeds", "1")
    ((data, weight),) = found
    seed_everything(0)
    start = LightGCN.from_data(data, channels=8).item_embedding.weight
    is_same = (weight == start).all(dim=1)
    assert is_same[data["item"].is_cold].all()
    item = data["user", "interacts", "item"].edge_index[1]
    assert not is_same[item].any()
