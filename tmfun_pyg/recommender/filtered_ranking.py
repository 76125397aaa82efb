from typing import List, Optional, Tuple

import torch
from torch import Tensor

from tmfun_pyg.recommender.cold_slots import ColdSlots
from tmfun_pyg.recommender.item_filter import ItemFilter, ItemLists
from tmfun_pyg.utils.retrieval import (
    Scorer,
    candidate_items,
    check_ranked,
    rank_scores,
    user_blocks,
)
from tmfun_pyg.utils.user_items import UserItems


class FilteredRanking:
    r"""Ranks the items that may be in the lists of a request.

    Args:
        scorer (Scorer): The scorer.
        item_filter (ItemFilter): The items that may be in a list.
        seen (UserItems, optional): The items to leave out for each user of
            the scorer. (default: :obj:`None`)
        cold (ColdSlots, optional): The places of cold items.
            (default: :obj:`None`)
    """

    def __init__(
        self,
        scorer: Scorer,
        item_filter: ItemFilter,
        seen: Optional[UserItems] = None,
        cold: Optional[ColdSlots] = None,
    ) -> None:
        self.device, self.seen = scorer.device, seen
        self.allowed_of = _to(self.device, item_filter.allowed_of)
        self.excluded_of = _to(self.device, item_filter.excluded_of)
        self.excluded, self.limit = item_filter.excluded, item_filter.limit
        self.cold = cold
        if self.excluded is not None:
            self.excluded = self.excluded.to(self.device)
        # If only some items are scored: which, and the place of each there.
        self.index: Optional[Tensor] = None
        self.place: Optional[Tensor] = None
        if item_filter.allowed is not None:
            allowed = item_filter.allowed.to(self.device)
            self.index, self.place = candidate_items(allowed, scorer.num_items)
            scorer = scorer.select(self.index)
        self.scorer = scorer
        if self.limit is not None:
            group = self._of_scored(self.limit.group.to(self.device))
            self.limit = self.limit._replace(group=group)
        if cold is not None:
            is_cold = self._of_scored(cold.is_cold.to(self.device))
            self.cold = cold._replace(is_cold=is_cold)

    def _of_scored(self, of_all: Tensor) -> Tensor:
        return of_all if self.index is None else of_all[self.index]

    @torch.no_grad()
    def topk(
        self, k: int, user: Tensor, names: List[str]
    ) -> Tuple[Tensor, Tensor]:
        r"""Returns scores and items as
        :func:`~tmfun_pyg.utils.retrieval.blocked_topk` does.

        Args:
            k (int): The length of the lists.
            user (torch.Tensor): The queries, as user indices of the scorer,
                of shape :obj:`[num_rows]`.
            names (List[str]): Their raw ids as text.
        """
        left_out = [] if self.seen is None else [(self.seen, user)]
        if self.excluded_of is not None:
            rows = self.excluded_of.rows(names).to(self.device)
            left_out.append((self.excluded_of.items, rows))
        allowed = None
        if self.allowed_of is not None:
            allowed = self.allowed_of.rows(names).to(self.device)
        blocks = []
        every = torch.arange(len(user), device=self.device)
        for block in user_blocks(every, self.scorer.num_items):
            scores = self.scorer.score(user[block])
            if self.excluded is not None:
                scores[:, self.excluded] = -torch.inf
            for lists, of in left_out:
                scores[self._entries(lists, of[block])] = -torch.inf
            if self.allowed_of is not None and allowed is not None:
                scores = self._restrict(scores, self.allowed_of, allowed[block])
            if self.cold is None:
                blocks.append(rank_scores(scores, k, self.limit))
            else:
                of = user[block]
                blocks.append(self.cold.rank(scores, k, of, self.limit))
        score, place = map(torch.cat, zip(*blocks, strict=True))
        check_ranked(score)
        if self.index is None:
            return score, place
        return score, self.index[place].masked_fill(place < 0, -1)

    def _restrict(self, scores: Tensor, lists: ItemLists, of: Tensor) -> Tensor:
        """Keeps only the scores of listed items, or all without a list."""
        entries = self._entries(lists.items, of)
        out = torch.full_like(scores, -torch.inf)
        out[entries] = scores[entries]
        return scores.where((of == lists.last).view(-1, 1), out)

    def _entries(self, lists: UserItems, of: Tensor) -> Tuple[Tensor, Tensor]:
        """Returns the positions of the items of lists in the scores."""
        row, item = lists.edges_of(of)
        if self.place is None:
            return row, item
        place = self.place[item]
        return row[place >= 0], place[place >= 0]


def _to(
    device: torch.device, lists: Optional[ItemLists]
) -> Optional[ItemLists]:
    if lists is None:
        return None
    items = UserItems(*(part.to(device) for part in lists.items))
    return lists._replace(items=items)
