"""Scores as sums over the user's items: the formulas, model by model."""

from typing import Callable, Dict, List, NamedTuple

import torch
from torch import Tensor

from tmfun_pyg.nn import TMFUN, LightGCN, RankingModel
from tmfun_pyg.nn.models.interaction_graph import InteractionGraph
from tmfun_pyg.nn.models.interaction_propagation import InteractionPropagation
from tmfun_pyg.utils.csr import entries_of


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
        is_new (bool): Whether the embedding of the item is an estimate.
    """

    score: Tensor
    own: Tensor
    item: Tensor
    value: Tensor
    paths: List[str]
    user_weights: Dict[str, float]
    item_weights: Dict[str, float]
    is_new: bool


class _UserRow(NamedTuple):
    """The collaborative branch, with that of one user as a sum."""

    own: Tensor  # What the user's ID embedding gives, [channels].
    item: Tensor  # The user's items, [num_entries].
    weight: Tensor  # Those of the graph, [num_entries].
    parts: Tensor  # What the items give, [num_entries, channels].
    item_emb: Tensor  # The result for all items, [num_items, channels].

    @property
    def user_emb(self) -> Tensor:
        return self.own + self.parts.sum(dim=0)


def _propagate(
    user_id: Tensor,
    item_id: Tensor,
    graph: InteractionGraph,
    num_layers: int,
    user: int,
) -> _UserRow:
    """Runs all layers but the last for everybody, and the last one for the
    items and for one user.

    The mean of L + 1 layers is 1 / (L + 1) times the input plus L / (L + 1)
    times the graph's product with the mean of the L layers before.
    """
    propagation = InteractionPropagation(max(num_layers - 1, 0))
    users, items = propagation(user_id, item_id, graph)
    share = num_layers / (num_layers + 1)
    matrix = graph.to_user
    index = torch.tensor([user], device=user_id.device)
    _, entry = entries_of(matrix.ptr, index)
    item = matrix.index.index_select(0, entry).long()
    weight = matrix.value.index_select(0, entry)
    to_item = graph.operator.to_item
    return _UserRow(
        own=(1 - share) * user_id[user],
        item=item,
        weight=weight,
        parts=share * weight.view(-1, 1) * items[item],
        item_emb=(1 - share) * item_id + share * (to_item @ users),
    )


def _of_lightgcn(model: LightGCN, user: int, item: int) -> Contributions:
    graph = model.graph
    row = _propagate(
        *model.id_embeddings(graph), graph, model.num_layers, user
    )
    target = row.item_emb[item].double()
    return Contributions(
        score=row.user_emb.double() @ target,
        own=row.own.double() @ target,
        item=row.item,
        value=(row.parts.double() @ target).view(-1, 1),
        paths=["collaborative"],
        user_weights={},
        item_weights={},
        is_new=False,
    )


def _of_tmfun(model: TMFUN, user: int, item: int) -> Contributions:
    r"""Each channel of the user's content is a sum over sources of a weight
    times the mean over the user's items, so a sum over both.
    """
    graph = model.graph
    user_id, item_id = model.id_embeddings(graph)
    row = _propagate(user_id, item_id, graph, model.num_layers, user)
    sources = model._content_sources(item_id, graph)
    columns = range(len(sources))

    # Means over the user's items that have content, as `user_means` has them:
    mean = row.weight.view(-1, 1) * graph.item_weight[row.item]
    mean = mean * graph.user_scale[user]
    of_items = torch.stack([x[row.item] for x in sources])
    of_user = [mean[:, s] @ of_items[s] for s in columns]

    # The user, then the item:
    is_new = bool(graph.is_new[item])
    rows = slice(item, item + 1)
    query = torch.cat([row.user_emb.view(1, -1), row.item_emb[rows]])
    fused = [
        torch.cat([x.view(1, -1), h[rows]])
        for x, h in zip(of_user, sources, strict=True)
    ]
    mask = torch.cat(
        [graph.user_mask[user].view(1, -1), graph.item_mask[rows]]
    )
    content, modality_weight = model._fuse(fused, query, mask)
    user_emb = query[0] + content[0]
    target = query[1] + content[1]
    if is_new:
        width = model.channels
        users, items = model()
        # What stands in the place of the item's embedding, and its profile:
        target, profile = items[item, :width], items[item, width:]
    target = target.double()

    first = slice(0, 1)
    weight = model._source_weights(
        [x[first] for x in fused], query[first], mask[first]
    )[0]
    # [num_sources, num_entries, channels] times [num_sources, channels]:
    by_source = torch.einsum(
        "snc,sc,c->ns", of_items.double(), weight.double(), target
    )
    value = [(row.parts.double() @ target).view(-1, 1)]
    value.append(mean[:, : len(sources)] * by_source)
    names = [f"modality:{name}" for name in model.modalities]
    others = ["item_graph"] if model.item_graph else []

    score = user_emb.double() @ target
    if is_new:
        assert model.new_items is not None
        mine = model.new_items.item_profile[row.item].double()
        by_profile = mine @ profile.double() / max(len(row.item), 1)
        value.append(by_profile.view(-1, 1))
        others.append("profile")
        score = score + users[user, width:].double() @ profile.double()

    def by_name(weights: Tensor) -> Dict[str, float]:
        return dict(zip(model.modalities, weights.tolist(), strict=True))

    return Contributions(
        score=score,
        own=row.own.double() @ target,
        item=row.item,
        value=torch.cat(value, dim=1),
        paths=["collaborative", *names, *others],
        user_weights=by_name(modality_weight[0]),
        item_weights={} if is_new else by_name(modality_weight[1]),
        is_new=is_new,
    )


# By the very class: a subclass may compute something else.
FORMULAS: Dict[type, Callable[..., Contributions]] = {
    LightGCN: _of_lightgcn,
    TMFUN: _of_tmfun,
}


@torch.no_grad()
def contributions(model: RankingModel, user: int, item: int) -> Contributions:
    r"""Takes a score apart.

    Args:
        model (RankingModel): The model, one of :obj:`FORMULAS`.
        user (int): The user.
        item (int): The item.
    """
    was_training = model.training
    model.eval()
    try:
        return FORMULAS[type(model)](model, user, item)
    finally:
        model.train(was_training)
