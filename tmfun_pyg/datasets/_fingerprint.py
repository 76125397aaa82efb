import hashlib

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.datasets._content import SPLIT_KEYS


def fingerprint(
    data: HeteroData, user_ids: np.ndarray, item_ids: np.ndarray
) -> str:
    """Returns a hash of ids, interactions with their splits, features and
    masks, in 32 hexadecimal digits. What is derived from them, such as
    feature graphs, is left out.
    """
    digest = hashlib.sha256()

    def add(name: str, array: np.ndarray) -> None:
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)

    for name, ids in (("user_ids", user_ids), ("item_ids", item_ids)):
        if ids.dtype.kind == "U":
            # Equal strings may be stored at different widths.
            ids = ids.astype(f"U{max(1, int(np.char.str_len(ids).max()))}")
            ids = ids.view(np.uint32)
        add(name, ids)
    store = data["user", "interacts", "item"]
    for name in SPLIT_KEYS:
        if name in store:
            add(name, _to_numpy(store[name]))
    item = data["item"].to_dict()
    for name in sorted(item):
        if name.startswith(("x_", "mask_")):
            add(name, _to_numpy(item[name]))
    return digest.hexdigest()[:32]


def _to_numpy(value: Tensor) -> np.ndarray:
    value = value.detach().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
