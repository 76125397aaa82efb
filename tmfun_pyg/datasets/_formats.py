"""Logs and items in the layouts of public data sets."""

import csv
import os.path as osp
import re
from typing import (
    Any,
    Dict,
    List,
    Literal,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    get_args,
)

import numpy as np
import pandas as pd

from tmfun_pyg.datasets._amazon import read_meta
from tmfun_pyg.datasets._files import check_columns, check_file, read_csv
from tmfun_pyg.datasets._json_lines import read_json_lines
from tmfun_pyg.datasets._json_splits import SPLIT_FILES, read_json_splits
from tmfun_pyg.datasets._log import LABEL
from tmfun_pyg.datasets._log_files import LogFile, TextFormat
from tmfun_pyg.datasets._sparse_pickle import read_sparse_pickle

Format = Literal["movielens", "amazon2018", "amazon2023", "mmssl", "recbole"]
PICKLES = ("trnMat.pkl", "valMat.pkl", "tstMat.pkl")


class Layout(NamedTuple):
    """The layout of a text log.

    Args:
        names (Tuple[str, str, str]): The columns or fields of users, items
            and times.
        columns (List[str], optional): All columns, if there is no header.
        sep (str): The column separator.
    """

    names: Tuple[str, str, str]
    columns: Optional[List[str]] = None
    sep: str = ","


MOVIELENS = ["userId", "movieId", "rating", "timestamp"]
RATINGS = ["item", "user", "rating", "timestamp"]
MOVIE = ("userId", "movieId", "timestamp")
REVIEW_2018 = ("reviewerID", "asin", "unixReviewTime")
ATOMIC = ("user_id", "item_id", "timestamp")
REVIEW_2023 = ("user_id", "parent_asin", "timestamp")
# By format and suffix, without ``.gz``.
LAYOUTS: Dict[str, Dict[str, Layout]] = {
    "movielens": {
        ".csv": Layout(MOVIE),
        ".data": Layout(MOVIE, MOVIELENS, "\t"),
        ".dat": Layout(MOVIE, MOVIELENS, "::"),
    },
    "amazon2018": {
        ".csv": Layout(("user", "item", "timestamp"), RATINGS),
        ".json": Layout(REVIEW_2018),
        ".jsonl": Layout(REVIEW_2018),
    },
    "amazon2023": {".csv": Layout(REVIEW_2023), ".jsonl": Layout(REVIEW_2023)},
    "recbole": {".inter": Layout(ATOMIC, sep="\t")},
}
JSON = (".json", ".jsonl")
# The other engine of pandas does not distinguish missing from empty fields.
TEXT: Dict[str, Any] = {"dtype": str, "na_filter": False, "engine": "python"}
MOVIES = ["movieId", "title", "genres"]
RECBOLE = {"movie_title": "title", "brand": "group"}


def read_format(name: Format, path: str) -> Tuple[Any, str, str, Optional[str]]:
    """Reads a log in the layout of a public data set.

    Args:
        name (str): The name of the layout.
        path (str): The file, or the folder of MMSSL's files.

    Returns:
        The interactions, or their file if it can be read as it is, and their
        columns of users, items and, if there are any, times. A given split is
        in the column ``x_label``.

    Raises:
        ValueError: If a file is missing or has the wrong format.
    """
    if name not in get_args(Format):
        raise ValueError(
            f"'format' must be one of {', '.join(get_args(Format))} (got "
            f"{name!r})"
        )
    if name == "mmssl":
        return _read_matrices(path), "user", "item", None
    suffix, layouts = _suffix(path), LAYOUTS[name]
    if suffix not in layouts:
        raise ValueError(
            f"'{path}' must be of type {', '.join(layouts)} for "
            f"format='{name}' (got '{suffix}')"
        )
    layout = layouts[suffix]
    names = list(layout.names)
    if suffix in JSON:
        rows = [frame.infer_objects() for frame in read_json_lines(path, names)]
        frame = pd.concat(rows) if rows else pd.DataFrame(columns=names)
        return frame.reset_index(drop=True), *layout.names
    text = TextFormat(layout.sep, layout.columns)
    file = LogFile(path, names[0], names[1], text)
    needed = names[:2] if name == "recbole" else names
    if not set(needed) <= set(file.names):
        raise ValueError(
            f"'{path}' must have the columns {', '.join(needed)} of "
            f"format='{name}' (got {', '.join(file.names)})"
        )
    if name == "recbole":
        time = names[2] if names[2] in file.names else None
        return path, names[0], names[1], time
    return file.read(names), *layout.names


def read_format_items(
    name: Format, path: str, item_ids: np.ndarray
) -> Optional[Tuple[pd.DataFrame, List[str]]]:
    """Reads the items of a public data set.

    Args:
        name (str): The name of its layout.
        path (str): The file.
        item_ids (np.ndarray): The items of the log.

    Returns:
        One row per item, with the column ``item_id``, and short lines on
        everything that was not read; :obj:`None` if the file has another
        layout.

    Raises:
        ValueError: If the file is missing or has the wrong format.
    """
    suffix = _suffix(path)
    if name.startswith("amazon") and suffix in JSON:
        frame, num_others = read_meta(name, path, item_ids)
        others = f"'{path}': {num_others} row(s) of other or repeated items"
        return frame, [others] if num_others else []
    if name == "recbole" and suffix == ".item":
        frame = read_csv(path, sep="\t", quoting=csv.QUOTE_NONE, **TEXT)
        columns = [str(column).partition(":")[0] for column in frame]
        columns = [RECBOLE.get(column, column) for column in columns]
        check_columns(f"'{path}'", columns)
        return frame.set_axis(columns, axis=1), []
    if name != "movielens" or suffix not in (".csv", ".item", ".dat"):
        return None
    check_file(path)
    if suffix == ".csv":
        frame = read_csv(path, **TEXT)
        if not set(MOVIES[:2]) <= set(frame):
            return None
    else:
        sep = "|" if suffix == ".item" else "::"
        frame = read_csv(
            path,
            "latin-1",
            sep=re.escape(sep) if len(sep) > 1 else sep,
            header=None,
            quoting=csv.QUOTE_NONE,
            **TEXT,
        )
        if frame.shape[1] < 3:
            raise ValueError(
                f"'{path}' must have fields separated by '{sep}' (got "
                f"{frame.shape[1]} in its first row)"
            )
        frame = frame.iloc[:, :2].set_axis(MOVIES[:2], axis=1)
    return frame.rename(columns={"movieId": "item_id"}), []


def _suffix(path: str) -> str:
    return osp.splitext(path.lower().removesuffix(".gz"))[1]


def _read_matrices(folder: str) -> pd.DataFrame:
    """Reads the splits of MMSSL or DiffMM, preferably from JSON."""

    def are_there(names: Sequence[str]) -> bool:
        return all(osp.isfile(osp.join(folder, name)) for name in names)

    if are_there(SPLIT_FILES):
        user, item, label = read_json_splits(folder)
    elif are_there(PICKLES):
        parts = [read_sparse_pickle(osp.join(folder, n)) for n in PICKLES]
        user, item = map(np.concatenate, zip(*parts, strict=True))
        label = np.repeat(range(3), [len(part[0]) for part in parts])
    else:
        raise ValueError(
            f"'{folder}' must be a folder with {', '.join(SPLIT_FILES)} or "
            f"{', '.join(PICKLES)} for format='mmssl'"
        )
    return pd.DataFrame({"user": user, "item": item, LABEL: label})
