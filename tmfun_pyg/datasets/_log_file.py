import os
import os.path as osp
from types import ModuleType
from typing import Any, List, Tuple

import numpy as np

from tmfun_pyg.datasets._parquet import read_parquet
from tmfun_pyg.utils.ids import INTEGER

SEPARATORS = {".csv": ",", ".inter": "\t"}
# The columns of MMRec's files under their names in RecBole's.
ALIASES = {"userID": "user_id", "itemID": "item_id"}


def read_frame(
    interactions: Any, user_col: str, item_col: str
) -> Tuple[str, Any]:
    """Returns the name of a log in errors, and its DataFrame.

    Args:
        interactions (pandas.DataFrame or str): A DataFrame, which is
            returned as it is, or the path of a file.
        user_col (str): The column of user ids.
        item_col (str): The column of item ids.

    Raises:
        ImportError: If pandas (or pyarrow, for Parquet) is not installed.
        ValueError: If the file is missing or has another format.
    """
    pd = _import_pandas()
    if isinstance(interactions, pd.DataFrame):
        return "'interactions'", interactions
    if not isinstance(interactions, (str, os.PathLike)):
        raise ValueError(
            f"'interactions' must be a pandas.DataFrame or the path of a "
            f".csv, .parquet or .inter file (got a "
            f"{type(interactions).__name__})"
        )
    path = os.fspath(interactions)
    suffix = osp.splitext(path)[1].lower()
    if suffix == ".parquet":
        return f"'{path}'", read_parquet(path)
    if suffix not in SEPARATORS:
        raise ValueError(
            f"'{path}' must be a .csv, .parquet or .inter file (got "
            f"'{suffix}')"
        )
    if not osp.isfile(path):
        raise ValueError(f"'{path}' does not exist")
    return f"'{path}'", _read_text_file(path, suffix, user_col, item_col)


def _read_text_file(
    path: str, suffix: str, user_col: str, item_col: str
) -> Any:
    pd = _import_pandas()
    sep = SEPARATORS[suffix]
    try:
        names = list(pd.read_csv(path, sep=sep, nrows=0))
        if suffix == ".inter":
            names = _untyped(names, user_col, item_col)
        # As strings first: "007" and "NA" are ids like any other.
        frame = pd.read_csv(
            path,
            sep=sep,
            header=0,
            names=names,
            dtype={user_col: str, item_col: str},
            keep_default_na=False,
            na_values=[""],
        )
    except ValueError as err:
        reason = str(err).strip()
        raise ValueError(f"'{path}' cannot be read: {reason}") from err
    if not isinstance(frame.index, pd.RangeIndex):
        # What pandas makes of the first fields of longer rows.
        raise ValueError(
            f"'{path}' must have {len(names)} fields in every row, as in the "
            f"header (got more)"
        )
    for column in {user_col, item_col}.intersection(names):
        if frame[column].str.fullmatch(INTEGER, na=False).all():
            frame[column] = frame[column].astype(np.int64)
    return frame


def _untyped(header: List[str], user_col: str, item_col: str) -> List[str]:
    """Returns column names without types, as in ``user_id:token``."""
    names = [column.partition(":")[0] for column in header]
    names = [
        name if name in (user_col, item_col) else ALIASES.get(name, name)
        for name in names
    ]
    if len(set(names)) < len(names):
        raise ValueError(f"columns must have distinct names (got {header})")
    return names


def _import_pandas() -> ModuleType:
    try:
        import pandas
    except ImportError as err:
        raise ImportError(
            'reading interactions needs pandas: pip install "tmfun-pyg[data]"'
        ) from err
    return pandas
