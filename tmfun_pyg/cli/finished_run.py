"""What a finished run says for training on all interactions."""

from pathlib import Path
from typing import Any, Dict, Optional

from jsonargparse import Namespace

from tmfun_pyg.cli.command import read_metrics
from tmfun_pyg.training.checkpoint import read_checkpoint


def run_of_config(config: Namespace) -> Path:
    """Returns the folder of the run whose options were asked for.

    Args:
        config: The options, which name the configurations they come from.
    """
    if not config.config:
        raise ValueError(
            "--on_all_data must come with --config RUN/config.yaml, that of a "
            "finished run"
        )
    return Path(str(config.config[-1])).parent


def best_epoch(folder: Path) -> Optional[int]:
    """Returns the best epoch of a finished run, none if it is of a model in
    closed form.

    Args:
        folder: The folder of the run.
    """
    metrics: Dict[str, Any] = read_metrics(folder)
    if "best_epoch" not in metrics:
        raise ValueError(
            f"--on_all_data must come with the --config of a finished run (got "
            f"one in '{folder}', which has no best epoch in metrics.json)"
        )
    epoch = read_checkpoint(folder / "best.ckpt")["epoch"]
    if epoch != metrics["best_epoch"]:
        raise ValueError(
            f"'{folder}' must hold a finished run (got epoch {epoch} in "
            f"best.ckpt, and {metrics['best_epoch']} in metrics.json)"
        )
    return epoch
