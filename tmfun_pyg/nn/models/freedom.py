import copy
from typing import Dict, Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.data import HeteroData
from torch_geometric.nn.inits import reset
from torch_geometric.nn.module_dict import ModuleDict
from torch_geometric.utils import coalesce

from tmfun_pyg.nn.conv import FeatureGraphConv, InteractionPropagation
from tmfun_pyg.nn.models.edge_pruning import EdgePruning
from tmfun_pyg.nn.models.embedding_model import Negatives
from tmfun_pyg.nn.models.multimodal_model import MultimodalModel
from tmfun_pyg.nn.models.propagation_model import PropagationModel
from tmfun_pyg.nn.models.ranking_model import Embeddings
from tmfun_pyg.nn.models.similar import similar
from tmfun_pyg.utils.messages import check_at_least


class FREEDOM(PropagationModel, MultimodalModel):
    r"""FREEDOM from the `"A Tale of Two Graphs: Freezing and Denoising Graph
    Structures for Multimodal Recommendation"
    <https://arxiv.org/abs/2211.06924>`_ paper: LightGCN on a user-item graph
    that is pruned in each epoch, plus a frozen item-item graph.

    .. math::
        \left( \mathbf{U}, \mathbf{V} \right) &= \frac{1}{L + 1}
        \sum_{l=0}^{L} \mathbf{A}_{\rho}^l \mathbf{E}
        && \textrm{(denoised user-item graph)}

        \mathbf{H} &= \mathbf{S} \, \mathbf{E}_{\mathcal{I}},
        \qquad \mathbf{S} = \frac{1}{M} \sum_{m=1}^{M} \mathbf{S}_m
        && \textrm{(frozen item-item graph)}

        \mathbf{X}_{\mathcal{U}} &= \mathbf{U}, \qquad
        \mathbf{X}_{\mathcal{I}} = \mathbf{V} + \mathbf{H}

    with ID embeddings :math:`\mathbf{E}` and the modality feature graphs
    :math:`\mathbf{S}_m`. :math:`\mathbf{A}_{\rho}` is the user-item graph
    without a share :math:`\rho` of its edges, normalized after pruning. The
    kept edges are sampled in each epoch without replacement, with probability
    proportional to :math:`1 / \sqrt{d_u d_i}`. Edges are pruned only in
    training; otherwise, the whole graph is used.

    The loss is BPR on these embeddings and on features, over the :math:`B`
    triples of a user, a positive and a negative item in a batch:

    .. math::
        \mathcal{L} = - \frac{1}{B} \sum_{(u, i, j)} \Big( \ln \sigma \left(
        \mathbf{x}_u^{\top} \left( \mathbf{x}_i - \mathbf{x}_j \right) \right)
        + \lambda_m \sum_m \ln \sigma \left( \mathbf{x}_u^{\top} \left(
        \mathbf{f}_{i,m} - \mathbf{f}_{j,m} \right) \right) \Big), \qquad
        \mathbf{f}_{i,m} = \mathbf{W}_m \mathbf{x}_{i,m} + \mathbf{b}_m

    The L2 term on the ID embeddings of a batch is our addition. It is also
    our reading that features are constants, standardized to zero mean and unit
    variance item by item, as in all models here, and that a pair of items adds
    nothing to the loss on the features of a modality that one of them lacks.
    The published code differs in more: an item is among its own :math:`k`
    neighbors, the weights of the graphs of two modalities are an option
    instead of one half each, and features are trained.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        in_channels (Dict[str, int]): The feature size of each modality.
        channels (int, optional): Size of the embeddings.
            (default: :obj:`64`)
        num_layers (int, optional): The number of layers :math:`L` over the
            user-item graph. (default: :obj:`2`)
        prune (float, optional): The share :math:`\rho` of the edges to drop in
            each epoch. (default: :obj:`0.8`)
        feature_weight (float, optional): The weight :math:`\lambda_m` of the
            loss on features. (default: :obj:`1e-3`)
        reg_weight (float, optional): The weight of the L2 term on the ID
            embeddings of a batch. (default: :obj:`1e-4`)
        softmax_negatives (int or str, optional): See
            :class:`~tmfun_pyg.nn.EmbeddingModel`. (default: :obj:`0`)

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
        prune: float = 0.8,
        feature_weight: float = 1e-3,
        reg_weight: float = 1e-4,
        softmax_negatives: Negatives = 0,
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
        self.pruning = EdgePruning(prune)
        check_at_least("feature_weight", feature_weight, 0)
        self.feature_weight = feature_weight
        self.propagation = InteractionPropagation(num_layers)
        self.item_conv = FeatureGraphConv(channels)
        self.projections = ModuleDict()
        if feature_weight > 0:
            for name, size in in_channels.items():
                self.projections[name] = torch.nn.Linear(size, channels)

        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        for projection in self.projections.values():
            reset(projection)

    def prepare(
        self, data: HeteroData, epoch: Optional[int] = None
    ) -> HeteroData:
        r"""Merges the feature graphs into one item-item graph and, at the
        start of a training epoch, samples the edges of the user-item graph.
        """
        self.check_data(data)
        data = copy.copy(data)
        self._merge_graphs(data)
        return data if epoch is None else self.pruning(data, epoch)

    def _merge_graphs(self, data: HeteroData) -> None:
        graphs = [similar(data, name) for name in self.modalities]
        edge_index, edge_weight = coalesce(
            torch.cat([graph.edge_index.as_tensor() for graph in graphs], 1),
            torch.cat([graph.edge_weight for graph in graphs]) / len(graphs),
            self.num_items,
            sort_by_row=False,
        )
        size = (self.num_items, self.num_items)
        store = data["item", "similar", "item"]
        store.edge_index = EdgeIndex(
            edge_index, sparse_size=size, sort_order="col"
        ).fill_cache_()
        store.edge_weight = edge_weight

    def encode(
        self,
        data: HeteroData,
        user: Optional[Tensor] = None,
        item: Optional[Tensor] = None,
        exclude: Optional[Tensor] = None,
    ) -> Embeddings:
        r"""Computes the embeddings."""
        user_id, item_id = self.id_embeddings(data)
        user_emb, item_emb = self.propagation(user_id, item_id, data)
        graph = self.prepared(data, "similar")
        h = self.item_conv(item_id, graph.edge_index, graph.edge_weight)
        return Embeddings(user_emb, item_emb + h).rows(user, item)

    def loss(
        self, data: HeteroData, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Computes the ranking loss, the feature loss and the L2 term."""
        emb = self.encode(data)
        parts = self.ranking_loss(data, emb, user, pos_item, neg_item)
        if self.feature_weight > 0:
            user_emb = F.embedding(user, emb.user)
            item = torch.cat([pos_item.unsqueeze(1), neg_item], dim=1)
            losses = [
                self._feature_loss(data, column, user_emb, item)
                for column in range(len(self.modalities))
            ]
            parts["feature"] = self.feature_weight * torch.stack(losses).sum()
        return parts

    def _feature_loss(
        self, data: HeteroData, column: int, user_emb: Tensor, item: Tensor
    ) -> Tensor:
        """Returns the BPR loss on the features of a modality."""
        name = self.modalities[column]
        x = F.embedding(item, data["item"][f"x_{name}"])
        score = (self.projections[name](x) @ user_emb.unsqueeze(2)).squeeze(2)
        present = data["item"].mask[:, column].index_select(0, item.flatten())
        present = present.view_as(item)
        mask = present[:, :1] & present[:, 1:]
        loss = F.logsigmoid(score[:, :1] - score[:, 1:])
        return -loss.masked_fill(~mask, 0.0).mean()
