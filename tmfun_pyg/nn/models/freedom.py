from typing import Dict, Mapping, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.nn.inits import reset
from torch_geometric.utils import coalesce

from tmfun_pyg.nn.conv import FeatureGraphConv
from tmfun_pyg.nn.models.csr_matrix import CSRMatrix
from tmfun_pyg.nn.models.embedding_recommender import TableFactory
from tmfun_pyg.nn.models.embedding_table import EmbeddingTable
from tmfun_pyg.nn.models.interaction_graph import InteractionGraph
from tmfun_pyg.nn.models.interaction_propagation import InteractionPropagation
from tmfun_pyg.nn.models.multimodal_graph import MultimodalGraph
from tmfun_pyg.nn.models.multimodal_recommender import MultimodalRecommender
from tmfun_pyg.utils.csr import entries_of


class FREEDOM(MultimodalRecommender):
    r"""FREEDOM from the `"A Tale of Two Graphs: Freezing and Denoising Graph
    Structures for Multimodal Recommendation"
    <https://arxiv.org/abs/2211.06924>`_ paper: LightGCN on a user-item graph
    that is pruned anew in each epoch, beside a frozen graph of items.

    .. math::
        \left( \mathbf{U}, \mathbf{V} \right) &= \frac{1}{L + 1}
        \sum_{l=0}^{L} \mathbf{A}_{\rho}^l \mathbf{E}
        && \textrm{(denoised user-item graph)}

        \mathbf{H} &= \mathbf{S}^{L^{\prime}} \mathbf{E}_{\mathcal{I}},
        \qquad \mathbf{S} = \sum_m \alpha_m \mathbf{S}_m
        && \textrm{(frozen item-item graph)}

        \mathbf{X}_{\mathcal{U}} &= \mathbf{U}, \qquad
        \mathbf{X}_{\mathcal{I}} = \mathbf{V} + \mathbf{H}

    with ID embeddings :math:`\mathbf{E}` and the modality feature graphs
    :math:`\mathbf{S}_m`. :math:`\mathbf{A}_{\rho}` is the user-item graph
    without a share :math:`\rho` of its edges, normalized after they are gone.
    Those that stay are drawn in each epoch without replacement, with
    probability proportional to :math:`1 / \sqrt{d_u d_i}`. Pruning is for
    training: :meth:`forward` reads the whole graph.

    The loss is that of BPR, on these embeddings and on features:

    .. math::
        \mathcal{L} = - \frac{1}{B} \sum_{(u, i, j)} \Big( \ln \sigma \left(
        \mathbf{x}_u^{\top} \left( \mathbf{x}_i - \mathbf{x}_j \right) \right)
        + \lambda_m \sum_m \ln \sigma \left( \mathbf{x}_u^{\top} \left(
        \mathbf{f}_{i,m} - \mathbf{f}_{j,m} \right) \right) \Big), \qquad
        \mathbf{f}_{i,m} = \mathbf{W}_m \mathbf{x}_{i,m} + \mathbf{b}_m

    The L2 term on the ID embeddings of a batch is our addition. It is also
    our reading that features are constants, brought to zero mean and unit
    variance item by item, as in all models here, and that a pair of items of
    which one lacks a modality adds nothing to the loss on its features.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        in_channels (Dict[str, int]): The feature size of each modality.
        channels (int, optional): Size of the embeddings.
            (default: :obj:`64`)
        num_layers (int, optional): The number of layers :math:`L` over the
            user-item graph. (default: :obj:`2`)
        num_feature_layers (int, optional): The number of layers
            :math:`L^{\prime}` over the item-item graph. (default: :obj:`1`)
        prune (float, optional): The share :math:`\rho` of the edges that an
            epoch leaves out. (default: :obj:`0.8`)
        modality_weights (Dict[str, float], optional): The weights
            :math:`\alpha_m`, brought to a sum of one; equal ones if not
            given. (default: :obj:`None`)
        feature_weight (float, optional): The weight :math:`\lambda_m` of the
            loss on features. (default: :obj:`1e-3`)
        reg_weight (float, optional): The weight of the L2 term on the ID
            embeddings of a batch. (default: :obj:`1e-4`)
        table (Callable, optional): What makes the tables of ID embeddings,
            see :class:`~tmfun_pyg.nn.EmbeddingTable`.
            (default: :class:`~tmfun_pyg.nn.EmbeddingTable`)

    Raises:
        ValueError: If an option is out of range, or there is no modality.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        in_channels: Dict[str, int],
        channels: int = 64,
        num_layers: int = 2,
        num_feature_layers: int = 1,
        prune: float = 0.8,
        modality_weights: Optional[Mapping[str, float]] = None,
        feature_weight: float = 1e-3,
        reg_weight: float = 1e-4,
        table: TableFactory = EmbeddingTable,
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
        if not 0 <= prune < 1:
            raise ValueError(
                f"'prune' must be at least 0 and less than 1 (got {prune})"
            )
        if modality_weights is None:
            modality_weights = dict.fromkeys(self.modalities, 1.0)
        weights = list(modality_weights.values())
        if (
            modality_weights.keys() != self.in_channels.keys()
            or min(weights) < 0
            or sum(weights) == 0
        ):
            raise ValueError(
                f"'modality_weights' must name a weight of at least 0 for "
                f"each of {self.modalities}, and not 0 for all (got "
                f"{dict(modality_weights)})"
            )
        self.prune = prune
        self.modality_weights = {
            name: weight / sum(weights)
            for name, weight in modality_weights.items()
        }
        self.feature_weight = feature_weight
        self.propagation = InteractionPropagation(num_layers)
        self.feature_conv = FeatureGraphConv(num_feature_layers)
        self.projections = torch.nn.ModuleDict()
        if feature_weight > 0:
            for name, size in in_channels.items():
                self.projections[name] = torch.nn.Linear(size, channels)

        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        for projection in self.projections.values():
            reset(projection)

    def bind(self, data: HeteroData) -> "FREEDOM":
        r"""Attaches the training interactions, features and feature graphs of
        a data set. Until an epoch starts, no edge is pruned.
        """
        super().bind(data)
        self.item_graph = self._merge(self.graph)
        self.pruned_graph: InteractionGraph = self.graph
        return self

    def _merge(self, graph: MultimodalGraph) -> CSRMatrix:
        """Returns the item-item graph, in place of those of modalities."""
        edges, values = [], []
        for name, weight in self.modality_weights.items():
            matrix = graph.similar[name]
            assert isinstance(matrix, CSRMatrix)
            edges.append(_edges(matrix))
            values.append(weight * matrix.value)
        (row, col), value = coalesce(
            torch.cat(edges, dim=1), torch.cat(values), self.num_items
        )
        graph.similar.clear()
        size = (self.num_items, self.num_items)
        return CSRMatrix.from_coo(row, col, value, size)

    def start_epoch(self, epoch: int) -> None:
        r"""Draws the edges of the user-item graph for an epoch."""
        if self.prune == 0:
            return
        # The first of exponential clocks, each with the rate of its weight:
        # a draw without replacement, of any number of edges in one pass.
        matrix = self.graph.to_user
        num_kept = round((1 - self.prune) * matrix.value.numel())
        generator = torch.Generator().manual_seed(epoch)
        clock = torch.empty(matrix.value.numel(), dtype=torch.double)
        clock = clock.exponential_(generator=generator).to(matrix.value.device)
        clock /= matrix.value
        kept = clock.topk(max(1, num_kept), largest=False).indices

        data = HeteroData()
        data["user"].num_nodes = self.num_users
        data["item"].num_nodes = self.num_items
        edge_index = _edges(matrix)[:, kept]
        data["user", "interacts", "item"].edge_index = edge_index
        self.pruned_graph = InteractionGraph(data)

    def forward(self) -> Tuple[Tensor, Tensor]:
        r"""Returns the embeddings of all users and of all items."""
        return self._embeddings(*self.id_embeddings(self.graph), self.graph)

    def _embeddings(
        self, user_id: Tensor, item_id: Tensor, graph: InteractionGraph
    ) -> Tuple[Tensor, Tensor]:
        user_emb, item_emb = self.propagation(user_id, item_id, graph)
        h = self.feature_conv(
            item_id, self.item_graph.adj_t, adj=self.item_graph.adj
        )
        return user_emb, item_emb + h

    def loss(
        self, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Computes the BPR loss, that on features, and the L2 term."""
        batch = (user, pos_item, neg_item)
        id_emb = self.id_embeddings(self.graph)
        graph = self.pruned_graph if self.training else self.graph
        emb = self._embeddings(*id_emb, graph)
        parts = self._ranking_loss(id_emb, emb, *batch)
        if self.feature_weight > 0:
            user_emb = F.embedding(user, emb[0])
            losses = [
                self._feature_loss(name, user_emb, pos_item, neg_item)
                for name in self.modalities
            ]
            parts["feature"] = self.feature_weight * torch.stack(losses).sum()
        return parts

    def _feature_loss(
        self, name: str, user_emb: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Tensor:
        """Returns the BPR loss on the features of a modality."""
        item = torch.cat([pos_item.unsqueeze(1), neg_item], dim=1)
        x = F.embedding(item, self.graph.features(name))
        score = (self.projections[name](x) @ user_emb.unsqueeze(2)).squeeze(2)
        column = self.modalities.index(name)
        present = self.graph.item_mask[:, column].index_select(
            0, item.flatten()
        )
        present = present.view_as(item)
        mask = present[:, :1] & present[:, 1:]
        loss = F.logsigmoid(score[:, :1] - score[:, 1:])
        return -loss.masked_fill(~mask, 0.0).mean()

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}({self.num_users}, {self.num_items}, "
            f"modalities={self.modalities}, channels={self.channels}, "
            f"num_layers={self.num_layers}, prune={self.prune})"
        )


def _edges(matrix: CSRMatrix) -> Tensor:
    """Returns row and column of each entry."""
    index = torch.arange(matrix.size[0], device=matrix.ptr.device)
    row, entry = entries_of(matrix.ptr.long(), index)
    return torch.stack([row, matrix.index[entry].long()])
