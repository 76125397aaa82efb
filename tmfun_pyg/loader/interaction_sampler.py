from typing import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from tmfun_pyg.loader.interaction_dataset import InteractionDataset


class InteractionSampler(Sampler[Tensor]):
    r"""Shuffles the interactions of a data set anew each epoch and yields the
    positions of one batch after the other.

    The order of an epoch and the negatives drawn in it depend on the seed and
    the number of the epoch alone, so that a resumed training sees what an
    undisturbed one would have seen. The last batch may be shorter.

    Args:
        dataset (InteractionDataset): The data set to draw from.
        batch_size (int): The number of interactions in a batch.
        seed (int, optional): The seed, not negative. (default: :obj:`0`)

    Raises:
        ValueError: If :obj:`batch_size` is not positive or :obj:`seed` is
            negative.
    """

    def __init__(
        self, dataset: InteractionDataset, batch_size: int, seed: int = 0
    ) -> None:
        if batch_size < 1:
            raise ValueError(
                f"'batch_size' must be at least 1 (got {batch_size})"
            )
        if seed < 0:
            raise ValueError(f"'seed' must not be negative (got {seed})")
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        r"""Sets the epoch of the next pass, as trainers do on their own.

        Args:
            epoch (int): The number of the epoch, from zero.
        """
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        generator = self.dataset.generator
        # Mixed, so that epoch 1 of seed 0 is not epoch 0 of seed 1:
        state = np.random.SeedSequence([self.seed, self.epoch])
        generator.manual_seed(int(state.generate_state(1)[0]))
        order = torch.randperm(
            len(self.dataset), generator=generator, device=generator.device
        )
        yield from order.split(self.batch_size)
