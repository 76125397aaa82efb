from typing import Dict, List, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn.inits import reset

from tmfun_pyg.nn.attention import ModalityAttention
from tmfun_pyg.nn.conv import FeatureGraphConv
from tmfun_pyg.nn.distributed import gather_rows
from tmfun_pyg.nn.loss import info_nce
from tmfun_pyg.nn.models.embedding_recommender import TableFactory
from tmfun_pyg.nn.models.embedding_table import EmbeddingTable
from tmfun_pyg.nn.models.interaction_propagation import InteractionPropagation
from tmfun_pyg.nn.models.multimodal_recommender import MultimodalRecommender
from tmfun_pyg.nn.models.ranking_model import bpr_loss


class MGCN(MultimodalRecommender):
    r"""MGCN from the `"Multi-View Graph Convolutional Network for Multimedia
    Recommendation" <https://arxiv.org/abs/2308.03588>`_ paper. Items
    :math:`\mathcal{I}` have ID embeddings
    :math:`\mathbf{E}_{\mathcal{I}}` and features :math:`\mathbf{X}_m`:

    .. math::
        \mathbf{B} &= \frac{1}{L + 1} \sum_{l=0}^{L} \left(
        \mathbf{D}^{-1/2} \mathbf{A} \mathbf{D}^{-1/2} \right)^l \mathbf{E}
        && \textrm{(user-item view)}

        \mathbf{P}_m &= \mathbf{E}_{\mathcal{I}} \odot \sigma \left(
        \mathbf{W}_{2,m} \left( \mathbf{W}_{1,m} \mathbf{X}_m +
        \mathbf{b}_{1,m} \right) + \mathbf{b}_{2,m} \right)
        && \textrm{(behavior-guided purifier)}

        \mathbf{H}_m &= \begin{pmatrix} \mathbf{R} \\ \mathbf{I}
        \end{pmatrix} \mathbf{S}_m^{L^{\prime}} \mathbf{P}_m
        && \textrm{(item-item view)}

        \mathbf{c}_n &= \sum_m \alpha_{n,m} \, \mathbf{h}_{n,m}, \qquad
        \alpha_{n,m} = \mathrm{softmax}_m \left( \mathbf{q}^{\top} \tanh
        (\mathbf{W} \mathbf{h}_{n,m} + \mathbf{b}) \right)
        && \textrm{(shared by modalities)}

        \mathbf{z}_n &= \frac{1}{M + 1} \left( \mathbf{c}_n + \sum_m \sigma
        (\mathbf{W}_{3,m} \mathbf{b}_n + \mathbf{b}_{3,m}) \odot
        (\mathbf{h}_{n,m} - \mathbf{c}_n) \right)
        && \textrm{(behavior-aware fuser)}

        \mathbf{X} &= \mathbf{B} + \mathbf{Z}

    with the modality feature graphs :math:`\mathbf{S}_m` and the block
    :math:`\mathbf{R}` of the normalized user-item graph from items to users.
    The loss is

    .. math::
        \mathcal{L} = \textrm{BPR} + \lambda_c \, \textrm{InfoNCE}(\mathbf{Z},
        \mathbf{B}) + \lambda_r L_2

    with contrast between the users and between the positive items of a batch.

    Our reading: a node's sums over modalities are over those it has, a user's
    over those any of its items has, and who has none takes no part in the
    contrast; features are constants, brought to zero mean and unit variance
    item by item, as in all models here; the L2 term is on the ID embeddings
    of a batch. The quotient :math:`M + 1`, where the published code has 3 for
    two modalities, is the same for all nodes.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        in_channels (Dict[str, int]): The feature size of each modality.
        channels (int, optional): Size of the embeddings.
            (default: :obj:`64`)
        num_layers (int, optional): The number of layers :math:`L` over the
            user-item graph. (default: :obj:`2`)
        num_feature_layers (int, optional): The number of layers
            :math:`L^{\prime}` over the feature graphs. (default: :obj:`1`)
        contrastive_weight (float, optional): The weight :math:`\lambda_c` of
            the contrastive loss. (default: :obj:`0.01`)
        temperature (float, optional): The temperature of the contrastive
            loss. (default: :obj:`0.2`)
        contrast_size (int, optional): At most how many interactions of a
            batch have their users and items contrasted, all of them if
            :obj:`None`. The cost grows with the square.
            (default: :obj:`1024`)
        reg_weight (float, optional): The weight :math:`\lambda_r` of the L2
            term. (default: :obj:`1e-4`)
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
        contrastive_weight: float = 0.01,
        temperature: float = 0.2,
        contrast_size: Optional[int] = 1024,
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
        if contrast_size is not None and contrast_size < 1:
            raise ValueError(
                f"'contrast_size' must be positive (got {contrast_size})"
            )
        self.contrastive_weight = contrastive_weight
        self.temperature = temperature
        self.contrast_size = contrast_size
        self.propagation = InteractionPropagation(num_layers)
        self.feature_conv = FeatureGraphConv(num_feature_layers)
        self.purifiers = torch.nn.ModuleDict(
            {
                name: torch.nn.Sequential(
                    torch.nn.Linear(size, channels),
                    torch.nn.Linear(channels, channels),
                )
                for name, size in in_channels.items()
            }
        )
        self.attention = ModalityAttention(channels)
        # The gates of all modalities, one after the other:
        self.preference = torch.nn.Linear(
            channels, len(in_channels) * channels
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        for purifier in self.purifiers.values():
            reset(purifier)
        self.attention.reset_parameters()
        self.preference.reset_parameters()

    def forward(self) -> Tuple[Tensor, Tensor]:
        r"""Returns the embeddings of all users and of all items."""
        behavior, modality = self._encode(*self.id_embeddings(self.graph))
        user_emb, item_emb = (
            x + self._fuse(x, h, mask)
            for x, h, mask in zip(
                behavior, modality, self._masks(), strict=True
            )
        )
        return user_emb, item_emb

    def _masks(self) -> Tuple[Tensor, Tensor]:
        return self.graph.user_mask, self.graph.item_mask

    def _encode(
        self, user_id: Tensor, item_id: Tensor
    ) -> Tuple[Tuple[Tensor, Tensor], Tuple[List[Tensor], List[Tensor]]]:
        """Returns behavior and modality representations of all users and of
        all items.
        """
        graph = self.graph
        items = []
        for name in self.modalities:
            gate = self.purifiers[name](graph.features(name)).sigmoid()
            matrix = graph.similar[name]
            items.append(
                self.feature_conv(item_id * gate, matrix.adj_t, adj=matrix.adj)
            )
        users = [graph.to_user(h) for h in items]
        return self.propagation(user_id, item_id, graph), (users, items)

    def _fuse(
        self, behavior: Tensor, modality: List[Tensor], mask: Tensor
    ) -> Tensor:
        """Fuses the modalities of some nodes, from their rows."""
        h, mask = torch.stack(modality, dim=1), mask[:, :-1]
        shared = self.attention(h, mask=mask)
        gate = self.preference(behavior).sigmoid().view_as(h)
        own = gate * (h - shared.unsqueeze(1)) * mask.unsqueeze(-1)
        return (shared + own.sum(dim=1)) / (h.size(1) + 1)

    def loss(
        self, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Computes the BPR loss, the contrastive loss and the L2 term."""
        id_emb = self.id_embeddings(self.graph)
        behavior, modality = self._encode(*id_emb)
        masks = self._masks()

        # Propagation is for all nodes, fusion for those of the batch alone.
        def rows(index: Tensor, side: int) -> Tuple[Tensor, Tensor, Tensor]:
            x = F.embedding(index, behavior[side])
            mask = F.embedding(index, masks[side])
            h = [F.embedding(index, h) for h in modality[side]]
            return x, self._fuse(x, h, mask), mask[:, -1]

        item = torch.cat([pos_item.unsqueeze(1), neg_item], dim=1)
        user_emb, item_emb = (
            x + z for x, z, _ in (rows(user, 0), rows(item.flatten(), 1))
        )
        item_emb = item_emb.view(*item.shape, -1)
        parts = {
            "bpr": bpr_loss(user_emb, item_emb[:, 0], item_emb[:, 1:]),
            "reg": self._regularization(
                F.embedding(user, id_emb[0]),
                F.embedding(pos_item, id_emb[1]),
                F.embedding(neg_item, id_emb[1]),
            ),
        }
        if self.contrastive_weight > 0:
            losses = []
            for side, index in enumerate((user, pos_item)):
                # Contrast is between nodes of every process, the same on each.
                node = gather_rows(index)[: self.contrast_size]
                x, z, mask = rows(node, side)
                losses.append(info_nce(z, x, self.temperature, node, mask))
            contrast = torch.stack(losses).sum()
            parts["contrastive"] = self.contrastive_weight * contrast
        return parts
