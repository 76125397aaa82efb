from typing import Dict, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn.inits import glorot, reset, zeros

from tmfun_pyg.nn.models.embedding_recommender import TableFactory
from tmfun_pyg.nn.models.embedding_table import EmbeddingTable
from tmfun_pyg.nn.models.multimodal_recommender import MultimodalRecommender
from tmfun_pyg.nn.models.ranking_model import bpr_loss


class VBPR(MultimodalRecommender):
    r"""Matrix factorization with content from the `"VBPR: Visual Bayesian
    Personalized Ranking from Implicit Feedback"
    <https://arxiv.org/abs/1510.01784>`_ paper (Eq. 4, without the terms that
    rank no item above another):

    .. math::
        \hat{x}_{ui} = \boldsymbol{\gamma}_u^{\top} \boldsymbol{\gamma}_i +
        \boldsymbol{\theta}_u^{\top} \mathbf{E} \mathbf{f}_i + \beta_i +
        \boldsymbol{\beta}^{\prime \top} \mathbf{f}_i

    In our reading, :math:`\mathbf{f}_i` holds the features of all modalities
    one after the other, brought to zero mean and unit variance item by item as
    in all models here, and zeros for a modality that the item lacks. The score
    is the inner product of

    .. math::
        \left( \boldsymbol{\gamma}_u, \ \boldsymbol{\theta}_u, \ 1 \right)
        \quad \textrm{and} \quad
        \left( \boldsymbol{\gamma}_i, \ \mathbf{E} \mathbf{f}_i, \ \beta_i +
        \boldsymbol{\beta}^{\prime \top} \mathbf{f}_i \right)

    The loss is BPR with an L2 term on :math:`\boldsymbol{\gamma}_u`,
    :math:`\boldsymbol{\theta}_u`, :math:`\boldsymbol{\gamma}_i` and
    :math:`\beta_i` of a batch; that :math:`\mathbf{E}` and
    :math:`\boldsymbol{\beta}^{\prime}` are left out of it is our reading.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        in_channels (Dict[str, int]): The feature size of each modality.
        channels (int, optional): Size of :math:`\boldsymbol{\gamma}` and of
            :math:`\boldsymbol{\theta}`. (default: :obj:`64`)
        reg_weight (float, optional): The weight of the L2 term on the
            embeddings of a batch. (default: :obj:`1e-4`)
        table (Callable, optional): What makes the tables of ID embeddings,
            see :class:`~tmfun_pyg.nn.EmbeddingTable`.
            (default: :class:`~tmfun_pyg.nn.EmbeddingTable`)

    Raises:
        ValueError: If there is no modality.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        in_channels: Dict[str, int],
        channels: int = 64,
        reg_weight: float = 1e-4,
        table: TableFactory = EmbeddingTable,
    ) -> None:
        super().__init__(
            num_users,
            num_items,
            in_channels,
            channels,
            num_layers=0,
            reg_weight=reg_weight,
            table=table,
            similar=False,
        )
        size = sum(in_channels.values())
        self.user_content = table(num_users, channels)
        self.item_bias = table(num_items, 1)
        self.lin_content = torch.nn.Linear(size, channels, bias=False)
        self.lin_bias = torch.nn.Linear(size, 1, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        reset(self.user_content)
        reset(self.item_bias)
        glorot(self.lin_content.weight)
        zeros(self.lin_bias.weight)

    def forward(self) -> Tuple[Tensor, Tensor]:
        r"""Returns the embeddings of users and items, of size
        :obj:`2 * channels + 1`.
        """
        return self._users()[0], self._items()[0]

    def _users(self, index: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
        """Returns embeddings of users, and what of them is regularized."""
        free = [self.user_embedding(index), self.user_content(index)]
        one = free[0].new_ones(*free[0].shape[:-1], 1)
        return torch.cat([*free, one], dim=-1), torch.cat(free, dim=-1)

    def _items(self, index: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
        """Returns embeddings of items, and what of them is regularized."""
        item_id, bias = self.item_embedding(index), self.item_bias(index)
        xs = [self.graph.features(name) for name in self.modalities]
        if index is not None:
            xs = [F.embedding(index, x) for x in xs]
        x = torch.cat(xs, dim=-1)
        content = [self.lin_content(x), bias + self.lin_bias(x)]
        return (
            torch.cat([item_id, *content], dim=-1),
            torch.cat([item_id, bias], dim=-1),
        )

    def loss(
        self, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Computes the BPR loss and the L2 term."""
        user_emb, user_free = self._users(user)
        pos_emb, pos_free = self._items(pos_item)
        neg_emb, neg_free = self._items(neg_item)
        return {
            "bpr": bpr_loss(user_emb, pos_emb, neg_emb),
            "reg": self._regularization(user_free, pos_free, neg_free),
        }
