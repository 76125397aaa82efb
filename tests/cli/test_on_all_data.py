"""Training on training, validation and test interactions."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from tmfun_pyg.cli.main import main
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.recommender.export import load_exported
from tmfun_pyg.training import RecommenderModule
from tmfun_pyg.training.checkpoint import read_checkpoint
from tmfun_pyg.utils.edges import all_interactions

FIT = [
    *("fit", "--data.root", "toy", "--out", "run", "--data.k", "3"),
    *("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar"),
    *("false", "--loader.batch_size", "64", "--trainer.max_epochs", "3"),
]
ON_ALL = ["fit", "--config", "run/config.yaml", "--on-all-data", "--out", "new"]
pytestmark = pytest.mark.usefixtures("folder")


def set_best_epoch(epoch: int) -> None:
    """As if another epoch of the run had been the best."""
    checkpoint = torch.load("run/best.ckpt", weights_only=True)
    torch.save({**checkpoint, "epoch": epoch}, "run/best.ckpt")
    metrics = json.loads(Path("run/metrics.json").read_text())
    Path("run/metrics.json").write_text(
        json.dumps({**metrics, "best_epoch": epoch})
    )


def last_line(captured: Any) -> str:
    return captured.readouterr().err.splitlines()[-1]


def assert_has_all(path: str) -> Recommender:
    """Checks what a checkpoint was trained with."""
    raw = Recommender.load("run/best.ckpt").dataset[0]
    found = Recommender.load(path)
    store = found.dataset[0]["user", "interacts", "item"]
    assert torch.equal(store.edge_index, all_interactions(raw))
    trained = raw["user", "interacts", "item"].edge_index
    assert store.edge_index.size(1) > trained.size(1)
    assert [*store.keys()] == ["edge_index"]
    about = read_checkpoint(path)["recommender"]
    assert about["source"]["on_all_data"] is True
    return found


def test_epochs_of_the_best_one(capsys: Any) -> None:
    assert main([*FIT, "--model.channels", "8"]) == 0
    before = read_checkpoint("run/best.ckpt")["recommender"]
    assert before["source"]["on_all_data"] is False
    set_best_epoch(1)
    capsys.readouterr()
    assert main(ON_ALL) == 0
    kept = Path("new/last.ckpt").absolute()
    assert f"tmfun recommend --ckpt {kept}" in capsys.readouterr().out
    found = assert_has_all("new/last.ckpt")
    assert found.epoch == 1  # The second of two epochs.
    assert found.model.channels == 8
    config = yaml.safe_load(Path("new/config.yaml").read_text())
    assert config["trainer"]["max_epochs"] == 2
    assert not Path("new/best.ckpt").exists()
    assert not Path("new/metrics.json").exists()

    # It is served, and not judged:
    for command in ("test", "validate"):
        assert main([command, "--ckpt", "new/last.ckpt"]) == 1
        error = last_line(capsys)
        assert "trained on all interactions: none of" in error
    args = ["--ckpt", "new/last.ckpt", "--out"]
    assert main(["recommend", *args, "lists.csv", "--k", "2"]) == 0
    assert main(["export", *args, "served"]) == 0
    num_all = found.dataset[0]["user", "interacts", "item"].edge_index.size(1)
    assert load_exported("served").seen.col.numel() == num_all
    raw = found.dataset.user_ids[0], found.dataset.item_ids[0]
    args = ["--user", str(raw[0]), "--item", str(raw[1])]
    assert main(["explain", "--ckpt", "new/last.ckpt", *args]) == 0

    # It goes on after an interruption, as any run:
    again = ["fit", "--config", "new/config.yaml", "--resume"]
    assert main([*again, "--trainer.max_epochs", "3"]) == 0
    assert read_checkpoint("new/last.ckpt")["epoch"] == 2


def test_in_closed_form() -> None:
    assert main([*FIT, "--model", "EASE"]) == 0
    assert main(ON_ALL) == 0
    found = assert_has_all("new/last.ckpt")
    expected = type(found.model).from_data(found.dataset[0])
    expected.fit(found.data)
    assert torch.equal(found.model.weight, expected.weight)


def test_interrupted(monkeypatch: Any, capsys: Any) -> None:
    """There is no validation whose users could be told."""
    assert main([*FIT, "--model", "LightGCN"]) == 0
    set_best_epoch(2)
    step = RecommenderModule.training_step

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        if self.current_epoch == 1:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    monkeypatch.setattr(RecommenderModule, "training_step", training_step)
    handler = signal.getsignal(signal.SIGINT)
    try:
        assert main(ON_ALL) == 130
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning ignores it now.
    kept = Path("new/last.ckpt").absolute()
    expected = f"interrupted: the last finished epoch is {kept}, to go on:"
    assert expected in capsys.readouterr().err


def test_what_is_no_finished_run(capsys: Any) -> None:
    assert main([*ON_ALL[:1], *ON_ALL[3:]]) == 1
    assert "must come with --config RUN/config.yaml" in last_line(capsys)
    other = ["--config", "own_data", "--data.root", "toy"]
    assert main([*ON_ALL[:1], *other, *ON_ALL[3:]]) == 1
    assert "the --config of a finished run" in last_line(capsys)
    assert main([*FIT, "--model", "LightGCN"]) == 0
    for options, message in (
        (["--lr", "0.5"], "--lr must be 0.002 to repeat the run in 'run'"),
        (["--trainer.max_epochs", "9"], "--trainer.max_epochs must be 3 to"),
        (
            ["--model.channels", "9"],
            "--model.channels must be 64 to repeat the run in 'run' (got 9)",
        ),
        (["--out", "run"], "--out must be a folder without a run"),
    ):
        assert main([*ON_ALL, *options]) == 1
        assert message in last_line(capsys)
    config = Path("run/config.yaml")
    text = config.read_text()
    config.write_text(text.replace("num_layers: 3", "num_layers: 2"))
    assert main(ON_ALL) == 1
    best = Path("run/best.ckpt")
    assert f"--model.num_layers must be 3, as in '{best}'" in last_line(capsys)
    config.write_text(text)
    x = np.load("toy/visual_feat.npy")
    np.save("toy/visual_feat.npy", x + 1)
    assert main(ON_ALL) == 1
    assert "must hold the data set as it was in training" in last_line(capsys)
    np.save("toy/visual_feat.npy", x)
    Path("run/metrics.json").write_text("{}")
    assert main(ON_ALL) == 1
    assert "no best epoch in metrics.json" in last_line(capsys)
    Path("run/metrics.json").write_text("[")
    assert main(ON_ALL) == 1
    assert "'run/metrics.json' must be JSON" in last_line(capsys)
    Path("run/metrics.json").write_text('{"best_epoch": 70}')
    assert main(ON_ALL) == 1
    assert "must hold a finished run" in last_line(capsys)
    assert not Path("new").exists()
