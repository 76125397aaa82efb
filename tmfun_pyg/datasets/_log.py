import csv
import os
import os.path as osp
from typing import Any, NamedTuple, Optional, Tuple

import numpy as np
import pandas as pd

from tmfun_pyg.datasets._content import first_of_pairs
from tmfun_pyg.datasets._files import read_csv, read_parquet
from tmfun_pyg.datasets._ids import check_complete, number_ids
from tmfun_pyg.utils.ids import INTEGER

# The column of a given split.
LABEL = "x_label"
SEPARATORS = {".csv": ",", ".inter": "\t"}
# The columns of MMRec's files under their names in RecBole's.
ALIASES = {"userID": "user_id", "itemID": "item_id"}


class Log(NamedTuple):
    """Logged interactions, each (user, item) pair once.

    Args:
        source (str): The name of the log in errors.
        user_ids (np.ndarray): The raw user ids in sorted order.
        item_ids (np.ndarray): The raw item ids in sorted order.
        rows (pandas.DataFrame): The interactions in their order, with the
            columns ``user`` and ``item`` (indices), ``time`` (the rank of
            the time) if the log has times, and ``label`` (0, 1 or 2) if its
            split is given.
        num_duplicates (int): The number of repeated interactions that were
            dropped.
    """

    source: str
    user_ids: np.ndarray
    item_ids: np.ndarray
    rows: pd.DataFrame
    num_duplicates: int


def read_log(
    interactions: Any,
    user_col: str,
    item_col: str,
    time_col: Optional[str],
    given: Optional[bool],
) -> Log:
    """Reads a log, numbers its users and items, and drops repeated
    interactions: of equal pairs, the one of the earliest split, time and row
    is kept.

    Args:
        interactions (pandas.DataFrame or str): The log, or its path.
        user_col (str): The column of user ids.
        item_col (str): The column of item ids.
        time_col (str, optional): The column of times.
        given (bool, optional): Whether its split is given.
            (default: if it has the column)

    Raises:
        ImportError: If pyarrow is needed, but not installed.
        ValueError: If a file is missing or has another format, or a column
            is missing or has other values.
    """
    source, frame = _read_frame(interactions, user_col, item_col)
    if given is None:
        given = LABEL in frame
    columns = [user_col, item_col, time_col, LABEL if given else None]
    missing = [c for c in columns if c and c not in frame]
    if missing:
        raise ValueError(
            f"{source} must have the column(s) {missing} (got {list(frame)})"
        )
    if len(frame) == 0:
        raise ValueError(f"{source} must have rows (got none)")

    column = f"{source}, column '{{}}'".format
    user, user_ids = number_ids(frame[user_col], column(user_col))
    item, item_ids = number_ids(frame[item_col], column(item_col))
    rows = pd.DataFrame({"user": user, "item": item})
    if time_col:
        rows["time"] = _rank_times(frame[time_col], column(time_col))
    if given:
        rows["label"] = _read_labels(frame[LABEL], column(LABEL))
    kept = np.sort(first_of_pairs(*rows.to_numpy().T))
    rows = rows.iloc[kept]
    return Log(source, user_ids, item_ids, rows, len(frame) - len(rows))


def keep_k_core(log: Log, k: int) -> Log:
    """Returns the k-core: users and items with fewer than ``k`` interactions
    are dropped until none are left.

    Raises:
        ValueError: If the k-core is empty.
    """
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
    users, user = np.unique(rows["user"], return_inverse=True)
    items, item = np.unique(rows["item"], return_inverse=True)
    return log._replace(
        user_ids=log.user_ids[users],
        item_ids=log.item_ids[items],
        rows=rows.assign(user=user, item=item),
    )


def _read_frame(
    interactions: Any, user_col: str, item_col: str
) -> Tuple[str, pd.DataFrame]:
    """Returns the name of a log in errors, and its DataFrame."""
    if isinstance(interactions, pd.DataFrame):
        return "'interactions'", interactions
    if not isinstance(interactions, (str, os.PathLike)):
        raise ValueError(
            f"'interactions' must be a pandas.DataFrame or the path of a "
            f".csv, .parquet or .inter file (got a "
            f"{type(interactions).__name__})"
        )
    path = os.fspath(interactions)
    suffix = osp.splitext(path)[1].lower()
    if suffix == ".parquet":
        return f"'{path}'", read_parquet(path)
    if suffix not in SEPARATORS:
        raise ValueError(
            f"'{path}' must be a .csv, .parquet or .inter file (got '{suffix}')"
        )
    # RecBole's and MMRec's files have no quotation.
    quoting = csv.QUOTE_NONE if suffix == ".inter" else csv.QUOTE_MINIMAL
    options = {"sep": SEPARATORS[suffix], "quoting": quoting}
    header = names = list(read_csv(path, nrows=0, **options))
    ids = [user_col, item_col]
    if suffix == ".inter":  # Names may have a type, as in "user_id:token".
        names = [name.partition(":")[0] for name in header]
        names = [n if n in ids else ALIASES.get(n, n) for n in names]
    if len(set(names)) < len(names):
        raise ValueError(
            f"'{path}' must have columns of distinct names (got {header})"
        )
    # As strings first: "007" and "NA" are ids like any other.
    frame = read_csv(
        path,
        **options,
        header=0,
        names=names,
        dtype=dict.fromkeys(ids, str),
        keep_default_na=False,
        na_values=[""],
    )
    for column in set(ids).intersection(names):
        if frame[column].str.fullmatch(INTEGER, na=False).all():
            frame[column] = frame[column].astype(np.int64)
    return f"'{path}'", frame


def _read_labels(labels: pd.Series, source: str) -> np.ndarray:
    label = pd.to_numeric(labels, errors="coerce")
    bad = ~label.isin([0, 1, 2]).to_numpy()
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"{source} must be 0 (training), 1 (validation) or 2 (test) (got "
            f"'{labels.iloc[row]}' in row {row}, counted from 0)"
        )
    return label.to_numpy().astype(np.int64)


def _rank_times(times: pd.Series, source: str) -> np.ndarray:
    check_complete(times.isna().to_numpy(), "a time", source)
    parsed = pd.to_numeric(times, errors="coerce")
    if parsed.notna().mean() < 0.5:
        parsed = pd.to_datetime(
            times, format="ISO8601", utc=True, errors="coerce"
        )
    if parsed.isna().any():
        row = int(parsed.isna().to_numpy().argmax())
        raise ValueError(
            f"{source} must be numbers or dates in ISO 8601 (got "
            f"'{times.iloc[row]}' in row {row}, counted from 0)"
        )
    return pd.factorize(parsed, sort=True)[0]
