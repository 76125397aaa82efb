"""Items that a model has never seen, scored without training it anew."""

import copy
from typing import Any, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from tmfun_pyg.training import LoadedCheckpoint
from tmfun_pyg.transforms import AddItems
from tmfun_pyg.utils.ids import IdIndex
from tmfun_pyg.utils.messages import name_items


def add_items(
    loaded: LoadedCheckpoint,
    item_ids: Sequence[str],
    features: Mapping[str, Any],
    k: int = 10,
) -> LoadedCheckpoint:
    r"""Adds items to a trained model, which are scored by their content. The
    scores of all others stay what they were.

    Args:
        loaded (LoadedCheckpoint): The model and its data set, as
            :func:`~tmfun_pyg.training.load_checkpoint` returns them.
        item_ids (Sequence[str]): The raw ids of the new items.
        features (Dict[str, np.ndarray or torch.Tensor]): Their features for
            each modality, a row for each id, see
            :class:`~tmfun_pyg.transforms.AddItems`.
        k (int, optional): The number of known items that each is attached to
            in the feature graphs. (default: :obj:`10`)

    Returns:
        A model and a data set that hold the new items behind all others.

    Raises:
        ValueError: If the model does not score new items, if an id is known
            already, stands twice or is of another type than those of the data
            set, or if the features are not what is expected.
    """
    model, dataset = loaded.model, loaded.dataset
    if not model.scores_new_items:
        raise ValueError(
            f"{type(model).__name__} can't score items it was not trained "
            f"with: expected TMFUN"
        )
    ids = _check_ids(list(item_ids), dataset.item_ids)
    tables = {name: _to_tensor(x) for name, x in features.items()}
    for name, x in tables.items():
        if len(x) != len(ids):
            raise ValueError(
                f"features['{name}']: found {len(x)} rows for {len(ids)} ids, "
                f"expected as many"
            )
    data = AddItems(tables, k)(copy.copy(dataset[0]))

    state = model.state_dict()
    table = "item_embedding.weight"
    if table in state:
        # A new item's own embedding is never read.
        rows = state[table].new_zeros((len(ids), state[table].size(1)))
        state[table] = torch.cat([state[table], rows])
    extended = type(model)(
        num_users=model.num_users,
        num_items=model.num_items + len(ids),
        **(model.options or {}),
    )
    extended.options = model.options
    extended.load_state_dict(state)
    extended = extended.bind(data).to(model.seen_rowptr.device).eval()

    other = copy.copy(dataset)
    other._set_content(
        data,
        dataset.modalities,
        dataset.user_ids,
        np.concatenate([dataset.item_ids, ids]),
        dataset.num_duplicates,
    )
    return loaded._replace(model=extended, dataset=other)


def _check_ids(ids: "list[str]", known: np.ndarray) -> np.ndarray:
    new = np.array([str(item) for item in ids], dtype=np.str_)
    if len(new) == 0:
        raise ValueError("item_ids: found none, expected new items")
    found = IdIndex(known).find(new.tolist()) >= 0
    if found.any():
        raise ValueError(
            f"item_ids: found {name_items(new[found])} of the data set, "
            f"expected new ones"
        )
    distinct, count = np.unique(new, return_counts=True)
    if (count > 1).any():
        raise ValueError(
            f"item_ids: found {name_items(distinct[count > 1])} more than "
            f"once, expected each id once"
        )
    if known.dtype.kind != "i":
        return new
    try:
        return new.astype(np.int64)
    except ValueError as err:
        raise ValueError(
            f"item_ids: expected integers, as in the data set ({err})"
        ) from err


def _to_tensor(x: Any) -> Tensor:
    x = torch.as_tensor(x)
    return x.float()
