from typing import Any, List, Optional, Tuple

import torch
from torch import Tensor

from tmfun_pyg.recommender.fallback_scorer import FallbackScorer
from tmfun_pyg.recommender.filtered_ranking import FilteredRanking
from tmfun_pyg.recommender.item_filter import ItemFilter
from tmfun_pyg.utils.neighbor_scorer import NeighborScorer
from tmfun_pyg.utils.retrieval import EmbeddingScorer, Scorer
from tmfun_pyg.utils.user_items import UserItems

# If at most this share of the items is left, they are compared one by one:
FEW = 0.25
# Items to search for: this times length of the list / share of items left.
FETCHED = 3
# METRIC_INNER_PRODUCT of faiss:
INNER_PRODUCT = 0


class IndexedRanking(FilteredRanking):
    r"""Ranks as :class:`FilteredRanking` does, among items that an index
    finds. The fewer items are eligible, the more it searches for. If few are
    left, or the index finds too few for a list, all are compared.

    Args:
        scorer (FallbackScorer): The scorer, of a model with embeddings.
        item_filter (ItemFilter): The items that may be in a list.
        seen (UserItems, optional): The items to leave out for each user of
            the scorer.
        index (faiss.Index): The index of the items, see
            :func:`~tmfun_pyg.recommender.item_index.build_index`.
        k (int): The length of the lists.
    """

    def __init__(
        self,
        scorer: FallbackScorer,
        item_filter: ItemFilter,
        seen: Optional[UserItems],
        index: Any,
        k: int,
    ) -> None:
        assert isinstance(scorer.scorer, EmbeddingScorer)
        if not hasattr(index, "ntotal"):
            raise ValueError(
                f"'index' must be an index of faiss (got a "
                f"{type(index).__name__})"
            )
        if index.ntotal != scorer.num_items:
            raise ValueError(
                f"'index' must hold the {scorer.num_items} items (got "
                f"{index.ntotal})"
            )
        width = scorer.scorer.item_emb.size(1)
        if index.metric_type != INNER_PRODUCT or index.d != width:
            raise ValueError(
                f"'index' must compare {width} channels by inner product (got "
                f"{index.d} channels, metric_type {index.metric_type})"
            )
        indexed = _IndexScorer(scorer, index, FETCHED * k)
        super().__init__(indexed, item_filter, seen)
        self.all_scored = scorer, item_filter, seen

    def topk(
        self, k: int, user: Tensor, names: List[str]
    ) -> Tuple[Tensor, Tensor]:
        r"""Returns scores and items as :class:`FilteredRanking` does."""
        score, item = super().topk(k, user, names)
        row = (item < 0).any(dim=1).nonzero().view(-1)
        if row.numel() > 0:
            some = [names[place] for place in row.tolist()]
            exact = FilteredRanking(*self.all_scored)
            score[row], item[row] = exact.topk(k, user[row], some)
        return score, item


class _IndexScorer:
    """Scores only the items that an index finds, for users that the model
    knows.
    """

    def __init__(self, scorer: FallbackScorer, index: Any, width: int) -> None:
        assert isinstance(scorer.scorer, EmbeddingScorer)
        self.scorer, self.user_emb = scorer, scorer.scorer.user_emb
        self.index, self.width = index, min(width, scorer.num_items)
        self.num_users, self.num_items = scorer.num_users, scorer.num_items
        self.device = scorer.device

    def score(self, user: Tensor) -> Tensor:
        known = self.scorer.known[user]
        query = self.user_emb[user[known]].float().cpu().contiguous()
        score, item = map(
            torch.from_numpy, self.index.search(query.numpy(), self.width)
        )
        row = known.nonzero().view(-1, 1).expand_as(item)
        found = item >= 0
        out = torch.full((len(user), self.num_items), -torch.inf)
        out[row[found], item[found]] = score[found]
        lowest = score.masked_fill(~found, torch.inf).amin(dim=1)
        self._add_neighbors(out, known, user[known], lowest)
        out[~known] = self.scorer.score(user[~known])
        return out

    def _add_neighbors(
        self, out: Tensor, known: Tensor, user: Tensor, lowest: Tensor
    ) -> None:
        """Adds the neighbor scores, also to items that were not found. Those
        below all found items are dropped, as others that were not found may
        be better.
        """
        model = self.scorer.scorer
        if not isinstance(model, NeighborScorer):
            return
        place, item, value = model.from_neighbors(user)
        row = known.nonzero().view(-1)[place]
        more = out[row, item] == -torch.inf
        out[row[more], item[more]] = EmbeddingScorer.pairs(
            model, user[place[more]], item[more]
        )
        out.index_put_((row, item), value.float(), accumulate=True)
        below = out[row, item] < lowest[place]
        out[row[below], item[below]] = -torch.inf

    def select(self, item: Tensor) -> Scorer:
        share = item.numel() / self.num_items
        if share <= FEW:
            return self.scorer.select(item)
        wider = _IndexScorer(self.scorer, self.index, int(self.width / share))
        return _Columns(wider, item)


class _Columns:
    """Some of the scores of another scorer."""

    def __init__(self, scorer: Scorer, item: Tensor) -> None:
        self.scorer, self.item = scorer, item
        self.num_users, self.num_items = scorer.num_users, item.numel()
        self.device = scorer.device

    def score(self, user: Tensor) -> Tensor:
        return self.scorer.score(user)[:, self.item]

    def select(self, item: Tensor) -> "_Columns":
        return _Columns(self.scorer, self.item[item])
