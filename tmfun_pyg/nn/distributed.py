"""Communication between the processes of data-parallel training."""

import torch
import torch.distributed as dist
from torch import Tensor


@torch.no_grad()
def gather_rows(x: Tensor) -> Tensor:
    r"""Concatenates the rows of all processes, without gradient.

    All processes must call it, in the same order as other collectives.
    Without :obj:`torch.distributed`, or with a single process, :obj:`x` is
    returned unchanged.

    Args:
        x (torch.Tensor): The rows of this process, of shape
            :obj:`[num_rows, *]`, the same shape on all processes.

    Returns:
        The rows in the order of the ranks, of shape
        :obj:`[world_size * num_rows, *]`.
    """
    size = _world_size()
    if size == 1:
        return x
    x = x.contiguous()
    parts = [torch.empty_like(x) for _ in range(size)]
    dist.all_gather(parts, x)
    return torch.cat(parts)


def own_rows(num_rows: int) -> slice:
    r"""Returns the slice of this process among the rows of all processes.

    Args:
        num_rows (int): The number of rows of each process.
    """
    rank = dist.get_rank() if _world_size() > 1 else 0
    return slice(rank * num_rows, (rank + 1) * num_rows)


def _world_size() -> int:
    if not (dist.is_available() and dist.is_initialized()):
        return 1
    return dist.get_world_size()
