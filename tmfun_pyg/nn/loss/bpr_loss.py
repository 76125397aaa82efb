from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from tmfun_pyg.nn.loss.check_negatives import check_negatives


class BPRLoss(torch.nn.Module):
    r"""The Bayesian personalized ranking loss of inner-product scores, from
    the `"BPR: Bayesian Personalized Ranking from Implicit Feedback"
    <https://arxiv.org/abs/1205.2618>`_ paper:

    .. math::
        \mathcal{L} = - \frac{1}{B N} \sum_{(u, i)} \sum_{n=1}^{N} \ln \sigma
        \left( \mathbf{x}_u^{\top} \mathbf{x}_i - \mathbf{x}_u^{\top}
        \mathbf{x}_{j_n} \right)

    As in :class:`torch_geometric.nn.models.lightgcn.BPRLoss`, but for several
    negatives per positive, and without its L2 term, see
    :class:`~tmfun_pyg.nn.L2Loss`.
    """

    name = "bpr"

    def forward(
        self,
        user_emb: Tensor,
        pos_emb: Tensor,
        neg_emb: Tensor,
        bias: Optional[Tensor] = None,
    ) -> Tensor:
        r"""Computes the loss.

        Args:
            user_emb (torch.Tensor): The users of a batch, of shape
                :obj:`[batch_size, channels]`.
            pos_emb (torch.Tensor): Their positive items, of shape
                :obj:`[batch_size, channels]`.
            neg_emb (torch.Tensor): Their negative items, of shape
                :obj:`[batch_size, num_negatives, channels]`.
            bias (torch.Tensor, optional): Terms added to the scores of the
                positive item and the negatives, of shape
                :obj:`[batch_size, 1 + num_negatives]`. (default: :obj:`None`)

        Raises:
            ValueError: If :obj:`neg_emb` does not have three dimensions.
        """
        check_negatives(neg_emb)
        positive = (user_emb * pos_emb).sum(dim=-1, keepdim=True)
        negative = (user_emb.unsqueeze(1) * neg_emb).sum(dim=-1)
        if bias is not None:
            positive, negative = positive + bias[:, :1], negative + bias[:, 1:]
        return -F.logsigmoid(positive - negative).mean()
