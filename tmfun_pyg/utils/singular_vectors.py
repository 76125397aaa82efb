"""Singular vectors of the normalized interactions."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.utils.interaction_step import interaction_step

NUM_ITERATIONS = 8  # For three digits of GF-CF's scores.
ZERO, BLOCK = 1e-5, 2**16


class SingularVectors(NamedTuple):
    """Left singular vectors, of shape ``[num_users, channels]``, values in
    descending order, and right singular vectors, ``[num_items, channels]``. If
    a value is zero, so is its left vector.
    """

    user: Tensor
    value: Tensor
    item: Tensor


@torch.no_grad()
def singular_vectors(data: HeteroData, channels: int) -> SingularVectors:
    r"""Computes the leading singular vectors of
    :math:`\mathbf{D}_{\mathcal{U}}^{-1/2} \mathbf{R}
    \mathbf{D}_{\mathcal{I}}^{-1/2}`, by subspace iteration from a fixed seed.

    Args:
        data (HeteroData): A graph of
            :class:`~tmfun_pyg.transforms.ToRecGraph`.
        channels (int): The number of vectors, at most the number of users and
            of items.
    """
    weight = data["user", "interacts", "item"].edge_weight
    num_users, num_items = data["user"].num_nodes, data["item"].num_nodes
    # More vectors than requested, so that the last ones converge, too:
    width = min(2 * channels, num_users, num_items)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(num_items, width, generator=generator).to(weight.device)
    for _ in range(NUM_ITERATIONS):
        x = interaction_step(data, "user", x)
        x = interaction_step(data, "item", x)
        x = torch.linalg.qr(x).Q
    # Rayleigh-Ritz within this subspace. Decomposing the image itself would
    # copy it several times.
    image = interaction_step(data, "user", x)
    blocks = (block.double() for block in image.split(BLOCK))
    square, v = torch.linalg.eigh(sum(block.t() @ block for block in blocks))
    v = v.flip(1)[:, :channels]  # The largest is last.
    value = square.flip(0)[:channels].clamp(min=0).sqrt()
    # Smaller values are rounding errors:
    is_zero = value < ZERO * value[0]
    scale = value.masked_fill(is_zero, torch.inf)
    return SingularVectors(
        image @ (v / scale).to(x.dtype),
        value.masked_fill(is_zero, 0.0).to(x.dtype),
        x @ v.to(x.dtype),
    )
