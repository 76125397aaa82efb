"""Processed files: their folders, names and contents."""

import hashlib
import os
import os.path as osp
import re
import sys
from typing import Any, Iterator, List, Optional

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.datasets._content import Content
from tmfun_pyg.datasets.features import to_numpy
from tmfun_pyg.utils.files import atomic_write
from tmfun_pyg.utils.memory import out_of_memory

FORMAT_VERSION = 9
DEFAULT_CACHE = "~/.cache/tmfun_pyg"
# As in the repr of a function, "<function f at 0x7f...>".
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
PLAIN = (type(None), bool, int, float, complex, str, bytes)
# The packages whose transforms are fully given by their attributes and files.
TOLD = ("tmfun_pyg", "torch_geometric")
BLOCK = 2**22  # Bytes of a file that are read at once.


def cache_folder() -> str:
    """Returns the folder for files that can be recreated."""
    folder = os.environ.get("TMFUN_CACHE") or DEFAULT_CACHE
    return osp.expanduser(folder)


def find_dir(root: str, name: str, raw_dir: str) -> str:
    """Returns the folder of processed files: next to the raw folder if that
    is ``<root>/<name>/raw``, else in the cache.
    """
    folder = osp.join(root, name)
    if raw_dir == osp.join(folder, "raw"):
        return osp.join(folder, "processed")
    key = f"{name}-{_digest(osp.realpath(raw_dir))}"
    return osp.join(cache_folder(), key)


def state_of(option: Any) -> Optional[str]:
    """Returns a digest of the state of a transform of this package or of PyG:
    the files of its classes, and its attributes, recursively. Returns
    :obj:`None` for any other transform, or if it holds any other object,
    whose behavior may depend on anything.
    """
    try:
        return _digest(repr(_describe(option)))
    # The error for objects without a state depends on them.
    except Exception:
        return None


def file_name(paths: List[str], *options: Any) -> str:
    """Returns a name that depends on the contents of files and options."""
    key = (
        FORMAT_VERSION,
        [osp.basename(path) for path in paths],
        [_digest_file(path) for path in paths],
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
    state["item_table"] = content.item_table.to_dict("list")
    try:
        with atomic_write(path) as part:
            torch.save(state, part)
    # torch reports a file that cannot grow as a RuntimeError.
    except (OSError, RuntimeError) as err:
        reason = (
            err
            if isinstance(err, OSError)
            else f"'{path}' cannot be written: {err}"
        )
        raise OSError(
            f"{reason}; if the raw folder is not named 'raw', the environment "
            f"variable TMFUN_CACHE sets the folder"
        ) from err


def load(path: str) -> Content:
    """Reads a file that :func:`save` wrote.

    Raises:
        ValueError: If the file is damaged, or holds anything but tensors and
            plain values.
    """
    try:
        state = torch.load(path, weights_only=True)
    except OSError:
        raise
    # The error that torch raises for bad bytes depends on the bytes.
    except Exception as err:
        if out_of_memory(err):  # The file is fine.
            raise
        raise ValueError(
            f"'{path}' cannot be read: it is damaged, or 'pre_transform' has "
            f"added other values than tensors and plain ones; delete it to "
            f"process the raw files again"
        ) from err
    state["data"] = HeteroData.from_dict(state["data"])
    state["user_ids"] = unpack_ids(state["user_ids"])
    state["item_ids"] = unpack_ids(state["item_ids"])
    state["item_table"] = pd.DataFrame(
        state["item_table"], index=range(len(state["item_ids"]))
    )
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


def _digest_file(path: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        blocks: Iterator[bytes] = iter(lambda: file.read(BLOCK), b"")
        for block in blocks:
            digest.update(block)
    return digest.hexdigest()


def _describe(value: Any) -> Any:
    """Returns plain values whose :meth:`__repr__` identifies a value."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if isinstance(value, type):
        _check_told(value)
        return "class", value.__qualname__, *map(_module_state, value.__mro__)
    if kind in (Tensor, torch.nn.Parameter):
        value = to_numpy(value)
    if type(value) is np.ndarray and not value.dtype.hasobject:
        content = hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()
        return "array", str(value.dtype), value.shape, content
    if isinstance(value, Tensor):
        raise TypeError(f"a {kind.__name__} has more state than its values")
    if kind in (list, tuple):
        return kind.__name__, *map(_describe, value)
    if kind in (set, frozenset):
        return kind.__name__, *sorted(repr(_describe(part)) for part in value)
    if kind is dict:
        return "dict", *map(_describe, value.items())
    _check_told(kind)
    made = value.__reduce_ex__(4)  # As for pickling.
    if isinstance(made, str):
        return "global", made
    make, *parts = made
    lists = [list(x) if hasattr(x, "__next__") else x for x in parts]
    return "object", make.__qualname__, *map(_describe, (kind, *lists))


def _check_told(cls: type) -> None:
    if cls.__module__.partition(".")[0] not in TOLD:
        raise TypeError(f"what a {cls.__name__} does cannot be told")


def _module_state(cls: type) -> str:
    """Returns the module of a class, with the version of its package and a
    digest of its file.
    """
    if cls.__module__ in sys.builtin_module_names:
        return cls.__module__
    package = sys.modules[cls.__module__.partition(".")[0]]
    version = getattr(package, "__version__", None)
    path = str(sys.modules[cls.__module__].__file__)
    return f"{cls.__module__} {version} {_digest_file(path)}"
