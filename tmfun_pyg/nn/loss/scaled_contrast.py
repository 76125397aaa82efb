from typing import Optional, Sequence

import torch
from torch import Tensor

from tmfun_pyg.nn.loss.info_nce import MAX_ROWS, info_nce

# The maximum weight relative to the scale of the embeddings:
MAX_RATIO = 50.0


class ScaledContrast(torch.nn.Module):
    r"""A contrast of two views of a batch (:func:`~tmfun_pyg.nn.info_nce`),
    whose weight is bounded by the scale of the embeddings (our reading):

    .. math::
        \mathcal{L} = \min(\lambda, \ 50 \, s) \cdot
        \textrm{InfoNCE}(\mathbf{X}, \mathbf{Y}), \qquad
        s = \frac{1}{B} \sum_{n=1}^{B} \lVert \mathbf{x}_n \rVert
        \lVert \mathbf{y}_n \rVert

    with :math:`s` as a constant. The gradient of InfoNCE grows as the
    embeddings shrink, while that of a ranking loss shrinks with them: with a
    constant weight, the contrast takes over if embeddings are small. The bound
    keeps the ratio of the gradients the same at any small scale.

    Args:
        weight (float): The weight :math:`\lambda`.
        temperature (float): The temperature of InfoNCE.
    """

    def __init__(self, weight: float, temperature: float) -> None:
        super().__init__()
        self.weight = weight
        self.temperature = temperature

    def forward(
        self,
        x: Tensor,
        y: Tensor,
        index: Optional[Tensor] = None,
        mask: Optional[Tensor] = None,
        same: Sequence[Tensor] = (),
    ) -> Tensor:
        r"""Computes the loss.

        Args:
            x (torch.Tensor): The first view, of shape
                :obj:`[batch_size, channels]`.
            y (torch.Tensor): The second view, of the same shape.
            index (torch.Tensor, optional): As in
                :func:`~tmfun_pyg.nn.info_nce`. (default: :obj:`None`)
            mask (torch.Tensor, optional): Likewise. (default: :obj:`None`)
            same (Sequence[torch.Tensor], optional): Likewise.
                (default: :obj:`()`)
        """
        loss = info_nce(x, y, self.temperature, index, mask, same)
        x, y = x[:MAX_ROWS].detach(), y[:MAX_ROWS].detach()
        scale = (x.norm(dim=1) * y.norm(dim=1)).mean()
        return (MAX_RATIO * scale).clamp(max=self.weight) * loss

    def extra_repr(self) -> str:
        """Shows the options."""
        return f"weight={self.weight}, temperature={self.temperature}"
