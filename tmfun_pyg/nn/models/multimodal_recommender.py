from typing import Any, Dict, TypeVar

from torch_geometric.data import HeteroData

from tmfun_pyg.nn.models.embedding_recommender import (
    EmbeddingRecommender,
    TableFactory,
)
from tmfun_pyg.nn.models.multimodal_graph import MultimodalGraph, feature_sizes

ModelType = TypeVar("ModelType", bound="MultimodalRecommender")


class MultimodalRecommender(EmbeddingRecommender):
    r"""An :class:`~tmfun_pyg.nn.EmbeddingRecommender` that also reads the
    features of the items and, if asked to, their feature graphs.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        in_channels (Dict[str, int]): The feature size of each modality.
        channels (int): Size of the embeddings.
        num_layers (int): The number of layers over the user-item graph.
        reg_weight (float): The weight of the L2 term on the embeddings of a
            batch.
        table (Callable): Makes a table of embeddings from their number and
            size, see :class:`~tmfun_pyg.nn.EmbeddingTable`.
        similar (bool): Whether the model reads the feature graphs.

    Raises:
        ValueError: If there is no modality.
    """

    graph: MultimodalGraph

    def __init__(
        self,
        num_users: int,
        num_items: int,
        in_channels: Dict[str, int],
        channels: int,
        num_layers: int,
        reg_weight: float,
        table: TableFactory,
        similar: bool,
    ) -> None:
        super().__init__(
            num_users, num_items, channels, num_layers, reg_weight, table
        )
        if len(in_channels) == 0:
            raise ValueError(
                f"'in_channels' names no modality: {type(self).__name__} "
                f"needs at least one"
            )
        self.in_channels = dict(in_channels)
        self.modalities = list(in_channels)
        self.similar = similar

    @classmethod
    def from_data(
        cls: "type[ModelType]", data: HeteroData, **kwargs: Any
    ) -> ModelType:
        r"""Builds the model for a data set and binds it.

        Args:
            data (HeteroData): Users, items, their interactions, the features
                :obj:`data["item"].x_<modality>` and, where the model reads
                them, the graphs that
                :class:`tmfun_pyg.transforms.FeatureGraph` adds.
            **kwargs (optional): Options of the constructor.
        """
        in_channels = feature_sizes(data)
        return super().from_data(data, in_channels=in_channels, **kwargs)

    def make_graph(self, data: HeteroData) -> MultimodalGraph:
        r"""Brings interactions, features and feature graphs into the form that
        the model reads.
        """
        return MultimodalGraph(data, self.in_channels, self.similar, "item")
