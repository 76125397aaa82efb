"""Files of text and tables, with errors that name the file."""

import csv
import io
import os.path as osp
from typing import Any

import pandas as pd

from tmfun_pyg.utils.extras import import_extra


def read_text(path: str) -> str:
    """Returns the text of a file in UTF-8.

    Raises:
        ValueError: If the file is missing, or not in UTF-8.
    """
    try:
        with open(path, encoding="utf-8-sig") as f:
            return f.read()
    except FileNotFoundError as err:
        raise ValueError(f"'{path}' does not exist") from err
    except UnicodeDecodeError as err:
        raise ValueError(f"'{path}' must be text in UTF-8 ({err})") from err


def read_csv(path: str, **options: Any) -> pd.DataFrame:
    """Returns a text file with a header as DataFrame.

    Args:
        path (str): The file.
        **options (optional): The arguments of :func:`pandas.read_csv`.

    Raises:
        ValueError: If the file is missing or has another format.
    """
    if not osp.isfile(path):
        raise ValueError(f"'{path}' does not exist")
    with open(path, "rb") as f:
        text = f.read().rstrip(b"\r\n")
    if b"\0" in text:  # Strings may be cut off there.
        line = text.count(b"\n", 0, text.index(b"\0")) + 1
        raise ValueError(f"'{path}', line {line} has a null character")
    if b'"' in text and options.get("quoting") != csv.QUOTE_NONE:
        _check_quotes(path, text, options.get("sep", ","))
    try:
        frame = pd.read_csv(io.BytesIO(text), **options)
    except ValueError as err:
        reason = str(err).strip()
        raise ValueError(f"'{path}' cannot be read: {reason}") from err
    if not isinstance(frame.index, pd.RangeIndex):
        # What pandas makes of the first fields if the first row is longer.
        raise ValueError(
            f"'{path}' must have {frame.shape[1]} fields in its first row, as "
            f"in the header {list(frame)} (got more)"
        )
    return frame


def _check_quotes(path: str, text: bytes, separator: str) -> None:
    """Refuses a quotation mark that opens a field and does not close it, which
    would swallow the rows up to the next one.
    """
    lines = io.StringIO(text.decode("utf-8", errors="replace"), newline="")
    reader, line = csv.reader(lines, delimiter=separator, strict=True), 1
    try:
        for _ in reader:
            line = reader.line_num + 1
    except csv.Error as err:
        raise ValueError(
            f"'{path}', line {line} must close the quotation mark that opens a "
            f"field (got: {err}); in a field, write it twice, and quote the "
            f"field"
        ) from err


def read_parquet(path: str) -> pd.DataFrame:
    """Returns a Parquet file as DataFrame, its index as columns.

    Raises:
        ImportError: If pyarrow is not installed.
        ValueError: If the file is missing, or no Parquet file.
    """
    pa = import_extra("pyarrow", "data")
    pq = import_extra("pyarrow.parquet", "data")
    try:
        # Without partitioning: folder names are not parsed as columns.
        table = pq.read_table(path, partitioning=None)
    except FileNotFoundError as err:
        raise ValueError(f"'{path}' does not exist") from err
    except pa.ArrowInvalid as err:
        raise ValueError(f"'{path}' must be a Parquet file ({err})") from err
    return table.to_pandas(ignore_metadata=True)
