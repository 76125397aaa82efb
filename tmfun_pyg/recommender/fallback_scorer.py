import torch
from torch import Tensor

from tmfun_pyg.utils.retrieval import Scorer, score_block


class FallbackScorer:
    r"""Scores items by the model, or by a fallback for users without a
    training interaction, who are unknown to the model. There is one more user
    than in the model: the last one stands for users that are not in the data
    set.

    Args:
        scorer (Scorer): The scores of the model.
        known (torch.Tensor): Whether each user has a training interaction,
            of shape :obj:`[num_users]`.
        fallback (torch.Tensor): The scores for unknown users, of shape
            :obj:`[num_items]`.
        source (str): The :obj:`source` of their lists.
    """

    def __init__(
        self, scorer: Scorer, known: Tensor, fallback: Tensor, source: str
    ) -> None:
        self.scorer = scorer
        self.known = torch.cat([known, known.new_zeros(1)]).to(scorer.device)
        self.fallback = fallback.to(scorer.device, torch.float)
        self.source = source
        self.num_users = self.known.numel()
        self.num_items = scorer.num_items
        self.device = scorer.device

    def score(self, user: Tensor) -> Tensor:
        r"""Returns the scores of all items for some users."""
        known = self.known[user]
        if bool(known.all()):
            return score_block(self.scorer, user).float()
        out = self.fallback.repeat(user.numel(), 1)
        if bool(known.any()):
            out[known] = score_block(self.scorer, user[known]).float()
        return out

    def select(self, item: Tensor) -> "FallbackScorer":
        r"""Returns a scorer of some of the items only."""
        return FallbackScorer(
            self.scorer.select(item),
            self.known[:-1],
            self.fallback[item],
            self.source,
        )
