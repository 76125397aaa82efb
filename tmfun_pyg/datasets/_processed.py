"""Processed files: where they are, what they are called, what they hold."""

import hashlib
import os
import os.path as osp
import pickle
import re
from typing import Any, List

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.datasets._content import Content
from tmfun_pyg.utils.files import atomic_write

FORMAT_VERSION = 5
DEFAULT_CACHE = "~/.cache/tmfun_pyg"
# As in the repr of a function, "<function f at 0x7f...>".
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def find_dir(root: str, name: str, raw_dir: str) -> str:
    """Returns the folder of processed files: beside the raw folder if that is
    ``<root>/<name>/raw``, else in the cache.
    """
    folder = osp.join(root, name)
    if raw_dir == osp.join(folder, "raw"):
        return osp.join(folder, "processed")
    cache = os.environ.get("TMFUN_CACHE") or DEFAULT_CACHE
    key = f"{name}-{_digest(osp.realpath(raw_dir))}"
    return osp.join(osp.expanduser(cache), key)


def is_stable(option: Any) -> bool:
    """Whether :meth:`__repr__` is the same in the next process."""
    return ADDRESS.search(repr(option)) is None


def file_name(paths: List[str], *options: Any) -> str:
    """Returns a name that depends on the states of files and on options."""
    stats = [os.stat(path) for path in paths]
    key = (
        FORMAT_VERSION,
        [osp.basename(path) for path in paths],
        [(stat.st_size, stat.st_mtime_ns) for stat in stats],
        *options,
    )
    return f"data_{_digest(ADDRESS.sub('', repr(key)))}.pt"


def save(content: Content, path: str) -> None:
    """Writes a processed file, completely or not at all.

    Raises:
        OSError: If the file cannot be written.
    """
    state = content._asdict()
    state["data"] = content.data.to_dict()
    state["user_ids"] = pack_ids(content.user_ids)
    state["item_ids"] = pack_ids(content.item_ids)
    try:
        with atomic_write(path) as part:
            torch.save(state, part)
    # torch reports a file that cannot grow as a RuntimeError.
    except (OSError, RuntimeError) as err:
        raise OSError(
            f"'{path}' cannot be written ({err}): it must be in a writable "
            f"folder with enough space; if the raw folder is not named 'raw', "
            f"the environment variable TMFUN_CACHE sets the folder"
        ) from err


def load(path: str) -> Content:
    """Reads a file that :func:`save` has written.

    Raises:
        ValueError: If the file is damaged, or holds more than tensors and
            plain values.
    """
    try:
        state = torch.load(path, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as err:
        raise ValueError(
            f"'{path}' cannot be read: it is damaged, or 'pre_transform' has "
            f"added other values than tensors and plain ones; pass "
            f"force_reload=True to process the raw files again"
        ) from err
    state["data"] = HeteroData.from_dict(state["data"])
    state["user_ids"] = unpack_ids(state["user_ids"])
    state["item_ids"] = unpack_ids(state["item_ids"])
    return Content(**state)


def pack_ids(ids: np.ndarray) -> Tensor:
    """Converts raw ids to a tensor: strings become rows of code points."""
    if ids.dtype.kind == "U":
        ids = np.ascontiguousarray(ids).view(np.int32).reshape(len(ids), -1)
    return torch.from_numpy(ids)


def unpack_ids(packed: Tensor) -> np.ndarray:
    """Converts the result of :func:`pack_ids` back to raw ids."""
    ids = packed.numpy()
    return ids.view(f"U{ids.shape[1]}").reshape(-1) if ids.ndim == 2 else ids


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
