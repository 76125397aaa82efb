from typing import Dict, Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.nn.inits import glorot, zeros

from tmfun_pyg.nn.models.embedding_model import Negatives, rows_of
from tmfun_pyg.nn.models.multimodal_model import MultimodalModel
from tmfun_pyg.nn.models.ranking_model import Embeddings


class VBPR(MultimodalModel):
    r"""Matrix factorization with content from the `"VBPR: Visual Bayesian
    Personalized Ranking from Implicit Feedback"
    <https://arxiv.org/abs/1510.01784>`_ paper (Eq. 4, without the terms that
    do not affect the ranking):

    .. math::
        \hat{x}_{ui} = \boldsymbol{\gamma}_u^{\top} \boldsymbol{\gamma}_i +
        \boldsymbol{\theta}_u^{\top} \mathbf{E} \mathbf{f}_i + \beta_i +
        \boldsymbol{\beta}^{\prime \top} \mathbf{f}_i

    In our reading, :math:`\mathbf{f}_i` concatenates the features of all
    modalities, standardized to zero mean and unit variance item by item, as in
    all models here, with zeros for a missing modality. The score is the inner
    product of

    .. math::
        \left( \boldsymbol{\gamma}_u, \ \boldsymbol{\theta}_u, \ 1 \right)
        \quad \textrm{and} \quad
        \left( \boldsymbol{\gamma}_i, \ \mathbf{E} \mathbf{f}_i, \ \beta_i +
        \boldsymbol{\beta}^{\prime \top} \mathbf{f}_i \right)

    The loss is BPR with an L2 term on :math:`\boldsymbol{\gamma}_u`,
    :math:`\boldsymbol{\theta}_u`, :math:`\boldsymbol{\gamma}_i` and
    :math:`\beta_i` of a batch; leaving out :math:`\mathbf{E}` and
    :math:`\boldsymbol{\beta}^{\prime}` is our reading.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        in_channels (Dict[str, int]): The feature size of each modality.
        channels (int, optional): Size of :math:`\boldsymbol{\gamma}` and of
            :math:`\boldsymbol{\theta}`. (default: :obj:`64`)
        reg_weight (float, optional): The weight of the L2 term on the
            embeddings of a batch. (default: :obj:`1e-4`)
        softmax_negatives (int or str, optional): See
            :class:`~tmfun_pyg.nn.EmbeddingModel`. (default: :obj:`0`)

    Raises:
        ValueError: If there is no modality.
    """

    reads_feature_graphs = False

    def __init__(
        self,
        num_users: int,
        num_items: int,
        in_channels: Dict[str, int],
        channels: int = 64,
        reg_weight: float = 1e-4,
        softmax_negatives: Negatives = 0,
    ) -> None:
        super().__init__(
            num_users,
            num_items,
            in_channels,
            channels,
            num_layers=0,
            reg_weight=reg_weight,
            softmax_negatives=softmax_negatives,
        )
        size = sum(in_channels.values())
        self.user_content = self.embedding(num_users, channels)
        self.item_bias = self.embedding(num_items, 1)
        self.lin_content = torch.nn.Linear(size, channels, bias=False)
        self.lin_bias = torch.nn.Linear(size, 1, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        for table in (self.user_content, self.item_bias):
            torch.nn.init.xavier_uniform_(table.weight)
        glorot(self.lin_content.weight)
        zeros(self.lin_bias.weight)

    def encode(
        self,
        data: HeteroData,
        user: Optional[Tensor] = None,
        item: Optional[Tensor] = None,
        exclude: Optional[Tensor] = None,
    ) -> Embeddings:
        r"""Computes the embeddings, of size :obj:`2 * channels + 1`."""
        self.check_data(data)
        users = [
            rows_of(table, user)
            for table in (self.user_embedding, self.user_content)
        ]
        one = users[0].new_ones(*users[0].shape[:-1], 1)
        xs = [data["item"][f"x_{name}"] for name in self.modalities]
        if item is not None:
            xs = [F.embedding(item, x) for x in xs]
        x = torch.cat(xs, dim=-1)
        items = [
            rows_of(self.item_embedding, item),
            self.lin_content(x),
            rows_of(self.item_bias, item) + self.lin_bias(x),
        ]
        return Embeddings(
            torch.cat([*users, one], dim=-1), torch.cat(items, dim=-1)
        )

    def loss(
        self, data: HeteroData, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Computes the ranking loss and the L2 term."""
        item = torch.cat([pos_item.unsqueeze(1), neg_item], dim=1)
        user_emb, item_emb = self.encode(data, user, item)
        return {
            self.rank_loss.name: self.rank_rows(
                data, user, user_emb, item_emb[:, 0], item_emb[:, 1:]
            ),
            "reg": self.l2_loss(
                *(self.user_embedding(user), self.user_content(user)),
                *(self.item_embedding(item), self.item_bias(item)),
            ),
        }
