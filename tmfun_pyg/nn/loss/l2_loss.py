import torch
from torch import Tensor


class L2Loss(torch.nn.Module):
    r"""The squared length of the embeddings of a batch:

    .. math::
        \mathcal{L} = \frac{\lambda}{B} \sum_x \lVert \mathbf{x} \rVert^2

    Args:
        weight (float): The weight :math:`\lambda`.
    """

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, *embeddings: Tensor) -> Tensor:
        r"""Computes the loss.

        Args:
            *embeddings (torch.Tensor): Embeddings of shape
                :obj:`[batch_size, *, channels]`.
        """
        parts = [emb.pow(2).sum() / emb.size(0) for emb in embeddings]
        return self.weight * torch.stack(parts).sum()

    def extra_repr(self) -> str:
        """Shows the options."""
        return f"weight={self.weight}"
