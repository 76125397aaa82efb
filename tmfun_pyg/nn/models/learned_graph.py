from functools import partial
from typing import Any, Callable, Dict, List, Tuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.nn.inits import reset

from tmfun_pyg.nn.models.csr_matrix import CSRMatrix
from tmfun_pyg.nn.models.embedding_recommender import TableFactory
from tmfun_pyg.nn.models.interaction_propagation import InteractionPropagation
from tmfun_pyg.nn.models.multimodal_recommender import MultimodalRecommender
from tmfun_pyg.nn.models.sparse_pattern import SparsePattern
from tmfun_pyg.transforms.feature_graph import BITS
from tmfun_pyg.utils.neighbors import exact_neighbors

ModelType = TypeVar("ModelType", bound="LearnedGraphRecommender")

# Degrees count for no less, so that gradients are finite where all
# similarities of an item are negative.
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

    Our reading: who is similar to whom is found by :meth:`search`, exactly
    and block by block, and how similar they are is computed in each step,
    with gradients. An item is none of its own neighbors, as in
    :class:`tmfun_pyg.transforms.FeatureGraph`, and similarities below zero,
    for which there is no square root of a degree, count as zero.

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
        self._found: Dict[str, Any] = {}

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        self.lin.reset_parameters()

    @torch.no_grad()
    def search(self, x: Tensor, mask: Tensor) -> None:
        r"""Finds the neighbors of each item.

        Args:
            x (torch.Tensor): The features, of shape
                :obj:`[num_items, in_channels]`.
            mask (torch.Tensor): :obj:`False` for items that lack them, which
                are left without neighbors, of shape :obj:`[num_items]`.
        """
        index = mask.nonzero().squeeze(1)
        k = max(0, min(self.k, index.numel() - 1))
        q = F.normalize(self.lin(x[index]).double(), dim=1)
        neighbor = exact_neighbors(q.mul_(2**BITS).round_(), k)
        row, col = index.repeat_interleave(k), index[neighbor.flatten()]
        self.pattern = SparsePattern(row, col, len(x))
        self._found = {"row": row, "col": col, "num_items": len(x)}

    def get_extra_state(self) -> Dict[str, Any]:
        r"""Returns the neighbors, which the weights were trained with."""
        return self._found

    def set_extra_state(self, state: Dict[str, Any]) -> None:
        r"""Takes the neighbors of a checkpoint."""
        if len(state) > 0:
            device = self.lin.weight.device
            row, col = state["row"].to(device), state["col"].to(device)
            self.pattern = SparsePattern(row, col, state["num_items"])
        self._found = state

    def weights(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        r"""Computes the similarities :math:`\tilde{a}_{ij}` at the places of
        the pattern, and the scales :math:`d_i^{-1/2}`.

        Args:
            x (torch.Tensor): The features, of shape
                :obj:`[num_items, in_channels]`.
        """
        direction = F.normalize(self.lin(x).to(x.dtype), dim=1)
        value = self.pattern.dots(direction).clamp(min=0.0)
        ones = value.new_ones(x.size(0), 1)
        degree = self.pattern.matmul(value, ones)
        return value, degree.clamp(min=MIN_DEGREE).rsqrt()

    def forward(
        self, h: Tensor, weights: Tuple[Tensor, Tensor], similar: CSRMatrix
    ) -> Tensor:
        r"""Returns :math:`\mathbf{A} \mathbf{H}`.

        Args:
            h (torch.Tensor): Representations :math:`\mathbf{H}` of the items,
                of shape :obj:`[num_items, channels]`.
            weights ((torch.Tensor, torch.Tensor)): What :meth:`weights`
                returns.
            similar (CSRMatrix): The feature graph :math:`\mathbf{S}`.
        """
        value, scale = weights
        learned = scale * self.pattern.matmul(value, scale * h)
        return torch.lerp(learned, similar(h), self.skip_weight)


class LearnedGraphRecommender(MultimodalRecommender):
    r"""LightGCN, to whose items a model adds what it finds on a
    :class:`LearnedGraph` of each modality:

    .. math::
        \left( \mathbf{U}, \mathbf{V} \right) &= \frac{1}{L + 1}
        \sum_{l=0}^{L} \left( \mathbf{D}^{-1/2} \mathbf{R} \mathbf{D}^{-1/2}
        \right)^l \mathbf{E}

        \mathbf{X}_{\mathcal{U}} &= \mathbf{U}, \qquad
        \mathbf{x}_i = \mathbf{v}_i + \mathbf{h}_i / \lVert \mathbf{h}_i
        \rVert

    The neighbors of the items are searched anew whenever an epoch of training
    starts, and when a data set is bound. They are part of the state.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        in_channels (Dict[str, int]): The feature size of each modality.
        channels (int): Size of the embeddings.
        num_layers (int): The number of layers :math:`L` over the user-item
            graph.
        num_feature_layers (int): The number of layers over the graphs of
            items.
        k (int): The number of neighbors of an item in a learned graph.
        skip_weight (float): The weight :math:`\lambda` of the feature graphs,
            against that of the learned ones.
        reg_weight (float): The weight of the L2 term on the ID embeddings of
            a batch.
        table (Callable): Makes a table of embeddings from their number and
            size, see :class:`~tmfun_pyg.nn.EmbeddingTable`.

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
        num_feature_layers: int,
        k: int,
        skip_weight: float,
        reg_weight: float,
        table: TableFactory,
    ) -> None:
        super().__init__(
            num_users,
            num_items,
            in_channels,
            channels,
            num_layers,
            reg_weight,
            table,
            similar=True,
        )
        for name, size in (
            ("k", k),
            ("num_feature_layers", num_feature_layers),
        ):
            if size < 1:
                raise ValueError(f"'{name}' must be positive (got {size})")
        if not 0 <= skip_weight <= 1:
            raise ValueError(
                f"'skip_weight' must be from 0 to 1 (got {skip_weight})"
            )
        self.num_feature_layers = num_feature_layers
        self.propagation = InteractionPropagation(num_layers)
        self.learned = torch.nn.ModuleDict(
            {
                name: LearnedGraph(size, channels, k, skip_weight)
                for name, size in in_channels.items()
            }
        )

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        for learned in self.learned.values():
            reset(learned)

    def bind(self: ModelType, data: HeteroData) -> ModelType:
        r"""Attaches the training interactions, features and feature graphs of
        a data set, in place of what was bound before.
        """
        super().bind(data)
        self._search()
        return self

    def start_epoch(self, epoch: int) -> None:
        r"""Searches the neighbors of the items for an epoch."""
        self._search()

    def _search(self) -> None:
        masks = self.graph.item_mask.unbind(dim=1)
        for name, mask in zip(self.modalities, masks, strict=False):
            self._graph_of(name).search(self.graph.features(name), mask)

    def _graph_of(self, name: str) -> LearnedGraph:
        learned = self.learned[name]
        assert isinstance(learned, LearnedGraph)
        return learned

    def _operators(self) -> List[Callable[[Tensor], Tensor]]:
        """Returns the learned graph of each modality, as a function."""
        operators: List[Callable[[Tensor], Tensor]] = []
        for name in self.modalities:
            learned = self._graph_of(name)
            weights = learned.weights(self.graph.features(name))
            similar = self.graph.similar[name]
            operators.append(
                partial(learned, weights=weights, similar=similar)
            )
        return operators

    def _add(
        self, id_emb: Tuple[Tensor, Tensor], h: Tensor
    ) -> Tuple[Tensor, Tensor]:
        """Adds what was found on the graphs to LightGCN."""
        user_emb, item_emb = self.propagation(*id_emb, self.graph)
        return user_emb, item_emb + F.normalize(h, dim=1)
