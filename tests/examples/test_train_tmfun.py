import csv
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from every_model import MODELS
from toy_data import needs_sampler

from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.training import dataset_options

PATH = Path(__file__).parents[2] / "examples" / "train_tmfun.py"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_tmfun", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def make_dataset(**kwargs: object) -> SyntheticMultimodal:
        dataset = SyntheticMultimodal(50, 60, **kwargs)
        dataset.item_ids = dataset.item_ids + 1000
        return dataset

    monkeypatch.setattr(dataset_options, "SyntheticMultimodal", make_dataset)
    return module


def run(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch, *args: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["train_tmfun.py", *args])
    example.main()


def test_default_run(
    example: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    args = ["--out", str(out), "--epochs", "2", "--k", "5", "--channels", "8"]
    run(example, monkeypatch, *args, "--seeds", "0", "1", "--batch-size", "99")

    content = json.loads((out / "metrics.json").read_text())
    assert content["arguments"]["seeds"] == [0, 1]
    assert content["dataset"]["users"] == 50
    assert {"torch", "torch_geometric", "lightning"} < set(content["versions"])
    results = content["results"]
    assert list(results) == ["most-popular", "tmfun", "lightgcn"]
    for name in ("tmfun", "lightgcn"):
        first, second = results[name]["runs"]
        assert (first["seed"], second["seed"]) == (0, 1)
        assert first["epochs"] == 2
        mean = results[name]["mean"]["test"]
        assert len(mean) == 16
        assert mean["recall@20"] == pytest.approx(
            (first["test"]["recall@20"] + second["test"]["recall@20"]) / 2
        )
        assert results[name]["std"]["test"]["recall@20"] >= 0

        folder = out / name / "seed_1"
        assert (folder / "last.ckpt").exists()
        best = torch.load(folder / "best.ckpt", weights_only=True)
        assert best["vocabulary"]["item_ids"][0] == 1000

        with (folder / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        logged = [r["val_recall@20"] for r in rows if r["val_recall@20"]]
        assert len(logged) == 2
        assert float(logged[second["best_epoch"]]) == pytest.approx(
            second["val"]["recall@20"]
        )
        assert second["val"]["recall@20"] == pytest.approx(
            max(map(float, logged))
        )

        with (folder / "top_k.csv").open(newline="") as file:
            lists = list(csv.DictReader(file))
        assert list(lists[0]) == ["user_id", "rank", "item_id", "score"]
        assert {row["user_id"] for row in lists} == set(map(str, range(50)))
        ranks = [row["rank"] for row in lists if row["user_id"] == "7"]
        assert ranks == [str(rank) for rank in range(1, 21)]
        assert all(1000 <= int(row["item_id"]) < 1060 for row in lists)

    table = capsys.readouterr().out
    for row in ("most-popular", "tmfun, seed 1", "lightgcn, mean"):
        assert row in table
    picture = (out / "learning_curve.png").read_bytes()
    assert picture.startswith(b"\x89PNG")


def test_without_matplotlib(
    example: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    args = ["--out", str(tmp_path), "--epochs", "1", "--model", "lightgcn"]
    run(example, monkeypatch, *args)
    out = capsys.readouterr().out
    assert 'pip install "tmfun-pyg[plot]"' in out
    assert "lightgcn, seed 0" in out
    assert "std" not in out
    assert not (tmp_path / "learning_curve.png").exists()
    assert (tmp_path / "metrics.json").exists()


@needs_sampler
def test_sampled(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    models = ["tmfun", "lightgcn", "simgcl"]
    args = ["--out", str(tmp_path), "--epochs", "1", "--num-layers", "1"]
    args += ["--model", *models]
    run(example, monkeypatch, *args, "--num-neighbors", "3")
    runs = json.loads((tmp_path / "metrics.json").read_text())["results"]
    for name in models:
        assert runs[name]["runs"][0]["epochs"] == 1


def test_all_models_are_there(example: ModuleType) -> None:
    assert set(example.MODELS.values()) == set(MODELS)


@pytest.mark.parametrize("model_cls", MODELS)
def test_model(
    example: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    model_cls: type,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # Takes its time.
    name = model_cls.__name__.lower()
    args = ["--out", str(tmp_path), "--epochs", "1", "--channels", "8"]
    run(example, monkeypatch, *args, "--model", name)
    results = json.loads((tmp_path / "metrics.json").read_text())["results"]
    assert list(results) == ["most-popular", name]
    assert results[name]["runs"][0]["epochs"] == 1
    assert 0 < results[name]["mean"]["test"]["recall@20"] <= 1
    assert (tmp_path / name / "seed_0" / "top_k.csv").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--model bprmf tmfun vbpr --num-layers 2", "not for bprmf, vbpr,"),
        ("--model tmfun mgcn --num-neighbors 2", "not for mgcn, only for "),
        ("--model lightgcn --without attention", "only for tmfun"),
        ("--model mostpopular", "invalid choice: 'mostpopular'"),
    ],
)
def test_options_that_a_model_lacks(
    example: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    args: str,
    message: str,
) -> None:
    out = tmp_path / "out"
    with pytest.raises(SystemExit):
        run(example, monkeypatch, *args.split(), "--out", str(out))
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_ablation(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    args = ["--out", str(tmp_path), "--epochs", "1", "--model", "tmfun"]
    run(example, monkeypatch, *args, "--without", "attention", "item_graph")
    path = tmp_path / "tmfun" / "seed_0" / "best.ckpt"
    names = torch.load(path, weights_only=True)["state_dict"]
    assert not any("attention" in name for name in names)
    assert "model.graph_logit" not in names
    assert "model.later_steps.steps.1.weight" in names
