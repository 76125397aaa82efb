import os.path as osp
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np
import pandas as pd
from torch import Tensor

from tmfun_pyg.datasets import _content
from tmfun_pyg.datasets._content import Content, Features, Interactions, timed
from tmfun_pyg.datasets._feature_files import IDS_SUFFIXES
from tmfun_pyg.datasets._ids import IdType, distinct_ids
from tmfun_pyg.datasets._log import Log, keep_k_core
from tmfun_pyg.datasets._order import index_type
from tmfun_pyg.datasets._split import Ratios, Split, split_interactions
from tmfun_pyg.datasets.features import ZeroRows, as_matrix, check_features
from tmfun_pyg.datasets.projection import (
    channels_of,
    fit_projection,
    to_features,
)
from tmfun_pyg.utils.ids import ids_from_text


def content_from_log(
    full_log: Log,
    features: Mapping[str, Any],
    split: Split,
    ratios: Ratios,
    k_core: int,
    seed: int,
    zero_rows: ZeroRows,
    id_type: IdType = "auto",
    files: Optional[Mapping[str, str]] = None,
    feature_channels: Optional[int] = None,
) -> Content:
    """Builds the content of a data set from a log and features; for the
    arguments see :meth:`MultimodalRecDataset.from_interactions`. Errors name
    the feature files if there are any.
    """
    sources = {m: f"'features', modality '{m}'" for m in features}
    sources |= {m: f"'{path}'" for m, path in (files or {}).items()}
    remedies = dict.fromkeys(features, "pass a pair (item_ids, matrix)")
    for modality, path in (files or {}).items():
        listed = osp.splitext(path)[0] + IDS_SUFFIXES[0]
        remedies[modality] = f"list the item id of each row in '{listed}'"
    full_log, values = _read_values(
        features, full_log, sources, remedies, id_type
    )
    log = keep_k_core(full_log, k_core)
    item_ids, tables, projections = _align_features(
        values, full_log, log, sources, zero_rows, feature_channels
    )
    label = split_interactions(split, log.rows, ratios, seed)
    found = f"by split='{split}', of {len(log.user_ids):,} users with "
    found += f"{len(label):,} interactions"
    _content.check_splits(label, log.source, found)
    # Cold items are sorted in between the items of the log.
    user = log.rows["user"].to_numpy()
    place = np.searchsorted(item_ids, log.item_ids)
    item = place.astype(index_type(len(item_ids)))[log.rows["item"]]
    order = _content.order_of_pairs(user, item)
    inter = Interactions(user[order], item[order], label[order])
    del user, item, label
    _content.warn_duplicates(log.num_duplicates, log.source)
    content = _content.build_content(
        inter, tables, log.user_ids, item_ids, log.num_duplicates
    )._replace(projections=projections)
    if "seconds" not in log.rows:
        return content
    seconds = log.rows["seconds"].to_numpy()[order]
    return content._replace(
        interaction_times=timed(inter.user, inter.item, seconds)
    )


def _read_values(
    features: Mapping[str, Any],
    log: Log,
    sources: Mapping[str, str],
    remedies: Mapping[str, str],
    id_type: IdType,
) -> Tuple[Log, Dict[str, Tuple[np.ndarray, np.ndarray]]]:
    """Reads features, and converts all item ids to the same type: integers if
    all of them are, else text.

    Returns:
        The log, and the item ids and the matrix of each modality.
    """
    values = {
        modality: _read_value(
            value, log, sources[modality], remedies[modality], id_type
        )
        for modality, value in features.items()
    }
    every = [log.item_ids, *(ids for ids, _ in values.values())]
    if log.item_ids.dtype.kind == "i":
        every = [ids_from_text(x) if x.dtype.kind == "U" else x for x in every]
    if any(ids.dtype.kind == "U" for ids in every):
        every = [ids.astype(np.str_) for ids in every]
    pairs = zip(every[1:], values.items(), strict=True)
    values = {modality: (ids, matrix) for ids, (modality, (_, matrix)) in pairs}
    return log._replace(item_ids=every[0]), values


def _align_features(
    values: Mapping[str, Tuple[np.ndarray, np.ndarray]],
    full_log: Log,
    log: Log,
    sources: Mapping[str, str],
    zero_rows: ZeroRows,
    feature_channels: Optional[int],
) -> Tuple[np.ndarray, Features, Dict[str, Tensor]]:
    """Joins the items of a log with those of features, and projects features.

    Args:
        values (Dict[str, Tuple[np.ndarray, np.ndarray]]): For each modality
            the item ids and the matrix.
        full_log (Log): The log as it was read.
        log (Log): Its k-core.
        sources (Dict[str, str]): The name of each matrix in errors.
        zero_rows (str): See :func:`check_features`.
        feature_channels (int, optional): See :func:`channels_of`.

    Returns:
        The ids of all items in sorted order, their features, and the
        projections of the features.
    """
    item_ids = log.item_ids
    tables: Dict[str, Tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    projections: Dict[str, Tensor] = {}
    for modality, (ids, matrix) in values.items():
        source = sources[modality]
        present = check_features(matrix, source, zero_rows, ids)
        in_log = np.isin(ids, log.item_ids)
        if not in_log.any():
            raise ValueError(
                f"{source} must have item ids of {log.source} such as "
                f"{log.item_ids.item(0)!r} (got ids such as {ids.item(0)!r}, "
                f"none of them with interactions)"
            )
        channels = channels_of(matrix, feature_channels)
        if channels < matrix.shape[1]:
            # Cold items must not change others: they may be added later.
            projections[modality] = fit_projection(
                matrix, present & in_log, channels, source
            )
        matrix = to_features(matrix, projections.get(modality))
        tables[modality] = ids, matrix, present
        item_ids = np.union1d(item_ids, ids)
    dropped = np.setdiff1d(full_log.item_ids, log.item_ids)
    item_ids = np.setdiff1d(item_ids, dropped, assume_unique=True)

    out: Features = {}
    for modality in list(tables):
        ids, matrix, present = tables.pop(modality)  # Freed one by one.
        row = pd.Index(ids).get_indexer(item_ids)
        # Zeros for items without a row.
        matrix = np.where((row < 0)[:, None], np.float32(0), matrix[row])
        out[modality] = matrix, present[row] & (row >= 0)
    return item_ids, out, projections


def _read_value(
    value: Any, full_log: Log, source: str, remedy: str, id_type: IdType
) -> Tuple[np.ndarray, np.ndarray]:
    """Returns the distinct item ids of features, and their matrix."""
    ids, matrix = full_log.item_ids, value
    expected = f"as many as {full_log.source} has items"
    advice = f"; if rows are those of other items, {remedy}"
    if isinstance(value, tuple):
        if len(value) != 2:
            raise ValueError(
                f"{source} must be a pair (item_ids, matrix) (got a tuple of "
                f"{len(value)})"
            )
        matrix = value[1]
        ids = distinct_ids(value[0], f"{source}, item_ids", id_type)
        expected, advice = "as many as item_ids", ""
    matrix = as_matrix(matrix, source)
    if matrix.ndim > 0 and len(ids) != len(matrix):
        raise ValueError(
            f"{source} must have {len(ids)} rows, {expected} (got "
            f"{len(matrix)}){advice}"
        )
    return ids, matrix
