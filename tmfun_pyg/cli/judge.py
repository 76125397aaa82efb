from pathlib import Path

from tmfun_pyg.cli.command import judge
from tmfun_pyg.recommender import Recommender


def validate(recommender: Recommender, ckpt: Path) -> None:
    """Ranks all items for every user of the validation split, prints the
    metrics and writes them into metrics.json beside the checkpoint.

    Args:
        recommender: The model and its data set.
        ckpt: The checkpoint.
    """
    judge(recommender, "val", ckpt.parent)


def test(recommender: Recommender, ckpt: Path) -> None:
    """Ranks all items for every user of the test split, prints the metrics
    and writes them into metrics.json beside the checkpoint.

    Args:
        recommender: The model and its data set.
        ckpt: The checkpoint.
    """
    judge(recommender, "test", ckpt.parent)
