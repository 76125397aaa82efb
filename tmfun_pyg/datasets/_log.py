import os
from typing import Any, Dict, NamedTuple, Optional, Tuple

import numpy as np
import pandas as pd

from tmfun_pyg.datasets._content import first_of_pairs
from tmfun_pyg.datasets._files import check_columns
from tmfun_pyg.datasets._ids import (
    IdType,
    check_complete,
    check_id_type,
    number_ids,
)
from tmfun_pyg.datasets._log_files import LogFile, TextFormat
from tmfun_pyg.datasets._times import read_times

# The column of a given split.
LABEL = "x_label"
NO_HEADER = (
    "; prepare takes columns=..., their names where there is no header, and "
    "sep=..., what is between them"
)


class Log(NamedTuple):
    """Logged interactions, each (user, item) pair once.

    Args:
        source (str): The name of the log in errors.
        user_ids (np.ndarray): The raw user ids in sorted order.
        item_ids (np.ndarray): The raw item ids in sorted order.
        rows (pandas.DataFrame): The interactions in their order, with the
            columns ``user`` and ``item`` (indices), ``time`` (the rank of
            the time) and ``day`` (its date) if the log has times,
            ``seconds`` (since 1970) if their unit is known, and ``label``
            (0, 1 or 2) if its split is given.
        num_duplicates (int): The number of repeated interactions that were
            dropped.
        units (Dict[str, int]): The number of times that look like seconds,
            milliseconds and so on.
    """

    source: str
    user_ids: np.ndarray
    item_ids: np.ndarray
    rows: pd.DataFrame
    num_duplicates: int
    units: Dict[str, int]


def read_log(
    interactions: Any,
    user_col: str,
    item_col: str,
    time_col: Optional[str],
    given: Optional[bool],
    id_type: IdType = "auto",
    text_format: Optional[TextFormat] = None,
    path: Optional[str] = None,
) -> Log:
    """Reads a log, numbers its users and items, and drops repeated
    interactions: of equal pairs, the one with the earliest split, time and
    row is kept.

    Args:
        interactions (pandas.DataFrame or str): The log, or its path.
        user_col (str): The column of user ids.
        item_col (str): The column of item ids.
        time_col (str, optional): The column of times.
        given (bool, optional): Whether its split is given.
            (default: whether it has the column)
        id_type (str, optional): See :func:`number_ids`.
            (default: :obj:`"auto"`)
        text_format (TextFormat, optional): The layout of a text file.
        path (str, optional): The source of a DataFrame, for errors.

    Raises:
        ImportError: If pyarrow is needed, but not installed.
        ValueError: If a file is missing or has the wrong format, or a column
            is missing or has wrong values.
    """
    check_id_type(id_type)
    if isinstance(interactions, pd.DataFrame):
        source = f"'{path}'" if path else "'interactions'"
        names = list(interactions)
        check_columns(source, names)
    elif isinstance(interactions, (str, os.PathLike)):
        path = os.fspath(interactions)
        source = f"'{path}'"
        text_format = text_format or TextFormat()
        file = LogFile(path, user_col, item_col, text_format)
        names = file.names
    else:
        raise ValueError(
            f"'interactions' must be a pandas.DataFrame or the path of a "
            f".csv, .tsv, .inter or .parquet file (got a "
            f"{type(interactions).__name__})"
        )
    if given is None:
        given = LABEL in names
    columns = {"user_col": user_col, "item_col": item_col, "time_col": time_col}
    missing = [f"{k}='{v}'" for k, v in columns.items() if v and v not in names]
    if given and LABEL not in names:
        missing.append(f"'{LABEL}' for split='given'")
    if missing:
        is_text = source != "'interactions'" and ".parquet" not in source
        raise ValueError(
            f"{source} must have the column(s) {', '.join(missing)} (got the "
            f"columns {names}){NO_HEADER if is_text else ''}"
        )
    if isinstance(interactions, pd.DataFrame):
        frame = interactions
    else:
        needed = [name for name in columns.values() if name is not None]
        frame = file.read([*needed, LABEL] if given else needed)
    if len(frame) == 0:
        raise ValueError(f"{source} must have rows (got none)")

    column = f"{source}, column '{{}}'".format
    user, user_ids = number_ids(frame[user_col], column(user_col), id_type)
    item, item_ids = number_ids(frame[item_col], column(item_col), id_type)
    rows = {"user": user, "item": item}
    if given:
        rows["label"] = _read_labels(frame[LABEL], column(LABEL))
    units: Dict[str, int] = {}
    keys = []  # The last one is the primary key.
    if time_col:
        times = frame[time_col]
        del frame  # It may take much memory, as do times.
        rank, day, units, seconds = read_times(times, column(time_col))
        del times
        rows |= {"time": rank, "day": day}
        if seconds is not None:
            rows["seconds"] = seconds
        keys.append(rank)
    if given:
        keys.append(rows["label"])
    kept = np.zeros(len(user), dtype=bool)
    kept[first_of_pairs(user, item, *keys)] = True
    num_duplicates = int((~kept).sum())
    if num_duplicates > 0:
        rows = {name: values[kept] for name, values in rows.items()}
    table = pd.DataFrame(rows, copy=False)
    return Log(source, user_ids, item_ids, table, num_duplicates, units)


def keep_k_core(log: Log, k: int) -> Log:
    """Returns the k-core: users and items with fewer than ``k`` interactions
    are dropped until all have that many.

    Raises:
        ValueError: If ``k`` is negative or the k-core is empty.
    """
    if k < 0:
        raise ValueError(f"'k_core' must not be negative (got {k})")
    rows = log.rows
    while True:
        enough = np.bincount(rows["user"])[rows["user"]] >= k
        enough &= np.bincount(rows["item"])[rows["item"]] >= k
        if enough.all():
            break
        rows = rows[enough]
    if rows.empty:
        raise ValueError(
            f"'k_core' must leave some interactions of {log.source} (got {k}, "
            f"which leaves none)"
        )
    if len(rows) == len(log.rows):
        return log
    users, user = _renumber(rows["user"].to_numpy())
    items, item = _renumber(rows["item"].to_numpy())
    return log._replace(
        user_ids=log.user_ids[users],
        item_ids=log.item_ids[items],
        rows=rows.assign(user=user, item=item),
    )


def _renumber(index: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Returns the sorted distinct indices, and the position of each index."""
    is_there = np.bincount(index) > 0
    place = np.cumsum(is_there, dtype=index.dtype) - 1
    return np.flatnonzero(is_there), place[index]


def _read_labels(labels: pd.Series, source: str) -> np.ndarray:
    check_complete(labels.isna().to_numpy(), "a label", source)
    label = pd.to_numeric(labels, errors="coerce")
    bad = ~label.isin([0, 1, 2]).to_numpy()
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"{source} must be 0 (training), 1 (validation) or 2 (test) (got "
            f"'{labels.iloc[row]}' in row {row}, counted from 0)"
        )
    return label.to_numpy().astype(np.int8)
