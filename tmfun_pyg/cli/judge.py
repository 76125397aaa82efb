from pathlib import Path

from tmfun_pyg.cli.command import judge
from tmfun_pyg.recommender import Recommender


def validate(
    recommender: Recommender, ckpt: Path, beyond_accuracy: bool = False
) -> None:
    """Ranks all items for every user of the validation split, prints the
    metrics and writes them to metrics.json next to the checkpoint.

    Args:
        recommender: The model and its data set.
        ckpt: The checkpoint.
        beyond_accuracy: Whether to add metrics of the lists beyond accuracy,
            such as coverage, novelty and diversity.
    """
    judge(recommender, "val", ckpt.parent, beyond_accuracy=beyond_accuracy)


def test(
    recommender: Recommender,
    ckpt: Path,
    beyond_accuracy: bool = False,  # noqa: PT028 (no test of pytest)
) -> None:
    """Ranks all items for every user of the test split, prints the metrics
    and writes them to metrics.json next to the checkpoint.

    Args:
        recommender: The model and its data set.
        ckpt: The checkpoint.
        beyond_accuracy: Whether to add metrics of the lists beyond accuracy,
            such as coverage, novelty and diversity.
    """
    judge(recommender, "test", ckpt.parent, beyond_accuracy=beyond_accuracy)
