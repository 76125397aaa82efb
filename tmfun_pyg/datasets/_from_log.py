from typing import Any, Dict, Mapping, Tuple

import numpy as np
import pandas as pd
from torch import Tensor

from tmfun_pyg.datasets import _content
from tmfun_pyg.datasets._content import Content, Features, Interactions
from tmfun_pyg.datasets._ids import number_ids
from tmfun_pyg.datasets._log import Log, keep_k_core
from tmfun_pyg.datasets._split import Ratios, Split, split_interactions
from tmfun_pyg.datasets.features import ZeroRows, check_features, to_numpy
from tmfun_pyg.utils.messages import name_items


def content_from_log(
    full_log: Log,
    features: Mapping[str, Any],
    split: Split,
    ratios: Ratios,
    k_core: int,
    seed: int,
    zero_rows: ZeroRows,
) -> Content:
    """Builds the content of a data set from a log and features; for the
    arguments see :meth:`MultimodalRecDataset.from_interactions`.
    """
    log = keep_k_core(full_log, k_core)
    item_ids, tables = _align_features(features, full_log, log, zero_rows)
    label = split_interactions(split, log.rows, ratios, seed)
    _content.check_splits(label, log.source)
    # Cold items stand between those of the log.
    user = log.rows["user"].to_numpy()
    item = np.searchsorted(item_ids, log.item_ids)[log.rows["item"]]
    order = np.lexsort((item, user))
    inter = Interactions(user[order], item[order], label[order])
    _content.warn_duplicates(log.num_duplicates, log.source)
    return _content.build_content(
        inter, tables, log.user_ids, item_ids, log.num_duplicates
    )


def _align_features(
    features: Mapping[str, Any], full_log: Log, log: Log, zero_rows: ZeroRows
) -> Tuple[np.ndarray, Features]:
    """Joins the items of a log with those of features.

    Args:
        features (Dict[str, Any]): For each modality a pair
            :obj:`(item_ids, matrix)`, or a matrix for the items of
            ``full_log``.
        full_log (Log): The log as it was read.
        log (Log): Its k-core.
        zero_rows (str): See :func:`check_features`.

    Returns:
        The ids of all items in sorted order, and their features.
    """
    item_ids = log.item_ids
    tables: Dict[str, Tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    for modality, value in features.items():
        source = f"'features', modality '{modality}'"
        ids, matrix = _read_value(value, full_log, source)
        tables[modality] = ids, *check_features(matrix, source, zero_rows, ids)
        # Compared by type first: numpy takes 7 and "7" for equal.
        if (
            ids.dtype.kind != log.item_ids.dtype.kind
            or not np.isin(ids, log.item_ids).any()
        ):
            raise ValueError(
                f"{source} must have item ids of {log.source} such as "
                f"{log.item_ids.item(0)!r} (got ids such as {ids.item(0)!r}, "
                f"none of them with interactions)"
            )
        item_ids = np.union1d(item_ids, ids)
    dropped = np.setdiff1d(full_log.item_ids, log.item_ids)
    item_ids = np.setdiff1d(item_ids, dropped, assume_unique=True)

    out: Features = {}
    for modality, (ids, matrix, present) in tables.items():
        row = pd.Index(ids).get_indexer(item_ids)
        # Zeros for items without a row.
        matrix = np.where((row < 0)[:, None], np.float32(0), matrix[row])
        out[modality] = matrix, present[row] & (row >= 0)
    return item_ids, out


def _read_value(
    value: Any, full_log: Log, source: str
) -> Tuple[np.ndarray, np.ndarray]:
    """Returns the item ids of features, each once, and their matrix."""
    ids, matrix = full_log.item_ids, value
    expected = f"as many as {full_log.source} has items"
    if isinstance(value, tuple):
        if len(value) != 2:
            raise ValueError(
                f"{source} must be a pair (item_ids, matrix) (got a tuple of "
                f"{len(value)})"
            )
        matrix = value[1]
        number, distinct = number_ids(value[0], f"{source}, item_ids")
        count = np.bincount(number)
        if (count > 1).any():
            raise ValueError(
                f"{source}, item_ids must have each id once (got repeated "
                f"{name_items(distinct[count > 1])})"
            )
        ids, expected = distinct[number], "as many as item_ids"
    is_tensor = isinstance(matrix, Tensor)
    matrix = to_numpy(matrix) if is_tensor else np.asarray(matrix)
    if matrix.ndim > 0 and len(ids) != len(matrix):
        raise ValueError(
            f"{source} must have {len(ids)} rows, {expected} (got "
            f"{len(matrix)})"
        )
    return ids, matrix
