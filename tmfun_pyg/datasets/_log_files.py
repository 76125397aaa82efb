"""The file of a log."""

import csv
import os.path as osp
import re
from typing import Any, Dict, NamedTuple, Optional, Sequence

import pandas as pd

from tmfun_pyg.datasets._files import (
    check_columns,
    check_file,
    read_csv,
    read_parquet,
)
from tmfun_pyg.utils.ids import ids_from_text

SEPARATORS = {".csv": ",", ".tsv": "\t", ".inter": "\t"}
# The columns of MMRec's files under their names in RecBole's.
ALIASES = {"userID": "user_id", "itemID": "item_id"}


class TextFormat(NamedTuple):
    """How a log is laid out in a text file.

    Args:
        sep (str, optional): What separates columns.
            (default: as the suffix says)
        columns (List[str], optional): The names of the columns of a file
            without a header. (default: the header)
        encoding (str, optional): The encoding. (default: UTF-8)
    """

    sep: Optional[str] = None
    columns: Optional[Sequence[str]] = None
    encoding: Optional[str] = None


def read_log_file(
    path: str, user_col: str, item_col: str, text_format: TextFormat
) -> pd.DataFrame:
    """Reads the file of a log. In text, ids are integers if all in a column
    are, and strings otherwise.

    Raises:
        ImportError: If pyarrow is needed, but not installed.
        ValueError: If the file is missing or has another format.
    """
    check_file(path)
    suffix = osp.splitext(path.lower().removesuffix(".gz"))[1]
    if suffix == ".parquet":
        for name, value in text_format._asdict().items():
            if value is not None:
                raise ValueError(
                    f"'{name}' must be given for text files only (got "
                    f"{value!r} for '{path}')"
                )
        return read_parquet(path)
    options = _text_options(path, suffix, text_format)
    ids = [user_col, item_col]
    if text_format.columns is None:
        options["header"] = 0
        names = list(read_csv(path, nrows=0, **options))
        if suffix == ".inter":  # Names may have a type, as "user_id:token".
            names = [name.partition(":")[0] for name in names]
            names = [n if n in ids else ALIASES.get(n, n) for n in names]
    else:
        options["header"] = None
        names = list(text_format.columns)
        row = read_csv(path, nrows=1, dtype=str, **options).iloc[0].tolist()
        if len(row) != len(names):
            raise ValueError(
                f"'columns' must name all columns of '{path}' (got "
                f"{len(names)} names, but {len(row)} fields in its first row)"
            )
        is_header = map(_is_header, row, names)
        if any(is_header):
            raise ValueError(
                f"'columns' must be given for a log without a header (got "
                f"{names}, but a first row {row} in '{path}')"
            )
    check_columns(f"'{path}'", names)
    frame = read_csv(
        path,
        **options,
        names=names,
        dtype=dict.fromkeys(ids, str),
        keep_default_na=False,  # "NA" is an id like any other.
        na_values=[""],
    )
    for column in set(ids).intersection(names):
        values = frame[column].astype("category").cat
        distinct = ids_from_text(values.categories)
        frame[column] = values.rename_categories(distinct)
    return frame


def _is_header(field: Any, name: str) -> bool:
    """Returns whether a field is the name of its column, perhaps with a
    type.
    """
    text = str(field).partition(":")[0]
    found = {text.casefold(), ALIASES.get(text, text).casefold()}
    return name.casefold() in found


def _text_options(
    path: str, suffix: str, text_format: TextFormat
) -> Dict[str, Any]:
    """Returns the arguments of :func:`read_csv` for a text file."""
    sep = text_format.sep
    if sep is None:
        if suffix not in SEPARATORS:
            raise ValueError(
                f"'{path}' must be a .csv, .tsv, .inter or .parquet file (got "
                f"'{suffix}'); prepare takes other text with sep=..., what is "
                f"between its columns"
            )
        sep = SEPARATORS[suffix]
    if sep == "" or re.search(r'["\r\n]', sep):
        raise ValueError(
            f"'sep' must be what separates columns, such as ',' or '::' (got "
            f"{sep!r})"
        )
    # RecBole's and MMRec's files have no quotation, nor do those of longer
    # separators, which pandas takes for regular expressions.
    plain = suffix == ".inter" or len(sep) > 1
    options: Dict[str, Any] = {
        "sep": sep if len(sep) == 1 else re.escape(sep),
        "quoting": csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL,
        "encoding": text_format.encoding or "utf-8",
    }
    if len(sep) > 1:
        options["engine"] = "python"
    return options
