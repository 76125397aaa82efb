from abc import abstractmethod
from typing import Dict, Optional

from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.nn.models.embedding_recommender import EmbeddingRecommender
from tmfun_pyg.nn.models.interaction_graph import InteractionGraph


class SampledRecommender(EmbeddingRecommender):
    r"""An :class:`~tmfun_pyg.nn.EmbeddingRecommender` that can be trained on
    sampled neighborhoods of the users and items of a batch in place of the
    whole graph. Its :meth:`make_graph` takes batches of
    :class:`tmfun_pyg.loader.SampledInteractionDataset` as well as data sets.
    """

    @abstractmethod
    def loss(
        self,
        user: Tensor,
        pos_item: Tensor,
        neg_item: Tensor,
        graph: Optional[InteractionGraph] = None,
    ) -> Dict[str, Tensor]:
        r"""Computes the weighted parts of the training loss, whose sum is to
        be minimized.

        Args:
            user (torch.Tensor): As in :meth:`RankingModel.loss`.
            pos_item (torch.Tensor): As in :meth:`RankingModel.loss`.
            neg_item (torch.Tensor): As in :meth:`RankingModel.loss`.
            graph (InteractionGraph, optional): The graph whose nodes the
                indices number, the whole one if not given.
                (default: :obj:`None`)
        """

    def sampled_loss(self, batch: HeteroData) -> Dict[str, Tensor]:
        r"""Computes the same parts on a sampled neighborhood.

        Args:
            batch (HeteroData): A batch of
                :class:`tmfun_pyg.loader.SampledInteractionDataset`.

        Raises:
            ValueError: If the neighborhood has fewer hops than the model has
                layers.
        """
        if batch.num_hops < self.num_layers:
            raise ValueError(
                f"'num_neighbors' must name one hop for each of the "
                f"{self.num_layers} layers of the model (got "
                f"{batch.num_hops})"
            )
        graph = self.make_graph(batch)
        return self.loss(
            batch["user"].src_index,
            batch["item"].dst_pos_index,
            batch["item"].dst_neg_index,
            graph,
        )
