from typing import Iterator, Tuple, Union

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

from tmfun_pyg.loader.interaction_dataset import InteractionDataset
from tmfun_pyg.loader.sampled_interaction_dataset import (
    SampledInteractionDataset,
)
from tmfun_pyg.utils.messages import check_count

Positions = Tuple[Tensor, int]


class InteractionSampler(DistributedSampler[Positions]):
    r"""Shuffles the interactions of a data set in each epoch, and yields the
    positions of one batch after the other, each with a seed for its negatives
    and neighbors.

    The order of an epoch depends only on the seed and the epoch number, its
    negatives and neighbors also on the rank, so a resumed run sees the same
    batches as an uninterrupted one. The last batch may be smaller.

    With several processes, each yields its own part of every batch: together,
    they see the batches of a single process. All parts have the same size; for
    this, the last batch is padded with interactions from the start of the
    order.

    Args:
        dataset (InteractionDataset or SampledInteractionDataset): The data set
            to sample from.
        batch_size (int): The global batch size in interactions, over all
            processes.
        seed (int, optional): The seed, not negative and the same in all
            processes. (default: :obj:`0`)
        num_replicas (int, optional): The number of processes.
            (default: :obj:`1`)
        rank (int, optional): The rank of this process. (default: :obj:`0`)

    Raises:
        ValueError: If :obj:`batch_size` is not positive or not divisible by
            :obj:`num_replicas`, :obj:`seed` is negative, or :obj:`rank` is
            out of range.
    """

    dataset: Union[InteractionDataset, SampledInteractionDataset]

    def __init__(
        self,
        dataset: Union[InteractionDataset, SampledInteractionDataset],
        batch_size: int,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        check_count("batch_size", batch_size)
        check_count("seed", seed, 0)
        super().__init__(dataset, num_replicas, rank, seed=seed)
        if batch_size % num_replicas != 0:
            raise ValueError(
                f"'batch_size' is for all processes together and must be "
                f"divisible by their number {num_replicas} (got {batch_size})"
            )
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-self.total_size // self.batch_size)

    def __iter__(self) -> Iterator[Positions]:
        # Mixed, so that epoch 1 of seed 0 is not epoch 0 of seed 1:
        state = np.random.SeedSequence([self.seed, self.epoch])
        seeds = state.generate_state(1 + self.num_replicas).tolist()
        # On the CPU, since devices of two kinds may shuffle differently:
        order = torch.randperm(
            len(self.dataset), generator=torch.Generator().manual_seed(seeds[0])
        )
        if self.total_size > len(order):
            # Padded from its start, so that all parts have the same size:
            order = order[torch.arange(self.total_size) % len(order)]
        order = order.to(self.dataset.edge_index.device)
        for number, batch in enumerate(order.split(self.batch_size)):
            part = batch.view(self.num_replicas, -1)[self.rank]
            yield part, seeds[1 + self.rank] + number
