"""Top-k retrieval by inner product, in blocks of users."""

from typing import Iterator, Optional, Tuple

import torch
from torch import Tensor

from tmfun_pyg.utils.topk import stable_topk
from tmfun_pyg.utils.user_items import UserItems


def candidate_items(items: Tensor, num_items: int) -> Tuple[Tensor, Tensor]:
    r"""Numbers the items that may be ranked.

    Args:
        items (torch.Tensor): Their indices in any order, or a mask of all
            items.
        num_items (int): The number of all items.

    Returns:
        The indices, ascending and each once, and for all items the place
        there, :obj:`-1` for those that may not be ranked.

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
        raise ValueError("'items' holds no item")
    if int(index[0]) < 0 or int(index[-1]) >= num_items:
        raise ValueError(
            f"'items' must hold indices from 0 to {num_items - 1} (got "
            f"{int(index[0])} to {int(index[-1])})"
        )
    place = index.new_full((num_items,), -1)
    place[index] = torch.arange(index.numel(), device=index.device)
    return index, place


def default_batch_size(num_items: int) -> int:
    r"""The number of users whose scores take about 32 MiB in float32."""
    return max(1, 2**23 // max(num_items, 1))


def user_blocks(
    user_index: Tensor, num_items: int, batch_size: Optional[int] = None
) -> Iterator[Tensor]:
    r"""Cuts users into blocks small enough to score against all items."""
    yield from user_index.split(batch_size or default_batch_size(num_items))


def rank_block(
    user_emb: Tensor,
    item_emb: Tensor,
    user_index: Tensor,
    k: int,
    seen: Optional[UserItems] = None,
) -> Tuple[Tensor, Tensor]:
    r"""Ranks all items for one block of users.

    Args:
        user_emb (torch.Tensor): The embeddings of all users, of shape
            :obj:`[num_users, channels]`.
        item_emb (torch.Tensor): The embeddings of all items, of shape
            :obj:`[num_items, channels]`.
        user_index (torch.Tensor): The users of this block.
        k (int): The length of the lists.
        seen (UserItems, optional): Items never to be ranked for a user.
            (default: :obj:`None`)

    Returns:
        Scores and items, both of shape :obj:`[num_rows, k]`. Where fewer than
        :obj:`k` items are left for a user, the scores at the end of the list
        are :obj:`-inf` and the items :obj:`-1`.
    """
    scores = user_emb[user_index].float() @ item_emb.float().t()
    if seen is not None:
        scores[seen.edges_of(user_index)] = float("-inf")
    value, index = stable_topk(scores, min(k, item_emb.size(0)))
    index = index.masked_fill(value == float("-inf"), -1)
    short = k - index.size(1)
    if short > 0:
        value = torch.nn.functional.pad(value, (0, short), value=-torch.inf)
        index = torch.nn.functional.pad(index, (0, short), value=-1)
    return value, index


@torch.no_grad()
def top_k(
    user_emb: Tensor,
    item_emb: Tensor,
    k: int,
    user_index: Optional[Tensor] = None,
    seen: Optional[UserItems] = None,
    batch_size: Optional[int] = None,
) -> Tuple[Tensor, Tensor]:
    r"""Finds the :obj:`k` items of largest inner product for each user.

    Args:
        user_emb (torch.Tensor): The embeddings of all users, of shape
            :obj:`[num_users, channels]`.
        item_emb (torch.Tensor): The embeddings of all items, of shape
            :obj:`[num_items, channels]`.
        k (int): The length of the lists.
        user_index (torch.Tensor, optional): The users to answer, all of them
            if not given. (default: :obj:`None`)
        seen (UserItems, optional): Items never to be recommended to a user.
            (default: :obj:`None`)
        batch_size (int, optional): The number of users scored at once, about
            32 MiB of scores if not given. (default: :obj:`None`)

    Returns:
        Scores and items as :func:`rank_block` returns them, a row for each
        entry of :obj:`user_index`.

    Raises:
        ValueError: If :obj:`k` is not positive.
    """
    if k < 1:
        raise ValueError(f"'k' must be at least 1 (got {k})")
    if user_index is None:
        user_index = torch.arange(user_emb.size(0), device=user_emb.device)
    blocks = [
        rank_block(user_emb, item_emb, block, k, seen)
        for block in user_blocks(user_index, item_emb.size(0), batch_size)
    ]
    if len(blocks) == 0:
        return (
            user_emb.new_empty((0, k), dtype=torch.float),
            user_index.new_empty((0, k)),
        )
    value, index = zip(*blocks, strict=True)
    return torch.cat(value), torch.cat(index)
