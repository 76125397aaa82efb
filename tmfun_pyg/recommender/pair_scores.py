from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric.index import index2ptr

from tmfun_pyg.recommender.fallback_scorer import FallbackScorer
from tmfun_pyg.utils.retrieval import EmbeddingScorer, Scorer, user_blocks

BLOCK = 2**22  # Embedding entries of one side that are multiplied at once.


class PairScores(NamedTuple):
    r"""The scores of user-item pairs.

    Args:
        score (np.ndarray): The scores, of shape :obj:`[num_pairs]`, NaN for
            items that are not in the data set.
        known (np.ndarray): Whether the user has a training interaction, of
            shape :obj:`[num_pairs]`. The others have the fallback score, as in
            :class:`~tmfun_pyg.recommender.Recommendations`.
        source (np.ndarray): Where each score comes from, as there, :obj:`""`
            if there is none, of shape :obj:`[num_pairs]`.
    """

    score: np.ndarray
    known: np.ndarray
    source: np.ndarray


@torch.no_grad()
def score_pairs(
    scorer: FallbackScorer, user: Tensor, item: Tensor
) -> PairScores:
    r"""Returns the scores of user-item pairs.

    Args:
        scorer (FallbackScorer): The scorer.
        user (torch.Tensor): The users, of shape :obj:`[num_pairs]`.
        item (torch.Tensor): The items, :obj:`-1` for those that are not in
            the data set, of shape :obj:`[num_pairs]`.
    """
    is_item, item = item >= 0, item.clamp(min=0)
    known, score = scorer.known[user], scorer.fallback[item]
    model, user, item = scorer.scorer, user[known], item[known]
    if user.numel() > 0 and isinstance(model, EmbeddingScorer):
        score[known] = _from_embeddings(model, user, item)
    elif user.numel() > 0:
        score[known] = _from_rows(model, user, item)
    score[~is_item] = torch.nan
    of_known = known.cpu().numpy()
    source = np.where(of_known, "model", scorer.source)
    source = np.where(is_item.cpu().numpy(), source, "")
    return PairScores(score.cpu().numpy(), of_known, source)


def _from_embeddings(
    scorer: EmbeddingScorer, user: Tensor, item: Tensor
) -> Tensor:
    size = max(1, BLOCK // max(1, scorer.item_emb.size(1)))
    pairs = zip(user.split(size), item.split(size), strict=True)
    return torch.cat([scorer.pairs(u, i) for u, i in pairs])


def _from_rows(scorer: Scorer, user: Tensor, item: Tensor) -> Tensor:
    """Scores all items for each user, for scorers without embeddings."""
    asked, row = user.unique(return_inverse=True)
    order = row.argsort()
    begin = index2ptr(row[order], len(asked))
    out = torch.empty(len(user), device=scorer.device)
    every = torch.arange(len(asked), device=scorer.device)
    for block in user_blocks(every, scorer.num_items):
        pair = order[begin[block[0]] : begin[block[-1] + 1]]
        scores = scorer.score(asked[block])
        out[pair] = scores[row[pair] - block[0], item[pair]].float()
    return out
