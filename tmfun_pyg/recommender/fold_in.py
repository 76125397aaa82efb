"""Users by their items, without training."""

from itertools import chain
from typing import Any, Iterable, Mapping, NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.nn import ColdItems, RankingModel
from tmfun_pyg.transforms import AddUsers
from tmfun_pyg.utils.ids import RawIds, check_list, ids_as_text
from tmfun_pyg.utils.inference import inference
from tmfun_pyg.utils.messages import name_first
from tmfun_pyg.utils.retrieval import EmbeddingScorer, Scorer
from tmfun_pyg.utils.user_items import UserItems

# The items of each user, by raw ids.
History = Mapping[Any, Iterable[Any]]


class Users(NamedTuple):
    r"""Users who can be given lists.

    Args:
        ids (RawIds): Their raw ids.
        scorer (Scorer): What scores items for them.
        seen (UserItems): What each of them has.
        known (torch.Tensor): Whether the model knows each, of shape
            :obj:`[num_users]`.
    """

    ids: RawIds
    scorer: Scorer
    seen: UserItems
    known: Tensor


def fold_in(
    model: RankingModel,
    data: HeteroData,
    state: Any,
    users: Users,
    item_ids: RawIds,
    history: History,
    replace: bool = False,
    cold: Optional[ColdItems] = None,
) -> Users:
    r"""Returns the users of a history, see
    :meth:`tmfun_pyg.recommender.Recommender.fold_in`.

    Args:
        model (RankingModel): The trained model.
        data (HeteroData): The graph that it reads.
        state (Any): What :meth:`~tmfun_pyg.nn.RankingModel.fold_in_state` of
            a model with embeddings returns for it.
        users (Users): The users of the graph.
        item_ids (RawIds): The raw ids of the items.
        history (Dict[int or str, List[int or str]]): The items of each user,
            by raw ids.
        replace (bool, optional): Whether nothing that is stored of known
            users counts. (default: :obj:`False`)
        cold (ColdItems, optional): What the scores of cold items are from.
            (default: :obj:`None`)
    """
    ids, pairs = _read(history, item_ids)
    place_of = {} if replace else users.ids.place_of
    known_as = torch.tensor(
        [place_of.get(str(user), -1) for user in ids.tolist()], dtype=torch.long
    )
    degree = data["item"].degree
    known_as, pairs = known_as.to(degree.device), pairs.to(degree.device)
    edge_index = data["user", "interacts", "item"].edge_index
    (rowptr, col), _ = edge_index.get_csr()
    size = len(item_ids)
    trained = _extend(pairs, known_as, UserItems(rowptr, col), size)
    if not model.supports_cold_items:
        trained = trained[:, degree[trained[1]] > 0]
    seen = _extend(pairs, known_as, users.seen, size)
    # The ID embedding of a user without a training interaction is as drawn.
    is_known = users.known.to(known_as.device)[known_as.clamp(min=0)]
    known_as = known_as.masked_fill(~is_known, -1)

    new = AddUsers(trained, known_as, alone=True)(data)
    scorer: Scorer
    if isinstance(users.scorer, EmbeddingScorer):
        with inference(model):
            user_emb = model.encode_new_users(state, new)
        if cold is not None:
            user_emb = cold.extend_users(user_emb, new)
        scorer = users.scorer.for_users(user_emb)
    else:
        graph = AddUsers(trained, known_as)(data)
        row = torch.arange(data["user"].num_nodes, graph["user"].num_nodes)
        scorer = RowsScorer(model.scorer(graph), row)
    return Users(
        RawIds(ids),
        scorer,
        UserItems.from_edge_index(seen, len(ids)),
        new["user"].degree > 0,
    )


def _read(history: Any, item_ids: RawIds) -> Tuple[np.ndarray, Tensor]:
    """Returns the raw ids of the users, and pairs of their indices there and
    those of their items.
    """
    if not isinstance(history, Mapping):
        raise ValueError(
            f"'history' must map ids of users to lists of ids of items (got a "
            f"{type(history).__name__})"
        )
    users = ids_as_text("history", history.keys())
    distinct, count = np.unique(users, return_counts=True)
    if (count > 1).any():
        raise ValueError(
            f"'history' must name each user once (got twice, as text, "
            f"{name_first(distinct[count > 1].tolist())})"
        )
    for user, items in zip(users, history.values(), strict=True):
        check_list(f"history[{user}]", items)
    lists = [*map(list, history.values())]
    try:
        index = item_ids.find_some("history", [*chain.from_iterable(lists)])
    except ValueError:
        for user, items in zip(users, lists, strict=True):
            ids_as_text(f"history[{user}]", items)  # To name the user.
        raise
    length = torch.tensor([*map(len, lists)], dtype=torch.long)
    row = torch.arange(len(users)).repeat_interleave(length)
    pairs = torch.stack([row, torch.from_numpy(index)])
    pairs = pairs[:, pairs[1] >= 0]
    return np.array(list(history) or item_ids.ids[:0]), pairs


def _extend(
    pairs: Tensor, known_as: Tensor, stored: UserItems, num_items: int
) -> Tensor:
    """Adds what is stored of known users. Each pair is there once."""
    row = (known_as >= 0).nonzero().view(-1)
    place, item = stored.edges_of(known_as[row])
    more = torch.stack([row[place], item])
    row, item = torch.cat([pairs, more], dim=1)
    key = (row * num_items + item).unique()
    return torch.stack([key // num_items, key % num_items])


class RowsScorer:
    r"""Scores the items for some users of another scorer.

    Args:
        scorer (Scorer): The other one.
        row (torch.Tensor): The users there, of shape :obj:`[num_users]`.
    """

    def __init__(self, scorer: Scorer, row: Tensor) -> None:
        self.scorer, self.row = scorer, row.to(scorer.device)
        self.num_users, self.num_items = row.numel(), scorer.num_items
        self.device = scorer.device

    def score(self, user: Tensor) -> Tensor:
        r"""Returns the scores of all items for some users."""
        return self.scorer.score(self.row[user])

    def select(self, item: Tensor) -> "RowsScorer":
        r"""Returns what scores some of the items only."""
        return RowsScorer(self.scorer.select(item), self.row)
