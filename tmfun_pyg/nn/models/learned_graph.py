import copy
from typing import Any, Dict, List, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.data import HeteroData
from torch_geometric.nn.inits import reset
from torch_geometric.nn.module_dict import ModuleDict

from tmfun_pyg.nn.conv import FeatureGraphConv, InteractionPropagation
from tmfun_pyg.nn.models.embedding_model import Negatives
from tmfun_pyg.nn.models.multimodal_model import MultimodalModel
from tmfun_pyg.nn.models.propagation_model import PropagationModel
from tmfun_pyg.nn.models.ranking_model import Embeddings
from tmfun_pyg.nn.models.similar import Similar, similar
from tmfun_pyg.utils.messages import check_count
from tmfun_pyg.utils.neighbors import exact_neighbors, round_features
from tmfun_pyg.utils.spmm import sddmm, spmm

# A lower bound on degrees, so that gradients are finite if all similarities of
# an item are negative.
MIN_DEGREE = 1e-6


class LearnedGraph(torch.nn.Module):
    r"""A graph of items with similar content that is learned from their
    features, with a skip connection from the feature graph, from the `"Mining
    Latent Structures for Multimedia Recommendation"
    <https://arxiv.org/abs/2104.09036>`_ paper (its
    modality-aware structure learning):

    .. math::
        \mathbf{A} &= \lambda \, \mathbf{S} + (1 - \lambda) \,
        \mathbf{D}^{-1/2} \tilde{\mathbf{A}} \mathbf{D}^{-1/2}, \qquad
        d_i = \sum_j \tilde{a}_{ij}

        \tilde{a}_{ij} &= \begin{cases} \max(0, \cos(\tilde{\mathbf{x}}_i,
        \tilde{\mathbf{x}}_j)) & \textrm{if } j \textrm{ is among the } k
        \textrm{ items most similar to } i \\ 0 & \textrm{otherwise}
        \end{cases}, \qquad
        \tilde{\mathbf{x}}_i = \mathbf{W} \mathbf{x}_i + \mathbf{b}

    In our reading, :meth:`search` finds the neighbors, exactly and block by
    block, and keeps them as state; their similarities are computed in each
    step, with gradients. An item is never its own neighbor, as in
    :class:`tmfun_pyg.transforms.FeatureGraph`, and negative similarities count
    as zero, since degrees need a square root.

    Args:
        in_channels (int): The feature size.
        channels (int): The size of the projected features.
        k (int): The number of neighbors.
        skip_weight (float): The weight :math:`\lambda` of the feature graph.
    """

    def __init__(
        self, in_channels: int, channels: int, k: int, skip_weight: float
    ) -> None:
        super().__init__()
        self.k = k
        self.skip_weight = skip_weight
        self.lin = torch.nn.Linear(in_channels, channels)
        self.conv = FeatureGraphConv(channels)
        #: Item and neighbor of each edge, of shape :obj:`[2, num_edges]`.
        self.neighbors: Optional[Tensor] = None

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        self.lin.reset_parameters()
        self.neighbors = None

    @torch.no_grad()
    def search(self, x: Tensor, mask: Tensor) -> Tensor:
        r"""Finds and stores the neighbors of each item.

        Args:
            x (torch.Tensor): The features, of shape
                :obj:`[num_items, in_channels]`.
            mask (torch.Tensor): :obj:`False` for items that lack them, which
                get no neighbors, of shape :obj:`[num_items]`.
        """
        index = mask.nonzero().squeeze(1)
        k = max(0, min(self.k, index.numel() - 1))
        q = F.normalize(self.lin(x[index]).double(), dim=1)
        neighbor = exact_neighbors(round_features(q), k)
        row = index.repeat_interleave(k)
        self.neighbors = torch.stack([row, index[neighbor.flatten()]])
        return self.neighbors

    def get_extra_state(self) -> Dict[str, Any]:
        r"""Returns the neighbors that the weights were trained with."""
        return {} if self.neighbors is None else {"neighbors": self.neighbors}

    def set_extra_state(self, state: Dict[str, Any]) -> None:
        r"""Restores the neighbors of a checkpoint."""
        neighbors = state.get("neighbors")
        if neighbors is not None and neighbors.dtype != torch.long:
            raise TypeError(f"neighbors must not be of {neighbors.dtype}")
        self.neighbors = neighbors

    def forward(
        self, h: Tensor, x: Tensor, learned: EdgeIndex, graph: Similar
    ) -> Tensor:
        r"""Returns :math:`\mathbf{A} \mathbf{H}`.

        Args:
            h (torch.Tensor): Representations :math:`\mathbf{H}` of the items,
                of shape :obj:`[num_items, channels]`.
            x (torch.Tensor): The features, of shape
                :obj:`[num_items, in_channels]`.
            learned (EdgeIndex): The neighbors, sorted by row.
            graph (Similar): The feature graph :math:`\mathbf{S}`.
        """
        direction = F.normalize(self.lin(x).to(x.dtype), dim=1)
        value = sddmm(learned, direction, direction).clamp(min=0.0)
        degree = spmm(learned, value.new_ones(x.size(0), 1), value)
        scale = degree.clamp(min=MIN_DEGREE).rsqrt()
        out = scale * spmm(learned, scale * h, value)
        return torch.lerp(out, self.conv(h, *graph), self.skip_weight)


class LearnedGraphModel(PropagationModel, MultimodalModel):
    r"""LightGCN with item representations from the :class:`LearnedGraph` of
    each modality added to its items:

    .. math::
        \left( \mathbf{U}, \mathbf{V} \right) &= \frac{1}{L + 1}
        \sum_{l=0}^{L} \left( \mathbf{D}^{-1/2} \mathbf{R} \mathbf{D}^{-1/2}
        \right)^l \mathbf{E}

        \mathbf{X}_{\mathcal{U}} &= \mathbf{U}, \qquad
        \mathbf{x}_i = \mathbf{v}_i + \mathbf{h}_i / \lVert \mathbf{h}_i
        \rVert

    The neighbors of the items are searched at the start of each training
    epoch. They are part of the state.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        in_channels (Dict[str, int]): The feature size of each modality.
        channels (int): Size of the embeddings.
        num_layers (int): The number of layers :math:`L` over the user-item
            graph.
        k (int): The number of neighbors of an item in a learned graph.
        skip_weight (float): The weight :math:`\lambda` of the feature graphs
            relative to the learned ones.
        reg_weight (float): The weight of the L2 term on the ID embeddings of
            a batch.
        softmax_negatives (int or str): See
            :class:`~tmfun_pyg.nn.EmbeddingModel`.

    Raises:
        ValueError: If an option is out of range, or there is no modality.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        in_channels: Dict[str, int],
        channels: int,
        num_layers: int,
        k: int,
        skip_weight: float,
        reg_weight: float,
        softmax_negatives: Negatives,
    ) -> None:
        super().__init__(
            num_users,
            num_items,
            in_channels,
            channels,
            num_layers,
            reg_weight,
            softmax_negatives=softmax_negatives,
        )
        check_count("k", k)
        if not 0 <= skip_weight <= 1:
            raise ValueError(
                f"'skip_weight' must be from 0 to 1 (got {skip_weight})"
            )
        self.propagation = InteractionPropagation(num_layers)
        self.learned = ModuleDict(
            {
                name: LearnedGraph(size, channels, k, skip_weight)
                for name, size in in_channels.items()
            }
        )

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        reset(self.learned)

    def prepare(
        self, data: HeteroData, epoch: Optional[int] = None
    ) -> HeteroData:
        r"""Adds the learned neighbors of the items, which are searched at the
        start of a training epoch or if there are none yet.
        """
        self.check_data(data)
        data = copy.copy(data)
        size = (self.num_items, self.num_items)
        masks = data["item"].mask.unbind(dim=1)
        for (name, learned), mask in zip(
            self.learned.items(), masks, strict=False
        ):
            assert isinstance(learned, LearnedGraph)
            neighbors = learned.neighbors
            if epoch is not None or neighbors is None:
                neighbors = learned.search(data["item"][f"x_{name}"], mask)
            edge_index = EdgeIndex(
                neighbors.to(mask.device), sparse_size=size, sort_order="row"
            )
            # A checkpoint may hold anything:
            edge_index.validate().fill_cache_()
            data["item", f"learned_{name}", "item"].edge_index = edge_index
        return data

    def convolve(self, data: HeteroData, item_id: Tensor) -> List[Tensor]:
        r"""Propagates the items over the learned graph of each modality.

        Args:
            data (HeteroData): The output of :meth:`prepare`.
            item_id (torch.Tensor): The ID embeddings of the items.
        """
        return [
            learned(
                item_id,
                data["item"][f"x_{name}"],
                self.prepared(data, f"learned_{name}").edge_index,
                similar(data, name),
            )
            for name, learned in self.learned.items()
        ]

    def add(
        self, data: HeteroData, id_emb: Tuple[Tensor, Tensor], h: Tensor
    ) -> Embeddings:
        r"""Adds item representations from the graphs to LightGCN.

        Args:
            data (HeteroData): The output of :meth:`prepare`.
            id_emb ((torch.Tensor, torch.Tensor)): The ID embeddings.
            h (torch.Tensor): The representations, one row per item.
        """
        user_emb, item_emb = self.propagation(*id_emb, data)
        return Embeddings(user_emb, item_emb + F.normalize(h, dim=1))
