from contextlib import contextmanager
from typing import Iterator

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    r"""Seeds random numbers on the CPU, and restores the state of torch's
    generator afterwards.

    Args:
        seed (int): The seed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
