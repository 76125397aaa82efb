from typing import Any, Optional

from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.nn.models.ranking_model import Embeddings, RankingModel


class MostPopular(RankingModel):
    r"""Recommends the most popular items: the score of an item is the number
    of its training interactions.

    This is the baseline that every recommender has to beat. It has no
    parameters and needs no training.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
    """

    reads_feature_graphs = False
    supports_fold_in = True

    def encode(
        self,
        data: HeteroData,
        user: Optional[Tensor] = None,
        item: Optional[Tensor] = None,
        exclude: Optional[Tensor] = None,
    ) -> Embeddings:
        r"""Returns a one for every user and the count of every item."""
        self.check_data(data)
        count = data["item"].degree.view(-1, 1)
        one = count.new_ones(data["user"].num_nodes, 1)
        return Embeddings(one, count).rows(user, item)

    def encode_new_users(self, state: Any, data: HeteroData) -> Tensor:
        r"""Returns a one for every user."""
        return data["user"].degree.new_ones(data["user"].num_nodes, 1)
