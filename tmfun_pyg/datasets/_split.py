from typing import Tuple

import numpy as np

Ratios = Tuple[float, float, float]


def check_ratios(ratios: Ratios) -> None:
    """Raises a :class:`ValueError` unless three shares make a whole."""
    if (
        len(ratios) != 3
        or not all(ratio > 0 for ratio in ratios)
        or not np.isclose(sum(ratios), 1)
    ):
        raise ValueError(
            f"ratios: found {ratios}, expected three positive numbers "
            f"(training, validation, test) that sum to 1"
        )


def random_split(
    user: np.ndarray,
    ratios: Ratios,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draws the split of each interaction: 0, 1 or 2.

    One interaction a user, drawn at random, is kept for training. Validation
    and test are drawn from all others; where these are too few for both
    shares, both shrink alike.
    """
    order = rng.permutation(len(user))
    _, first = np.unique(user[order], return_index=True)
    free = np.delete(order, first)
    num_held_out = min(round((1 - ratios[0]) * len(user)), len(free))
    num_val = round(num_held_out * ratios[1] / (ratios[1] + ratios[2]))
    label = np.zeros(len(user), dtype=np.int64)
    label[free[:num_val]] = 1
    label[free[num_val:num_held_out]] = 2
    return label


def leave_last_out(user: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Splits by each user's own time: the last interaction for test, the one
    before for validation.

    Users with two interactions have none for validation, users with one have
    it for training. Of equal times, the later row counts as the later one.
    """
    order = np.lexsort((time, user))
    _, first, count = np.unique(
        user[order], return_index=True, return_counts=True
    )
    last = first + count - 1
    label = np.zeros(len(user), dtype=np.int64)
    label[order[last[count > 1]]] = 2
    label[order[last[count > 2] - 1]] = 1
    return label


def global_time(time: np.ndarray, ratios: Ratios) -> np.ndarray:
    """Splits at two points in time, the same for all users.

    Interactions of one time fall into one split, the later one.
    """
    points = np.cumsum(ratios[:2]) * len(time)
    val, test = np.sort(time)[points.round().astype(np.int64)]
    return (time >= val).astype(np.int64) + (time >= test)
