from typing import Any, Dict, Literal, Union

from torch_geometric.data import HeteroData
from torch_geometric.data.storage import EdgeStorage

from tmfun_pyg.nn.models.embedding_model import EmbeddingModel, Negatives
from tmfun_pyg.utils.messages import check_count
from tmfun_pyg.utils.schema import modalities_of, similar_source


class MultimodalModel(EmbeddingModel):
    r"""An :class:`~tmfun_pyg.nn.EmbeddingModel` that also reads item features
    and, optionally, feature graphs.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        in_channels (Dict[str, int]): The feature size of each modality.
        channels (int): Size of the embeddings.
        num_layers (int): The number of layers over the user-item graph.
        reg_weight (float): The weight of the L2 term on the embeddings of a
            batch.
        sparse (bool, optional): As in :class:`~tmfun_pyg.nn.EmbeddingModel`.
            (default: :obj:`False`)
        softmax_negatives (int or str, optional): Likewise. (default: :obj:`0`)
        svd_start (bool or str, optional): Likewise. (default: :obj:`False`)

    Raises:
        ValueError: If there is no modality, or a size is out of range.
    """

    needs_features = True

    def __init__(
        self,
        num_users: int,
        num_items: int,
        in_channels: Dict[str, int],
        channels: int,
        num_layers: int,
        reg_weight: float,
        sparse: bool = False,
        softmax_negatives: Negatives = 0,
        svd_start: Union[bool, Literal["auto"]] = False,
    ) -> None:
        super().__init__(
            num_users,
            num_items,
            channels,
            num_layers,
            reg_weight,
            sparse,
            softmax_negatives,
            svd_start,
        )
        if len(in_channels) == 0:
            raise ValueError(
                f"'in_channels' must name at least one modality for "
                f"{type(self).__name__} (got none)"
            )
        for name, size in in_channels.items():
            check_count(f"in_channels.{name}", size)
        self.in_channels = dict(in_channels)
        self.modalities = list(in_channels)

    @classmethod
    def sizes_of(cls, data: HeteroData) -> Dict[str, Any]:
        r"""Returns the constructor arguments that a data set determines.

        Args:
            data (HeteroData): The data set.
        """
        in_channels = {
            name: data["item"][f"x_{name}"].size(1)
            for name in modalities_of(data)
        }
        return {**super().sizes_of(data), "in_channels": in_channels}

    def check_data(self, data: HeteroData) -> None:
        r"""Checks that the model can read a graph.

        Raises:
            ValueError: As in :class:`EmbeddingModel`, and if features or
                feature graphs are missing, or features have the wrong size or
                precision.
        """
        super().check_data(data)
        if data.modalities != self.modalities:
            raise ValueError(
                f"{type(self).__name__} was made for the modalities "
                f"{self.modalities}, but 'data' has {data.modalities}"
            )
        dtype = next(self.parameters()).dtype
        for name, size in self.in_channels.items():
            x = data["item"][f"x_{name}"]
            found = x.size(1)
            if found != size:
                raise ValueError(
                    f"data['item'].x_{name} must have {size} features (got "
                    f"{found})"
                )
            if x.dtype != dtype:
                raise ValueError(
                    f"{type(self).__name__} with weights of {dtype} cannot "
                    f"read features of {x.dtype}: train in the precision "
                    f"'bf16-mixed', '32-true' or '64-true'"
                )
            edge_type = (similar_source(data), f"similar_{name}", "item")
            if self.reads_feature_graphs and edge_type not in data.edge_types:
                raise ValueError(
                    f"'data' has no edges {edge_type}: apply "
                    f"tmfun_pyg.transforms.FeatureGraph() before ToRecGraph()"
                )

    def prepared(self, data: HeteroData, relation: str) -> EdgeStorage:
        r"""Returns edges between items that :meth:`prepare` adds.

        Args:
            data (HeteroData): The output of :meth:`prepare`.
            relation (str): The name of the relation.

        Raises:
            ValueError: If :obj:`data` has no such edges.
        """
        edge_type = ("item", relation, "item")
        if edge_type not in data.edge_types:
            raise ValueError(
                f"{type(self).__name__} reads what its prepare() returns: call "
                f"data = model.prepare(data) first (got no edges {edge_type})"
            )
        return data[edge_type]

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}({self.num_users}, {self.num_items}, "
            f"modalities={self.modalities}, channels={self.channels}, "
            f"num_layers={self.num_layers})"
        )
