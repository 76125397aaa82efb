"""Folds in users by their items, without training."""

from functools import cached_property
from itertools import chain
from typing import Any, Iterable, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.nn import ColdItems, RankingModel
from tmfun_pyg.transforms import AddUsers
from tmfun_pyg.utils.ids import RawIds, check_list, ids_as_text, ids_like
from tmfun_pyg.utils.inference import inference
from tmfun_pyg.utils.messages import name_first
from tmfun_pyg.utils.retrieval import EmbeddingScorer, Scorer
from tmfun_pyg.utils.user_items import UserItems

# The items of each user, by raw ids.
History = Mapping[Any, Iterable[Any]]


class Users(NamedTuple):
    r"""Users to recommend items to.

    Args:
        ids (RawIds): Their raw ids.
        scorer (Scorer): The scorer of items for them.
        seen (UserItems): The items that each of them has.
        known (torch.Tensor): Whether the model knows each, of shape
            :obj:`[num_users]`.
    """

    ids: RawIds
    scorer: Scorer
    seen: UserItems
    known: Tensor


class FoldIn:
    r"""Folds in users by their items. The messages that users receive from
    items are computed on first use, and cached.

    Args:
        model (RankingModel): The trained model.
        data (HeteroData): The graph that it reads.
        item_ids (RawIds): The raw ids of the items.
        cold (ColdItems, optional): The estimates for cold items.
            (default: :obj:`None`)

    Raises:
        ValueError: If the model cannot fold in users.
    """

    def __init__(
        self,
        model: RankingModel,
        data: HeteroData,
        item_ids: RawIds,
        cold: Optional[ColdItems] = None,
    ) -> None:
        if not model.supports_fold_in:
            raise ValueError(
                f"'model' must know users by their items to fold others in "
                f"(got {type(model).__name__}, which knows those of training "
                f"alone)"
            )
        self.model, self.data = model, data
        self.item_ids, self.cold = item_ids, cold

    @cached_property
    def state(self) -> Any:
        r"""The output of the model's :meth:`fold_in_state` for the graph."""
        with inference(self.model):
            return self.model.fold_in_state(self.data)

    def users(
        self, history: History, stored: Users, replace: bool = False
    ) -> Users:
        r"""Returns the users of a history, see
        :meth:`tmfun_pyg.recommender.Recommender.fold_in`.

        Args:
            history (Dict[int or str, List[int or str]]): The items of each
                user, by raw ids.
            stored (Users): The users of the graph.
            replace (bool, optional): Whether to ignore the stored items and
                ID embeddings of known users. (default: :obj:`False`)
        """
        data = self.data
        names, pairs = _read(history, self.item_ids)
        place_of = {} if replace else stored.ids.place_of
        known_as = torch.tensor(
            [place_of.get(name, -1) for name in names], dtype=torch.long
        )
        degree = data["item"].degree
        known_as, pairs = known_as.to(degree.device), pairs.to(degree.device)
        edge_index = data["user", "interacts", "item"].edge_index
        (rowptr, col), _ = edge_index.get_csr()
        size = len(self.item_ids)
        trained = _extend(pairs, known_as, UserItems(rowptr, col), size)
        if not self.model.supports_cold_items:
            trained = trained[:, degree[trained[1]] > 0]
        seen = _extend(pairs, known_as, stored.seen, size)
        # The ID embedding of a user without a training interaction is
        # untrained.
        is_known = stored.known.to(known_as.device)[known_as.clamp(min=0)]
        known_as = known_as.masked_fill(~is_known, -1)
        alone = AddUsers(trained, known_as, alone=True)(data)
        return Users(
            RawIds(ids_like(names, stored.ids.ids)),
            self._scorer(stored.scorer, trained, known_as, alone),
            UserItems.from_edge_index(seen, len(names)),
            alone["user"].degree > 0,
        )

    def _scorer(
        self,
        stored: Scorer,
        trained: Tensor,
        known_as: Tensor,
        alone: HeteroData,
    ) -> Scorer:
        if isinstance(stored, EmbeddingScorer):
            with inference(self.model):
                user_emb = self.model.encode_new_users(self.state, alone)
            if self.cold is not None:
                user_emb = self.cold.extend_users(user_emb, alone)
            owned = UserItems.from_edge_index(trained, user_emb.size(0))
            return stored.for_users(user_emb, owned)
        graph = AddUsers(trained, known_as)(self.data)
        first = self.data["user"].num_nodes
        row = torch.arange(first, graph["user"].num_nodes)
        return RowsScorer(self.model.scorer(graph), row)


def _read(history: Any, item_ids: RawIds) -> Tuple[List[str], Tensor]:
    """Returns the raw ids of the users as text, and pairs of a position there
    and an item index.
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
        items_of_all = [*chain.from_iterable(lists)]
        index = item_ids.find_some("items of history", items_of_all)
    except ValueError:
        for user, items in zip(users, lists, strict=True):
            ids_as_text(f"history[{user}]", items)  # To name the user.
        raise
    length = torch.tensor([*map(len, lists)], dtype=torch.long)
    row = torch.arange(len(users)).repeat_interleave(length)
    pairs = torch.stack([row, torch.from_numpy(index)])
    pairs = pairs[:, pairs[1] >= 0]
    return users, pairs


def _extend(
    pairs: Tensor, known_as: Tensor, stored: UserItems, num_items: int
) -> Tensor:
    """Adds the stored items of known users, without duplicate pairs."""
    row = (known_as >= 0).nonzero().view(-1)
    place, item = stored.edges_of(known_as[row])
    more = torch.stack([row[place], item])
    row, item = torch.cat([pairs, more], dim=1)
    key = (row * num_items + item).unique()
    return torch.stack([key // num_items, key % num_items])


class RowsScorer:
    r"""Scores the items for some users of another scorer.

    Args:
        scorer (Scorer): The other scorer.
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
        r"""Returns a scorer of some of the items only."""
        return RowsScorer(self.scorer.select(item), self.row)
