from contextlib import contextmanager
from typing import Iterator

import torch


@contextmanager
def inference(model: torch.nn.Module) -> Iterator[None]:
    r"""Computes without gradient and in evaluation mode, and restores the mode
    of a model afterwards.

    Args:
        model (torch.nn.Module): The model.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)
