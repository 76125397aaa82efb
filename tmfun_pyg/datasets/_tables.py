from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

import numpy as np
from torch import Tensor

from tmfun_pyg.datasets._features import ZeroRows, check_features
from tmfun_pyg.datasets._log import Log, factorize
from tmfun_pyg.datasets._rec_dataset import Features
from tmfun_pyg.utils.messages import name_items


class Table(NamedTuple):
    """Features by item id.

    Args:
        item_ids (np.ndarray): The ids, sorted, each once.
        matrix (np.ndarray): A row for each id (float32).
        present (np.ndarray, optional): Which rows hold content, if not all.
    """

    item_ids: np.ndarray
    matrix: np.ndarray
    present: Optional[np.ndarray]


def align_features(
    features: Mapping[str, Any],
    full_log: Log,
    log: Log,
    zero_rows: ZeroRows,
) -> Tuple[np.ndarray, Features]:
    """Joins the items of a log and of its features.

    Args:
        features (Dict[str, Any]): What the user passed.
        full_log (Log): The log as it was read.
        log (Log): What is left of it.
        zero_rows (str): See :func:`check_features`.

    Returns:
        The sorted ids of all items, and their features.

    Raises:
        ValueError: If the features are not what is expected, or of other
            items.
    """
    item_ids = log.item_ids
    tables: Dict[str, Table] = {}
    for modality, value in features.items():
        source = f"features['{modality}']"
        table = _read_table(value, full_log, source, zero_rows)
        # Compared by type first: numpy takes 7 and "7" for equal.
        if (
            table.item_ids.dtype.kind != log.item_ids.dtype.kind
            or not np.isin(table.item_ids, log.item_ids).any()
        ):
            raise ValueError(
                f"{source}: found ids such as {table.item_ids.item(0)!r}, "
                f"none of which has an interaction in {log.source}, whose ids "
                f"are such as {log.item_ids.item(0)!r}; expected the same "
                f"catalogue"
            )
        tables[modality] = table
        item_ids = np.union1d(item_ids, table.item_ids)
    dropped = np.setdiff1d(full_log.item_ids, log.item_ids)
    item_ids = np.setdiff1d(item_ids, dropped, assume_unique=True)
    return item_ids, {
        modality: _spread(table, item_ids)
        for modality, table in tables.items()
    }


def _read_table(
    value: Any,
    full_log: Log,
    source: str,
    zero_rows: ZeroRows,
) -> Table:
    if isinstance(value, tuple):
        if len(value) != 2:
            raise ValueError(
                f"{source}: found a tuple of {len(value)}, expected "
                f"(item_ids, matrix)"
            )
        code, item_ids = factorize(value[0], f"{source}, item_ids")
        matrix = _to_numpy(value[1])
        if matrix.ndim > 0 and len(code) != len(matrix):
            raise ValueError(
                f"{source}: found {len(code)} item ids and a matrix of "
                f"{len(matrix)} rows, expected as many"
            )
        count = np.bincount(code)
        if (count > 1).any():
            raise ValueError(
                f"{source}, item_ids: found more than one row for "
                f"{name_items(item_ids[count > 1])}, expected each id once"
            )
        given_ids, order = item_ids[code], code.argsort()
    else:
        item_ids = given_ids = full_log.item_ids
        matrix = _to_numpy(value)
        if matrix.ndim > 0 and len(item_ids) != len(matrix):
            raise ValueError(
                f"{source}: found a matrix of {len(matrix)} rows, expected "
                f"{len(item_ids)}, the number of distinct items in "
                f"{full_log.source}; pass (item_ids, matrix) to name the rows"
            )
        order = np.arange(len(item_ids))
    matrix, present = check_features(
        matrix, source, zero_rows, lambda rows: given_ids[rows]
    )
    return Table(
        item_ids, matrix[order], None if present is None else present[order]
    )


def _to_numpy(matrix: Any) -> np.ndarray:
    if isinstance(matrix, Tensor):
        matrix = matrix.detach().cpu()
        # numpy has no bfloat16.
        matrix = matrix.float() if matrix.is_floating_point() else matrix
    return np.asarray(matrix)


def _spread(
    table: Table,
    item_ids: np.ndarray,
) -> Tuple[np.ndarray, Optional[np.ndarray]]:
    """Lays a table out over all items."""
    kept = np.isin(table.item_ids, item_ids)
    place = np.searchsorted(item_ids, table.item_ids[kept])
    matrix = np.zeros((len(item_ids), table.matrix.shape[1]), np.float32)
    matrix[place] = table.matrix[kept]
    present = np.zeros(len(item_ids), dtype=bool)
    present[place] = True if table.present is None else table.present[kept]
    return matrix, None if present.all() else present
