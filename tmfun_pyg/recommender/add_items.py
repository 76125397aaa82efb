"""Adds cold items to a trained model."""

from typing import Any, Mapping, Sequence, Tuple

import numpy as np
import torch

from tmfun_pyg.datasets.features import (
    as_matrix,
    check_by_modality,
    check_numbers,
)
from tmfun_pyg.datasets.projection import to_features
from tmfun_pyg.nn import RankingModel
from tmfun_pyg.training.checkpoint import Dataset
from tmfun_pyg.transforms import AddItems
from tmfun_pyg.utils.ids import ids_as_text, ids_from_text, is_integer
from tmfun_pyg.utils.messages import name_items


def add_items(
    model: RankingModel,
    dataset: Dataset,
    item_ids: Sequence[Any],
    features: Mapping[str, Any],
    k: int = 10,
) -> Tuple[RankingModel, Dataset]:
    r"""Returns copies of a model and its data set with cold items appended,
    see :meth:`tmfun_pyg.recommender.Recommender.add_items`.

    Args:
        model (RankingModel): The trained model.
        dataset (MultimodalRecDataset or SyntheticMultimodal): Its data set.
        item_ids (Sequence[int or str]): The raw ids of the cold items.
        features (Dict[str, np.ndarray or torch.Tensor]): Their features.
        k (int, optional): The number of known items that each is connected to
            in the feature graphs. (default: :obj:`10`)
    """
    if not model.supports_cold_items or model.options is None:
        raise ValueError(
            f"'model' must score cold items and be made by from_data(), such "
            f"as TMFUN.from_data() (got {type(model).__name__})"
        )
    ids = _check_ids(item_ids, dataset.item_ids)
    tables, filled = {}, []
    for modality in check_by_modality(features):
        source = f"features['{modality}']"
        matrix = as_matrix(features[modality], source)
        if matrix.ndim > 0 and len(matrix) != len(ids):
            raise ValueError(
                f"{source} must have a row for each of {len(ids)} ids (got "
                f"{len(matrix)})"
            )
        filled.append(check_numbers(matrix, source, ids))
        projection = dataset.projections.get(modality)
        if projection is not None and matrix.shape[1] != len(projection):
            raise ValueError(
                f"{source} must be of shape [num_items, {len(projection)}], "
                f"before they are projected (got {list(matrix.shape)})"
            )
        tables[modality] = torch.from_numpy(to_features(matrix, projection))
    transform = AddItems(tables, k)
    missing = ~np.any(filled, axis=0)
    if missing.any():
        raise ValueError(
            f"'features' must hold some content of each item (got none for "
            f"{name_items(ids[missing])})"
        )
    every = np.concatenate([dataset.item_ids, ids])
    extended = dataset.replace(transform(dataset[0]), every)

    larger = type(model).from_data(extended[0], **model.options)
    state = model.state_dict()
    for name, table in larger.state_dict().items():
        known = state[name]
        if table.shape != known.shape:  # It has a row for each item.
            size = (len(table) - len(known), *table.shape[1:])
            state[name] = torch.cat([known, known.new_zeros(size)])
    larger.load_state_dict(state)
    device = next(iter(state.values()), torch.empty(0)).device
    return larger.to(device).train(model.training), extended


def _check_ids(item_ids: Sequence[Any], known: np.ndarray) -> np.ndarray:
    names = ids_as_text("item_ids", item_ids)
    if len(names) == 0:
        raise ValueError("'item_ids' must hold at least one id (got none)")
    ids = np.array(names)
    if known.dtype.kind == "i":
        ids = ids_from_text(names)
        if ids.dtype.kind == "U":
            bad = names[int(is_integer(names).argmin())]
            raise ValueError(
                f"'item_ids' must be integers, as in the data set (got "
                f"{bad!r}); prepare it with id_type='str' to add others"
            )
    every, count = np.unique(np.concatenate([known, ids]), return_counts=True)
    if (count > 1).any():
        raise ValueError(
            f"'item_ids' must be new to the data set, each given once (got "
            f"{name_items(every[count > 1])})"
        )
    return ids
