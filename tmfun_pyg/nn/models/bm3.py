from typing import Dict, NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.nn.inits import glorot, zeros
from torch_geometric.nn.module_dict import ModuleDict

from tmfun_pyg.nn.conv import InteractionPropagation
from tmfun_pyg.nn.models.multimodal_model import MultimodalModel
from tmfun_pyg.nn.models.propagation_model import PropagationModel
from tmfun_pyg.nn.models.ranking_model import Embeddings
from tmfun_pyg.utils.messages import check_at_least


class BM3Encoding(NamedTuple):
    r"""The output of :meth:`BM3.encode`.

    Args:
        user (torch.Tensor): The online views of users.
        item (torch.Tensor): The online views of items.
        h_user (torch.Tensor): The representations of users.
        h_item (torch.Tensor): The representations of items.
    """

    user: Tensor
    item: Tensor
    h_user: Tensor
    h_item: Tensor


class BM3(PropagationModel, MultimodalModel):
    r"""BM3 from the `"Bootstrap Latent Representations for Multi-modal
    Recommendation" <https://arxiv.org/abs/2207.05969>`_ paper, which learns
    from positive interactions only, without negative items.

    With ID embeddings :math:`\mathbf{E}`, the normalized user-item graph
    :math:`\mathbf{A}` and item features :math:`\mathbf{X}_m` of modality
    :math:`m`:

    .. math::
        \mathbf{H} &= \frac{1}{L + 1} \sum_{l=0}^{L} \mathbf{A}^l \mathbf{E}
        + \begin{pmatrix} 0 \\ \mathbf{E}_{\mathcal{I}} \end{pmatrix}, \qquad
        \mathbf{H}_m = \mathbf{X}_m \mathbf{W}_m + \mathbf{b}_m

        \tilde{\mathbf{h}} &= \mathbf{h} \mathbf{W}_p + \mathbf{b}_p
        && \textrm{(online view: the predictor)}

        \dot{\mathbf{h}} &= \mathrm{dropout}(\mathbf{h})
        && \textrm{(target view: a constant)}

    and, for an interaction of user :math:`u` with item :math:`i`, with
    :math:`C(\mathbf{a}, \mathbf{b}) = 1 - \cos(\mathbf{a}, \mathbf{b})`:

    .. math::
        \mathcal{L}_{\mathrm{rec}} &= C(\tilde{\mathbf{h}}_u,
        \dot{\mathbf{h}}_i) + C(\tilde{\mathbf{h}}_i, \dot{\mathbf{h}}_u)
        && \textrm{(graph reconstruction)}

        \mathcal{L}_{\mathrm{align}} &= \sum_m C(\tilde{\mathbf{h}}_{i,m},
        \dot{\mathbf{h}}_i)
        && \textrm{(inter-modality alignment)}

        \mathcal{L}_{\mathrm{mask}} &= \sum_m C(\tilde{\mathbf{h}}_{i,m},
        \dot{\mathbf{h}}_{i,m})
        && \textrm{(intra-modality alignment)}

        \mathcal{L} &= \mathcal{L}_{\mathrm{rec}} + \lambda \left(
        \mathcal{L}_{\mathrm{align}} + \mathcal{L}_{\mathrm{mask}} \right) +
        \lambda_r \left( \lVert \mathbf{h}_u \rVert^2 +
        \lVert \mathbf{h}_i \rVert^2 \right)

    averaged over the batch. The score is :math:`\tilde{\mathbf{h}}_u^{\top}
    \tilde{\mathbf{h}}_i`: content counts only in training.

    In our reading, features are constants, standardized to zero mean and unit
    variance item by item, as in all models here; alignment is averaged over
    the items of a batch that have the modality; and dropout is resampled for
    each interaction of a batch, even of the same user or item. The one in
    :math:`C` has no gradient; it makes the loss zero if vectors agree.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        in_channels (Dict[str, int]): The feature size of each modality.
        channels (int, optional): Size of the embeddings.
            (default: :obj:`64`)
        num_layers (int, optional): The number of layers :math:`L`.
            (default: :obj:`1`)
        dropout (float, optional): The dropout probability of the target views
            in training. (default: :obj:`0.5`)
        alignment_weight (float, optional): The weight :math:`\lambda` of both
            alignments, by default as in the authors' experiments.
            (default: :obj:`2.0`)
        reg_weight (float, optional): The weight :math:`\lambda_r` of the L2
            term on the embeddings of a batch. (default: :obj:`1e-3`)

    Raises:
        ValueError: If an option is out of range, or there is no modality.
    """

    reads_feature_graphs = False

    def __init__(
        self,
        num_users: int,
        num_items: int,
        in_channels: Dict[str, int],
        channels: int = 64,
        num_layers: int = 1,
        dropout: float = 0.5,
        alignment_weight: float = 2.0,
        reg_weight: float = 1e-3,
    ) -> None:
        super().__init__(
            num_users, num_items, in_channels, channels, num_layers, reg_weight
        )
        if not 0 <= dropout < 1:
            raise ValueError(
                f"'dropout' must be at least 0 and below 1 (got {dropout})"
            )
        check_at_least("alignment_weight", alignment_weight, 0)
        self.dropout = dropout
        self.alignment_weight = alignment_weight
        self.propagation = InteractionPropagation(num_layers)
        self.projections = ModuleDict(
            {
                name: torch.nn.Linear(size, channels)
                for name, size in in_channels.items()
            }
        )
        self.predictor = torch.nn.Linear(channels, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        for lin in (*self.projections.values(), self.predictor):
            glorot(lin.weight)
            zeros(lin.bias)

    def encode(
        self,
        data: HeteroData,
        user: Optional[Tensor] = None,
        item: Optional[Tensor] = None,
        exclude: Optional[Tensor] = None,
    ) -> BM3Encoding:
        r"""Computes the online views, and the representations behind them."""
        user_id, item_id = self.id_embeddings(data)
        user_emb, item_emb = self.propagation(user_id, item_id, data)
        h = Embeddings(user_emb, item_emb + item_id).rows(user, item)
        return BM3Encoding(self.predictor(h.user), self.predictor(h.item), *h)

    def encode_new_users(self, state: Tensor, data: HeteroData) -> Tensor:
        r"""Computes the embeddings of new users."""
        return self.predictor(super().encode_new_users(state, data))

    def _target(self, x: Tensor) -> Tensor:
        return F.dropout(x.detach(), self.dropout, self.training)

    def loss(
        self, data: HeteroData, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Computes the reconstruction and alignment losses and the L2 term.
        Negative items are ignored.
        """
        out = self.encode(data, user, pos_item)
        user_target = self._target(out.h_user)
        item_target = self._target(out.h_item)
        mask = F.embedding(pos_item, data["item"].mask)
        align, intra = [], []
        for column, name in enumerate(self.modalities):
            x = F.embedding(pos_item, data["item"][f"x_{name}"])
            h = self.projections[name](x)
            online, present = self.predictor(h), mask[:, column]
            align.append(_distance(online, item_target, present))
            intra.append(_distance(online, self._target(h), present))
        weight = self.alignment_weight
        return {
            "rec": _distance(out.user, item_target)
            + _distance(out.item, user_target),
            "align": weight * torch.stack(align).sum(),
            "mask": weight * torch.stack(intra).sum(),
            "reg": self.l2_loss(out.h_user, out.h_item),
        }


def _distance(
    online: Tensor, target: Tensor, mask: Optional[Tensor] = None
) -> Tensor:
    """Returns one minus the cosine, averaged over the rows in a mask."""
    distance = 1 - F.cosine_similarity(online, target, dim=-1)
    if mask is None:
        return distance.mean()
    return (distance * mask).sum() / mask.sum().clamp(min=1)
