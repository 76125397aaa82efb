from typing import Dict, Tuple

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.nn.models.interaction_propagation import InteractionPropagation
from tmfun_pyg.nn.models.recommender import Recommender, bpr_loss, l2_loss


class LightGCN(Recommender):
    r"""LightGCN from the `"LightGCN: Simplifying and Powering Graph
    Convolution Network for Recommendation"
    <https://arxiv.org/abs/2002.02126>`_ paper, from PyG's layers, under the
    interface of this package.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        channels (int, optional): Size of the embeddings.
            (default: :obj:`64`)
        num_layers (int, optional): The number of layers.
            (default: :obj:`3`)
        reg_weight (float, optional): The weight of the L2 term on the
            embeddings of a batch. (default: :obj:`1e-4`)
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        channels: int = 64,
        num_layers: int = 3,
        reg_weight: float = 1e-4,
    ) -> None:
        super().__init__(num_users, num_items)
        self.reg_weight = reg_weight
        self.user_embedding = torch.nn.Embedding(num_users, channels)
        self.item_embedding = torch.nn.Embedding(num_items, channels)
        self.propagation = InteractionPropagation(num_layers)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        torch.nn.init.xavier_uniform_(self.user_embedding.weight)
        torch.nn.init.xavier_uniform_(self.item_embedding.weight)

    def bind(self, data: HeteroData) -> "LightGCN":
        r"""Attaches the training interactions of a data set."""
        super().bind(data)
        edge_index = data["user", "interacts", "item"].edge_index
        self.propagation.bind(edge_index, self.num_users, self.num_items)
        return self

    def forward(self) -> Tuple[Tensor, Tensor]:
        r"""Returns the propagated embeddings of users and items."""
        return self.propagation(
            self.user_embedding.weight, self.item_embedding.weight
        )

    def loss(
        self, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Computes the BPR loss and the L2 term (Eq. 15 of the paper)."""
        user_emb, item_emb = self()
        return {
            "bpr": bpr_loss(user_emb, item_emb, user, pos_item, neg_item),
            "reg": self.reg_weight
            * l2_loss(
                self.user_embedding(user),
                self.item_embedding(pos_item),
                self.item_embedding(neg_item),
            ),
        }
