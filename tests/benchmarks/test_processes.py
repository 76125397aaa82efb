import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch import Callback, Trainer

from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.nn import TMFUN
from tmfun_pyg.training import InteractionDataModule, RecommenderModule
from tmfun_pyg.transforms import FeatureGraph, ToRecGraph

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="Peaks are Linux's"
)

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("sparse", [False, True])
def test_clock(monkeypatch: Any, sparse: bool) -> None:
    """Times batches, also where two optimizers step for each."""
    monkeypatch.syspath_prepend(str(FOLDER))
    processes = importlib.import_module("processes")
    now = [0.0]

    class Work(Callback):
        """Takes 100 seconds in the first batch, and 3 in each other."""

        def on_train_batch_end(self, *args: Any) -> None:
            now[0] += 3.0 if args[-1] > 0 else 100.0

    timer = SimpleNamespace(perf_counter=lambda: now[0])
    monkeypatch.setattr(processes, "time", timer)
    dataset = SyntheticMultimodal(seed=0, pre_transform=FeatureGraph(k=4))
    data = ToRecGraph()(dataset[0])
    clock = processes.Clock()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_train_batches=4,
        limit_val_batches=0,
        callbacks=[Work(), clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = TMFUN.from_data(data, channels=4, num_layers=2, sparse=sparse)
    trainer.fit(
        RecommenderModule(model, data),
        InteractionDataModule(
            data, batch_size=64, num_neighbors=[2, 2], num_similar=2
        ),
    )
    assert trainer.global_step == (8 if sparse else 4)
    assert clock.seconds == 3.0
