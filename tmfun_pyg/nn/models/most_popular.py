from typing import Dict, Tuple

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.nn.models.recommender import Recommender


class MostPopular(Recommender):
    r"""Recommends to everybody the items of most training interactions.

    The baseline every recommender has to beat. It has no parameters and needs
    no training.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        edge_index (torch.Tensor): The training interactions, pairs of user
            and item, of shape :obj:`[2, num_interactions]`.
    """

    popularity: Tensor

    def __init__(
        self, num_users: int, num_items: int, edge_index: Tensor
    ) -> None:
        super().__init__(num_users, num_items, edge_index)
        count = torch.bincount(edge_index[1], minlength=num_items).float()
        self.register_buffer("popularity", count.view(-1, 1))

    @classmethod
    def from_data(cls, data: HeteroData) -> "MostPopular":
        r"""Builds the model for a data set."""
        return cls(*cls.sizes(data))

    def forward(self) -> Tuple[Tensor, Tensor]:
        r"""Returns a one for every user and the count of every item."""
        return self.popularity.new_ones(self.num_users, 1), self.popularity

    def loss(
        self, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Returns no parts: there is nothing to train."""
        return {}
