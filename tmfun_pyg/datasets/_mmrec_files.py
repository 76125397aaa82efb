"""The tab-separated files of MMRec format."""

import csv
import os.path as osp
from typing import Any

import numpy as np
import pandas as pd

from tmfun_pyg.datasets._content import Interactions
from tmfun_pyg.datasets._files import read_csv
from tmfun_pyg.datasets._ids import to_ids

# The columns of an .inter file, each with a pattern of its fields and what
# they are in errors.
COLUMNS = {
    "userID": ("[0-9]{1,18}", "a non-negative integer"),
    "itemID": ("[0-9]{1,18}", "a non-negative integer"),
    "x_label": ("[012]", "0 (training), 1 (validation) or 2 (test)"),
}


def read_inter(path: str) -> Interactions:
    """Returns the rows of an ``.inter`` file in their order, so that row
    ``n`` is in line ``n + 2`` of the file.

    Raises:
        ValueError: If the file has another format; the message names the
            line and the column.
    """
    # Other columns may hold anything.
    options = {"quoting": csv.QUOTE_NONE, "encoding_errors": "replace"}
    frame = _read_rows(path, low_memory=False, **options)
    if not set(COLUMNS).issubset(frame):
        raise ValueError(
            f"'{path}', line 1 must have the tab-separated columns "
            f"{list(COLUMNS)} (got {list(frame)})"
        )
    rows = frame[list(COLUMNS)]
    if (
        (rows.dtypes != np.int64).any()
        or (rows < 0).any(axis=None)
        or (rows["x_label"] > 2).any()
    ):
        frame = _read_rows(path, dtype=str, **options)
        for name, (pattern, expected) in COLUMNS.items():
            bad = ~frame[name].str.fullmatch(pattern)
            _check(path, frame[name], bad, expected)
    return Interactions(*(frame[name].to_numpy(np.int64) for name in COLUMNS))


def read_mapping(path: str, column: str) -> np.ndarray:
    """Returns the raw ids by index: int64 if all of them are plain integers
    of up to 18 digits, else str.

    Args:
        path (str): A tab-separated file with a header and two columns: raw
            ids and their indices.
        column (str): The name of the second column.

    Raises:
        ValueError: If the file has another format; the message names the
            line and the column.
    """
    frame = _read_rows(path, dtype=str)
    if frame.shape[1] != 2 or frame.columns[1] != column:
        raise ValueError(
            f"'{path}', line 1 must have two tab-separated columns, raw ids "
            f"and '{column}' (got {list(frame)})"
        )
    # Quoted ids may have several lines.
    frame.index += frame.iloc[:, 0].str.count("\n").cumsum().to_numpy()
    raw, number = frame.iloc[:, 0], frame.iloc[:, 1]
    bad = (raw == "") | raw.duplicated()
    _check(path, raw, bad, "an id that is not empty or repeated")
    bad = ~number.str.fullmatch("[0-9]{1,18}") | number.str.match("0.")
    bad |= number.duplicated()
    _check(path, number, bad, "an index from 0 on that is not repeated")
    index = number.astype(np.int64)
    size = len(index)
    _check(path, index, index >= size, f"below {size}, the number of rows")
    return to_ids(raw.iloc[index.argsort()].to_list())


def write_mapping(path: str, column: str, ids: np.ndarray) -> None:
    """Writes a file for :func:`read_mapping`.

    Raises:
        ValueError: If an id is empty.
    """
    names = ids.astype(np.str_).tolist()
    if "" in names:
        raise ValueError(
            f"'{osp.basename(path)}' must have a raw id for every {column} "
            f"(got an empty string)"
        )
    # Carriage returns are not quoted otherwise.
    quote_all = "\r" in "".join(names)
    pd.DataFrame({"raw_id": names, column: range(len(names))}).to_csv(
        path,
        sep="\t",
        index=False,
        lineterminator="\n",
        quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL,
    )


def _read_rows(path: str, **options: Any) -> pd.DataFrame:
    frame = read_csv(
        path, sep="\t", na_filter=False, skip_blank_lines=False, **options
    )
    if frame.empty:
        raise ValueError(f"'{path}' must have rows (got a header alone)")
    frame.index += 2
    return frame


def _check(path: str, values: pd.Series, bad: Any, expected: str) -> None:
    """Reports the first bad value; the index holds the lines."""
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"'{path}', line {values.index[row]}, column '{values.name}' must "
            f"be {expected} (got '{values.iloc[row]}')"
        )
