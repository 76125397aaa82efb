from typing import Dict, Tuple

import torch
from torch import Tensor

from tmfun_pyg.nn.models.ranking_model import RankingModel


class MostPopular(RankingModel):
    r"""Recommends to everybody the items of most training interactions.

    The baseline every recommender has to beat. It has no parameters and needs
    no training.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
    """

    def forward(self) -> Tuple[Tensor, Tensor]:
        r"""Returns a one for every user and the count of every item."""
        count = torch.bincount(self.seen_col, minlength=self.num_items)
        popularity = count.float().view(-1, 1)
        return popularity.new_ones(self.num_users, 1), popularity

    def loss(
        self, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Returns no parts: there is nothing to train."""
        return {}
