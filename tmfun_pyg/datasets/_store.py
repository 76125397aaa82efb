import pickle
from typing import Any, Dict

import numpy as np
import torch
from torch import Tensor

from tmfun_pyg.utils.files import atomic_write


def save(state: Dict[str, Any], path: str) -> None:
    """Writes ``state`` whole or not at all.

    Raises:
        OSError: If the place cannot be written.
    """
    try:
        with atomic_write(path) as part:
            torch.save(state, part)
    # torch reports a file that cannot grow as a RuntimeError.
    except (OSError, RuntimeError) as err:
        raise OSError(
            f"the processed data cannot be written to '{path}' ({err}): "
            f"expected a writable folder with enough space. Where raw files "
            f"are read from a folder of their own, the environment variable "
            f"TMFUN_CACHE names another place."
        ) from err


def load(path: str) -> Dict[str, Any]:
    """Reads what :func:`save` wrote.

    Raises:
        ValueError: If the file is damaged, or holds more than tensors and
            plain values.
    """
    try:
        return torch.load(path, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as err:
        raise ValueError(
            f"the processed file '{path}' cannot be read: found it damaged, "
            f"or pre_transform has added what is neither tensors nor plain "
            f"values; pass force_reload=True to make it anew from the raw "
            f"files ({err})"
        ) from err


def pack_ids(ids: np.ndarray) -> Tensor:
    """Turns raw ids into a tensor: integers are kept, of strings a row of
    code points each.
    """
    if ids.dtype.kind == "U":
        ids = np.ascontiguousarray(ids).view(np.int32).reshape(len(ids), -1)
    return torch.from_numpy(ids)


def unpack_ids(packed: Tensor) -> np.ndarray:
    """Turns back what :func:`pack_ids` has made."""
    ids = packed.numpy()
    if ids.ndim == 2:
        ids = ids.view(f"U{ids.shape[1]}").reshape(-1)
    return ids
