"""Reads the file of a log."""

import csv
import os.path as osp
import re
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence

import pandas as pd

from tmfun_pyg.datasets._files import (
    check_columns,
    check_file,
    read_csv,
    read_csv_chunks,
    read_parquet_chunks,
    read_parquet_schema,
)
from tmfun_pyg.datasets._id_chunks import IdChunks

SEPARATORS = {".csv": ",", ".tsv": "\t", ".inter": "\t"}
# MMRec's column names, with their names in RecBole.
ALIASES = {"userID": "user_id", "itemID": "item_id"}


class TextFormat(NamedTuple):
    """The layout of a log in a text file.

    Args:
        sep (str, optional): The column separator.
            (default: by the suffix)
        columns (List[str], optional): The names of the columns of a file
            without a header. (default: the header)
        encoding (str, optional): The encoding. (default: UTF-8)
    """

    sep: Optional[str] = None
    columns: Optional[Sequence[str]] = None
    encoding: Optional[str] = None


class LogFile:
    """The file of a log. The constructor reads its header only.

    Args:
        path (str): The file.
        user_col (str): The column of user ids.
        item_col (str): The column of item ids.
        text_format (TextFormat): Its layout, if it is a text file.

    Raises:
        ImportError: If pyarrow is needed, but not installed.
        ValueError: If the file is missing or has the wrong format.

    Attributes:
        names (List[str]): The names of all columns.
    """

    def __init__(
        self, path: str, user_col: str, item_col: str, text_format: TextFormat
    ) -> None:
        check_file(path)
        self._path, self._ids = path, {user_col, item_col}
        suffix = osp.splitext(path.lower().removesuffix(".gz"))[1]
        self._options: Optional[Dict[str, Any]] = None
        if suffix == ".parquet":
            for name, value in text_format._asdict().items():
                if value is not None:
                    raise ValueError(
                        f"'{name}' must be given for text files only (got "
                        f"{value!r} for '{path}')"
                    )
            self._types = read_parquet_schema(path)
            self.names = list(self._types)
            return
        options = _text_options(path, suffix, text_format)
        if text_format.columns is None:
            options["header"] = 0
            names = list(read_csv(path, nrows=0, **options))
            if suffix == ".inter":  # Names may have a type: "user_id:token".
                names = [name.partition(":")[0] for name in names]
                names = [
                    n if n in self._ids else ALIASES.get(n, n) for n in names
                ]
        else:
            options["header"] = None
            names = list(text_format.columns)
            _check_names(path, names, options)
        check_columns(f"'{path}'", names)
        self.names, self._options = names, options

    def read(self, columns: Iterable[str]) -> pd.DataFrame:
        """Returns columns of the log. In text, ids are integers if all in a
        column are, and strings otherwise.

        Args:
            columns (List[str]): Their names; missing columns are left out.

        Raises:
            ValueError: If the file has the wrong format.
        """
        names = [name for name in self.names if name in set(columns)]
        if self._options is None:
            in_text = {n for n in self._ids if n in self._types}
            in_text = {n for n in in_text if _is_text(self._types[n])}
            chunks = read_parquet_chunks(self._path, names)
        else:
            in_text = self._ids
            chunks = read_csv_chunks(
                self._path,
                **self._options,
                names=self.names,
                dtype=dict.fromkeys(self._ids, str),
                keep_default_na=False,  # "NA" is an id like any other.
                na_values=[""],
            )
        ids = {name: IdChunks() for name in names if name in in_text}
        others: Dict[str, List[pd.Series]] = {n: [] for n in names}
        for frame in chunks:
            for name in names:
                add = ids[name].add if name in ids else others[name].append
                add(frame[name])
        out = {}
        for name in names:
            if name in ids:
                out[name] = ids.pop(name).join(self._options is None)
            else:
                parts = others.pop(name) or [pd.Series(dtype=object)]
                out[name] = pd.concat(parts, ignore_index=True)
        return pd.DataFrame(out, copy=False)


def _is_text(arrow_type: str) -> bool:
    """Returns whether a Parquet column holds text, not lists of text."""
    return (
        re.match(r"(large_)?string|dictionary<.*string", arrow_type) is not None
    )


def _check_names(path: str, names: List[str], options: Dict[str, Any]) -> None:
    """Checks the column names given for a file without a header."""
    row = read_csv(path, nrows=1, dtype=str, **options).iloc[0].tolist()
    if len(row) != len(names):
        raise ValueError(
            f"'{path}' must have {len(names)} columns, {', '.join(names)} (got "
            f"{len(row)} fields in its first row)"
        )
    is_header = map(_is_header, row, names)
    if any(is_header):
        raise ValueError(
            f"'{path}' must have no header where its columns are known to be "
            f"{', '.join(names)} (got the first row {row})"
        )


def _is_header(field: Any, name: str) -> bool:
    """Returns whether a field is the name of its column, with or without a
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
    # RecBole's and MMRec's files are not quoted, nor are files with longer
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
