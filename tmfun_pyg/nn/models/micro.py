from typing import Dict, List, NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.nn.attention import ModalityAttention
from tmfun_pyg.nn.distributed import gather_rows
from tmfun_pyg.nn.loss import info_nce
from tmfun_pyg.nn.models.embedding_model import Negatives
from tmfun_pyg.nn.models.learned_graph import LearnedGraphModel
from tmfun_pyg.utils.messages import check_at_least, check_positive


class MICROEncoding(NamedTuple):
    r"""The output of :meth:`MICRO.encode`.

    Args:
        user (torch.Tensor): The embeddings of users.
        item (torch.Tensor): The embeddings of items.
        fused (torch.Tensor): The fused representations of all items.
        modality (List[torch.Tensor]): Their representations per modality.
    """

    user: Tensor
    item: Tensor
    fused: Tensor
    modality: List[Tensor]


class MICRO(LearnedGraphModel):
    r"""MICRO from the `"Latent Structure Mining with Contrastive Modality
    Fusion for Multimedia Recommendation" <https://arxiv.org/abs/2111.00678>`_
    paper, with LightGCN as its collaborative filtering:

    .. math::
        \left( \mathbf{U}, \mathbf{V} \right) &= \frac{1}{L + 1}
        \sum_{l=0}^{L} \left( \mathbf{D}^{-1/2} \mathbf{R} \mathbf{D}^{-1/2}
        \right)^l \mathbf{E}

        \mathbf{H}_m &= \mathbf{A}_m \mathbf{E}_{\mathcal{I}}

        \mathbf{h}_i &= \sum_m \alpha_{i,m} \, \mathbf{h}_{i,m}, \qquad
        \alpha_{i,m} = \mathrm{softmax}_m \left( \mathbf{q}^{\top} \tanh
        (\mathbf{W} \mathbf{h}_{i,m} + \mathbf{b}) \right)

        \mathbf{X}_{\mathcal{U}} &= \mathbf{U}, \qquad
        \mathbf{x}_i = \mathbf{v}_i + \mathbf{h}_i / \lVert \mathbf{h}_i
        \rVert

    with ID embeddings :math:`\mathbf{E}`, the user-item graph
    :math:`\mathbf{R}` and the learned graphs :math:`\mathbf{A}_m` of
    :class:`~tmfun_pyg.nn.LATTICE`, one per modality. A missing modality is
    zero, which leaves the direction of :math:`\mathbf{h}_i` to the others. The
    loss is

    .. math::
        \mathcal{L} = \textrm{BPR} + \beta \sum_m
        \textrm{InfoNCE}(\mathbf{H}_m, \mathbf{H}) + \lambda_r L_2

    In our reading, the contrast is over the positive items of a batch that
    have the modality, instead of all items, and an item's negatives are the
    fused representations of others. The rest follows our reading of LATTICE;
    features are constants, standardized to zero mean and unit variance item by
    item, as in all models here.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        in_channels (Dict[str, int]): The feature size of each modality.
        channels (int, optional): Size of the embeddings and of projected
            features. (default: :obj:`64`)
        num_layers (int, optional): The number of layers :math:`L` over the
            user-item graph. (default: :obj:`2`)
        k (int, optional): The number of neighbors of an item in a learned
            graph, or all others if there are fewer. (default: :obj:`10`)
        skip_weight (float, optional): The weight of the feature graphs, see
            :class:`~tmfun_pyg.nn.LATTICE`. (default: :obj:`0.9`)
        contrastive_weight (float, optional): The weight :math:`\beta` of the
            contrastive loss. (default: :obj:`0.03`)
        temperature (float, optional): The temperature of the contrastive
            loss. (default: :obj:`0.5`)
        reg_weight (float, optional): The weight :math:`\lambda_r` of the L2
            term on the ID embeddings of a batch. (default: :obj:`1e-4`)
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
        k: int = 10,
        skip_weight: float = 0.9,
        contrastive_weight: float = 0.03,
        temperature: float = 0.5,
        reg_weight: float = 1e-4,
        softmax_negatives: Negatives = 0,
    ) -> None:
        super().__init__(
            num_users,
            num_items,
            in_channels,
            channels,
            num_layers,
            k,
            skip_weight,
            reg_weight,
            softmax_negatives=softmax_negatives,
        )
        check_at_least("contrastive_weight", contrastive_weight, 0)
        check_positive("temperature", temperature)
        self.contrastive_weight = contrastive_weight
        self.temperature = temperature
        self.attention = ModalityAttention(channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        self.attention.reset_parameters()

    def encode(
        self,
        data: HeteroData,
        user: Optional[Tensor] = None,
        item: Optional[Tensor] = None,
        exclude: Optional[Tensor] = None,
    ) -> MICROEncoding:
        r"""Computes the embeddings, and the representations behind them."""
        id_emb = self.id_embeddings(data)
        modality = self.convolve(data, id_emb[1])
        # Missing modalities are zero and need no mask: they do not change the
        # direction of the sum, and nothing else of it is used.
        fused = self.attention(torch.stack(modality, dim=1))
        emb = self.add(data, id_emb, fused).rows(user, item)
        return MICROEncoding(*emb, fused, modality)

    def loss(
        self, data: HeteroData, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Computes the ranking loss, the contrastive loss and the L2 term."""
        out = self.encode(data)
        parts = self.ranking_loss(data, out, user, pos_item, neg_item)
        if self.contrastive_weight > 0:
            # The contrast is over items of all processes, the same on each.
            item = gather_rows(pos_item)
            y = F.embedding(item, out.fused)
            masks = F.embedding(item, data["item"].mask).unbind(dim=1)
            losses = [
                info_nce(F.embedding(item, x), y, self.temperature, item, mask)
                for x, mask in zip(out.modality, masks, strict=False)
            ]
            contrast = torch.stack(losses).sum()
            parts["contrastive"] = self.contrastive_weight * contrast
        return parts
