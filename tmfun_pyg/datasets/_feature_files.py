import os
import os.path as osp
import re
from typing import Any, List, Optional, Tuple, Union

import numpy as np

from tmfun_pyg.datasets._features import read_features
from tmfun_pyg.datasets._log import Log, factorize
from tmfun_pyg.datasets._mapping import to_ids

ENDINGS = ("_ids.txt", ".ids.txt")
# What pandas calls an index without a name that it wrote as a column.
INDEX_COLUMN = re.compile(r"__index_level_\d+__")


def read_feature_file(
    path: str,
    ids_path: Optional[str],
    item_col: str,
    log: Log,
    encoder: Optional[str],
) -> Union[np.ndarray, Tuple[np.ndarray, np.ndarray]]:
    """Reads the features of a modality.

    Args:
        path (str): A ``.npy`` or ``.parquet`` file, or a folder of texts.
        ids_path (str, optional): The ids of the rows of a ``.npy`` file.
        item_col (str): The column of item ids in a ``.parquet`` file.
        log (Log): The log, whose ids tell whether ids are integers.
        encoder (str, optional): The folder of the model for texts.

    Returns:
        Item ids and a matrix, or the matrix alone if it has no ids.

    Raises:
        ImportError: If an optional dependency is not installed.
        ValueError: If a file is not what is expected.
    """
    suffix = osp.splitext(path)[1].lower()
    if ids_path is not None and suffix != ".npy":
        raise ValueError(
            f"feature_ids: found '{ids_path}' for '{path}', expected ids for "
            f"a .npy file alone"
        )
    if osp.isdir(path):
        return _read_texts(path, log, encoder)
    if suffix == ".npy":
        return _read_npy(path, ids_path, log)
    if suffix == ".parquet":
        return _read_parquet(path, item_col, log)
    raise ValueError(
        f"features: found '{path}', expected a .npy or .parquet file, or an "
        f"existing folder of .txt files"
    )


def _read_npy(
    path: str, ids_path: Optional[str], log: Log
) -> Union[np.ndarray, Tuple[np.ndarray, np.ndarray]]:
    matrix = read_features(path)
    if ids_path is None:
        stem = osp.splitext(path)[0]
        beside = [stem + end for end in ENDINGS if osp.isfile(stem + end)]
        if len(beside) > 1:
            raise ValueError(
                f"'{path}': found two files of ids beside it, {beside}, "
                f"expected one; name it in feature_ids"
            )
        if not beside:
            return matrix
        ids_path = beside[0]
    names = _read_text(ids_path).removesuffix("\n").split("\n")
    if "" in names:
        raise ValueError(
            f"'{ids_path}', line {names.index('') + 1}: found an empty line, "
            f"expected an item id in every line"
        )
    if matrix.ndim > 0 and len(names) != len(matrix):
        raise ValueError(
            f"'{ids_path}': found {len(names)} ids, expected "
            f"{len(matrix)}, the number of rows in '{path}'"
        )
    return _like_log(names, log, f"'{ids_path}'"), matrix


def _read_parquet(
    path: str, item_col: str, log: Log
) -> Tuple[np.ndarray, np.ndarray]:
    if not osp.isfile(path):
        raise ValueError(f"'{path}' does not exist")
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as err:
        raise ImportError(
            'reading Parquet needs pyarrow: pip install "tmfun-pyg[data]"'
        ) from err
    try:
        table = pq.read_table(path, partitioning=None)
    except pa.ArrowInvalid as err:
        raise ValueError(f"'{path}': no Parquet file: {err}") from err
    columns = [c for c in table.column_names if not INDEX_COLUMN.fullmatch(c)]
    if item_col not in columns:
        raise ValueError(f"'{path}': no column '{item_col}': found {columns}")
    if table.num_rows == 0:
        raise ValueError(f"'{path}': found no rows, expected features")
    columns.remove(item_col)

    code, ids = factorize(
        table[item_col].to_pandas(), f"'{path}', '{item_col}'"
    )
    ids = _like_log(ids.astype(np.str_).tolist(), log, f"'{path}'")[code]
    types = [table.schema.field(column).type for column in columns]
    if len(columns) == 1 and _is_list(types[0]):
        return ids, _read_lists(table[columns[0]], f"'{path}', '{columns[0]}'")
    bad = [
        f"'{column}' ({kind})"
        for column, kind in zip(columns, types, strict=True)
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind))
    ]
    if bad or not columns:
        found = f"the column(s) {', '.join(bad)}" if bad else "no other column"
        raise ValueError(
            f"'{path}': found {found} beside '{item_col}', expected one "
            f"column of lists, or numeric columns alone"
        )
    matrix = np.column_stack([table[column].to_numpy() for column in columns])
    return ids, _to_floats(matrix)


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return (
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
    )


def _read_lists(column: Any, source: str) -> np.ndarray:
    """Stacks a column of lists of equal length."""
    import pyarrow.compute as pc
    from pyarrow import types

    if column.null_count > 0:
        row = int(column.is_null().to_numpy().argmax())
        raise ValueError(
            f"{source}: found no list in row {row} (the first row is 0), "
            f"expected features in every row"
        )
    length = pc.list_value_length(column).to_numpy()
    if (length != length[0]).any():
        row = int((length != length[0]).argmax())
        raise ValueError(
            f"{source}: found a list of {length[row]} in row {row} (the "
            f"first row is 0), expected {length[0]} as in the first"
        )
    values = pc.list_flatten(column)
    if not (types.is_floating(values.type) or types.is_integer(values.type)):
        raise ValueError(
            f"{source}: found lists of {values.type}, expected numbers"
        )
    return _to_floats(values.to_numpy().reshape(len(length), length[0]))


def _to_floats(matrix: np.ndarray) -> np.ndarray:
    if matrix.dtype.kind != "f":
        matrix = matrix.astype(np.float32)
    return matrix


def _read_texts(
    path: str, log: Log, encoder: Optional[str]
) -> Tuple[np.ndarray, np.ndarray]:
    files = sorted(f for f in os.listdir(path) if not f.startswith("."))
    other = [file for file in files if not file.endswith(".txt")]
    if other or not files:
        found = f"'{other[0]}'" if other else "no file"
        raise ValueError(
            f"'{path}': found {found}, expected files '<item id>.txt' alone"
        )
    names = [file.removesuffix(".txt") for file in files]
    ids = _like_log(names, log, f"'{path}'")
    texts = [_read_text(osp.join(path, file)) for file in files]
    filled = np.array([text.strip() != "" for text in texts])
    if not filled.any():
        raise ValueError(f"'{path}': found empty texts alone")

    rows = _encode([text for text in texts if text.strip()], path, encoder)
    # An empty text tells nothing: its row is one of zeros.
    matrix = np.zeros((len(texts), rows.shape[1]), dtype=rows.dtype)
    matrix[filled] = rows
    return ids, matrix


def _encode(texts: List[str], path: str, encoder: Optional[str]) -> np.ndarray:
    if encoder is None or not osp.isdir(encoder):
        raise ValueError(
            f"encoder: found {encoder!r}, expected the folder of a "
            f"sentence-transformers model for the texts in '{path}'; models "
            f"are not downloaded"
        )
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as err:
        raise ImportError(
            "encoding texts needs sentence-transformers: pip install "
            '"tmfun-pyg[encode]"'
        ) from err
    model = SentenceTransformer(encoder, local_files_only=True)
    # The bar is for those who wait for many texts.
    show = len(texts) > 1000
    return model.encode(texts, convert_to_numpy=True, show_progress_bar=show)


def _like_log(names: List[str], log: Log, source: str) -> np.ndarray:
    """Makes ids integers if those of the log are: ids are compared as they
    are written.
    """
    if log.item_ids.dtype.kind == "U":
        return np.array(names, dtype=np.str_)
    ids = to_ids(names)
    if ids.dtype.kind == "U":
        bad = next(name for name in names if to_ids([name]).dtype.kind == "U")
        raise ValueError(
            f"{source}: found the item id '{bad}', expected integers such as "
            f"{log.item_ids[0]}, as in {log.source}"
        )
    return ids


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8-sig") as f:
            return f.read()
    except FileNotFoundError as err:
        raise ValueError(f"'{path}' does not exist") from err
    except UnicodeDecodeError as err:
        raise ValueError(
            f"'{path}': found what is no text in UTF-8 ({err})"
        ) from err
