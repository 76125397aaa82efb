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
    r"""Shuffles the interactions of a data set anew each epoch and yields the
    positions of one batch after the other, each with a seed of what is drawn
    for it.

    The order of an epoch depends on the seed and the number of the epoch
    alone, the negatives and neighbors drawn in it on the rank as well, so that
    a resumed training sees what an undisturbed one would have seen. The last
    batch may be shorter.

    With several processes each yields its own part of every batch: together
    they see the batches of a single one. Their parts are of equal size, for
    which the last batch is filled up with interactions from the start of the
    order.

    Args:
        dataset (InteractionDataset or SampledInteractionDataset): The data set
            to draw from.
        batch_size (int): The number of interactions in a batch, in the parts
            of all processes together.
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
        # On the host, since devices of two kinds may shuffle differently:
        order = torch.randperm(
            len(self.dataset), generator=torch.Generator().manual_seed(seeds[0])
        )
        if self.total_size > len(order):
            # Filled up from its start, so that all parts are of equal size:
            order = order[torch.arange(self.total_size) % len(order)]
        order = order.to(self.dataset.edge_index.device)
        for number, batch in enumerate(order.split(self.batch_size)):
            part = batch.view(self.num_replicas, -1)[self.rank]
            yield part, seeds[1 + self.rank] + number
