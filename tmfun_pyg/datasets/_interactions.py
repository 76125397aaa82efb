import warnings
from typing import NamedTuple

import numpy as np

SPLITS = ("training", "validation", "test")


class Interactions(NamedTuple):
    """Interactions as three arrays of equal length.

    Args:
        user (np.ndarray): The user indices (int64).
        item (np.ndarray): The item indices (int64).
        label (np.ndarray): The split: 0 for training, 1 for validation, 2
            for test.
    """

    user: np.ndarray
    item: np.ndarray
    label: np.ndarray


def first_of_pairs(
    user: np.ndarray, item: np.ndarray, *keys: np.ndarray
) -> np.ndarray:
    """Returns the position of the smallest interaction of each (user, item)
    pair, sorted by user, then item. As in :func:`numpy.lexsort`, the last
    key is the primary one, and ties are resolved by position.
    """
    pair = user * (item.max() + 1) + item
    order = np.lexsort((*keys, pair))
    return order[np.diff(pair[order], prepend=-1) != 0]


def check_splits(label: np.ndarray, source: str) -> None:
    """Raises a :class:`ValueError` if a split has no interaction."""
    count = np.bincount(label, minlength=3)
    if (count == 0).any():
        split = int((count == 0).argmax())
        raise ValueError(
            f"{source} must have at least one {SPLITS[split]} interaction "
            f"(got none with label {split})"
        )


def warn_duplicates(num_duplicates: int, source: str) -> None:
    """Warns about dropped interactions, if there are any."""
    if num_duplicates > 0:
        warnings.warn(
            f"{source} has {num_duplicates} duplicate interaction(s); the "
            f"earliest of each is kept",
            stacklevel=4,
        )
