from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from tmfun_pyg.nn.loss.check_negatives import check_negatives
from tmfun_pyg.utils.messages import check_count


class SampledSoftmaxLoss(torch.nn.Module):
    r"""The softmax loss over the positive item and :math:`N` negatives shared
    by all rows of a batch, with inner products as scores:

    .. math::
        \mathcal{L} = - \frac{1}{B} \sum_{(u, i)} \ln
        \frac{\exp(\mathbf{x}_u^{\top} \mathbf{x}_i)}
        {\exp(\mathbf{x}_u^{\top} \mathbf{x}_i) + \sum_{n=1}^{N}
        \exp(\mathbf{x}_u^{\top} \mathbf{x}_{j_n})}

    The more negatives, the harder the ones that matter. With uniformly sampled
    ones, as here, it is the sampled softmax of `"On Using Very Large Target
    Vocabulary for Neural Machine Translation"
    <https://arxiv.org/abs/1412.2007>`_.

    Args:
        num_negatives (int): The number :math:`N` of negatives: the first ones
            of a batch, or all of them if there are fewer.

    Raises:
        ValueError: If :obj:`num_negatives` is less than one.
    """

    name = "softmax"

    def __init__(self, num_negatives: int) -> None:
        super().__init__()
        check_count("num_negatives", num_negatives)
        self.num_negatives = num_negatives

    def forward(
        self,
        user_emb: Tensor,
        pos_emb: Tensor,
        neg_emb: Tensor,
        bias: Optional[Tensor] = None,
        count: Optional[Tensor] = None,
    ) -> Tensor:
        r"""Computes the loss.

        Args:
            user_emb (torch.Tensor): The users of a batch, of shape
                :obj:`[batch_size, channels]`.
            pos_emb (torch.Tensor): Their positive items, of shape
                :obj:`[batch_size, channels]`.
            neg_emb (torch.Tensor): Negative items, of shape
                :obj:`[num_rows, num_columns, channels]`, in any number of
                rows and columns.
            bias (torch.Tensor, optional): Terms added to the scores of the
                positive item and the first :math:`N` negatives, of shape
                :obj:`[batch_size, 1 + num_negatives]`. (default: :obj:`None`)
            count (torch.Tensor, optional): The number of negatives that each
                row uses, the first ones, of shape :obj:`[batch_size]`; all of
                them if not given. (default: :obj:`None`)

        Raises:
            ValueError: If :obj:`neg_emb` does not have three dimensions.
        """
        check_negatives(neg_emb)
        neg_emb = neg_emb.flatten(0, 1)[: self.num_negatives]
        positive = (user_emb * pos_emb).sum(dim=-1, keepdim=True)
        score = torch.cat([positive, user_emb @ neg_emb.t()], dim=1)
        if bias is not None:
            score = score + bias
        if count is not None:
            place = torch.arange(score.size(1), device=score.device)
            is_out = place > count.view(-1, 1)
            score = score.masked_fill(is_out, float("-inf"))
        return -F.log_softmax(score, dim=1)[:, 0].mean()

    def extra_repr(self) -> str:
        """Shows the options."""
        return f"num_negatives={self.num_negatives}"
