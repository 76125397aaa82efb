"""Scores as sums over the user's items: the formulas, model by model."""

from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Tuple

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.nn import TMFUN, ColdItems, InteractionPropagation, LightGCN


@dataclass(frozen=True, eq=False)
class Contributions:
    r"""A score as a sum, in double precision: the fields of an
    :class:`~tmfun_pyg.explain.Explanation` that depend on the model.
    """

    score: float
    user_part: float
    paths: List[str]
    history: Tensor
    contributions: Tensor
    user_weights: Dict[str, float]
    item_weights: Dict[str, float]


def _collaborative(
    data: HeteroData,
    id_emb: Tuple[Tensor, Tensor],
    num_layers: int,
    user: int,
    target: Tensor,
) -> Tuple[float, Tensor, Tensor]:
    """Decomposes the product of a user's collaborative embedding with a
    target. Returns the part of the user's ID embedding, the user's items, and
    the part of each item.

    The mean of L + 1 layers is 1 / (L + 1) times the input plus L / (L + 1)
    times the graph's product with the mean of the first L layers.
    """
    _, items = InteractionPropagation(max(num_layers - 1, 0))(*id_emb, data)
    share = num_layers / (num_layers + 1)
    store = data["user", "interacts", "item"]
    is_mine = store.edge_index[0] == user
    item, weight = store.edge_index[1][is_mine], store.edge_weight[is_mine]
    own = (1 - share) * float(id_emb[0][user].double() @ target)
    value = share * weight * (items[item].double() @ target)
    return own, item, value.view(-1, 1)


def _of_lightgcn(
    model: LightGCN, data: HeteroData, user: int, item: int, cold: None
) -> Contributions:
    users, items = model.encode(data)
    target = items[item].double()
    own, mine, value = _collaborative(
        data, model.id_embeddings(data), model.num_layers, user, target
    )
    score = float(users[user].double() @ target)
    return Contributions(score, own, ["collaborative"], mine, value, {}, {})


def _of_tmfun(
    model: TMFUN,
    data: HeteroData,
    user: int,
    item: int,
    cold: Optional[ColdItems],
) -> Contributions:
    r"""Each channel of the user's content is a sum over sources of a weight
    times the mean over the user's items, so it is a sum over both.
    """
    out = model.encode(data)
    users, items = (out.user, out.item) if cold is None else cold.extend(out)
    of_item = items[item].double()
    # Further columns hold the content score, and the profile of estimates.
    sizes = model.channels, out.user.size(1) - model.channels
    target, of_score, profile = of_item.split(
        [*sizes, len(of_item) - sum(sizes)]
    )
    own, mine, value = _collaborative(
        data, out.id_emb, model.num_layers, user, target
    )
    num_sources, row = len(out.sources), slice(user, user + 1)

    # Means over the user's items that have content:
    mean = data["item"].mask[mine, :num_sources].double()
    mean = mean / mean.sum(dim=0).clamp(min=1)
    of_items = torch.stack([x[mine] for x in out.sources]).double()
    of_user = torch.einsum("ns,snc->sc", mean, of_items)
    weight = model.fusion.source_weights(
        list(of_user.to(out.user.dtype).unsqueeze(1)),
        out.collaborative[0][row],
        out.mask[0][row],
    )[0]
    # [num_sources, num_entries, channels] times [num_sources, channels]:
    by_source = torch.einsum("snc,sc,c->ns", of_items, weight.double(), target)
    values = [value, mean * by_source]
    paths = ["collaborative"]
    paths += [f"modality:{name}" for name in model.modalities]
    paths += ["item_graph"] if model.item_graph else []
    if model.content_score is not None:
        weights = model.content_score.log_weight.double().exp()
        units = model.content_score.items(data)
        targets = of_score.split([unit.size(1) for unit in units])
        for column, (unit, goal) in enumerate(zip(units, targets, strict=True)):
            by_score = weights[column] * (unit[mine].double() @ goal)
            values.append((mean[:, column] * by_score).view(-1, 1))
        paths += [f"content_score:{name}" for name in model.modalities]
    of_neighbors = of_item.new_zeros(len(mine))
    if model.neighbor_score is not None:
        near, gain = model.neighbor_score.neighbors()
        same = mine.view(-1, 1) == near[item]
        of_neighbors = (same * gain[item].double()).sum(dim=1)
        of_neighbors = of_neighbors / max(len(mine), 1) ** 0.5
        values.append(of_neighbors.view(-1, 1))
        paths.append("neighbors")
    if cold is not None:
        by_profile = cold.item_profile[mine].double() @ profile
        values.append(by_profile.view(-1, 1) / max(len(mine), 1))
        paths.append("profile")
    user_weights, item_weights = (
        dict(zip(model.modalities, x[index].tolist(), strict=True))
        for x, index in zip(out.weight, (user, item), strict=True)
    )
    score = float(users[user].double() @ of_item + of_neighbors.sum())
    value = torch.cat(values, dim=1)
    item_weights = item_weights if cold is None else {}
    return Contributions(
        score, own, paths, mine, value, user_weights, item_weights
    )


# By exact class: a subclass may compute something else.
FORMULAS: Dict[type, Callable[..., Contributions]] = {
    LightGCN: _of_lightgcn,
    TMFUN: _of_tmfun,
}
