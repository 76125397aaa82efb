from contextlib import contextmanager
from typing import Iterator

import torch


@contextmanager
def inference(model: torch.nn.Module) -> Iterator[None]:
    r"""Runs without gradients and in evaluation mode, and restores the mode of
    each part of a model afterwards.

    Args:
        model (torch.nn.Module): The model.
    """
    in_training = [part for part in model.modules() if part.training]
    if in_training:  # Walking all parts takes longer than a request.
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part in in_training:
            part.training = True
