from typing import Dict, Optional, Tuple

import torch.nn.functional as F
from torch import Tensor

from tmfun_pyg.nn.models.embedding_recommender import TableFactory
from tmfun_pyg.nn.models.embedding_table import EmbeddingTable
from tmfun_pyg.nn.models.interaction_graph import InteractionGraph
from tmfun_pyg.nn.models.ranking_model import bpr_loss
from tmfun_pyg.nn.models.sampled_recommender import SampledRecommender


class BPRMF(SampledRecommender):
    r"""Matrix factorization from the `"BPR: Bayesian Personalized Ranking from
    Implicit Feedback" <https://arxiv.org/abs/1205.2618>`_ paper (Section 4.3.1
    with the criterion BPR-Opt):

    .. math::
        \hat{x}_{ui} = \mathbf{w}_u^{\top} \mathbf{h}_i, \qquad
        \mathcal{L} = - \ln \sigma(\hat{x}_{ui} - \hat{x}_{uj})
        + \lambda \left( \lVert \mathbf{w}_u \rVert^2
        + \lVert \mathbf{h}_i \rVert^2 + \lVert \mathbf{h}_j \rVert^2 \right)

    averaged over the users :math:`u`, positive items :math:`i` and negative
    items :math:`j` of a batch.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        channels (int, optional): Size of the embeddings.
            (default: :obj:`64`)
        reg_weight (float, optional): The weight :math:`\lambda` of the L2 term
            on the embeddings of a batch. (default: :obj:`1e-4`)
        table (Callable, optional): What makes the tables of ID embeddings,
            see :class:`~tmfun_pyg.nn.EmbeddingTable`.
            (default: :class:`~tmfun_pyg.nn.EmbeddingTable`)
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        channels: int = 64,
        reg_weight: float = 1e-4,
        table: TableFactory = EmbeddingTable,
    ) -> None:
        super().__init__(num_users, num_items, channels, 0, reg_weight, table)
        self.reset_parameters()

    def forward(self) -> Tuple[Tensor, Tensor]:
        r"""Returns the embeddings of users and items."""
        return self.id_embeddings(self.graph)

    def loss(
        self,
        user: Tensor,
        pos_item: Tensor,
        neg_item: Tensor,
        graph: Optional[InteractionGraph] = None,
    ) -> Dict[str, Tensor]:
        r"""Computes the BPR loss and the L2 term."""
        graph = self.graph if graph is None else graph
        user_id, item_id = self.id_embeddings(graph)
        rows = (
            F.embedding(user, user_id),
            F.embedding(pos_item, item_id),
            F.embedding(neg_item, item_id),
        )
        return {"bpr": bpr_loss(*rows), "reg": self._regularization(*rows)}
