from typing import Dict, List, Optional, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.utils import degree

from tmfun_pyg.nn.models.csr_matrix import CSRMatrix
from tmfun_pyg.nn.models.interaction_graph import InteractionGraph


class MultimodalGraph(InteractionGraph):
    r"""The user-item graph together with the features of the items and their
    feature graphs.

    Args:
        data (HeteroData): A data set with the features
            :obj:`data["item"].x_<modality>` and the graphs that
            :class:`tmfun_pyg.transforms.FeatureGraph` adds, or a batch of
            :class:`tmfun_pyg.loader.SampledInteractionDataset` from it.
        in_channels (Dict[str, int]): The feature size of each modality.
        similar (bool): Whether to read the feature graphs.
        featured (str): The nodes whose features are read: :obj:`"item"`, or
            :obj:`"source"` for those from which edges of the feature graphs
            come. In a whole graph they are the same.

    Raises:
        ValueError: If features or a graph are missing, or not of the sizes
            given.
    """

    source_index: Optional[Tensor]
    is_new: Tensor
    item_mask: Tensor
    item_weight: Tensor
    user_mask: Tensor
    user_scale: Tensor

    def __init__(
        self,
        data: HeteroData,
        in_channels: Dict[str, int],
        similar: bool,
        featured: str,
    ) -> None:
        super().__init__(data)
        is_sampled = self.item_index is not None
        source = "similar_item" if is_sampled else "item"
        index = data[source].n_id if is_sampled else None
        self.register_buffer("source_index", index, persistent=False)
        masks = []
        for name, size in in_channels.items():
            masks.append(_read_mask(data, "item", name))
            node_type = source if featured == "source" else "item"
            x = _read_features(data, node_type, name, size)
            self.register_buffer(f"x_{name}", x, persistent=False)
        # The last column is for the item feature graph, of any modality:
        masks.append(torch.stack(masks).any(dim=0))
        item_mask = torch.stack(masks, dim=1)

        # Items that nobody has chosen are new to the model:
        is_new = self.item_degree == 0
        self.register_buffer("is_new", is_new, persistent=False)
        #: Whether there are any. A sample holds no others than neighbors.
        self.has_new = not is_sampled and bool(is_new.any())

        # Sums over the items of a user that have content, from the matrix at
        # hand: sqrt(d_i) takes the item's part of its normalization back, and
        # the user's part falls out of the quotient.
        item_weight = item_mask * self.item_degree.sqrt().view(-1, 1)
        total = self.to_user(item_weight)
        user_mask = total > 0
        user_scale = total.where(user_mask, 1.0).reciprocal()
        #: Whether every user and item has content of every modality.
        self.is_complete = not is_sampled and bool(
            torch.cat([user_mask, item_mask]).all()
        )
        for name, tensor in (
            ("item_mask", item_mask),
            ("item_weight", item_weight),
            ("user_mask", user_mask),
            ("user_scale", user_scale),
        ):
            self.register_buffer(name, tensor, persistent=False)

        self.similar = torch.nn.ModuleDict()
        if similar:
            for name in in_channels:
                self.similar[name] = _read_similar(data, source, name)

    def features(self, name: str) -> Tensor:
        r"""Returns the features of a modality.

        Args:
            name (str): The modality.
        """
        return getattr(self, f"x_{name}")

    def user_means(
        self, sources: Sequence[Tensor], user: Optional[Tensor] = None
    ) -> List[Tensor]:
        r"""Returns the means over those of a user's items that have content,
        zero if none has.

        Args:
            sources (List[torch.Tensor]): Representations of the items, of
                shape :obj:`[num_items, channels]`, in the order of the
                columns of :obj:`item_mask`, which say what items have content.
            user (torch.Tensor, optional): The users, all of them if not
                given. (default: :obj:`None`)
        """
        if user is None:
            return [
                self._user_mean(x, column) for column, x in enumerate(sources)
            ]
        if not self.to_user.has_few_entries(user):
            means = self.user_means(sources)
            return [F.embedding(user, mean) for mean in means]
        # Where nothing is missing, all columns are the same:
        columns = slice(1 if self.is_complete else len(sources))
        matrices = self.to_user.rows(
            user, self.user_scale[user, columns], self.item_weight[:, columns]
        )
        if self.is_complete:
            matrices *= len(sources)
        return [matrix(x) for matrix, x in zip(matrices, sources, strict=True)]

    def _user_mean(self, x: Tensor, column: int) -> Tensor:
        index = slice(column, column + 1)
        mean = self.to_user(x * self.item_weight[:, index])
        return mean * self.user_scale[:, index]


def feature_sizes(data: HeteroData) -> Dict[str, int]:
    r"""Returns the feature size of each modality of a data set.

    Args:
        data (HeteroData): The data set.
    """
    return {
        name[2:]: x.size(1)
        for name, x in data["item"].to_dict().items()
        if name.startswith("x_")
    }


def _read_mask(data: HeteroData, node_type: str, name: str) -> Tensor:
    mask = data[node_type].get(f"mask_{name}")
    if mask is None:
        device = data["user", "interacts", "item"].edge_index.device
        num_nodes = data[node_type].num_nodes
        mask = torch.ones(num_nodes, dtype=torch.bool, device=device)
    return mask


def _read_features(
    data: HeteroData, node_type: str, name: str, size: int
) -> Tensor:
    num_nodes = data[node_type].num_nodes
    x = data[node_type].get(f"x_{name}")
    if x is None or list(x.shape) != [num_nodes, size]:
        raise ValueError(
            f"data['{node_type}'].x_{name} must be of shape "
            f"{[num_nodes, size]} (got {None if x is None else list(x.shape)})"
        )
    # Features differ in scale by orders of magnitude between encoders.
    # Item by item, so that an item seen later is treated the same:
    x = F.layer_norm(x.float(), x.shape[1:])
    # Where a modality is missing, there may be anything, NaN as well. It would
    # get into gradients even of rows that no edge reads.
    mask = _read_mask(data, node_type, name)
    return x.masked_fill(~mask.view(-1, 1), 0.0)


def _read_similar(data: HeteroData, source: str, name: str) -> CSRMatrix:
    edge_type = (source, f"similar_{name}", "item")
    if edge_type not in data.edge_types:
        raise ValueError(
            f"The data set has no edges {edge_type}: apply "
            f"tmfun_pyg.transforms.FeatureGraph() to it first"
        )
    src, dst = data[edge_type].edge_index
    size = (data["item"].num_nodes, data[source].num_nodes)
    weight = data[edge_type].get("edge_weight")
    if weight is None:
        weight = torch.ones(src.numel(), device=src.device)
    if "n_id" in data["item"]:
        drawn = degree(dst, size[0])[dst]
        weight = weight * data["item"][f"degree_{name}"][dst] / drawn
    return CSRMatrix.from_coo(dst, src, weight, size)
