"""Reads texts and tables, with errors that name the file."""

import csv
import gzip
import io
import os.path as osp
import zlib
from contextlib import contextmanager
from itertools import islice
from typing import Any, Dict, Iterable, Iterator, Sequence

import pandas as pd
from tqdm import tqdm

from tmfun_pyg.datasets._checked_text import BLOCK, BadText, CheckedText
from tmfun_pyg.utils.extras import import_extra

CHUNK = 2**20  # Rows that are read at once.

# Reads the header as a row of text, since pandas renames repeated columns.
FIRST_ROW = {"header": None, "nrows": 1, "dtype": str, "na_filter": False}


def check_file(path: str) -> None:
    """Raises a :class:`ValueError` if a file does not exist, or is a folder."""
    if osp.isdir(path):
        raise ValueError(f"'{path}' must be a file (got a folder)")
    if not osp.isfile(path):
        raise ValueError(f"'{path}' does not exist")


def check_columns(source: str, names: Iterable[Any]) -> None:
    """Raises a :class:`ValueError` if a column's name is repeated."""
    names = list(names)
    if len(set(names)) < len(names):
        raise ValueError(
            f"{source} must have columns of distinct names (got {names})"
        )


def read_text(path: str) -> str:
    """Returns the text of a file in UTF-8.

    Raises:
        ValueError: If the file is missing, or not in UTF-8.
    """
    check_file(path)
    try:
        with open(path, encoding="utf-8-sig") as f:
            return f.read()
    except UnicodeDecodeError as err:
        raise ValueError(f"'{path}' must be text in UTF-8 ({err})") from err


def read_csv(
    path: str,
    encoding: str = "utf-8",
    rows_are_lines: bool = True,
    **options: Any,
) -> pd.DataFrame:
    """Returns a text file, optionally gzipped, as a DataFrame.

    Args:
        path (str): The file.
        encoding (str, optional): Its encoding. (default: :obj:`"utf-8"`)
        rows_are_lines (bool, optional): If set to :obj:`False`, fields may
            hold line breaks, as in our own files.
            (default: :obj:`True`)
        **options (optional): The arguments of :func:`pandas.read_csv`.

    Raises:
        ValueError: If the file is missing or has the wrong format.
    """
    with _open_text(path, encoding, rows_are_lines, options) as text:
        frame = pd.read_csv(text, **options)
        _check_width(path, frame)
    if rows_are_lines and options.get("na_filter") is False:
        _check_rows_are_full(path, encoding, frame, options)
    if "names" not in options and options.get("header", 0) == 0:
        with _open_text(path, encoding, rows_are_lines, options) as text:
            row = pd.read_csv(text, **{**options, **FIRST_ROW})
        check_columns(f"'{path}'", [name for name in row.iloc[0] if name])
    return frame


def read_csv_chunks(
    path: str, encoding: str = "utf-8", **options: Any
) -> Iterator[pd.DataFrame]:
    """Reads a text file in chunks, at least one, with a progress bar; for the
    arguments and errors see :func:`read_csv`.
    """
    bar = tqdm(
        total=osp.getsize(path),
        desc=osp.basename(path),
        unit="B",
        unit_scale=True,
        delay=1,
        disable=None,
    )
    with (
        bar,
        _open_text(path, encoding, True, options) as text,
        pd.read_csv(text, chunksize=CHUNK, **options) as chunks,
    ):
        for frame in chunks:
            _check_width(path, frame)
            yield frame
            bar.update(text.raw.position - bar.n)


@contextmanager
def _open_text(
    path: str, encoding: str, rows_are_lines: bool, options: Dict[str, Any]
) -> Iterator[Any]:
    """Opens a text file, and explains errors while it is read."""
    check_file(path)
    may_quote = options.get("quoting") != csv.QUOTE_NONE
    sep = options.get("sep", ",") if rows_are_lines and may_quote else None
    try:
        with (
            CheckedText(path, encoding, sep) as raw,
            io.BufferedReader(raw, BLOCK) as text,
        ):
            yield text
    except BadText as err:
        raise ValueError(str(err)) from err
    except (EOFError, gzip.BadGzipFile, zlib.error) as err:
        raise ValueError(
            f"'{path}' must be a complete gzip file ({err})"
        ) from err
    except UnicodeDecodeError as err:
        raise ValueError(
            f"'{path}' must be text in '{encoding}' ({err}); prepare takes "
            f"other text with encoding=..., such as 'latin-1'"
        ) from err
    except ValueError as err:
        reason = str(err).strip()
        raise ValueError(f"'{path}' cannot be read: {reason}") from err


def _check_width(path: str, frame: pd.DataFrame) -> None:
    if not isinstance(frame.index, pd.RangeIndex):
        # pandas turns the first fields into an index if there are too many.
        raise BadText(
            f"'{path}' must have {frame.shape[1]} fields in its first row, as "
            f"in the header {list(frame)} (got more)"
        )


def _check_rows_are_full(
    path: str, encoding: str, frame: pd.DataFrame, options: Dict[str, Any]
) -> None:
    """Raises a :class:`ValueError` for a row with too few fields. Empty fields
    are text here, missing ones are not.
    """
    is_short = frame.isna().any(axis=1).to_numpy()
    if not is_short.any():
        return
    row = int(is_short.argmax())
    place = row + (options.get("header", 0) == 0)
    with _open_text(path, encoding, True, options) as text:
        full = (n for n, line in enumerate(text, 1) if line.strip(b" \r\n"))
        number = next(islice(full, place, None))
    raise ValueError(
        f"'{path}', line {number} must have {frame.shape[1]} fields (got "
        f"{int(frame.iloc[row].count())})"
    )


def read_parquet(path: str) -> pd.DataFrame:
    """Returns a Parquet file as a DataFrame, its index as columns.

    Raises:
        ImportError: If pyarrow is not installed.
        ValueError: If the file is missing, or not a Parquet file.
    """
    with _open_parquet(path) as file:
        frame = file.read().to_pandas(ignore_metadata=True)
    check_columns(f"'{path}'", frame)
    return frame


def read_parquet_schema(path: str) -> Dict[str, str]:
    """Returns the names and Arrow types of the columns of a Parquet file; for
    the errors see :func:`read_parquet`.
    """
    with _open_parquet(path) as file:
        schema = file.schema_arrow
    check_columns(f"'{path}'", schema.names)
    return {field.name: str(field.type) for field in schema}


def read_parquet_chunks(
    path: str, columns: Sequence[str]
) -> Iterator[pd.DataFrame]:
    """Reads columns of a Parquet file in chunks, with a progress bar; for the
    errors see :func:`read_parquet`.
    """
    with _open_parquet(path) as file:
        bar = tqdm(
            total=file.metadata.num_rows,
            desc=osp.basename(path),
            unit=" rows",
            unit_scale=True,
            delay=1,
            disable=None,
        )
        with bar:
            for rows in file.iter_batches(CHUNK, columns=list(columns)):
                yield rows.to_pandas(ignore_metadata=True)
                bar.update(rows.num_rows)


@contextmanager
def _open_parquet(path: str) -> Iterator[Any]:
    """Opens a Parquet file, and explains errors while it is read."""
    check_file(path)
    pa = import_extra("pyarrow", "data")
    pq = import_extra("pyarrow.parquet", "data")
    try:
        # As a file, not a dataset: folder names are not parsed as columns.
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError, ValueError) as err:
        if getattr(err, "errno", None) is not None:  # Such as permissions.
            raise
        reason = str(err).partition("\n")[0]
        raise ValueError(
            f"'{path}' must be a whole Parquet file ({reason})"
        ) from err
