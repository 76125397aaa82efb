"""Reads what :mod:`tmfun_pyg.recommender.export.write` has written."""

import json
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, NamedTuple, Tuple

import numpy as np
import torch
from torch import Tensor

from tmfun_pyg.utils.user_items import UserItems

FORMAT_VERSION = 1
MANIFEST = "manifest.json"


class Exported(NamedTuple):
    r"""What a server needs to recommend, as :func:`load_exported` reads it.

    Args:
        user_emb (torch.Tensor): The embeddings of the users, of shape
            :obj:`[num_users, channels]`.
        item_emb (torch.Tensor): The embeddings of the items, of shape
            :obj:`[num_items, channels]`.
        user_ids (np.ndarray): Raw user ids (int64 or str), by row.
        item_ids (np.ndarray): Raw item ids (int64 or str), by row.
        seen (UserItems): The training items of every user.
    """

    user_emb: Tensor
    item_emb: Tensor
    user_ids: np.ndarray
    item_ids: np.ndarray
    seen: UserItems


def load_exported(folder: Any) -> Exported:
    r"""Reads the matrices, ids and seen items that
    :meth:`tmfun_pyg.recommender.Recommender.export` has written, of which
    :func:`tmfun_pyg.utils.retrieval.blocked_topk` makes recommendations.

    Args:
        folder (str): The folder.

    Raises:
        ValueError: If a file is missing, damaged, not of the size that the
            manifest tells, or of an unknown version of the format.
    """
    folder = Path(folder).expanduser()
    with _reading(folder / MANIFEST) as path:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest.get("format_version")
        _expect(f"format_version {FORMAT_VERSION}", version, version == 1)
        sizes = [int(manifest[f"num_{name}s"]) for name in ("user", "item")]
        channels = int(manifest["channels"])
        kinds = [manifest["id_types"][name] for name in ("user", "item")]
    embs, ids = [], []
    for name, size, kind in zip(("user", "item"), sizes, kinds, strict=True):
        with _reading(folder / f"{name}_embedding.npy") as path:
            embs.append(_read_matrix(path, (size, channels)))
        with _reading(folder / f"{name}_ids.txt") as path:
            ids.append(_read_ids(path, size, kind))
    with _reading(folder / "seen.npz") as path:
        seen = _read_seen(path, *sizes)
    return Exported(embs[0], embs[1], ids[0], ids[1], seen)


@contextmanager
def _reading(path: Path) -> Iterator[Path]:
    """Names the file in whatever error its content causes."""
    try:
        yield path
    # What damaged bytes raise depends on the bytes.
    except Exception as err:
        raise ValueError(f"'{path}' cannot be read ({err})") from err


def _expect(expected: str, found: Any, holds: Any) -> None:
    if not holds:
        raise ValueError(f"expected {expected}, found {found}")


def _read_matrix(path: Path, size: Tuple[int, int]) -> Tensor:
    array = np.load(path, allow_pickle=False)
    found = f"{array.dtype} of shape {list(array.shape)}"
    expected = f"float32 of shape {list(size)}"
    _expect(expected, found, found == expected)
    return torch.from_numpy(array)


def _read_ids(path: Path, size: int, kind: str) -> np.ndarray:
    text = path.read_bytes().decode("utf-8")  # "\r" is no end of a line.
    *lines, rest = text.split("\n")
    whole = len(lines) == size and rest == ""
    _expect(f"{size} lines", f"{len(lines)} and {rest!r}", whole)
    return np.array(lines, dtype=np.int64 if kind == "int" else np.str_)


def _read_seen(path: Path, num_users: int, num_items: int) -> UserItems:
    with np.load(path, allow_pickle=False) as arrays:
        rowptr, col = arrays["seen_rowptr"], arrays["seen_col"]
    _expect(
        f"the rows of {num_users} users with items from 0 to {num_items - 1}",
        "others",
        rowptr.shape == (num_users + 1,)
        and rowptr.dtype == col.dtype == np.int64
        and col.shape == (rowptr[-1],)
        and rowptr[0] == 0
        and (np.diff(rowptr) >= 0).all()
        and ((col >= 0) & (col < num_items)).all(),
    )
    return UserItems(torch.from_numpy(rowptr), torch.from_numpy(col))
