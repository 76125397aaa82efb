"""Reads a finished run to repeat its training on all interactions."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Dict

from jsonargparse import Namespace

from tmfun_pyg.cli.command import read_metrics
from tmfun_pyg.cli.kept_options import first_other
from tmfun_pyg.training import DatasetOptions
from tmfun_pyg.training.checkpoint import check_fingerprint, read_checkpoint


def run_of_config(config: Namespace) -> Path:
    """Returns the folder of the run whose configuration was given.

    Args:
        config: The options, including the paths of their configurations.
    """
    if not config.config:
        raise ValueError(
            "--on_all_data must come with --config RUN/config.yaml, that of a "
            "finished run"
        )
    return Path(str(config.config[-1])).parent


def read_finished(folder: Path) -> Dict[str, Any]:
    """Reads the checkpoint of the best epoch of a finished run. For a
    closed-form model, the epoch is None.

    Args:
        folder: The folder of the run.
    """
    metrics: Dict[str, Any] = read_metrics(folder)
    if "best_epoch" not in metrics:
        raise ValueError(
            f"--on_all_data must come with the --config of a finished run (got "
            f"one in '{folder}', which has no best epoch in metrics.json)"
        )
    checkpoint = read_checkpoint(folder / "best.ckpt")
    epoch = checkpoint["epoch"]
    if epoch != metrics["best_epoch"]:
        raise ValueError(
            f"'{folder}' must hold a finished run (got epoch {epoch} in "
            f"best.ckpt, and {metrics['best_epoch']} in metrics.json)"
        )
    return checkpoint


def check_repeats(
    finished: Dict[str, Any], model: Namespace, data: DatasetOptions
) -> None:
    """Checks that model and data are those of a finished run.

    Args:
        finished: The result of :func:`read_finished`.
        model: The class and options of the model.
        data: The data set.
    """
    about = finished["recommender"]
    expected = {"class_path": about["model"], "init_args": about["options"]}
    found = {
        "class_path": model.class_path.rpartition(".")[2],
        "init_args": dict(model.get("init_args") or {}),
    }
    if found != expected:
        key, wanted, got = first_other("model", expected, found)
        raise ValueError(
            f"--{key} must be {wanted}, as in '{finished['path']}' (got {got})"
        )
    dataset = replace(data, on_all_data=False).load()
    check_fingerprint(about["fingerprint"], dataset)
