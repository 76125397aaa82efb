"""Files of pairs of users and items."""

import os.path as osp
from typing import Iterator

import pandas as pd

from tmfun_pyg.datasets._files import check_file
from tmfun_pyg.datasets.item_table import SEPARATORS
from tmfun_pyg.utils.ids import is_no_id

COLUMNS = ("user_id", "item_id")
CHUNK = 2**18  # Rows that are read at once.


def read_pairs(path: str) -> Iterator[pd.DataFrame]:
    """Reads a file of pairs, some rows at a time, all columns as text.

    Args:
        path (str): A ``.csv`` or ``.tsv`` file, which may be compressed by
            gzip, with the columns ``user_id`` and ``item_id``, and others.

    Raises:
        ValueError: If the file is missing or has another format, or if a
            row lacks an id.
    """
    check_file(path)
    suffix = osp.splitext(path.lower().removesuffix(".gz"))[1]
    if suffix not in SEPARATORS:
        raise ValueError(
            f"'{path}' must be of type {', '.join(SEPARATORS)} (got '{suffix}')"
        )
    chunks = _read_chunks(
        path, sep=SEPARATORS[suffix], dtype=str, na_filter=False
    )
    for number, frame in enumerate(chunks):
        if not isinstance(frame.index, pd.RangeIndex):
            # What pandas makes of the first fields of a longer row.
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


def _read_chunks(path: str, **options: object) -> Iterator[pd.DataFrame]:
    try:
        with pd.read_csv(path, chunksize=CHUNK, **options) as chunks:
            yield from chunks
    # Of a damaged archive, too.
    except (ValueError, EOFError, OSError) as err:
        reason = str(err).strip()
        raise ValueError(f"'{path}' cannot be read: {reason}") from err
