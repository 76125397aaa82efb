from typing import Dict, List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn.inits import glorot, reset

from tmfun_pyg.nn.models.embedding_recommender import TableFactory
from tmfun_pyg.nn.models.embedding_table import EmbeddingTable
from tmfun_pyg.nn.models.multimodal_graph import MultimodalGraph
from tmfun_pyg.nn.models.multimodal_recommender import MultimodalRecommender
from tmfun_pyg.nn.models.ranking_model import bpr_loss
from tmfun_pyg.nn.spmm import spmm

Embeddings = Tuple[Tensor, Tensor]


class MMGCN(MultimodalRecommender):
    r"""MMGCN from the `"MMGCN: Multi-modal Graph Convolution Network for
    Personalized Recommendation of Micro-video"
    <https://doi.org/10.1145/3343031.3351034>`_ paper: a graph network over
    the user-item graph for each modality :math:`m`, in the variant with mean
    aggregation and concatenation. For a node :math:`n`, a user or an item,
    with neighbors :math:`\mathcal{N}_n` and ID embedding
    :math:`\mathbf{e}_n`, layer :math:`l` computes

    .. math::
        \mathbf{h}_{n,m} &= \mathrm{LeakyReLU} \left(
        \frac{1}{|\mathcal{N}_n|} \sum_{k \in \mathcal{N}_n}
        \mathbf{W}^{(l)}_{1,m} \mathbf{x}^{(l-1)}_{k,m} \right)
        && \textrm{(aggregation layer)}

        \hat{\mathbf{x}}_{n,m} &= \mathrm{LeakyReLU} \left(
        \mathbf{W}^{(l)}_{2,m} \mathbf{x}^{(l-1)}_{n,m} \right) + \mathbf{e}_n

        \mathbf{x}^{(l)}_{n,m} &= \mathrm{LeakyReLU} \left(
        \mathbf{W}^{(l)}_{3,m} \left( \mathbf{h}_{n,m} \, \Vert \,
        \hat{\mathbf{x}}_{n,m} \right) \right)
        && \textrm{(combination layer)}

    and the embedding of a node is :math:`\sum_m \mathbf{x}^{(L)}_{n,m}`.

    In our reading, :math:`\mathbf{x}^{(0)}_{n,m}` is a learned preference of
    a user, and a linear map of an item's features to the same size, both
    brought to unit length. The features are constant and come at zero mean and
    unit variance item by item, as in all models here. Where an item lacks a
    modality, :math:`\mathbf{x}^{(0)}_{n,m}` is zero: the network of that
    modality then knows the item by its users and its ID alone. The loss is
    BPR with an L2 term on the ID embeddings and preferences of a batch.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        in_channels (Dict[str, int]): The feature size of each modality.
        channels (int, optional): Size of the embeddings and of all
            representations. (default: :obj:`64`)
        num_layers (int, optional): The number of layers :math:`L`.
            (default: :obj:`2`)
        reg_weight (float, optional): The weight of the L2 term on the
            embeddings of a batch. (default: :obj:`1e-4`)
        table (Callable, optional): What makes the tables of ID embeddings and
            preferences, see :class:`~tmfun_pyg.nn.EmbeddingTable`.
            (default: :class:`~tmfun_pyg.nn.EmbeddingTable`)

    Raises:
        ValueError: If there is no modality, or :obj:`num_layers` is not
            positive.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        in_channels: Dict[str, int],
        channels: int = 64,
        num_layers: int = 2,
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
            similar=False,
        )
        if num_layers < 1:
            raise ValueError(
                f"'num_layers' must be positive (got {num_layers})"
            )
        self.preferences = torch.nn.ModuleDict(
            {name: table(num_users, channels) for name in in_channels}
        )
        self.projections = torch.nn.ModuleDict(
            {
                name: torch.nn.Linear(size, channels, bias=False)
                for name, size in in_channels.items()
            }
        )
        self.layers = torch.nn.ModuleDict(
            {
                name: torch.nn.ModuleList(
                    _Layer(channels) for _ in range(num_layers)
                )
                for name in in_channels
            }
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        reset(self.preferences)
        for projection in self.projections.values():
            glorot(projection.weight)
        reset(self.layers)

    def forward(self) -> Embeddings:
        r"""Returns the sums of the representations of all modalities, of all
        users and of all items.
        """
        return self._encode(self.id_embeddings(self.graph))

    def _encode(self, ids: Embeddings) -> Embeddings:
        users: List[Tensor] = []
        items: List[Tensor] = []
        # D^-1 A is D^-1/2 (D^-1/2 A D^-1/2) D^1/2, and a user's part of D^1/2
        # what the matrix at hand makes of the items' part:
        item_root = self.graph.item_degree.sqrt().view(-1, 1)
        roots = (self.graph.to_user(item_root), item_root)
        for name in self.modalities:
            x = self.projections[name](self.graph.features(name))
            user = F.normalize(self.preferences[name](None), dim=-1)
            item = F.normalize(x, dim=-1)
            for layer in self.layers[name].children():
                user, item = layer((user, item), ids, roots, self.graph)
            users.append(user)
            items.append(item)
        return torch.stack(users).sum(dim=0), torch.stack(items).sum(dim=0)

    def loss(
        self, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Computes the BPR loss and the L2 term."""
        user_id, item_id = self.id_embeddings(self.graph)
        user_emb, item_emb = self._encode((user_id, item_id))
        return {
            "bpr": bpr_loss(
                F.embedding(user, user_emb),
                F.embedding(pos_item, item_emb),
                F.embedding(neg_item, item_emb),
            ),
            "reg": self._regularization(
                F.embedding(user, user_id),
                F.embedding(pos_item, item_id),
                F.embedding(neg_item, item_id),
                *(table(user) for table in self.preferences.values()),
            ),
        }


class _Layer(torch.nn.Module):
    """A layer for one modality."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lin_neighbor = torch.nn.Linear(channels, channels, bias=False)
        self.lin_self = torch.nn.Linear(channels, channels, bias=False)
        self.lin_out = torch.nn.Linear(2 * channels, channels, bias=False)

    def reset_parameters(self) -> None:
        for lin in (self.lin_neighbor, self.lin_self, self.lin_out):
            glorot(lin.weight)

    def forward(
        self,
        xs: Embeddings,
        ids: Embeddings,
        roots: Embeddings,
        graph: MultimodalGraph,
    ) -> Embeddings:
        """Takes representations, ID embeddings and the square roots of the
        degrees, each of users and of items.
        """
        user, item = (
            self.lin_neighbor(x) * root
            for x, root in zip(xs, roots, strict=True)
        )
        matrix = graph.to_user
        sums = (matrix(item), spmm(matrix.adj, matrix.adj_t, user))
        user, item = (
            self._combine(total / root.clamp(min=1), x, node_id)
            for total, root, x, node_id in zip(
                sums, roots, xs, ids, strict=True
            )
        )
        return user, item

    def _combine(self, mean: Tensor, x: Tensor, node_id: Tensor) -> Tensor:
        x = F.leaky_relu(self.lin_self(x)) + node_id
        h = F.leaky_relu(mean)
        return F.leaky_relu(self.lin_out(torch.cat([h, x], dim=-1)))
