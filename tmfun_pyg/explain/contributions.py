"""Scores as sums over the user's items: the formulas, model by model."""

from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.nn import (
    TMFUN,
    ColdItems,
    InteractionPropagation,
    LightGCN,
    RankingModel,
)
from tmfun_pyg.utils.inference import inference


class Contributions(NamedTuple):
    r"""A score as a sum, in double precision.

    Args:
        score (torch.Tensor): The score, a scalar.
        own (torch.Tensor): What the user's own ID embedding adds to it, a
            scalar.
        item (torch.Tensor): The user's training items, of shape
            :obj:`[num_items]`.
        value (torch.Tensor): What each of them adds by each path, of shape
            :obj:`[num_items, num_paths]`.
        paths (List[str]): The names of the paths.
        user_weights (Dict[str, float]): The weights of the modalities for the
            user.
        item_weights (Dict[str, float]): Those for the item.
        is_cold (bool): Whether the embedding of the item is an estimate.
    """

    score: Tensor
    own: Tensor
    item: Tensor
    value: Tensor
    paths: List[str]
    user_weights: Dict[str, float]
    item_weights: Dict[str, float]
    is_cold: bool


class _History(NamedTuple):
    """The collaborative embedding of a user, as a sum over their items."""

    own: Tensor  # What the user's ID embedding gives, [channels].
    item: Tensor  # The user's items, [num_entries].
    parts: Tensor  # What each of them gives, [num_entries, channels].


def _history(
    data: HeteroData,
    id_emb: Tuple[Tensor, Tensor],
    num_layers: int,
    user: int,
) -> _History:
    """Takes the last layer apart.

    The mean of L + 1 layers is 1 / (L + 1) times the input plus L / (L + 1)
    times the graph's product with the mean of the L layers before.
    """
    before = InteractionPropagation(max(num_layers - 1, 0))
    _, items = before(*id_emb, data)
    share = num_layers / (num_layers + 1)
    store = data["user", "interacts", "item"]
    (ptr, col), _ = store.edge_index.get_csr()
    rows = slice(int(ptr[user]), int(ptr[user + 1]))
    item, weight = col[rows], store.edge_weight[rows].view(-1, 1)
    return _History(
        own=(1 - share) * id_emb[0][user],
        item=item,
        parts=share * weight * items[item],
    )


def _of_lightgcn(
    model: LightGCN, data: HeteroData, user: int, item: int, cold: None
) -> Contributions:
    users, items = model.encode(data)
    history = _history(data, model.id_embeddings(data), model.num_layers, user)
    target = items[item].double()
    return Contributions(
        score=users[user].double() @ target,
        own=history.own.double() @ target,
        item=history.item,
        value=(history.parts.double() @ target).view(-1, 1),
        paths=["collaborative"],
        user_weights={},
        item_weights={},
        is_cold=False,
    )


def _of_tmfun(
    model: TMFUN,
    data: HeteroData,
    user: int,
    item: int,
    cold: Optional[ColdItems],
) -> Contributions:
    r"""Each channel of the user's content is a sum over sources of a weight
    times the mean over the user's items, so a sum over both.
    """
    out = model.encode(data)
    history = _history(data, out.id_emb, model.num_layers, user)
    num_sources, row = len(out.sources), slice(user, user + 1)

    # Means over the user's items that have content:
    mean = data["item"].mask[history.item, :num_sources].double()
    mean = mean / mean.sum(dim=0).clamp(min=1)
    of_items = torch.stack([x[history.item] for x in out.sources]).double()
    of_user = torch.einsum("ns,snc->sc", mean, of_items)
    weight = model.fusion.source_weights(
        list(of_user.to(out.user.dtype).unsqueeze(1)),
        out.collaborative[0][row],
        out.mask[0][row],
    )[0]

    is_cold = False
    user_emb, target = out.user[user], out.item[item]
    if cold is not None and bool(cold.is_cold[item]):
        is_cold = True
        # What stands in the place of the item's embedding, and its profile:
        users, items = cold.extend(out)
        width = model.channels
        target, profile = items[item, :width], items[item, width:].double()
    target = target.double()
    # [num_sources, num_entries, channels] times [num_sources, channels]:
    by_source = torch.einsum("snc,sc,c->ns", of_items, weight.double(), target)
    value = [(history.parts.double() @ target).view(-1, 1), mean * by_source]
    paths = ["collaborative"]
    paths += [f"modality:{name}" for name in model.modalities]
    paths += ["item_graph"] if model.item_graph else []
    score = user_emb.double() @ target
    if cold is not None and is_cold:
        mine = cold.item_profile[history.item].double()
        by_profile = mine @ profile / max(len(history.item), 1)
        value.append(by_profile.view(-1, 1))
        paths.append("profile")
        score = score + users[user, width:].double() @ profile

    def by_name(weights: Tensor) -> Dict[str, float]:
        return dict(zip(model.modalities, weights.tolist(), strict=True))

    return Contributions(
        score=score,
        own=history.own.double() @ target,
        item=history.item,
        value=torch.cat(value, dim=1),
        paths=paths,
        user_weights=by_name(out.weight[0][user]),
        item_weights={} if is_cold else by_name(out.weight[1][item]),
        is_cold=is_cold,
    )


# By the very class: a subclass may compute something else.
FORMULAS: Dict[type, Callable[..., Contributions]] = {
    LightGCN: _of_lightgcn,
    TMFUN: _of_tmfun,
}


def contributions(
    model: RankingModel,
    data: HeteroData,
    user: int,
    item: int,
    cold: Optional[ColdItems] = None,
) -> Contributions:
    r"""Takes a score apart.

    Args:
        model (RankingModel): The model, one of :obj:`FORMULAS`.
        data (HeteroData): A graph of
            :class:`~tmfun_pyg.transforms.ToRecGraph`.
        user (int): The user.
        item (int): The item.
        cold (ColdItems, optional): What estimates cold items, if the scores
            are to be explained that it gives. (default: :obj:`None`)
    """
    with inference(model):
        data = model.prepare(data)
        return FORMULAS[type(model)](model, data, user, item, cold)
