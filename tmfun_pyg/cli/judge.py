from pathlib import Path
from typing import List, Optional

from tmfun_pyg.cli import command


def validate(args: List[str]) -> None:
    """Ranks the validation split."""
    command.run("validate", judge, args, split="val")


def test(args: List[str]) -> None:
    """Ranks the test split."""
    command.run("test", judge, args, split="test")


def judge(
    ckpt: Path,
    split: str,
    root: Optional[str] = None,
    name: Optional[str] = None,
) -> None:
    """Ranks all items for every user of the split, prints the metrics and
    writes them into metrics.json beside the checkpoint.

    Args:
        ckpt: The checkpoint.
        split: The split.
        root: The root directory of the data set, if it was moved.
        name: The name of the data set, if it was moved.
    """
    command.judge(command.load(ckpt, root, name), split, ckpt.parent)
