"""What is said of a run before it is over, by a clock that is set."""

import re
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Callable, List

import pytest
import torch
from lightning.pytorch.callbacks import Timer
from toy_files import write_files

from tmfun_pyg.cli.duration import in_words
from tmfun_pyg.cli.forecast import Forecast
from tmfun_pyg.cli.main import main
from tmfun_pyg.cli.progress import Progress
from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.training import InteractionDataModule


@pytest.fixture
def wait(monkeypatch: Any) -> Callable[[float], None]:
    """Lets time pass."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    return pass_by


def make_trainer(num_steps: int, **more: Any) -> Any:
    stopping = SimpleNamespace(best_score=0.5)
    return SimpleNamespace(
        num_training_batches=num_steps,
        fit_loop=SimpleNamespace(batch_idx=0),
        **{
            "strategy": SimpleNamespace(root_device=torch.device("cpu")),
            "is_global_zero": True,
            "enable_validation": True,
            "max_epochs": 500,
            "max_steps": -1,
            "global_step": 0,
            "callbacks": [],
            "sanity_checking": False,
            "current_epoch": 0,
            "early_stopping_callback": stopping,
            "callback_metrics": {"train_loss": 1.0, "val_recall@20": 0.25},
            **more,
        },
    )


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.1274, "0.13 s"),
        (8.8, "8.8 s"),
        (119, "119 s"),
        (150, "2.5 min"),
        (1500, "25 min"),
        (36_000, "10.0 h"),
        (180_000, "2.1 days"),
        (18_000_000, "208 days"),
    ],
)
def test_in_words(seconds: float, expected: str) -> None:
    assert in_words(seconds) == expected


def foretell(
    trainer: Any, steps: List[float], wait: Any, **options: Any
) -> None:
    data = SyntheticMultimodal(60, 80)[0]
    loader = InteractionDataModule(data, **options)
    forecast = Forecast(Progress(), loader)
    module: Any = None
    forecast.on_train_start(trainer, module)
    for number, seconds in enumerate(steps):
        trainer.fit_loop.batch_idx = number
        wait(seconds)
        forecast.on_train_batch_end(trainer, module)


def test_forecast(wait: Any, capsys: Any) -> None:
    # The first step allocates, and what comes after the line counts no more:
    steps = [30.0, 1.0, 1.5, 70.0]
    with pytest.warns(UserWarning, match="an epoch will take 3.5 h: a larger"):
        foretell(make_trainer(10_000), steps, wait)
    (line,) = capsys.readouterr().out.splitlines()
    data = SyntheticMultimodal(60, 80)[0]
    edges = data["user", "interacts", "item"]
    assert re.fullmatch(
        rf"60 users, 80 items, {edges.num_edges} interactions; 10,000 steps "
        r"of 2,048 an epoch, 1\.2 s a step, 3\.5 h an epoch before validation, "
        r"72 days for 500 epochs unless training stops early; peak memory so "
        r"far \d+\.\d GB",
        line,
    )


def test_forecast_of_a_run_that_goes_on(wait: Any, capsys: Any) -> None:
    trainer = make_trainer(2, current_epoch=490, early_stopping_callback=None)
    foretell(trainer, [3.0, 0.5], wait)
    out = capsys.readouterr().out
    assert "0.5 s a step, 1 s an epoch before" in out
    assert "validation, 10 s for 10 epochs; peak" in out
    # One step is all there is, and no last epoch:
    foretell(make_trainer(1, max_epochs=-1), [3.0], wait)
    assert "3 s a step, 3 s an epoch before validation; peak" in (
        capsys.readouterr().out
    )
    foretell(make_trainer(1, is_global_zero=False), [3.0], wait)
    assert capsys.readouterr().out == ""


def test_device_is_not_waited_for_in_each_step(
    wait: Any, monkeypatch: Any, capsys: Any
) -> None:
    waits: List[float] = []

    def synchronize() -> None:
        waits.append(time.perf_counter())
        wait(1.0)  # What the device has yet to do.

    monkeypatch.setattr(torch.accelerator, "synchronize", synchronize)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 3e9)
    place = SimpleNamespace(root_device=torch.device("cuda"))
    foretell(make_trainer(1000, strategy=place), [9.0, *[0.1] * 100], wait)
    assert len(waits) == 3  # Before the first step, after it, at the end.
    # 20 steps, of which the host knew 2 s and the device needed 3 s:
    out = capsys.readouterr().out
    assert "0.15 s a step" in out
    assert "peak memory so far 3.0 GB" in out


def test_sample_of_users(wait: Any, capsys: Any) -> None:
    foretell(make_trainer(1), [3.0], wait, val_users=10)
    line = capsys.readouterr().out
    assert "; validation on a sample of 10 users; peak memory" in line
    off = make_trainer(1, enable_validation=False)
    foretell(off, [3.0], wait, val_users=10)
    assert "sample" not in capsys.readouterr().out


def test_advice_on_samples(wait: Any) -> None:
    with pytest.warns(UserWarning, match="smaller --loader.num_neighbors"):
        foretell(make_trainer(9_000), [1.0, 2.0], wait, num_neighbors=[5])


def test_validation_is_no_step(wait: Any, capsys: Any) -> None:
    loader = InteractionDataModule(SyntheticMultimodal(60, 80)[0])
    forecast, module = Forecast(Progress(), loader), SimpleNamespace()
    trainer = make_trainer(9)
    forecast.on_train_start(trainer, module)
    for number in range(3):
        trainer.fit_loop.batch_idx = number
        wait(1.0)
        forecast.on_train_batch_end(trainer, module)
        forecast.on_validation_start(trainer, module)
        wait(50.0)
        forecast.on_validation_end(trainer, module)
    assert "an epoch, 1 s a step" in capsys.readouterr().out


def test_time_left(wait: Any, capsys: Any) -> None:
    progress, module = Progress(), SimpleNamespace()
    trainer = make_trainer(4, max_epochs=5, current_epoch=2)
    progress.on_train_start(trainer, module)
    for epoch in (2, 3, 4):
        trainer.current_epoch = epoch
        progress.on_train_epoch_start(trainer, module)
        for trainer.fit_loop.batch_idx in range(4):
            wait(7.5)
            progress.on_train_batch_end(trainer, module)
        progress.on_train_epoch_end(trainer, module)
    begin = "loss 1.0000, recall@20 0.2500 (best 0.5000), 30.0 s"
    assert capsys.readouterr().out.splitlines() == [
        f"epoch 2: {begin}, at most 60 s left",
        f"epoch 3: {begin}, at most 30 s left",
        f"epoch 4: {begin}",
    ]


def test_time_left_on_a_terminal(wait: Any, capsys: Any) -> None:
    progress, module = Progress(), SimpleNamespace()
    progress.updates = True
    trainer = make_trainer(4, max_epochs=2, early_stopping_callback=None)
    progress.on_train_start(trainer, module)
    wait(10.0)
    progress.on_train_batch_end(trainer, module)
    # A quarter of two epochs took 10 s:
    assert "epoch 0: 1/4 steps, 70 s left" in capsys.readouterr().out


def test_time_left_of_a_part_of_an_epoch(wait: Any, capsys: Any) -> None:
    """Of a run that goes on in the middle of its last epoch."""
    progress, module = Progress(), SimpleNamespace()
    trainer = make_trainer(10, max_epochs=3, current_epoch=2)
    progress.on_train_start(trainer, module)
    progress.on_train_epoch_start(trainer, module)
    for trainer.fit_loop.batch_idx in (6, 7):
        wait(10.0)
        progress.on_train_batch_end(trainer, module)
    progress.on_validation_end(trainer, module)
    assert capsys.readouterr().out.endswith(" 20.0 s, at most 20 s left\n")


def test_time_left_of_steps(wait: Any, capsys: Any) -> None:
    """Of a run that goes on, by its own steps."""
    progress, module = Progress(), SimpleNamespace()
    trainer = make_trainer(100, max_steps=1010, global_step=1000)
    progress.on_train_start(trainer, module)
    for trainer.global_step in (1000, 1004, 1010):  # Two batches a step.
        wait(8.0)
        trainer.fit_loop.batch_idx += 8
        progress.on_train_batch_end(trainer, module)
        progress.on_validation_end(trainer, module)
    first, within, last = capsys.readouterr().out.splitlines()
    assert first.endswith(" left")
    assert within.endswith(" 16.0 s, at most 24 s left")
    assert last.endswith(" 24.0 s")


def test_time_left_by_the_clock(wait: Any, capsys: Any) -> None:
    progress, module = Progress(), SimpleNamespace()
    timer = Timer(timedelta(minutes=10))
    trainer = make_trainer(100, callbacks=[timer, Timer()])
    progress.on_train_start(trainer, module)
    wait(30.0)
    progress.on_train_batch_end(trainer, module)
    for remaining in (570.0, -1.0):
        timer.time_remaining = lambda *_, value=remaining: value
        progress.on_validation_end(trainer, module)
    within, last = capsys.readouterr().out.splitlines()
    assert within.endswith(" 30.0 s, at most 9.5 min left")
    assert last.endswith(" 30.0 s")


def test_fit_begins_with_it(
    tmp_path: Any, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path / "toy")
    options = ["--trainer.accelerator", "cpu", "--trainer.max_epochs", "2"]
    options += ["--data.root", "toy", "--data.k", "3", "--model", "LightGCN"]
    assert main(["fit", *options, "--loader.batch_size", "64"]) == 0
    first, second, third, *_ = capsys.readouterr().out.splitlines()
    assert re.match(r"60 users, 40 items, \d+ interactions; \d+ steps", first)
    assert re.match(r"epoch 0: .* s, at most .* left$", second)
    assert re.match(r"epoch 1: .* s$", third)


def test_validation_within_an_epoch(
    tmp_path: Any, monkeypatch: Any, capsys: Any
) -> None:
    """It has a line of its own, where the epoch goes on."""
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path / "toy")
    options = ["--trainer.accelerator", "cpu", "--trainer.max_epochs", "1"]
    options += ["--data.root", "toy", "--data.k", "3", "--model", "LightGCN"]
    options += ["--loader.batch_size", "64"]
    options += ["--trainer.val_check_interval", "3"]
    assert main(["fit", *options]) == 0
    out = capsys.readouterr().out

    within, after = re.findall(r"^epoch 0.*", out, re.MULTILINE)
    number, best = r"recall@20 0\.\d{4}", r"\(best 0\.\d{4}\), [\d.]+ s"
    place = "epoch 0, 3/5 steps"
    left = r", at most [\d.]+ s left"
    assert re.fullmatch(f"{place}: {number} {best}{left}", within)
    assert re.fullmatch(rf"epoch 0: loss [\d.]+, {number} {best}", after)
