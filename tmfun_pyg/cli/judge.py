from pathlib import Path
from typing import List, Optional

from tmfun_pyg.baselines import MostPopular
from tmfun_pyg.cli._command import (
    load,
    print_metrics,
    run,
    write_metrics,
)
from tmfun_pyg.evaluation import evaluate


def validate(args: List[str]) -> None:
    """Ranks the validation split."""
    run("validate", judge_val, args)


def test(args: List[str]) -> None:
    """Ranks the test split."""
    run("test", judge_test, args)


def judge_val(
    ckpt: Path, root: Optional[str] = None, name: Optional[str] = None
) -> None:
    """Ranks all items for every user of the validation split, prints the
    metrics and writes them into metrics.json beside the checkpoint.

    Args:
        ckpt: The checkpoint.
        root: The root directory of the data set, if it was moved.
        name: The name of the data set, if it was moved.
    """
    _judge(ckpt, "val", root, name)


def judge_test(
    ckpt: Path, root: Optional[str] = None, name: Optional[str] = None
) -> None:
    """Ranks all items for every user of the test split, prints the metrics
    and writes them into metrics.json beside the checkpoint.

    Args:
        ckpt: The checkpoint.
        root: The root directory of the data set, if it was moved.
        name: The name of the data set, if it was moved.
    """
    _judge(ckpt, "test", root, name)


def _judge(
    ckpt: Path, split: str, root: Optional[str], name: Optional[str]
) -> None:
    loaded = load(ckpt, root, name)
    data = loaded.dataset[0]
    metrics = evaluate(loaded.model, data, split)
    popular = evaluate(MostPopular.from_data(data), data, split)
    write_metrics(ckpt.parent / "metrics.json", {split: metrics})
    print_metrics(
        {"most-popular": popular, type(loaded.model).__name__: metrics}
    )
