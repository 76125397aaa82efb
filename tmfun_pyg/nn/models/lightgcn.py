from typing import Dict, Optional, Tuple

from torch import Tensor

from tmfun_pyg.nn.models.embedding_recommender import TableFactory
from tmfun_pyg.nn.models.embedding_table import EmbeddingTable
from tmfun_pyg.nn.models.interaction_graph import InteractionGraph
from tmfun_pyg.nn.models.interaction_propagation import InteractionPropagation
from tmfun_pyg.nn.models.sampled_recommender import SampledRecommender


class LightGCN(SampledRecommender):
    r"""LightGCN from the `"LightGCN: Simplifying and Powering Graph
    Convolution Network for Recommendation"
    <https://arxiv.org/abs/2002.02126>`_ paper, equal to
    :class:`torch_geometric.nn.models.LightGCN`, under the interface of this
    package.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        channels (int, optional): Size of the embeddings.
            (default: :obj:`64`)
        num_layers (int, optional): The number of layers.
            (default: :obj:`3`)
        reg_weight (float, optional): The weight of the L2 term on the
            embeddings of a batch. (default: :obj:`1e-4`)
        table (Callable, optional): What makes the tables of ID embeddings,
            see :class:`~tmfun_pyg.nn.EmbeddingTable`.
            (default: :class:`~tmfun_pyg.nn.EmbeddingTable`)
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        channels: int = 64,
        num_layers: int = 3,
        reg_weight: float = 1e-4,
        table: TableFactory = EmbeddingTable,
    ) -> None:
        super().__init__(
            num_users, num_items, channels, num_layers, reg_weight, table
        )
        self.propagation = InteractionPropagation(num_layers)
        self.reset_parameters()

    def forward(self) -> Tuple[Tensor, Tensor]:
        r"""Returns the propagated embeddings of users and items."""
        return self.propagation(*self.id_embeddings(self.graph), self.graph)

    def loss(
        self,
        user: Tensor,
        pos_item: Tensor,
        neg_item: Tensor,
        graph: Optional[InteractionGraph] = None,
    ) -> Dict[str, Tensor]:
        r"""Computes the BPR loss and the L2 term (Eq. 15 of the paper)."""
        graph = self.graph if graph is None else graph
        id_emb = self.id_embeddings(graph)
        emb = self.propagation(*id_emb, graph)
        return self._ranking_loss(id_emb, emb, user, pos_item, neg_item)
