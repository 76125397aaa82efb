"""Top-K retrieval in blocks of users."""

from copy import copy
from functools import cached_property
from typing import Any, Optional, Protocol, Sequence, Tuple, TypeVar, Union

import torch
import torch.nn.functional as F
from torch import Tensor

from tmfun_pyg.utils.messages import check_count
from tmfun_pyg.utils.topk import GroupLimit, grouped_topk, stable_topk
from tmfun_pyg.utils.user_items import UserItems

# Up to 1 / FEW of all items, it is faster to read only the selected ones, one
# by one.
FEW = 8
DIVERGED = "has the training diverged, or was the model never fitted?"


class NotRankable(ValueError):
    """Raised if scores, or the numbers behind them, are not finite."""


S = TypeVar("S", bound="EmbeddingScorer")


class Scorer(Protocol):
    r"""A scorer of items for users: embeddings, an items x items matrix, or
    anything else with these members.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        device (torch.device): The device of users and scores.
    """

    num_users: int
    num_items: int
    device: torch.device

    def score(self, user: Tensor) -> Tensor:
        r"""Returns the scores of all items for some users, of shape
        :obj:`[num_rows, num_items]`, as a new tensor that the caller may
        overwrite.

        Args:
            user (torch.Tensor): The users, of shape :obj:`[num_rows]`.
        """

    def select(self, item: Tensor) -> "Scorer":
        r"""Returns a scorer of only some of the items, in the given order.

        Args:
            item (torch.Tensor): The items, of shape :obj:`[num_selected]`.
        """


class EmbeddingScorer:
    r"""Scores by inner product. A single user on the CPU is scored at memory
    bandwidth, from a copy of the items channel by channel. With the items row
    by row, :mod:`torch` takes two to three times as long for one user, and
    about the same for many. The copy is made for the first such request, and
    shared by :meth:`for_users` and :meth:`select`: if many items are selected,
    a single user's scores are computed for all items.

    Args:
        user_emb (torch.Tensor): The embeddings of all users, of shape
            :obj:`[num_users, channels]`.
        item_emb (torch.Tensor): The embeddings of all items, of shape
            :obj:`[num_items, channels]`.

    Raises:
        ValueError: If the embeddings are not finite.
    """

    def __init__(self, user_emb: Tensor, item_emb: Tensor) -> None:
        check_rankable("user embeddings", user_emb)
        check_rankable("item embeddings", item_emb)
        self.user_emb, self.num_users = user_emb, user_emb.size(0)
        self._every, self.num_items = _AllItems(item_emb), item_emb.size(0)
        # If some items are selected, their indices among all:
        self.index: Optional[Tensor] = None
        self.device = item_emb.device

    @cached_property
    def item_emb(self) -> Tensor:
        r"""The embeddings of the items, of shape
        :obj:`[num_items, channels]`.
        """
        every = self._every.item_emb
        return every if self.index is None else every[self.index]

    def score(self, user: Tensor) -> Tensor:
        r"""Returns the scores of all items for some users."""
        # Scores in half precision would tie too often:
        with torch.autocast(self.device.type, enabled=False):
            user_emb = self.user_emb[user].float()
            if user.numel() == 1 and self.device.type == "cpu":
                return self._score_one(user_emb)
            return user_emb @ self.item_emb.float().t()

    def _score_one(self, user_emb: Tensor) -> Tensor:
        if self.index is None:
            return user_emb @ self._every.by_channel
        if FEW * self.num_items <= self._every.item_emb.size(0):
            rows = self._every.item_emb.index_select(0, self.index)
            return user_emb @ rows.float().t()
        return (user_emb @ self._every.by_channel).index_select(1, self.index)

    def select(self: S, item: Tensor) -> S:
        r"""Returns a scorer of only some of the items. Nothing is checked
        again.
        """
        out = copy(self)
        out.index, out.num_items = self._among_all(item), item.numel()
        vars(out).pop("item_emb", None)
        return out

    def _among_all(self, item: Tensor) -> Tensor:
        return item if self.index is None else self.index[item]

    def pairs(self, user: Tensor, item: Tensor) -> Tensor:
        r"""Returns the scores of pairs.

        Args:
            user (torch.Tensor): The users, of shape :obj:`[num_pairs]`.
            item (torch.Tensor): The items, of shape :obj:`[num_pairs]`.
        """
        item_emb = self._every.item_emb[self._among_all(item)]
        x = self.user_emb[user].float() * item_emb.float()
        return x.sum(dim=1)

    def for_users(
        self, user_emb: Tensor, owned: UserItems
    ) -> "EmbeddingScorer":
        r"""Returns a scorer of the items for other users. The items are not
        checked again.

        Args:
            user_emb (torch.Tensor): Their embeddings.
            owned (UserItems): Their items.

        Raises:
            ValueError: If the embeddings are not finite.
        """
        out = copy(self)
        out._set_users(user_emb)
        return out

    def _set_users(self, user_emb: Tensor) -> None:
        check_rankable("user embeddings", user_emb)
        self.user_emb, self.num_users = user_emb, user_emb.size(0)


class _AllItems:
    """The items, row by row and channel by channel."""

    def __init__(self, item_emb: Tensor) -> None:
        self.item_emb = item_emb

    @cached_property
    def by_channel(self) -> Tensor:
        return self.item_emb.float().t().contiguous()


def check_rankable(what: str, x: Tensor) -> None:
    r"""Checks the numbers that scores are computed from.

    Args:
        what (str): Their name, for errors.
        x (torch.Tensor): The numbers.

    Raises:
        NotRankable: If one is NaN or infinite.
    """
    # Both ends are NaN if any number is. "isfinite" would copy the tensor.
    if x.numel() > 0 and not bool(torch.stack(x.aminmax()).isfinite().all()):
        raise NotRankable(
            f"The {what} hold NaN or infinity and cannot be ranked: {DIVERGED}"
        )


def candidate_items(items: Tensor, num_items: int) -> Tuple[Tensor, Tensor]:
    r"""Numbers the items that may be ranked.

    Args:
        items (torch.Tensor): Their indices in any order, or a mask of all
            items.
        num_items (int): The number of all items.

    Returns:
        The indices, ascending and unique, and the position of each item among
        them, :obj:`-1` for those that may not be ranked.

    Raises:
        ValueError: If there are none, or if :obj:`items` is neither indices
            nor a mask of :obj:`num_items` items.
    """
    if items.dtype == torch.bool:
        if items.size() != (num_items,):
            raise ValueError(
                f"'items' must be a mask of {num_items} items (got one of "
                f"shape {list(items.shape)})"
            )
        items = items.nonzero().view(-1)
    elif items.dtype != torch.long or items.dim() != 1:
        raise ValueError(
            f"'items' must be a mask or a vector of indices (got "
            f"{items.dtype} of shape {list(items.shape)})"
        )
    index = items.unique()
    if index.numel() == 0:
        raise ValueError("'items' must hold at least one item (got none)")
    if index[0] < 0 or index[-1] >= num_items:
        raise ValueError(
            f"'items' must hold indices from 0 to {num_items - 1} (got "
            f"{int(index[0])} to {int(index[-1])})"
        )
    place = index.new_full((num_items,), -1)
    place[index] = torch.arange(index.numel(), device=index.device)
    return index, place


def default_batch_size(num_items: int) -> int:
    r"""Returns the number of users with about 32 MiB of float32 scores."""
    return max(1, 2**23 // max(num_items, 1))


def user_blocks(
    user: Tensor, num_items: int, batch_size: Optional[int] = None
) -> Tuple[Tensor, ...]:
    r"""Splits users into blocks small enough to score against all items."""
    return user.split(batch_size or default_batch_size(num_items))


def rank_block(
    scorer: Scorer, user: Tensor, k: int, seen: Optional[UserItems] = None
) -> Tuple[Tensor, Tensor]:
    r"""Ranks all items for one block of users. PyG's :class:`KNNIndex` would
    search for :math:`k` plus all seen items, and leaves the order of ties
    undefined.

    Args:
        scorer (Scorer): The scorer of the items.
        user (torch.Tensor): The users of this block.
        k (int): The length of the lists.
        seen (UserItems, optional): The items to leave out for each user.
            (default: :obj:`None`)

    Returns:
        Scores and items, both of shape :obj:`[num_rows, k]`. If fewer than
        :obj:`k` items are left for a user, the scores at the end of the list
        are :obj:`-inf` and the items :obj:`-1`. If a score of the block is not
        finite, scores are NaN, for :func:`check_ranked`.
    """
    scores = score_block(scorer, user)
    if seen is not None:
        scores[seen.edges_of(user)] = -torch.inf
    return rank_scores(scores, k)


def score_block(scorer: Scorer, user: Tensor) -> Tensor:
    r"""Returns the scores of all items for one block of users, all NaN if one
    is NaN or infinite, to detect it without waiting for the device.

    Args:
        scorer (Scorer): The scorer of the items.
        user (torch.Tensor): The users.
    """
    scores = scorer.score(user)
    if scores.numel() > 0:
        for end in scores.aminmax():
            scores += 0 * end  # Zero, or NaN.
    return scores


def rank_scores(
    scores: Tensor, k: int, limit: Optional[GroupLimit] = None
) -> Tuple[Tensor, Tensor]:
    r"""Ranks items by their scores.

    Args:
        scores (torch.Tensor): The scores, :obj:`-inf` for items that are left
            out, of shape :obj:`[num_rows, num_items]`.
        k (int): The length of the lists.
        limit (GroupLimit, optional): The limit of items per group in a list.
            (default: :obj:`None`)

    Returns:
        Scores and items as in :func:`rank_block`.
    """
    length = min(k, scores.size(1))
    if limit is None:
        value, index = stable_topk(scores, length)
    else:
        value, index = grouped_topk(scores, length, limit)
    index = index.masked_fill(value == -torch.inf, -1)
    short = k - index.size(1)
    if short > 0:
        value = F.pad(value, (0, short), value=-torch.inf)
        index = F.pad(index, (0, short), value=-1)
    return value, index


def check_ranked(score: Tensor) -> None:
    r"""Checks the scores of :func:`rank_block`.

    Raises:
        NotRankable: If some scores of its items were not finite.
    """
    if bool(score.isnan().any()):
        raise NotRankable(
            f"The scores hold NaN or infinity and cannot be ranked: {DIVERGED}"
        )


@torch.no_grad()
def blocked_topk(
    scorer: Scorer,
    k: int,
    user: Optional[Union[Tensor, Sequence[int]]] = None,
    seen: Optional[UserItems] = None,
    batch_size: Optional[int] = None,
) -> Tuple[Tensor, Tensor]:
    r"""Finds the :obj:`k` items with the highest scores for each user, block
    by block.

    Args:
        scorer (Scorer): The scorer of the items.
        k (int): The length of the lists.
        user (torch.Tensor or List[int], optional): The users, all of them if
            not given. (default: :obj:`None`)
        seen (UserItems, optional): The items to leave out for each user.
            (default: :obj:`None`)
        batch_size (int, optional): The number of users scored at once, about
            32 MiB of scores if not given. (default: :obj:`None`)

    Returns:
        Scores and items as in :func:`rank_block`, one row per entry of
        :obj:`user`.

    Raises:
        ValueError: If :obj:`k` is not a positive whole number, if :obj:`user`
            is not a vector of user indices, or if scores are not finite.
    """
    check_count("k", k)
    if user is None:
        user = torch.arange(scorer.num_users)
    user = _check_users(user, scorer.num_users).to(scorer.device)
    blocks = [
        rank_block(scorer, block, k, seen)
        for block in user_blocks(user, scorer.num_items, batch_size)
    ]
    value, index = (torch.cat(part) for part in zip(*blocks, strict=True))
    check_ranked(value)
    return value, index


def _check_users(user: Any, num_users: int) -> Tensor:
    try:
        index = torch.as_tensor(user)
    except (TypeError, ValueError, RuntimeError) as err:
        raise ValueError(
            f"'user' must be a vector of indices of users (got a "
            f"{type(user).__name__})"
        ) from err
    if index.numel() == 0:
        return index.long().view(-1)
    whole = not index.is_floating_point() and index.dtype != torch.bool
    if index.dim() != 1 or not whole:
        raise ValueError(
            f"'user' must be a vector of indices of users (got {index.dtype} "
            f"of shape {list(index.shape)})"
        )
    index = index.long()
    low, high = (int(x) for x in index.aminmax())
    if low < 0 or high >= num_users:
        raise ValueError(
            f"'user' must hold indices from 0 to {num_users - 1} (got "
            f"{low if low < 0 else high})"
        )
    return index
