from typing import Literal, Tuple, get_args

import numpy as np
import pandas as pd

from tmfun_pyg.datasets._content import order_of_pairs

Split = Literal["random", "leave_last_out", "global_time", "given"]
Ratios = Tuple[float, float, float]


def split_interactions(
    split: Split, rows: pd.DataFrame, ratios: Ratios, seed: int
) -> np.ndarray:
    """Returns the split of each interaction: 0, 1 or 2.

    Args:
        split (str): How interactions are split.
        rows (pandas.DataFrame): The interactions of a log.
        ratios (Tuple[float, float, float]): The shares of the splits.
        seed (int): The seed of the random split.

    Raises:
        ValueError: If an argument is out of range or missing.
    """
    if "label" in rows:
        return rows["label"].to_numpy()
    if split not in get_args(Split):
        raise ValueError(
            f"'split' must be one of {get_args(Split)} (got {split!r})"
        )
    if len(ratios) != 3 or min(ratios) <= 0 or not np.isclose(sum(ratios), 1):
        raise ValueError(
            f"'ratios' must be three positive numbers (training, validation, "
            f"test) that sum to 1 (got {ratios})"
        )
    user = rows["user"].to_numpy()
    if split == "random":
        if seed < 0:
            raise ValueError(f"'seed' must not be negative (got {seed})")
        return random_split(user, ratios, np.random.default_rng(seed))
    if "time" not in rows:
        raise ValueError(
            f"'time_col' must be the column of times for split='{split}' "
            f"(got None)"
        )
    time = rows["time"].to_numpy()
    if split == "leave_last_out":
        return leave_last_out(user, time)
    return global_time(time, ratios)


def random_split(
    user: np.ndarray, ratios: Ratios, rng: np.random.Generator
) -> np.ndarray:
    """Splits at random.

    One random interaction of each user is kept for training. Validation and
    test are sampled from all others. If there are too few, both shrink in
    proportion.
    """
    order = rng.permutation(len(user))
    free = order[pd.Series(user[order]).duplicated().to_numpy()]
    num_held_out = min(round((1 - ratios[0]) * len(user)), len(free))
    num_val = round(num_held_out * ratios[1] / (ratios[1] + ratios[2]))
    label = np.zeros(len(user), dtype=np.int8)
    label[free[:num_val]] = 1
    label[free[num_val:num_held_out]] = 2
    return label


def leave_last_out(user: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Takes each user's last interaction for test, and the one before for
    validation.

    Users with two interactions have none for validation, users with one keep
    it for training. At equal times, the later row counts as later.
    """
    order = order_of_pairs(user, time)
    count = np.bincount(user)
    last = np.cumsum(count) - 1
    label = np.zeros(len(user), dtype=np.int8)
    label[order[last[count > 1]]] = 2
    label[order[last[count > 2] - 1]] = 1
    return label


def global_time(time: np.ndarray, ratios: Ratios) -> np.ndarray:
    """Splits at two points in time, the same for all users.

    Interactions at the same time are all in the later split.
    """
    points = np.round(np.cumsum(ratios[:2]) * len(time)).astype(np.int64)
    val, test = np.sort(time)[np.minimum(points, len(time) - 1)]
    return (time >= val).astype(np.int8) + (time >= test)
