import os.path as osp
from typing import Any, Optional, Tuple, Union

import numpy as np
import pandas as pd

from tmfun_pyg.datasets._feature_folders import read_feature_folder
from tmfun_pyg.datasets._files import read_parquet
from tmfun_pyg.datasets._ids import IdType, check_complete, distinct_ids
from tmfun_pyg.datasets.features import NUMBERS, read_features
from tmfun_pyg.datasets.id_files import read_ids_of_rows
from tmfun_pyg.utils.ids import ids_from_text

IDS_SUFFIXES = ("_ids.txt", ".ids.txt")
# The columns in which pandas stores an unnamed index.
INDEX_COLUMN = r"__index_level_\d+__"


def read_feature_file(
    path: str,
    ids_path: Optional[str],
    item_col: str,
    id_type: IdType,
    encoder: Optional[str],
) -> Union[np.ndarray, Tuple[np.ndarray, np.ndarray]]:
    """Reads the features of a modality.

    Args:
        path (str): A ``.npy`` or ``.parquet`` file, or a folder with one file
            per item.
        ids_path (str, optional): The item ids of a ``.npy`` file.
        item_col (str): The column of item ids in a ``.parquet`` file.
        id_type (str): See :func:`distinct_ids`.
        encoder (str, optional): The model that encodes texts.

    Returns:
        The item ids and a matrix, or the matrix alone if it has no ids.

    Raises:
        ImportError: If an optional dependency is not installed.
        ValueError: If a file is missing or has the wrong format.
    """
    suffix = osp.splitext(path)[1].lower()
    if ids_path is not None and suffix != ".npy":
        raise ValueError(
            f"'feature_ids' must be given for .npy files only (got "
            f"'{ids_path}' for '{path}')"
        )
    source = f"'{path}'"
    if osp.isdir(path):
        names, matrix = read_feature_folder(path, encoder)
        ids: Any = ids_from_text(names)
    elif suffix == ".npy":
        matrix = read_features(path)
        ids_path = ids_path or _find_ids(path)
        if ids_path is None:
            return matrix
        source = f"'{ids_path}'"
        ids = ids_from_text(read_ids_of_rows(ids_path, path, matrix))
    elif suffix == ".parquet":
        source = f"{source}, column '{item_col}'"
        ids, matrix = _read_table(path, item_col)
    else:
        raise ValueError(
            f"'features' must be .npy or .parquet files, or existing folders "
            f"of .txt or .npy files (got '{path}')"
        )
    return distinct_ids(ids, source, id_type), matrix


def _find_ids(path: str) -> Optional[str]:
    """Returns the file of item ids next to a ``.npy`` file, if it exists."""
    stem = osp.splitext(path)[0]
    found = [stem + end for end in IDS_SUFFIXES if osp.isfile(stem + end)]
    if len(found) > 1:
        raise ValueError(
            f"'{path}' must have one file of item ids beside it (got "
            f"{found}); name it in 'feature_ids'"
        )
    return found[0] if found else None


def _read_table(path: str, item_col: str) -> Tuple[pd.Series, np.ndarray]:
    frame = read_parquet(path)
    frame = frame.loc[:, ~frame.columns.str.fullmatch(INDEX_COLUMN)]
    if item_col not in frame.columns or len(frame) == 0:
        raise ValueError(
            f"'{path}' must have rows and the column '{item_col}' (got "
            f"{len(frame)} rows and the columns {list(frame.columns)})"
        )
    ids = frame[item_col]
    frame = frame.drop(columns=item_col)
    for column in frame.columns[frame.dtypes.map(str) == "object"]:
        missing = frame[column].isna().to_numpy()
        check_complete(missing, "a value", f"'{path}', column '{column}'")
    if frame.shape[1] == 1 and frame.iloc[:, 0].dtype == object:
        source = f"'{path}', column '{frame.columns[0]}'"
        matrix = _stack_lists(frame.iloc[:, 0], source)
    else:
        other = [
            f"'{column}' ({dtype})"
            for column, dtype in frame.dtypes.items()
            if dtype.kind not in NUMBERS
        ]
        if other or frame.shape[1] == 0:
            raise ValueError(
                f"'{path}' must have one column of lists or numeric columns "
                f"beside '{item_col}' (got {', '.join(other) or 'none'})"
            )
        matrix = frame.to_numpy(np.float64, na_value=np.nan)
    return ids, matrix


def _stack_lists(column: Any, source: str) -> np.ndarray:
    """Stacks a column of lists of equal length."""
    length = column.map(lambda x: len(x) if isinstance(x, np.ndarray) else 0)
    if length.nunique() > 1:
        row = int((length != length[0]).argmax())
        raise ValueError(
            f"{source} must have lists of equal length (got {length[0]} "
            f"numbers in row 0, and {length[row]} in row {row})"
        )
    matrix = np.stack(column.to_list())
    if matrix.dtype.kind not in NUMBERS:
        raise ValueError(
            f"{source} must have lists of numbers (got {matrix.dtype} values)"
        )
    return matrix
