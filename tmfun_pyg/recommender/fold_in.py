"""Users by their items, without training."""

from itertools import chain
from typing import Any, Iterable, Mapping, NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.utils import coalesce

from tmfun_pyg.nn import ColdItems, RankingModel
from tmfun_pyg.transforms import AddUsers
from tmfun_pyg.utils.ids import ids_as_text, index_by_text
from tmfun_pyg.utils.inference import inference
from tmfun_pyg.utils.messages import name_items
from tmfun_pyg.utils.retrieval import EmbeddingScorer, Scorer
from tmfun_pyg.utils.user_items import UserItems

# The items of each user, by raw ids.
History = Mapping[Any, Iterable[Any]]


class Users(NamedTuple):
    r"""Users who can be given lists.

    Args:
        user_ids (np.ndarray): Their raw ids, by index.
        scorer (Scorer): What scores items for them.
        seen (UserItems): What each of them has.
        known (torch.Tensor): Whether the model knows each, of shape
            :obj:`[num_users]`.
    """

    user_ids: np.ndarray
    scorer: Scorer
    seen: UserItems
    known: Tensor


def fold_in(
    model: RankingModel,
    data: HeteroData,
    users: Users,
    item_ids: np.ndarray,
    history: History,
    replace: bool = False,
    cold: Optional[ColdItems] = None,
) -> Users:
    r"""Returns the users of a history, see
    :meth:`tmfun_pyg.recommender.Recommender.fold_in`.

    Args:
        model (RankingModel): The trained model.
        data (HeteroData): The graph that it reads.
        users (Users): The users of the graph.
        item_ids (np.ndarray): The raw ids of the items, by index.
        history (Dict[int or str, List[int or str]]): The items of each user,
            by raw ids.
        replace (bool, optional): Whether nothing that is stored of known
            users counts. (default: :obj:`False`)
        cold (ColdItems, optional): What the scores of cold items are from.
            (default: :obj:`None`)
    """
    if not model.supports_fold_in:
        raise ValueError(
            f"'model' must know users by their items to fold others in (got "
            f"{type(model).__name__}, which knows those of training alone)"
        )
    ids, pairs = _read(history, item_ids)
    place_of = index_by_text(users.user_ids[:0] if replace else users.user_ids)
    known_as = torch.tensor(
        [place_of.get(str(user), -1) for user in ids.tolist()], dtype=torch.long
    )
    degree = data["item"].degree
    known_as, pairs = known_as.to(degree.device), pairs.to(degree.device)
    edge_index = data["user", "interacts", "item"].edge_index
    (rowptr, col), _ = edge_index.get_csr()
    trained = _extend(pairs, known_as, UserItems(rowptr, col))
    if not model.supports_cold_items:
        trained = trained[:, degree[trained[1]] > 0]
    seen = _extend(pairs, known_as, users.seen)

    graph = AddUsers(trained, known_as)(data)
    row = torch.arange(data["user"].num_nodes, graph["user"].num_nodes)
    row = row.to(degree.device)
    scorer: Scorer
    if isinstance(users.scorer, EmbeddingScorer):
        with inference(model):
            graph = model.prepare(graph)
            user_emb = model.encode(graph, row, row[:0])[0]
        if cold is not None:
            user_emb = cold.extend_users(user_emb, graph, row)
        scorer = EmbeddingScorer(user_emb, users.scorer.item_emb)
    else:
        scorer = RowsScorer(model.scorer(graph), row)
    return Users(
        ids,
        scorer,
        UserItems.from_edge_index(seen, len(ids)),
        graph["user"].degree[row] > 0,
    )


def _read(history: Any, item_ids: np.ndarray) -> Tuple[np.ndarray, Tensor]:
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
            f"{name_items(distinct[count > 1])})"
        )
    lists = [
        ids_as_text(f"history[{user}]", items)
        for user, items in zip(users, history.values(), strict=True)
    ]
    place_of = index_by_text(item_ids)
    unknown = [
        item
        for item in dict.fromkeys(chain.from_iterable(lists))
        if item not in place_of
    ]
    if unknown:
        raise ValueError(
            f"'history' must hold items of the data set, with ids such as "
            f"{item_ids[0]} (got {name_items(np.array(unknown))})"
        )
    length = torch.tensor([len(items) for items in lists], dtype=torch.long)
    row = torch.arange(len(users)).repeat_interleave(length)
    index = [place_of[item] for item in chain.from_iterable(lists)]
    pairs = torch.stack([row, torch.tensor(index, dtype=torch.long)])
    return np.array(list(history) or item_ids[:0]), pairs


def _extend(pairs: Tensor, known_as: Tensor, stored: UserItems) -> Tensor:
    """Adds what is stored of known users. Each pair is there once."""
    row = (known_as >= 0).nonzero().view(-1)
    place, item = stored.edges_of(known_as[row])
    more = torch.stack([row[place], item])
    return coalesce(torch.cat([pairs, more], dim=1))


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
