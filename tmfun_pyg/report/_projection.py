"""Item embeddings in two dimensions."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

MAX_POINTS = 5000


class Projection(NamedTuple):
    r"""Items in the plane.

    Args:
        item (np.ndarray): The items that are shown, ascending.
        place (np.ndarray): Their places, of shape :obj:`[num_shown, 2]`.
        share (np.ndarray): The share of the variance of all items along
            either axis.
    """

    item: np.ndarray
    place: np.ndarray
    share: np.ndarray


@torch.no_grad()
def project_items(
    item_emb: Tensor, max_points: int = MAX_POINTS
) -> Projection:
    r"""Projects items on their first two principal components, and draws some
    of them, with fixed seeds.

    Args:
        item_emb (torch.Tensor): The embeddings of all items, of shape
            :obj:`[num_items, channels]`.
        max_points (int, optional): At most how many are drawn.
            (default: :obj:`MAX_POINTS`)
    """
    x = item_emb.detach().float().cpu()
    x = x - x.mean(dim=0)
    # A few more components than needed make the first two exact enough.
    size = min(6, *x.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, _, v = torch.pca_lowrank(x, q=size, center=False)
    axes = torch.zeros(x.size(1), 2)
    axes[:, : min(2, size)] = v[:, :2]
    # The sign of an axis is arbitrary: let its largest entry be positive.
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    place = (x @ (axes * torch.where(largest < 0, -1.0, 1.0))).double()
    total = x.double().pow(2).sum().clamp(min=torch.finfo(torch.double).tiny)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randperm(x.size(0), generator=generator)[:max_points]
    item = drawn.sort().values
    return Projection(
        item.numpy(),
        place[item].numpy(),
        (place.pow(2).sum(dim=0) / total).numpy(),
    )
