from typing import Any, Dict, Mapping, NamedTuple, Tuple

import numpy as np
from torch import Tensor

from tmfun_pyg.datasets._content import Features
from tmfun_pyg.datasets._ids import number_ids
from tmfun_pyg.datasets._log import Log
from tmfun_pyg.datasets.features import ZeroRows, check_features
from tmfun_pyg.utils.messages import name_items


class FeatureTable(NamedTuple):
    """Features by item id.

    Args:
        item_ids (np.ndarray): The item ids.
        matrix (np.ndarray): A row for each id (float32).
        present (np.ndarray): Which rows have content.
    """

    item_ids: np.ndarray
    matrix: np.ndarray
    present: np.ndarray


def align_features(
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

    Raises:
        ValueError: If features have another format, or belong to other
            items.
    """
    item_ids = log.item_ids
    tables: Dict[str, FeatureTable] = {}
    for modality, value in features.items():
        source = f"'features', modality '{modality}'"
        table = _read_table(value, full_log, source, zero_rows)
        # Compared by type first: numpy takes 7 and "7" for equal.
        if (
            table.item_ids.dtype.kind != log.item_ids.dtype.kind
            or not np.isin(table.item_ids, log.item_ids).any()
        ):
            raise ValueError(
                f"{source} must have item ids of {log.source} such as "
                f"{log.item_ids.item(0)!r} (got ids such as "
                f"{table.item_ids.item(0)!r}, none of them with interactions)"
            )
        tables[modality] = table
        item_ids = np.union1d(item_ids, table.item_ids)
    dropped = np.setdiff1d(full_log.item_ids, log.item_ids)
    item_ids = np.setdiff1d(item_ids, dropped, assume_unique=True)
    return item_ids, {
        modality: _reindex(table, item_ids)
        for modality, table in tables.items()
    }


def _read_table(
    value: Any, full_log: Log, source: str, zero_rows: ZeroRows
) -> FeatureTable:
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
    if isinstance(matrix, Tensor):
        matrix = matrix.detach().cpu()
        # numpy has no bfloat16.
        matrix = matrix.float() if matrix.is_floating_point() else matrix
    matrix = np.asarray(matrix)
    if matrix.ndim > 0 and len(ids) != len(matrix):
        raise ValueError(
            f"{source} must have {len(ids)} rows, {expected} (got "
            f"{len(matrix)})"
        )
    return FeatureTable(ids, *check_features(matrix, source, zero_rows, ids))


def _reindex(
    table: FeatureTable, item_ids: np.ndarray
) -> Tuple[np.ndarray, np.ndarray]:
    """Returns the rows of all items, with zeros for those without."""
    kept = np.isin(table.item_ids, item_ids)
    place = np.searchsorted(item_ids, table.item_ids[kept])
    matrix = np.zeros((len(item_ids), table.matrix.shape[1]), np.float32)
    matrix[place] = table.matrix[kept]
    present = np.zeros(len(item_ids), dtype=bool)
    present[place] = table.present[kept]
    return matrix, present
