"""Reads files of pairs of users and items."""

import csv
import gzip
import os.path as osp
from contextlib import contextmanager
from typing import Any, Iterator, List

import pandas as pd

from tmfun_pyg.datasets._files import FIRST_ROW, check_columns, check_file
from tmfun_pyg.datasets.item_table import SEPARATORS
from tmfun_pyg.utils.ids import is_no_id

COLUMNS = ("user_id", "item_id")
CHUNK = 2**18  # Rows that are read at once.


def read_pairs(path: str) -> Iterator[pd.DataFrame]:
    """Reads a file of pairs in chunks, all columns as text.

    Args:
        path (str): A ``.csv`` or ``.tsv`` file, optionally gzipped, with the
            columns ``user_id`` and ``item_id``, and possibly others.

    Raises:
        ValueError: If the file is missing or has the wrong format, if columns
            share a name, or if a row has no id, or fewer fields than there
            are columns.
    """
    check_file(path)
    suffix = osp.splitext(path.lower().removesuffix(".gz"))[1]
    if suffix not in SEPARATORS:
        raise ValueError(
            f"'{path}' must be of type {', '.join(SEPARATORS)} (got '{suffix}')"
        )
    sep = SEPARATORS[suffix]
    is_checked = False
    for number, frame in enumerate(_read_chunks(path, sep)):
        if not isinstance(frame.index, pd.RangeIndex):
            # pandas turns the first fields of a longer row into an index.
            raise ValueError(
                f"'{path}' must have rows of {frame.shape[1]} fields, as in "
                f"the header {list(frame)} (got more)"
            )
        missing = [column for column in COLUMNS if column not in frame]
        if missing:
            raise ValueError(
                f"'{path}' must have the column(s) {', '.join(missing)} (got "
                f"the columns {', '.join(frame)})"
            )
        # pandas fills the last fields of a shorter row with empty strings.
        if not is_checked and (frame.iloc[:, -1] == "").any():
            _check_rows(path, sep, list(frame))
            is_checked = True
        for column in COLUMNS:
            bad = is_no_id(frame[column])
            if bad.any():
                row = int(bad.argmax())
                raise ValueError(
                    f"'{path}', column '{column}' must have an id without "
                    f"line breaks and spaces around it in every row (got "
                    f"{frame[column].iloc[row]!r} in row "
                    f"{number * CHUNK + row}, counted from 0)"
                )
        yield frame


def _read_chunks(path: str, sep: str) -> Iterator[pd.DataFrame]:
    with _reading(path):
        header = pd.read_csv(path, sep=sep, **FIRST_ROW).iloc[0]
    header = list(header)
    if "" in header:
        raise ValueError(
            f"'{path}' must have columns with names (got {header})"
        )
    check_columns(f"'{path}'", header)
    options = {"dtype": str, "na_filter": False, "chunksize": CHUNK}
    with _reading(path), pd.read_csv(path, sep=sep, **options) as chunks:
        yield from chunks


@contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    # Includes those of damaged archives.
    except (ValueError, EOFError, OSError) as err:
        reason = str(err).strip()
        raise ValueError(f"'{path}' cannot be read: {reason}") from err


def _check_rows(path: str, sep: str, header: List[str]) -> None:
    """Checks that no row is shorter than the header."""
    opened: Any = gzip.open if path.lower().endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=sep)
        for row in reader:
            if 0 < len(row) < len(header):
                raise ValueError(
                    f"'{path}', line {reader.line_num} must have "
                    f"{len(header)} fields, as in the header {header} (got "
                    f"{len(row)})"
                )
