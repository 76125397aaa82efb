from contextlib import contextmanager
from typing import Iterator

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    r"""Draws on the CPU from a seed of its own, and leaves the state of
    torch's generator as it was.

    Args:
        seed (int): The seed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
