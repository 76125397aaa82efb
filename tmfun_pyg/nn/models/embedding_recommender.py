from typing import Callable, Dict, Tuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.nn.inits import reset

from tmfun_pyg.nn.models.interaction_graph import InteractionGraph
from tmfun_pyg.nn.models.ranking_model import RankingModel, bpr_loss, l2_loss

TableFactory = Callable[[int, int], torch.nn.Module]
ModelType = TypeVar("ModelType", bound="EmbeddingRecommender")


class EmbeddingRecommender(RankingModel):
    r"""A recommender that learns an embedding of each user and each item, and
    reads them beside the graph of their interactions.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        channels (int): Size of the embeddings.
        num_layers (int): The number of layers over the user-item graph.
        reg_weight (float): The weight of the L2 term on the embeddings of a
            batch.
        table (Callable): Makes a table of embeddings from their number and
            size, see :class:`~tmfun_pyg.nn.EmbeddingTable`.
    """

    graph: InteractionGraph

    def __init__(
        self,
        num_users: int,
        num_items: int,
        channels: int,
        num_layers: int,
        reg_weight: float,
        table: TableFactory,
    ) -> None:
        super().__init__(num_users, num_items)
        self.channels = channels
        self.num_layers = num_layers
        self.reg_weight = reg_weight
        self.user_embedding = table(num_users, channels)
        self.item_embedding = table(num_items, channels)

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        reset(self.user_embedding)
        reset(self.item_embedding)

    def bind(self: ModelType, data: HeteroData) -> ModelType:
        r"""Attaches the training interactions of a data set, and whatever else
        the model reads from it, in place of what was bound before.
        """
        super().bind(data)
        self.graph = self.make_graph(data)
        return self

    def make_graph(self, data: HeteroData) -> InteractionGraph:
        r"""Brings a data set into the form that the model reads.

        Args:
            data (HeteroData): The data set.
        """
        return InteractionGraph(data)

    def id_embeddings(self, graph: InteractionGraph) -> Tuple[Tensor, Tensor]:
        r"""Returns the ID embeddings of the users and items of a graph."""
        return (
            self.user_embedding(graph.user_index),
            self.item_embedding(graph.item_index),
        )

    def _regularization(self, *rows: Tensor) -> Tensor:
        return self.reg_weight * l2_loss(*rows)

    def _ranking_loss(
        self,
        id_emb: Tuple[Tensor, Tensor],
        emb: Tuple[Tensor, Tensor],
        user: Tensor,
        pos_item: Tensor,
        neg_item: Tensor,
    ) -> Dict[str, Tensor]:
        """Returns the BPR loss on embeddings of all users and all items, and
        the L2 term on their ID embeddings.
        """

        def rows(users: Tensor, items: Tensor) -> Tuple[Tensor, ...]:
            return (
                F.embedding(user, users),
                F.embedding(pos_item, items),
                F.embedding(neg_item, items),
            )

        return {
            "bpr": bpr_loss(*rows(*emb)),
            "reg": self._regularization(*rows(*id_emb)),
        }
