from typing import Any, Mapping

import numpy as np

from tmfun_pyg.datasets._content import Content, build_content
from tmfun_pyg.datasets._interactions import (
    Interactions,
    check_splits,
    warn_duplicates,
)
from tmfun_pyg.datasets._item_features import align_features
from tmfun_pyg.datasets._k_core import keep_k_core
from tmfun_pyg.datasets._log import Log
from tmfun_pyg.datasets._split import Ratios, Split, split_interactions
from tmfun_pyg.datasets.features import ZeroRows


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
    item_ids, tables = align_features(features, full_log, log, zero_rows)
    label = log.label
    if label is None:
        label = split_interactions(split, log.user, log.time, ratios, seed)
    check_splits(label, log.source)
    # Cold items stand between those of the log.
    item = np.searchsorted(item_ids, log.item_ids)[log.item]
    order = np.lexsort((item, log.user))
    inter = Interactions(log.user[order], item[order], label[order])
    warn_duplicates(log.num_duplicates, log.source)
    return build_content(
        inter, tables, log.user_ids, item_ids, log.num_duplicates
    )
