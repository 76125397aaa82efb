"""Places in lists for cold items."""

from numbers import Real
from typing import NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from tmfun_pyg.utils.messages import check_at_least
from tmfun_pyg.utils.retrieval import rank_scores
from tmfun_pyg.utils.topk import GroupLimit


class ColdSlots(NamedTuple):
    r"""Reserves a share of each list for cold items, those without a training
    interaction.

    Args:
        share (float): The share, above zero.
        is_cold (torch.Tensor): Whether each item is cold, of shape
            :obj:`[num_items]`.
        known (torch.Tensor): Whether each user is known, of shape
            :obj:`[num_users]`. The lists of others do not change: nothing
            says which cold items to choose.
    """

    share: float
    is_cold: Tensor
    known: Tensor

    def rank(
        self,
        scores: Tensor,
        k: int,
        user: Tensor,
        limit: Optional[GroupLimit] = None,
    ) -> Tuple[Tensor, Tensor]:
        r"""Ranks items as :func:`~tmfun_pyg.utils.retrieval.rank_scores`
        does, with the best cold items at evenly spread places between the
        best warm ones. If too few of either are left, the others take their
        places.

        Args:
            scores (torch.Tensor): The scores, :obj:`-inf` for items that are
                left out, of shape :obj:`[num_rows, num_items]`.
            k (int): The length of the lists, at most :obj:`num_items`.
            user (torch.Tensor): The users, of shape :obj:`[num_rows]`.
            limit (GroupLimit, optional): The limit on items per group in a
                list, cold and warm together. (default: :obj:`None`)
        """
        known = self.known[user]
        if bool(known.all()):
            return self._spread(scores, self._choose(scores, k, limit))
        value, index = rank_scores(scores, k, limit)
        if bool(known.any()):
            of_known = scores[known]
            chosen = self._choose(of_known, k, limit)
            value[known], index[known] = self._spread(of_known, chosen)
        return value, index

    def _choose(
        self, scores: Tensor, k: int, limit: Optional[GroupLimit]
    ) -> Tensor:
        """Returns the items of lists in any order, padded with -1."""
        cold = self.is_cold.nonzero().view(-1)
        num_cold = min(int(self.share * k + 0.5), cold.numel())
        warm = scores.index_fill(1, cold, -torch.inf)
        if num_cold > 0:
            of_cold = limit and limit._replace(group=limit.group[cold])
            place = rank_scores(scores[:, cold], num_cold, of_cold)[1]
            # These are in the list, and count first towards the limit:
            _put(warm, cold[place].masked_fill(place < 0, -1), torch.inf)
        item = rank_scores(warm, k, limit)[1]
        short = (item < 0).any(dim=1).nonzero().view(-1)
        if short.numel() > 0:
            rest = scores[short]
            _put(rest, item[short], torch.inf)
            item[short] = rank_scores(rest, k, limit)[1]
        return item

    def _spread(self, scores: Tensor, item: Tensor) -> Tuple[Tensor, Tensor]:
        """Orders the items of lists."""
        item = item.sort(dim=1).values  # Ties are broken by the lower index.
        value = scores.gather(1, item.clamp(min=0))
        value = value.masked_fill(item < 0, -torch.inf)
        value, order = value.sort(dim=1, descending=True, stable=True)
        item = item.gather(1, order)
        # 0 for cold items, 1 for warm ones, 2 for padding:
        kind = 1 - self.is_cold[item.clamp(min=0)].long()
        kind = kind.masked_fill(item < 0, 2)
        order = kind.argsort(dim=1, stable=True)
        # In a list of n items, the j-th of c cold ones is in the middle of the
        # j-th of c stretches, so that prefixes have the share, too:
        length = (item >= 0).sum(dim=1, keepdim=True)
        num_cold = (kind == 0).sum(dim=1, keepdim=True)
        place = torch.arange(item.size(1) + 1, device=item.device)
        count = 2 * place * num_cold + length - 1
        count = count.div(2 * length.clamp(min=1), rounding_mode="floor")
        slot = 1 - count.diff(dim=1)
        slot = slot.masked_fill(place[:-1] >= length, 2)
        slot = slot.argsort(dim=1, stable=True)
        return (
            torch.empty_like(value).scatter_(1, slot, value.gather(1, order)),
            torch.empty_like(item).scatter_(1, slot, item.gather(1, order)),
        )


def check_share(share: float, scores_cold: bool, model: str) -> None:
    r"""Checks a share of cold items.

    Args:
        share (float): The share.
        scores_cold (bool): Whether cold items are scored by content.
        model (str): The source of the scores, for errors.

    Raises:
        ValueError: If it is not from zero to one, or above zero without such
            scores.
    """
    if not isinstance(share, Real):
        raise ValueError(f"'cold_share' must be a number (got {share!r})")
    check_at_least("cold_share", share, 0, 1)
    if share > 0 and not scores_cold:
        raise ValueError(
            f"'cold_share' must be 0 where cold items have no scores by "
            f"content (got {share} for {model})"
        )


def _put(scores: Tensor, item: Tensor, value: float) -> None:
    """Sets the scores of the items of lists."""
    row, place = (item >= 0).nonzero(as_tuple=True)
    scores[row, item[row, place]] = value
