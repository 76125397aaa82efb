import math
from dataclasses import replace
from typing import Optional

import numpy as np
import torch
from torch_geometric.data import HeteroData

from tmfun_pyg.explain.contributions import FORMULAS
from tmfun_pyg.explain.explanation import Explanation
from tmfun_pyg.nn import ColdItems, RankingModel
from tmfun_pyg.utils.edges import all_interactions
from tmfun_pyg.utils.inference import inference


def explain(
    model: RankingModel,
    data: HeteroData,
    user: int,
    item: int,
    user_ids: Optional[np.ndarray] = None,
    item_ids: Optional[np.ndarray] = None,
    cold: Optional[ColdItems] = None,
) -> Explanation:
    r"""Explains the score of an item for a user by the user's training items.

    Given the weights of the fusion (attention and gates), the embedding of a
    user is linear in the messages from the user's items
    :math:`\mathcal{I}_u`. So the score is an exact sum:

    .. math::
        \mathbf{x}_u^{\top} \mathbf{x}_i = \sum_{j \in \mathcal{I}_u} \left(
        \frac{L}{L + 1} r_{uj} \, \bar{\mathbf{e}}_j + w \sum_s a_{uj,s} \,
        \mathbf{c}_{u,s} \odot \mathbf{h}_{j,s} \right)^{\top} \mathbf{x}_i +
        \frac{1}{L + 1} \mathbf{e}_u^{\top} \mathbf{x}_i

    with the terms of

    * the user-item graph (path :obj:`"collaborative"`), where
      :math:`\bar{\mathbf{e}}_j` is the mean of the first :math:`L` layers at
      item :math:`j`: everything that reaches the user through this item, also
      from other users who chose it,
    * each source :math:`s` of content, the modality feature graphs
      (:obj:`"modality:<name>"`) and the item feature graph
      (:obj:`"item_graph"`), where :math:`\mathbf{h}_{j,s}` is the message
      that item :math:`j` receives from similar items, :math:`a_{uj,s}` its
      share in the mean over the user's items with such content, and
      :math:`\mathbf{c}_{u,s}` the factor of source :math:`s` in the early
      step and the later steps,
    * the user's own ID embedding, which belongs to no item.

    The scores of content (:obj:`"content_score:<name>"`) and of neighbors
    (:obj:`"neighbors"`) are already sums over the user's items.

    The weights :math:`\mathbf{c}_{u,s}` depend on the user's items, too, so a
    term is not the change of the score without that item.

    Args:
        model (RankingModel): A :class:`~tmfun_pyg.nn.TMFUN` or
            :class:`~tmfun_pyg.nn.LightGCN`, which only has the path
            :obj:`"collaborative"`.
        data (HeteroData): A graph of
            :class:`~tmfun_pyg.transforms.ToRecGraph`, on the device of the
            model.
        user (int): The index of the user.
        item (int): The index of the item.
        user_ids (np.ndarray, optional): The raw ids of all users, to show
            instead of indices. (default: :obj:`None`)
        item_ids (np.ndarray, optional): The raw ids of all items.
            (default: :obj:`None`)
        cold (ColdItems, optional): The estimates for cold items, whose scores
            then also have a path :obj:`"profile"`. (default: :obj:`None`)

    Raises:
        ValueError: If the model has another class, if an index is out of
            range, if the number of ids differs from that of users or items,
            or if the score is not finite.
    """
    if type(model) not in FORMULAS:
        names = ", ".join(sorted(cls.__name__ for cls in FORMULAS))
        raise ValueError(
            f"'model' must be one of {names} (got {type(model).__name__})"
        )
    user_ids = np.arange(model.num_users) if user_ids is None else user_ids
    item_ids = np.arange(model.num_items) if item_ids is None else item_ids
    for name, index, size, ids in (
        ("user", user, model.num_users, user_ids),
        ("item", item, model.num_items, item_ids),
    ):
        if not 0 <= index < size:
            raise ValueError(
                f"'{name}' must be an index from 0 to {size - 1} (got {index})"
            )
        if len(ids) != size:
            raise ValueError(
                f"'{name}_ids' must hold {size} ids (got {len(ids)})"
            )

    if cold is not None and not cold.is_cold[item]:
        cold = None
    with inference(model):
        data = model.prepare(data)
        found = FORMULAS[type(model)](model, data, user, item, cold)
    if not math.isfinite(found.score):
        raise ValueError(
            f"The score of item {item} for user {user} is {found.score}: has "
            f"the training diverged?"
        )
    total = found.contributions.sum(dim=1)
    pair = torch.tensor([[user], [item]])
    own = all_interactions(data).cpu() == pair
    order = total.argsort(descending=True, stable=True)
    found = replace(
        found,
        history=found.history[order].cpu(),
        contributions=found.contributions[order].cpu(),
    )
    return Explanation(
        model=type(model).__name__,
        user=int(user),
        item=int(item),
        user_id=user_ids.item(user),
        item_id=item_ids.item(item),
        history_ids=item_ids[found.history.numpy()].tolist(),
        is_cold=cold is not None,
        is_seen=bool(own.all(dim=0).any()),
        **vars(found),
    )
