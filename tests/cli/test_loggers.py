"""Loggers of Lightning beside the log of a run."""

import csv
from pathlib import Path
from typing import Any, Dict, List

import pytest

from tmfun_pyg.cli.main import main

FIT = [
    *("fit", "--trainer.accelerator", "cpu", "--data.k", "3"),
    *("--data.root", "toy", "--model", "LightGCN", "--model.channels", "4"),
]
pytestmark = pytest.mark.usefixtures("folder")


def fit_with(*logger: str) -> List[Dict[str, str]]:
    """Returns what a run with a logger wrote, after checking that it is what
    one without wrote.
    """
    epochs = ["--trainer.max_epochs", "2"]
    assert main([*FIT, *epochs, "--out", "alone"]) == 0
    assert main([*FIT, *epochs, "--out", "run", *logger]) == 0
    log = Path("run", "metrics.csv")
    assert log.read_bytes() == Path("alone", "metrics.csv").read_bytes()
    names = {path.name for path in Path("run").iterdir()}
    assert names == {path.name for path in Path("alone").iterdir()}
    return read(log)


def read(path: Path) -> List[Dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def recall(rows: List[Dict[str, str]]) -> Any:
    values = [float(row["val_recall@20"] or -1) for row in rows]
    found = [value for value in values if value >= 0]
    assert len(found) == 2
    return pytest.approx(found)


@pytest.mark.parametrize("way", ["option", "config"])
def test_csv(way: str) -> None:
    logger = ["--trainer.logger", "CSVLogger"]
    logger += ["--trainer.logger.save_dir", "logs"]
    if way == "config":
        Path("logger.yaml").write_text(
            "trainer:\n"
            "  logger:\n"
            "    class_path: lightning.pytorch.loggers.CSVLogger\n"
            "    init_args:\n"
            "      save_dir: logs\n"
        )
        logger = ["--config", "logger.yaml"]
    rows = fit_with(*logger)
    assert read(next(Path("logs").rglob("metrics.csv"))) == rows
    recall(rows)


def test_tensorboard() -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import (
        EventAccumulator,
    )

    rows = fit_with(
        *("--trainer.logger", "TensorBoardLogger"),
        *("--trainer.logger.save_dir", "logs"),
    )
    events = next(Path("logs").rglob("events.*"))
    log = EventAccumulator(str(events))
    log.Reload()
    values = [event.value for event in log.Scalars("val_recall@20")]
    assert values == recall(rows)


@pytest.mark.filterwarnings("ignore:MLFlow only allows:RuntimeWarning")
def test_mlflow() -> None:
    mlflow = pytest.importorskip("mlflow")
    rows = fit_with(
        *("--trainer.logger", "MLFlowLogger"),
        *("--trainer.logger.tracking_uri", "sqlite:///mlflow.db"),
    )
    client = mlflow.MlflowClient("sqlite:///mlflow.db")
    experiment = client.get_experiment_by_name("lightning_logs")
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "val_recall20")
    assert [metric.value for metric in history] == recall(rows)


@pytest.mark.parametrize("option", ["--trainer.logger", "--trainer.logger+"])
def test_package_that_is_missing(
    option: str, folder: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.syspath_prepend(folder)
    Path("logger_without_package.py").write_text(
        "from lightning.pytorch.loggers import CSVLogger\n\n\n"
        "class Lacking(CSVLogger):\n"
        "    def __init__(self) -> None:\n"
        "        raise ModuleNotFoundError('pip install it')\n"
    )
    path = "logger_without_package.Lacking"
    assert main([*FIT, "--out", "run", option, path]) == 1
    line = f"tmfun fit: error: {path}: pip install it\n"
    assert capsys.readouterr().err == line
    assert not Path("run").exists()


def test_argument_that_is_refused(capsys: Any) -> None:
    stopping = ["--trainer.callbacks+", "EarlyStopping"]
    stopping += ["--trainer.callbacks.monitor", "val_recall@20"]
    stopping += ["--trainer.callbacks.mode", "up"]
    assert main([*FIT, "--out", "run", *stopping]) == 1
    line = "tmfun fit: error: `mode` can be min, max, got up\n"
    assert capsys.readouterr().err == line
