"""Titles, pictures and groups of items."""

import os
import os.path as osp
from typing import Any, List, NamedTuple

import numpy as np
import pandas as pd

from tmfun_pyg.datasets._files import check_columns, read_csv, read_parquet
from tmfun_pyg.datasets._ids import IdType, number_ids
from tmfun_pyg.utils.messages import name_items

COLUMNS = ("title", "image_url", "group")
INDEX = "itemID"
SEPARATORS = {".csv": ",", ".tsv": "\t"}


class ItemFile(NamedTuple):
    """The content of a file of items.

    Args:
        path (str): The file.
        table (pandas.DataFrame): Those of ``COLUMNS`` that it has, as text,
            empty if missing, indexed by the text of the raw id.
        ignored (List[str]): The names of its other columns.
    """

    path: str
    table: pd.DataFrame
    ignored: List[str]

    def of_items(self, item_ids: np.ndarray) -> pd.DataFrame:
        """Returns the table of all items of a data set, by index.

        Raises:
            ValueError: If none of them is in the file.
        """
        names = item_ids.astype(str)
        if not np.isin(names, self.table.index).any():
            raise ValueError(
                f"'{self.path}' must have ids of the data set such as "
                f"{names[0]} (got ids such as {self.table.index[0]}, none of "
                f"them known)"
            )
        table = self.table.reindex(names, fill_value="")
        return table.reset_index(drop=True)

    def not_read(self, item_ids: np.ndarray) -> List[str]:
        """Reports the parts of the file that a data set does not read."""
        lines = []
        if self.ignored:
            lines.append(
                f"'{self.path}': the column(s) {', '.join(self.ignored)}; "
                f"{', '.join(COLUMNS)} are read"
            )
        is_known = np.isin(self.table.index, item_ids.astype(str))
        if not is_known.all():
            unknown = name_items(self.table.index[~is_known])
            lines.append(
                f"'{self.path}': the rows of {unknown}, not in the data set"
            )
        return lines


def read_item_file(path: str, item_col: str, id_type: IdType) -> ItemFile:
    """Reads a file of items.

    Args:
        path (str): A ``.csv``, ``.tsv`` or ``.parquet`` file with a column of
            item ids and some of ``COLUMNS``.
        item_col (str): The column of item ids.
        id_type (str): See :func:`number_ids`.

    Raises:
        ImportError: If pyarrow is needed, but not installed.
        ValueError: If the file is missing or has the wrong format.
    """
    return item_file(read_item_rows(path), path, item_col, id_type)


def read_item_rows(path: str) -> pd.DataFrame:
    """Returns a ``.csv``, ``.tsv`` or ``.parquet`` file as a DataFrame, with
    text left as written.

    Raises:
        ImportError: If pyarrow is needed, but not installed.
        ValueError: If the file is missing or has the wrong format.
    """
    suffix = osp.splitext(path.lower().removesuffix(".gz"))[1]
    if suffix == ".parquet":
        return read_parquet(path)
    if suffix not in SEPARATORS:
        raise ValueError(
            f"'{path}' must be a .csv, .tsv or .parquet file (got '{suffix}')"
        )
    return read_csv(
        path,
        sep=SEPARATORS[suffix],
        dtype=str,
        keep_default_na=False,  # "NA" is a title like any other.
        na_values=[""],
    )


def read_items(items: Any, item_col: str, id_type: IdType) -> ItemFile:
    """Reads the table of items from a DataFrame or a file; for the arguments
    and errors see :func:`read_item_file`.
    """
    if isinstance(items, pd.DataFrame):
        check_columns("'items'", items)
        return item_file(items, "items", item_col, id_type)
    if not isinstance(items, (str, os.PathLike)):
        raise ValueError(
            f"'items' must be a pandas.DataFrame or the path of a .csv, .tsv "
            f"or .parquet file (got a {type(items).__name__})"
        )
    return read_item_file(os.fspath(items), item_col, id_type)


def item_file(
    frame: pd.DataFrame, path: str, item_col: str, id_type: IdType
) -> ItemFile:
    """Reads the table of items from a frame; for the arguments and errors see
    :func:`read_item_file`.
    """
    found = [column for column in COLUMNS if column in frame]
    if item_col not in frame or not found or len(frame) == 0:
        raise ValueError(
            f"'{path}' must have rows, the column item_col='{item_col}' and "
            f"some of {', '.join(COLUMNS)} (got {len(frame)} rows and the "
            f"columns {', '.join(map(str, frame.columns))})"
        )
    source = f"'{path}', column '{item_col}'"
    number, distinct = number_ids(frame[item_col], source, id_type)
    count = np.bincount(number)
    if (count > 1).any():
        raise ValueError(
            f"{source} must have each id once (got repeated "
            f"{name_items(distinct[count > 1])})"
        )
    table = frame[found].astype(object).where(frame[found].notna(), "")
    table = table.astype(str).astype(object)
    table.index = pd.Index(distinct.astype(str)[number], dtype=object)
    for column in found:
        bad = table[column].str.contains("\0", regex=False)
        if bad.any():
            raise ValueError(
                f"'{path}', column '{column}' must have no null characters "
                f"(got one for item {table.index[int(bad.argmax())]})"
            )
    others = [str(c) for c in frame if c not in (item_col, *COLUMNS)]
    return ItemFile(path, table, others)


def empty_table(num_items: int) -> pd.DataFrame:
    """Returns an item table without columns."""
    return pd.DataFrame(index=range(num_items))


def write_table(path: str, table: pd.DataFrame) -> None:
    """Writes a file for :func:`read_table`."""
    table.to_csv(path, index_label=INDEX, lineterminator="\n")


def read_table(path: str, num_items: int) -> pd.DataFrame:
    """Reads the table of all items of a data set.

    Args:
        path (str): A ``.csv`` file with the column ``itemID``, from 0 on, and
            some of ``COLUMNS``.
        num_items (int): The number of items.

    Raises:
        ValueError: If the file is missing or has the wrong format.
    """
    frame = read_csv(
        path,
        rows_are_lines=False,
        dtype=str,
        na_filter=False,
        skip_blank_lines=False,
    )
    names = list(frame)
    if names[:1] != [INDEX] or not set(names[1:]) <= set(COLUMNS):
        raise ValueError(
            f"'{path}', line 1 must have the column {INDEX} and some of "
            f"{', '.join(COLUMNS)} (got {', '.join(names)})"
        )
    index = [str(item) for item in range(num_items)]
    if frame[INDEX].tolist() != index or frame.isna().any(axis=None):
        raise ValueError(
            f"'{path}' must have a full row for each of {num_items} items, in "
            f"their order from 0 on (got {len(frame)} rows)"
        )
    return frame.drop(columns=INDEX)
