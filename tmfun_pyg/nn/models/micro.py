from typing import Dict, List, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tmfun_pyg.nn.attention import ModalityAttention
from tmfun_pyg.nn.distributed import gather_rows
from tmfun_pyg.nn.loss import info_nce
from tmfun_pyg.nn.models.embedding_recommender import TableFactory
from tmfun_pyg.nn.models.embedding_table import EmbeddingTable
from tmfun_pyg.nn.models.learned_graph import LearnedGraphRecommender


class MICRO(LearnedGraphRecommender):
    r"""MICRO from the `"Latent Structure Mining with Contrastive Modality
    Fusion for Multimedia Recommendation" <https://arxiv.org/abs/2111.00678>`_
    paper, with LightGCN as its collaborative filtering:

    .. math::
        \left( \mathbf{U}, \mathbf{V} \right) &= \frac{1}{L + 1}
        \sum_{l=0}^{L} \left( \mathbf{D}^{-1/2} \mathbf{R} \mathbf{D}^{-1/2}
        \right)^l \mathbf{E}

        \mathbf{H}_m &= \mathbf{A}_m^{L^{\prime}} \mathbf{E}_{\mathcal{I}}

        \mathbf{h}_i &= \sum_m \alpha_{i,m} \, \mathbf{h}_{i,m}, \qquad
        \alpha_{i,m} = \mathrm{softmax}_m \left( \mathbf{q}^{\top} \tanh
        (\mathbf{W} \mathbf{h}_{i,m} + \mathbf{b}) \right)

        \mathbf{X}_{\mathcal{U}} &= \mathbf{U}, \qquad
        \mathbf{x}_i = \mathbf{v}_i + \mathbf{h}_i / \lVert \mathbf{h}_i
        \rVert

    with ID embeddings :math:`\mathbf{E}`, the user-item graph
    :math:`\mathbf{R}` and the learned graphs :math:`\mathbf{A}_m` of
    :class:`~tmfun_pyg.nn.LATTICE`, of which each modality keeps its own. A
    modality that an item lacks is zero, which leaves the direction of
    :math:`\mathbf{h}_i` to the others. The loss is

    .. math::
        \mathcal{L} = \textrm{BPR} + \beta \sum_m
        \textrm{InfoNCE}(\mathbf{H}_m, \mathbf{H}) + \lambda_r L_2

    Our reading: contrast is between the positive items of a batch that have
    the modality, in place of all items, and an item's negatives are the fused
    representations of others. The rest is as we read LATTICE; features are
    constants, brought to zero mean and unit variance item by item, as in all
    models here.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        in_channels (Dict[str, int]): The feature size of each modality.
        channels (int, optional): Size of the embeddings and of projected
            features. (default: :obj:`64`)
        num_layers (int, optional): The number of layers :math:`L` over the
            user-item graph. (default: :obj:`2`)
        num_feature_layers (int, optional): The number of layers
            :math:`L^{\prime}` over the graphs of items. (default: :obj:`1`)
        k (int, optional): The number of neighbors of an item in a learned
            graph, or all others where they are fewer. (default: :obj:`10`)
        skip_weight (float, optional): The weight of the feature graphs, see
            :class:`~tmfun_pyg.nn.LATTICE`. (default: :obj:`0.9`)
        contrastive_weight (float, optional): The weight :math:`\beta` of the
            contrastive loss. (default: :obj:`0.03`)
        temperature (float, optional): The temperature of the contrastive
            loss. (default: :obj:`0.5`)
        contrast_size (int, optional): At most how many interactions of a
            batch have their items contrasted, all of them if :obj:`None`.
            The cost grows with the square. (default: :obj:`1024`)
        reg_weight (float, optional): The weight :math:`\lambda_r` of the L2
            term on the ID embeddings of a batch. (default: :obj:`1e-4`)
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
        k: int = 10,
        skip_weight: float = 0.9,
        contrastive_weight: float = 0.03,
        temperature: float = 0.5,
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
            num_feature_layers,
            k,
            skip_weight,
            reg_weight,
            table,
        )
        if contrast_size is not None and contrast_size < 1:
            raise ValueError(
                f"'contrast_size' must be positive (got {contrast_size})"
            )
        self.contrastive_weight = contrastive_weight
        self.temperature = temperature
        self.contrast_size = contrast_size
        self.attention = ModalityAttention(channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        self.attention.reset_parameters()

    def forward(self) -> Tuple[Tensor, Tensor]:
        r"""Returns the embeddings of all users and of all items."""
        id_emb = self.id_embeddings(self.graph)
        return self._add(id_emb, self._fuse(self._convolve(id_emb[1])))

    def _convolve(self, item_id: Tensor) -> List[Tensor]:
        """Returns the representations of the items, one a modality."""
        out = []
        for operator in self._operators():
            h = item_id
            for _ in range(self.num_feature_layers):
                h = operator(h)
            out.append(h)
        return out

    def _fuse(self, modality: List[Tensor]) -> Tensor:
        # The modalities that an item lacks are zero: no mask is needed, since
        # they leave the direction of the sum as it is, and no more is read.
        return self.attention(torch.stack(modality, dim=1))

    def loss(
        self, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Computes the BPR loss, the contrastive loss and the L2 term."""
        id_emb = self.id_embeddings(self.graph)
        modality = self._convolve(id_emb[1])
        fused = self._fuse(modality)
        emb = self._add(id_emb, fused)
        parts = self._ranking_loss(id_emb, emb, user, pos_item, neg_item)
        if self.contrastive_weight > 0:
            # Contrast is between items of every process, the same on each.
            item = gather_rows(pos_item)[: self.contrast_size]
            y = F.embedding(item, fused)
            masks = F.embedding(item, self.graph.item_mask).unbind(dim=1)
            losses = [
                info_nce(F.embedding(item, x), y, self.temperature, item, mask)
                for x, mask in zip(modality, masks, strict=False)
            ]
            contrast = torch.stack(losses).sum()
            parts["contrastive"] = self.contrastive_weight * contrast
        return parts
