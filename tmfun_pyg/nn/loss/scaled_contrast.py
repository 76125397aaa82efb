from typing import Optional, Sequence

import torch
from torch import Tensor

from tmfun_pyg.nn.loss.info_nce import info_nce

# The weight relative to the scale of the embeddings is no larger than this:
MAX_RATIO = 50.0


class ScaledContrast(torch.nn.Module):
    r"""Contrast of two views of a batch (:func:`~tmfun_pyg.nn.info_nce`),
    whose weight is bounded by the scale of the embeddings (our reading):

    .. math::
        \mathcal{L} = \min(\lambda, \ 50 \, s) \cdot
        \textrm{InfoNCE}(\mathbf{X}, \mathbf{Y}), \qquad
        s = \frac{1}{B} \sum_{n=1}^{B} \lVert \mathbf{x}_n \rVert
        \lVert \mathbf{y}_n \rVert

    with :math:`s` as a constant. The gradient of InfoNCE grows as the
    embeddings shrink, that of a ranking loss shrinks with them: with a
    constant weight, contrast takes over where embeddings are small. The bound
    keeps the ratio of the gradients the same at any small scale.

    Args:
        weight (float): The weight :math:`\lambda`.
        temperature (float): The temperature of InfoNCE.
        max_size (int, optional): At most how many rows of a batch are
            contrasted, all of them if :obj:`None`. The cost grows with the
            square. (default: :obj:`None`)

    Raises:
        ValueError: If :obj:`max_size` is not positive.
    """

    def __init__(
        self,
        weight: float,
        temperature: float,
        max_size: Optional[int] = None,
    ) -> None:
        super().__init__()
        if max_size is not None and max_size < 1:
            raise ValueError(f"'max_size' must be at least 1 (got {max_size})")
        self.weight = weight
        self.temperature = temperature
        self.max_size = max_size

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
            mask (torch.Tensor, optional): As there. (default: :obj:`None`)
            same (Sequence[torch.Tensor], optional): As there.
                (default: :obj:`()`)
        """
        rows = slice(self.max_size)
        x, y = x[rows], y[rows]
        loss = info_nce(
            x,
            y,
            self.temperature,
            None if index is None else index[rows],
            None if mask is None else mask[rows],
            [group[rows] for group in same],
        )
        scale = (x.norm(dim=1) * y.norm(dim=1)).mean().detach()
        return (MAX_RATIO * scale).clamp(max=self.weight) * loss

    def extra_repr(self) -> str:
        """Shows the options."""
        return (
            f"weight={self.weight}, temperature={self.temperature}, "
            f"max_size={self.max_size}"
        )
