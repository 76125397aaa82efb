from typing import Any, NamedTuple, Optional

import numpy as np

from tmfun_pyg.datasets._ids import number_ids
from tmfun_pyg.datasets._interactions import first_of_pairs

# The column of a given split.
LABEL = "x_label"


class Log(NamedTuple):
    """Logged interactions, each (user, item) pair once.

    Args:
        source (str): The name of the log in errors.
        user_ids (np.ndarray): The raw user ids in sorted order.
        item_ids (np.ndarray): The raw item ids in sorted order.
        user (np.ndarray): The user index of each interaction.
        item (np.ndarray): The item index of each interaction.
        time (np.ndarray, optional): The rank of each interaction's time.
        label (np.ndarray, optional): The given split of each interaction: 0,
            1 or 2.
        num_duplicates (int): The number of repeated interactions that were
            dropped.
    """

    source: str
    user_ids: np.ndarray
    item_ids: np.ndarray
    user: np.ndarray
    item: np.ndarray
    time: Optional[np.ndarray]
    label: Optional[np.ndarray]
    num_duplicates: int

    def select(self, kept: np.ndarray) -> "Log":
        """Returns the log with the interactions of a mask or index."""
        return self._replace(
            user=self.user[kept],
            item=self.item[kept],
            time=None if self.time is None else self.time[kept],
            label=None if self.label is None else self.label[kept],
        )


def number_log(
    source: str,
    frame: Any,
    user_col: str,
    item_col: str,
    time_col: Optional[str],
    labeled: bool,
) -> Log:
    """Numbers the users and items of a DataFrame, and drops repeated
    interactions: of equal pairs, the one of the earliest split, time and row
    is kept.

    Raises:
        ValueError: If a column is missing or has other values.
    """
    columns = [user_col, item_col, time_col, LABEL if labeled else None]
    missing = [c for c in columns if c and c not in frame.columns]
    if missing:
        raise ValueError(
            f"{source} must have the column(s) {missing} (got "
            f"{list(frame.columns)})"
        )
    if len(frame) == 0:
        raise ValueError(f"{source} must have rows (got none)")

    column = f"{source}, column '{{}}'".format
    user, user_ids = number_ids(frame[user_col], column(user_col))
    item, item_ids = number_ids(frame[item_col], column(item_col))
    time = label = None
    if time_col:
        time = _rank_times(frame[time_col], column(time_col))
    if labeled:
        label = _read_labels(frame[LABEL], column(LABEL))
    keys = [key for key in (time, label) if key is not None]
    kept = np.sort(first_of_pairs(user, item, *keys))
    num_duplicates = len(frame) - len(kept)
    log = Log(
        source, user_ids, item_ids, user, item, time, label, num_duplicates
    )
    return log.select(kept)


def _read_labels(labels: Any, source: str) -> np.ndarray:
    import pandas as pd

    label = pd.to_numeric(labels, errors="coerce")
    bad = ~label.isin([0, 1, 2]).to_numpy()
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"{source} must be 0 (training), 1 (validation) or 2 (test) (got "
            f"'{labels.iloc[row]}' in row {row}, counted from 0)"
        )
    return label.to_numpy().astype(np.int64)


def _rank_times(times: Any, source: str) -> np.ndarray:
    import pandas as pd

    missing = times.isna().to_numpy()
    if missing.any():
        raise ValueError(
            f"{source} must have a time in every row (row {missing.argmax()}, "
            f"counted from 0, has none)"
        )
    if not pd.api.types.is_numeric_dtype(times):
        try:
            times = pd.to_datetime(times, format="ISO8601", utc=True)
        except (ValueError, TypeError) as err:
            raise ValueError(
                f"{source} must be numbers or dates in ISO 8601 (got: "
                f"{str(err).partition('. You')[0]})"
            ) from err
    return pd.factorize(times, sort=True)[0]
