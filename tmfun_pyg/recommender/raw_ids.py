"""Recommendation lists, with raw ids in and out."""

from typing import Any, Iterable, Iterator, List, Optional

import numpy as np
import torch
from torch import Tensor

from tmfun_pyg.recommender.cold_slots import ColdSlots
from tmfun_pyg.recommender.fallback_scorer import FallbackScorer
from tmfun_pyg.recommender.filtered_ranking import FilteredRanking
from tmfun_pyg.recommender.indexed_ranking import IndexedRanking
from tmfun_pyg.recommender.item_filter import ItemFilter
from tmfun_pyg.recommender.recommendations import Recommendations
from tmfun_pyg.utils.ids import RawIds, ids_as_text, ids_like
from tmfun_pyg.utils.messages import check_count, check_flag
from tmfun_pyg.utils.user_items import UserItems

CHUNK = 2**15  # Users per chunk, which is ranked in smaller blocks.


@torch.no_grad()
def recommend_ids(
    scorer: FallbackScorer,
    seen: UserItems,
    user_ids: RawIds,
    item_ids: RawIds,
    users: Optional[Iterable[Any]] = None,
    k: int = 20,
    item_filter: Optional[ItemFilter] = None,
    exclude_seen: bool = True,
    folded_in: bool = False,
    cold_share: float = 0.0,
    popularity: Optional[Tensor] = None,
    index: Optional[Any] = None,
    may_ask: Optional[RawIds] = None,
) -> Iterator[Recommendations]:
    r"""Recommends the highest-scoring items to users, in chunks of users.

    Args:
        scorer (FallbackScorer): The scorer.
        seen (UserItems): The items that each user has.
        user_ids (RawIds): The raw ids of the users.
        item_ids (RawIds): The raw ids of the items.
        users (Iterable[int or str], optional): The raw ids of the requested
            users, all if not given. (default: :obj:`None`)
        k (int, optional): The length of the lists, cut to the number of
            items. (default: :obj:`20`)
        item_filter (ItemFilter, optional): The items that may be
            recommended, all if not given. (default: :obj:`None`)
        exclude_seen (bool, optional): Whether to leave out items that a user
            has. (default: :obj:`True`)
        folded_in (bool, optional): Whether known users are folded in.
            (default: :obj:`False`)
        cold_share (float, optional): The share of each list that is reserved
            for cold items. (default: :obj:`0.0`)
        popularity (torch.Tensor, optional): The number of training
            interactions of each item, given with a share.
            (default: :obj:`None`)
        index (faiss.Index, optional): The index of the items, searched for the
            lists of users that the model knows. (default: :obj:`None`)
        may_ask (RawIds, optional): The raw ids that may have item lists in
            the filter, those of the users if not given.
            (default: :obj:`None`)
    """
    check_count("k", k)
    check_flag("exclude_seen", exclude_seen)
    ids = user_ids.ids
    if users is not None:
        ids = ids_like(ids_as_text("users", users), ids)
    if item_filter is not None:
        item_filter.check_keys(may_ask or user_ids, ids)
    # With one more row for users that are not in the data set:
    seen = UserItems(torch.cat([seen.rowptr, seen.rowptr[-1:]]), seen.col)
    cold = None
    if cold_share > 0 and popularity is not None:
        cold = ColdSlots(cold_share, popularity == 0, scorer.known)
    asked_of = (
        scorer,
        item_filter or ItemFilter(item_ids),
        seen if exclude_seen else None,
    )
    if index is None:
        ranking = FilteredRanking(*asked_of, cold)
    elif cold is None:
        ranking = IndexedRanking(*asked_of, index, k)
    else:
        raise ValueError(
            f"'cold_share' must be 0 together with 'index' (got {cold_share})"
        )
    k = min(k, ranking.scorer.num_items)
    # Without users, there is one empty result.
    for start in range(0, max(1, len(ids)), CHUNK):
        asked = ids[start : start + CHUNK]
        names = asked.astype(np.str_).tolist()
        user = _places(names, user_ids).to(scorer.device)
        score, item = ranking.topk(k, user, names)
        is_known = scorer.known[user].cpu().numpy()
        yield Recommendations(
            asked,
            ids_or_none(item_ids.ids, item.cpu().numpy()),
            score.cpu().numpy(),
            is_known,
            is_known & folded_in,
            np.full(len(asked), scorer.source),
        )


def index_of_users(users: Iterable[Any], user_ids: RawIds) -> Tensor:
    r"""Returns the indices of users, and the number of all users for those
    that are not in the data set.

    Args:
        users (Iterable[int or str]): Their raw ids.
        user_ids (RawIds): The raw ids of all users.
    """
    return _places(ids_as_text("users", users), user_ids)


def _places(names: List[str], ids: RawIds) -> Tensor:
    places = [ids.place_of.get(name, len(ids)) for name in names]
    return torch.tensor(places, dtype=torch.long)


def ids_or_none(ids: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Returns raw ids, and ``-1`` or ``""`` for an index of -1."""
    return np.where(index < 0, -1 if ids.dtype.kind == "i" else "", ids[index])
