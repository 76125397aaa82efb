from typing import Tuple

import torch
from torch import Tensor

from tmfun_pyg.recommender.export.read import Exported
from tmfun_pyg.utils.neighbor_scorer import neighbor_entries
from tmfun_pyg.utils.user_items import UserItems


class ScorerModule(torch.nn.Module):
    r"""Maps user indices of shape :obj:`[batch_size]` to the scores and
    indices of their best items, both of shape :obj:`[batch_size, k]`,
    :obj:`-inf` and :obj:`-1` if fewer items are left, and to whether each
    user is known; the others get the fallback lists. The order of ties is
    undefined.

    Args:
        content (Exported): The embeddings, the items that each user has seen,
            and the fallback scores.
        k (int): The length of the lists.
    """

    user_emb: Tensor
    item_emb: Tensor
    seen_rowptr: Tensor
    seen_col: Tensor
    known: Tensor
    fallback_score: Tensor
    gaining_ptr: Tensor
    gaining_item: Tensor
    gaining_weight: Tensor
    trained_rowptr: Tensor
    trained_col: Tensor

    def __init__(self, content: Exported, k: int) -> None:
        super().__init__()
        self.k = k
        self.register_buffer("user_emb", content.user_emb)
        self.register_buffer("item_emb", content.item_emb)
        self.register_buffer("seen_rowptr", content.seen.rowptr)
        self.register_buffer("seen_col", content.seen.col)
        self.register_buffer("known", content.known)
        self.register_buffer("fallback_score", content.fallback_score)
        self.has_neighbors = content.neighbors is not None
        if content.neighbors is not None:
            neighbors, owned = content.neighbors
            lists = neighbors.lists(content.item_emb.size(0))
            names = "gaining_ptr", "gaining_item", "gaining_weight"
            for name, value in zip(names, lists, strict=True):
                self.register_buffer(name, value)
            self.register_buffer("trained_rowptr", owned.rowptr)
            self.register_buffer("trained_col", owned.col)

    def forward(self, user: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        r"""Ranks all items for a batch of users."""
        score = self.user_emb.index_select(0, user) @ self.item_emb.t()
        if self.has_neighbors:
            lists = self.gaining_ptr, self.gaining_item, self.gaining_weight
            owned = UserItems(self.trained_rowptr, self.trained_col)
            row, item, value = neighbor_entries(lists, owned, user)
            score = score.index_put((row, item), value, accumulate=True)
        known = self.known.index_select(0, user)
        score = score.where(known.unsqueeze(1), self.fallback_score)
        seen = UserItems(self.seen_rowptr, self.seen_col)
        lowest = score.new_full((), -torch.inf)
        # Not `stable_topk`, whose control flow depends on ties:
        score = score.index_put(seen.edges_of(user), lowest)
        value, item = score.topk(self.k, dim=1)
        return value, item.masked_fill(value == -torch.inf, -1), known
