from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.nn.inits import reset
from torch_geometric.nn.module_dict import ModuleDict

from tmfun_pyg.nn.attention import ModalityAttention
from tmfun_pyg.nn.conv import FeatureGraphConv, InteractionPropagation
from tmfun_pyg.nn.distributed import gather_rows, own_rows
from tmfun_pyg.nn.loss import info_nce
from tmfun_pyg.nn.models.embedding_model import Negatives, user_rows
from tmfun_pyg.nn.models.multimodal_model import MultimodalModel
from tmfun_pyg.nn.models.ranking_model import Embeddings
from tmfun_pyg.nn.models.similar import similar
from tmfun_pyg.utils.interaction_step import interaction_step
from tmfun_pyg.utils.messages import check_at_least, check_positive


class MGCNEncoding(NamedTuple):
    r"""The output of :meth:`MGCN.encode`. Pairs hold users and items.

    Args:
        user (torch.Tensor): The embeddings of users.
        item (torch.Tensor): The embeddings of items.
        behavior (Embeddings): Their part from interactions alone.
        content (Embeddings): Their part from content.
        mask (Embeddings): Which modalities they have.
    """

    user: Tensor
    item: Tensor
    behavior: Embeddings
    content: Embeddings
    mask: Embeddings


class MGCN(MultimodalModel):
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
        \end{pmatrix} \mathbf{S}_m \mathbf{P}_m
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

    with contrasts among the users and among the positive items of a batch.

    In our reading, a node's sums over modalities are over those it has, a
    user's over those any of its items has, and nodes without any are left out
    of the contrast; features are constants, standardized to zero mean and unit
    variance item by item, as in all models here; the L2 term is on the ID
    embeddings of a batch. The divisor :math:`M + 1`, which is 3 for two
    modalities in the published code, is the same for all nodes. The published
    code differs in more: an item is among its own :math:`k` neighbors, edges
    are weighted by the cosine, features are trained, the L2 term is on
    propagated embeddings, and a node counts in the contrast as often as it
    appears in the batch, here once.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        in_channels (Dict[str, int]): The feature size of each modality.
        channels (int, optional): Size of the embeddings.
            (default: :obj:`64`)
        num_layers (int, optional): The number of layers :math:`L` over the
            user-item graph. (default: :obj:`2`)
        contrastive_weight (float, optional): The weight :math:`\lambda_c` of
            the contrastive loss. (default: :obj:`0.01`)
        temperature (float, optional): The temperature of the contrastive
            loss. (default: :obj:`0.2`)
        reg_weight (float, optional): The weight :math:`\lambda_r` of the L2
            term. (default: :obj:`1e-4`)
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
        contrastive_weight: float = 0.01,
        temperature: float = 0.2,
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
        check_at_least("contrastive_weight", contrastive_weight, 0)
        check_positive("temperature", temperature)
        self.contrastive_weight = contrastive_weight
        self.temperature = temperature
        self.propagation = InteractionPropagation(num_layers)
        self.convs = ModuleDict(
            {
                name: FeatureGraphConv(channels, size, act=None)
                for name, size in in_channels.items()
            }
        )
        self.attention = ModalityAttention(channels)
        # The gates of all modalities, concatenated:
        self.preference = torch.nn.Linear(channels, len(in_channels) * channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        reset(self.convs)
        self.attention.reset_parameters()
        self.preference.reset_parameters()

    def encode(
        self,
        data: HeteroData,
        user: Optional[Tensor] = None,
        item: Optional[Tensor] = None,
        exclude: Optional[Tensor] = None,
    ) -> MGCNEncoding:
        r"""Computes the representations of all users and items, or of the
        rows of a batch: propagation covers all nodes, fusion only these rows.
        """
        id_emb = self.id_embeddings(data)
        behavior = Embeddings(*self.propagation(*id_emb, data))
        items = self._item_views(data, id_emb[1])
        users = _user_views(data, items)
        masks = Embeddings(data["user"].mask, data["item"].mask)
        behavior, masks = behavior.rows(user, item), masks.rows(user, item)
        if user is not None:
            users = [F.embedding(user, h) for h in users]
        if item is not None:
            items = [F.embedding(item, h) for h in items]
        content = [
            self._fuse(x, h, mask)
            for x, h, mask in zip(behavior, (users, items), masks, strict=True)
        ]
        return MGCNEncoding(
            behavior.user + content[0],
            behavior.item + content[1],
            behavior,
            Embeddings(*content),
            masks,
        )

    def fold_in_state(self, data: HeteroData) -> Tuple[Tensor, List[Tensor]]:
        r"""Returns the item representations that new users are computed from,
        in both views.
        """
        id_emb = self.id_embeddings(data)
        sums = self.propagation.item_sums(*id_emb, data)
        return sums, self._item_views(data, id_emb[1])

    def encode_new_users(
        self, state: Tuple[Tensor, List[Tensor]], data: HeteroData
    ) -> Tensor:
        r"""Computes the embeddings of new users."""
        user_id = user_rows(self.user_embedding, data)
        behavior = self.propagation.new_users(user_id, state[0], data)
        views = _user_views(data, state[1])
        return behavior + self._fuse(behavior, views, data["user"].mask)

    def _item_views(self, data: HeteroData, item_id: Tensor) -> List[Tensor]:
        """Returns the items in the view of each modality."""
        return [
            conv(item_id, *similar(data, name), feat=data["item"][f"x_{name}"])
            for name, conv in self.convs.items()
        ]

    def _fuse(
        self, behavior: Tensor, modality: List[Tensor], mask: Tensor
    ) -> Tensor:
        """Fuses the modalities of the given rows."""
        h, mask = torch.stack(modality, dim=1), mask[:, :-1]
        shared = self.attention(h, mask=mask)
        gate = self.preference(behavior).sigmoid().view_as(h)
        own = gate * (h - shared.unsqueeze(1)) * mask.unsqueeze(-1)
        return (shared + own.sum(dim=1)) / (h.size(1) + 1)

    def loss(
        self, data: HeteroData, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Computes the ranking loss, the contrastive loss and the L2 term."""
        # The contrast is over nodes of all processes, the same on each.
        own, all_user, all_pos = slice(None), user, pos_item
        if self.contrastive_weight > 0:
            own = own_rows(user.numel())
            all_user, all_pos = gather_rows(user), gather_rows(pos_item)
        num_pos = all_pos.numel()
        out = self.encode(
            data, all_user, torch.cat([all_pos, neg_item.flatten()])
        )
        neg_emb = out.item[num_pos:].view(*neg_item.shape, -1)
        parts = {
            self.rank_loss.name: self.rank_rows(
                data, user, out.user[own], out.item[:num_pos][own], neg_emb
            ),
            "reg": self.l2_loss(*self.id_rows(data, user, pos_item, neg_item)),
        }
        if self.contrastive_weight > 0:
            losses = [
                info_nce(
                    z[:num_pos],
                    x[:num_pos],
                    self.temperature,
                    node,
                    mask[:num_pos, -1],
                )
                for z, x, node, mask in zip(
                    out.content,
                    out.behavior,
                    (all_user, all_pos),
                    out.mask,
                    strict=True,
                )
            ]
            contrast = torch.stack(losses).sum()
            parts["contrastive"] = self.contrastive_weight * contrast
        return parts


def _user_views(data: HeteroData, items: List[Tensor]) -> List[Tensor]:
    return [interaction_step(data, "user", h) for h in items]
