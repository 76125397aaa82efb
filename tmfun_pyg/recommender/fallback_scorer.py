import torch
from torch import Tensor

from tmfun_pyg.utils.retrieval import Scorer, score_block


class FallbackScorer:
    r"""Scores the items of users without a training interaction alike, as a
    model knows nothing of them, and those of all others by the model. There
    is a user more than the model has, the last one, who stands for anybody
    that is not in the data set.

    Args:
        scorer (Scorer): The scores of the model.
        known (torch.Tensor): Whether each user has a training interaction,
            of shape :obj:`[num_users]`.
        fallback (torch.Tensor): The scores for users of whom nothing is
            known, of shape :obj:`[num_items]`.
        source (str): How the lists of these are marked.
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
        r"""Returns what scores some of the items only."""
        return FallbackScorer(
            self.scorer.select(item),
            self.known[:-1],
            self.fallback[item],
            self.source,
        )
