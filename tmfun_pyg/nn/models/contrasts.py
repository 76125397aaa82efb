from itertools import combinations
from typing import Dict

import torch
import torch.nn.functional as F
from torch import Tensor

from tmfun_pyg.nn.loss import ScaledContrast
from tmfun_pyg.nn.models.tmfun_encoding import TMFUNEncoding
from tmfun_pyg.utils.messages import check_at_least


class Contrasts(torch.nn.Module):
    r"""The contrasts of :class:`~tmfun_pyg.nn.TMFUN` over the interactions
    :math:`(u, i)` of a batch, each of them a
    :class:`~tmfun_pyg.nn.ScaledContrast` (our reading of "contrastive learning
    for inter-modal alignment").

    The first aligns the modalities of an item, pair by pair. The second aligns
    the content and collaborative embeddings of a user or item. In both, each
    node counts once, and only if it has both. The third aligns
    users with their items; pairs that share a user or an item are not
    negatives of each other:

    .. math::
        \mathcal{L}_a &= \frac{2 \lambda_a}{|\mathcal{M}|
        (|\mathcal{M}| - 1)} \sum_{m < m'}
        \textrm{InfoNCE}(\mathbf{H}_{m,i}, \mathbf{H}_{m',i})

        \mathcal{L}_c &= \lambda_c \, (
        \textrm{InfoNCE}(\mathbf{Z}_u, \mathbf{X}^c_u) +
        \textrm{InfoNCE}(\mathbf{Z}_i, \mathbf{X}^c_i) )

        \mathcal{L}_p &= \lambda_p \,
        \textrm{InfoNCE}(\mathbf{X}^c_u + \mathbf{Z}_u, \mathbf{X}^c_i +
        \mathbf{Z}_i)

    A contrast with zero weight is left out.

    Args:
        alignment_weight (float): The weight :math:`\lambda_a`.
        contrastive_weight (float): The weight :math:`\lambda_c`.
        pair_weight (float): The weight :math:`\lambda_p`.
        temperature (float): The temperature of all three.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        alignment_weight: float,
        contrastive_weight: float,
        pair_weight: float,
        temperature: float,
    ) -> None:
        super().__init__()
        weights = {
            "alignment": alignment_weight,
            "contrastive": contrastive_weight,
            "pair": pair_weight,
        }
        for name, weight in weights.items():
            check_at_least(f"{name}_weight", weight, 0)
        self.alignment, self.content, self.pair = (
            ScaledContrast(weight, temperature) if weight > 0 else None
            for weight in weights.values()
        )

    def forward(
        self, encoding: TMFUNEncoding, user: Tensor, pos_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Computes the losses.

        Args:
            encoding (TMFUNEncoding): The representations of the batch, with
                the positive items first.
            user (torch.Tensor): The users, of shape :obj:`[batch_size]`.
            pos_item (torch.Tensor): Their positive items, of shape
                :obj:`[batch_size]`.
        """
        rows = slice(pos_item.numel())
        has = encoding.mask[0], encoding.mask[1][rows]
        parts = {}
        if self.alignment is not None:
            num_modalities = encoding.weight[0].size(1)
            pairs = list(combinations(range(num_modalities), 2))
            losses = [
                self.alignment(
                    F.embedding(pos_item, encoding.sources[m]),
                    F.embedding(pos_item, encoding.sources[n]),
                    pos_item,
                    has[1][:, m] & has[1][:, n],
                )
                for m, n in pairs
            ]
            if losses:
                parts["alignment"] = torch.stack(losses).mean()
        if self.content is not None:
            parts["contrastive"] = sum(
                self.content(z[rows], x[rows], node, mask[:, -1])
                for z, x, node, mask in zip(
                    encoding.content,
                    encoding.collaborative,
                    (user, pos_item),
                    has,
                    strict=True,
                )
            )
        if self.pair is not None:
            fused = [
                x[rows] + z[rows]
                for x, z in zip(
                    encoding.collaborative, encoding.content, strict=True
                )
            ]
            parts["pair_contrastive"] = self.pair(*fused, same=(user, pos_item))
        return parts
