"""Files of text and tables, with errors that name the file."""

import csv
import gzip
import io
import os.path as osp
import zlib
from typing import Any, Iterable

import pandas as pd

from tmfun_pyg.utils.extras import import_extra

# Reads the first row as text, where pandas renames repeated columns.
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
    """Returns a text file, which may be compressed by gzip, as DataFrame.

    Args:
        path (str): The file.
        encoding (str, optional): Its encoding. (default: :obj:`"utf-8"`)
        rows_are_lines (bool, optional): If set to :obj:`False`, fields may
            hold line breaks, as in a file of our own.
            (default: :obj:`True`)
        **options (optional): The arguments of :func:`pandas.read_csv`.

    Raises:
        ValueError: If the file is missing or has another format.
    """
    text = _read_bytes(path)
    if encoding != "utf-8":
        try:
            text = text.decode(encoding).encode("utf-8")
        except UnicodeDecodeError as err:
            raise _not_encoded(path, encoding, err) from err
        except LookupError as err:
            raise ValueError(
                f"'encoding' must be one that Python knows, such as 'utf-8' or "
                f"'latin-1' (got {encoding!r})"
            ) from err
    text = text.rstrip(b"\r\n")
    if b"\0" in text:  # Strings may be cut off there.
        line = text.count(b"\n", 0, text.index(b"\0")) + 1
        raise ValueError(
            f"'{path}', line {line} has a null character; if the text is in "
            f"UTF-16, prepare takes it with encoding='utf-16'"
        )
    is_quoted = b'"' in text and options.get("quoting") != csv.QUOTE_NONE
    if rows_are_lines and is_quoted:
        _check_quotes(path, text, options.get("sep", ","))
    try:
        frame = pd.read_csv(io.BytesIO(text), **options)
        row = pd.read_csv(io.BytesIO(text), **{**options, **FIRST_ROW})
    except UnicodeDecodeError as err:
        raise _not_encoded(path, encoding, err) from err
    except ValueError as err:
        reason = str(err).strip()
        raise ValueError(f"'{path}' cannot be read: {reason}") from err
    if "names" not in options and options.get("header", 0) == 0:
        check_columns(f"'{path}'", [name for name in row.iloc[0] if name])
    if not isinstance(frame.index, pd.RangeIndex):
        # What pandas makes of the first fields if the first row is longer.
        raise ValueError(
            f"'{path}' must have {frame.shape[1]} fields in its first row, as "
            f"in the header {list(frame)} (got more)"
        )
    return frame


def _read_bytes(path: str) -> bytes:
    check_file(path)
    try:
        if path.lower().endswith(".gz"):
            with gzip.open(path) as f:
                return f.read()
        with open(path, "rb") as f:
            return f.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as err:
        raise ValueError(
            f"'{path}' must be a complete gzip file ({err})"
        ) from err


def _not_encoded(
    path: str, encoding: str, err: UnicodeDecodeError
) -> ValueError:
    return ValueError(
        f"'{path}' must be text in '{encoding}' ({err}); prepare takes other "
        f"text with encoding=..., such as 'latin-1'"
    )


def _check_quotes(path: str, text: bytes, separator: str) -> None:
    """Refuses a quotation mark that opens a field and does not close it in
    its line: it would swallow all rows up to the next one.
    """
    lines = io.StringIO(text.decode("utf-8", errors="replace"), newline="")
    reader, last = csv.reader(lines, delimiter=separator, strict=True), 0
    try:
        for _ in reader:
            if reader.line_num > last + 1:
                raise csv.Error(f"a field up to line {reader.line_num}")
            last = reader.line_num
    except csv.Error as err:
        raise ValueError(
            f"'{path}', line {last + 1} must close the quotation mark that "
            f"opens a field, since rows must be lines (got: {err}); in a "
            f"field, write it twice, quote the field, and leave out line breaks"
        ) from err


def read_parquet(path: str) -> pd.DataFrame:
    """Returns a Parquet file as DataFrame, its index as columns.

    Raises:
        ImportError: If pyarrow is not installed.
        ValueError: If the file is missing, or no Parquet file.
    """
    check_file(path)
    pa = import_extra("pyarrow", "data")
    pq = import_extra("pyarrow.parquet", "data")
    try:
        # As a file, not a dataset: folder names are not parsed as columns.
        with pq.ParquetFile(path) as file:
            frame = file.read().to_pandas(ignore_metadata=True)
    except (pa.ArrowException, OSError, ValueError) as err:
        if getattr(err, "errno", None) is not None:  # Such as permissions.
            raise
        reason = str(err).partition("\n")[0]
        raise ValueError(
            f"'{path}' must be a whole Parquet file ({reason})"
        ) from err
    check_columns(f"'{path}'", frame)
    return frame
