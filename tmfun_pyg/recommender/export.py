"""Files for a server: embeddings, ids, an index of items and a scorer."""

import json
import os
import zipfile
from importlib.metadata import version
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from tmfun_pyg._version import __version__
from tmfun_pyg.nn import RankingModel
from tmfun_pyg.recommender.item_index import (
    build_index,
    check_kind,
    describe_index,
    import_faiss,
    index_recall,
)
from tmfun_pyg.utils.files import atomic_folder
from tmfun_pyg.utils.user_items import UserItems

FORMAT_VERSION = 1
FORMATS = ("safetensors", "faiss", "scorer")
MANIFEST = "manifest.json"
FILES = {
    "user_embedding.npy": "the embeddings of the users, a row each",
    "item_embedding.npy": "the embeddings of the items, a row each",
    "user_ids.txt": "the raw id of each row of users, one a line",
    "item_ids.txt": "the raw id of each row of items, one a line",
    "seen.npz": "the items each user chose in training: those of user u are "
    "seen_col[seen_rowptr[u]:seen_rowptr[u + 1]]",
    "embeddings.safetensors": "both matrices, as user_embedding and "
    "item_embedding",
    "items.faiss": "an index of the items for maximum inner product",
    "scorer.pt2": "a program of torch.export: from indices of users to the "
    "scores and the indices of their best items, without those they chose in "
    "training",
}
OPTIONAL = {
    "safetensors": "embeddings.safetensors",
    "faiss": "items.faiss",
    "scorer": "scorer.pt2",
}
# How recall of an approximate index is measured:
NUM_SAMPLED, RECALL_AT = 1000, 20

Path = Union[str, "os.PathLike[str]"]


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


class Scorer(torch.nn.Module):
    r"""From indices of users, of shape :obj:`[batch_size]`, to the scores and
    the indices of their best items, both of shape :obj:`[batch_size, k]`, as
    :meth:`~tmfun_pyg.nn.RankingModel.recommend` returns them. The order of
    items of equal score is not defined.

    Args:
        user_emb (torch.Tensor): The embeddings of all users, of shape
            :obj:`[num_users, channels]`.
        item_emb (torch.Tensor): The embeddings of all items, of shape
            :obj:`[num_items, channels]`.
        seen (UserItems): Items never to be recommended to a user.
        k (int): The length of the lists.
    """

    user_emb: Tensor
    item_emb: Tensor
    seen_rowptr: Tensor
    seen_col: Tensor

    def __init__(
        self, user_emb: Tensor, item_emb: Tensor, seen: UserItems, k: int
    ) -> None:
        super().__init__()
        self.k = k
        for name, tensor in (
            ("user_emb", user_emb),
            ("item_emb", item_emb),
            ("seen_rowptr", seen.rowptr),
            ("seen_col", seen.col),
        ):
            self.register_buffer(name, tensor)

    def forward(self, user: Tensor) -> Tuple[Tensor, Tensor]:
        r"""Ranks all items for some users."""
        score = self.user_emb.index_select(0, user) @ self.item_emb.t()
        seen = UserItems(self.seen_rowptr, self.seen_col)
        lowest = score.new_full((), -torch.inf)
        # No `stable_topk`, whose work depends on where scores are equal:
        score = score.index_put(seen.edges_of(user), lowest)
        value, item = score.topk(self.k, dim=1)
        return value, item.masked_fill(value == -torch.inf, -1)


def export(
    model: RankingModel,
    folder: Path,
    user_ids: np.ndarray,
    item_ids: np.ndarray,
    formats: Sequence[str] = (),
    index: str = "flat",
    k: int = 20,
    overwrite: bool = False,
) -> Dict[str, Any]:
    r"""Writes what a server needs to recommend without the model.

    The folder holds the embeddings of all users and items in float32, whose
    inner product is the score, the ids, what users have seen, and
    :obj:`manifest.json`, which tells sizes, versions and what each file is.
    It is written whole or not at all.

    Args:
        model (RankingModel): The model, bound to its data.
        folder (str): The folder to be made.
        user_ids (np.ndarray): The raw ids (int or str) of all users.
        item_ids (np.ndarray): The raw ids (int or str) of all items.
        formats (List[str], optional): What to write as well:

            * :obj:`"safetensors"`: both matrices in one file,
            * :obj:`"faiss"`: an index of the items. What a user has seen is
              in it as well: search for so many items more.
            * :obj:`"scorer"`: a :class:`Scorer` by :meth:`torch.export.save`,
              for batches of any size on the CPU.

            (default: :obj:`()`)
        index (str, optional): The kind of index, see
            :func:`~tmfun_pyg.recommender.item_index.build_index`. The
            manifest tells the recall of an approximate one.
            (default: :obj:`"flat"`)
        k (int, optional): The length of the lists of the scorer.
            (default: :obj:`20`)
        overwrite (bool, optional): If set to :obj:`True`, takes the place of
            a folder that an earlier call has written.
            (default: :obj:`False`)

    Returns:
        The content of :obj:`manifest.json`.

    Raises:
        ImportError: If what a format needs is not installed.
        ValueError: If an argument is out of range, the ids do not fit, the
            embeddings are not finite, or the folder exists (with
            :obj:`overwrite`: if it holds anything but an export).
        OSError: If the folder cannot be written.
    """
    _check_formats(formats)
    check_kind(index)
    if "scorer" in formats and not 1 <= k <= model.num_items:
        raise ValueError(
            f"'k' must be from 1 to the {model.num_items} items (got {k})"
        )
    ids = {
        "user": _check_ids("user_ids", user_ids, model.num_users),
        "item": _check_ids("item_ids", item_ids, model.num_items),
    }
    folder = os.path.realpath(os.path.expanduser(os.fspath(folder)))
    _check_folder(folder, overwrite)
    content = Exported(*_embed(model), ids["user"], ids["item"], _seen(model))

    with atomic_folder(folder) as part:
        details = _write(str(part), content, formats, index, k)
        manifest = _describe(model, content, formats, details)
        text = json.dumps(manifest, indent=2, allow_nan=False)
        (part / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return manifest


def load_exported(folder: Path) -> Exported:
    r"""Reads the matrices, ids and seen items that :func:`export` has written,
    of which :func:`tmfun_pyg.utils.retrieval.top_k` makes recommendations.

    Args:
        folder (str): The folder.

    Raises:
        ValueError: If a file is missing, damaged, or not of the size that the
            manifest tells.
    """
    folder = os.path.expanduser(os.fspath(folder))
    path = os.path.join(folder, MANIFEST)
    try:
        with open(path, encoding="utf-8") as f:
            manifest = json.load(f)
        num_users, num_items, channels = (
            int(manifest[key])
            for key in ("num_users", "num_items", "channels")
        )
        kinds = manifest["id_types"]
        kinds = {name: str(kinds[name]) for name in ("user", "item")}
        found_version = manifest["format_version"]
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise ValueError(
            f"'{path}' cannot be read: expected the manifest of an export "
            f"({err!r})"
        ) from err
    if found_version != FORMAT_VERSION:
        raise ValueError(
            f"'{path}': expected format_version {FORMAT_VERSION}, found "
            f"{found_version}"
        )
    matrices = [
        torch.from_numpy(_read_array(os.path.join(folder, name), size))
        for name, size in (
            ("user_embedding.npy", (num_users, channels)),
            ("item_embedding.npy", (num_items, channels)),
        )
    ]
    ids = [
        _read_ids(os.path.join(folder, f"{name}_ids.txt"), kinds[name], size)
        for name, size in (("user", num_users), ("item", num_items))
    ]
    seen = _read_seen(os.path.join(folder, "seen.npz"), num_users, num_items)
    return Exported(matrices[0], matrices[1], ids[0], ids[1], seen)


def _check_formats(formats: Sequence[str]) -> None:
    unknown = sorted(set(formats) - set(FORMATS))
    if isinstance(formats, str) or unknown:
        raise ValueError(
            f"'formats' must be a list of {', '.join(FORMATS)} (got "
            f"{formats!r})"
        )
    if "safetensors" in formats:
        _import_safetensors()
    if "faiss" in formats:
        import_faiss()


def _import_safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError as err:
        raise ImportError(
            "the format 'safetensors' needs safetensors: "
            'pip install "tmfun-pyg[export]"'
        ) from err
    return safetensors.torch


def _check_ids(name: str, ids: np.ndarray, size: int) -> np.ndarray:
    ids = np.asarray(ids)
    if ids.dtype.kind not in "iU" or ids.shape != (size,):
        raise ValueError(
            f"'{name}' must hold {size} integers or strings (got "
            f"{ids.dtype} of shape {list(ids.shape)})"
        )
    if ids.dtype.kind == "U":
        broken = (np.char.find(ids, "\n") >= 0) | (
            np.char.find(ids, "\r") >= 0
        )
        if broken.any():
            row = int(broken.argmax())
            raise ValueError(
                f"'{name}' must hold no line breaks, since they are written "
                f"one a line (got {str(ids[row])!r} in row {row})"
            )
    value, count = np.unique(ids, return_counts=True)
    if len(value) < size:
        again = value[count.argmax()].item()
        raise ValueError(
            f"'{name}' must name each row once (got {again!r} "
            f"{count.max()} times)"
        )
    return ids


def _check_folder(folder: str, overwrite: bool) -> None:
    if not os.path.exists(folder):
        return
    if not overwrite or not os.path.isdir(folder):
        raise ValueError(
            f"'{folder}' exists already: name another folder, or pass "
            f"overwrite=True to replace an earlier export"
        )
    others = sorted(set(os.listdir(folder)) - {MANIFEST, *FILES})
    if others:
        raise ValueError(
            f"'{folder}' is not replaced: expected an earlier export, found "
            f"{others[0]!r} in it as well"
        )


@torch.no_grad()
def _embed(model: RankingModel) -> Tuple[Tensor, Tensor]:
    was_training = model.training
    model.eval()
    try:
        # Copies, since both may be views of one larger tensor:
        user_emb, item_emb = (
            torch.empty(emb.shape, dtype=torch.float, device="cpu").copy_(emb)
            for emb in model()
        )
    finally:
        model.train(was_training)
    for name, emb in (("user", user_emb), ("item", item_emb)):
        if not bool(emb.isfinite().all()):
            raise ValueError(
                f"The {name} embeddings hold NaN or infinity, which can not "
                f"be ranked: has the training diverged?"
            )
    return user_emb, item_emb


def _seen(model: RankingModel) -> UserItems:
    return UserItems(model.seen.rowptr.cpu(), model.seen.col.cpu())


def _write(
    folder: str,
    content: Exported,
    formats: Sequence[str],
    kind: str,
    k: int,
) -> Dict[str, Any]:
    """Writes all files but the manifest, and returns what it has to tell of
    some.
    """
    user_emb, item_emb, user_ids, item_ids, seen = content

    def path(name: str) -> str:
        return os.path.join(folder, name)

    np.save(path("user_embedding.npy"), user_emb.numpy())
    np.save(path("item_embedding.npy"), item_emb.numpy())
    np.savez(
        path("seen.npz"),
        seen_rowptr=seen.rowptr.numpy(),
        seen_col=seen.col.numpy(),
    )
    for name, ids in (("user", user_ids), ("item", item_ids)):
        with open(
            path(f"{name}_ids.txt"), "w", encoding="utf-8", newline="\n"
        ) as f:
            f.writelines(f"{raw}\n" for raw in ids.tolist())
    details: Dict[str, Any] = {}
    if "safetensors" in formats:
        _import_safetensors().save_file(
            {"user_embedding": user_emb, "item_embedding": item_emb},
            path(OPTIONAL["safetensors"]),
        )
    if "faiss" in formats:
        built = build_index(item_emb, kind)
        import_faiss().write_index(built, path(OPTIONAL["faiss"]))
        details["index"] = describe_index(built, kind)
        if kind != "flat":
            generator = torch.Generator().manual_seed(0)
            user = torch.randperm(len(user_emb), generator=generator)
            sample = user_emb[user[:NUM_SAMPLED]]
            at = min(RECALL_AT, len(item_emb))
            recall = index_recall(built, sample, item_emb, at)
            details["index"][f"recall@{at}"] = recall
    if "scorer" in formats:
        program = torch.export.export(
            Scorer(user_emb, item_emb, seen, k),
            (torch.zeros(2, dtype=torch.long),),
            dynamic_shapes={"user": {0: torch.export.Dim("batch_size")}},
        )
        torch.export.save(program, path(OPTIONAL["scorer"]))
        details["scorer"] = {"k": k}
    return details


def _describe(
    model: RankingModel,
    content: Exported,
    formats: Sequence[str],
    details: Dict[str, Any],
) -> Dict[str, Any]:
    left_out = {OPTIONAL[name] for name in set(FORMATS) - set(formats)}
    versions = {
        "tmfun_pyg": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }
    if "safetensors" in formats:
        versions["safetensors"] = version("safetensors")
    if "faiss" in formats:
        versions["faiss"] = import_faiss().__version__
    return {
        "format_version": FORMAT_VERSION,
        "model": type(model).__name__,
        "num_users": model.num_users,
        "num_items": model.num_items,
        "channels": content.user_emb.size(1),
        "num_seen": content.seen.col.numel(),
        "dtype": "float32",
        "metric": "inner_product",
        "id_types": {
            "user": _id_type(content.user_ids),
            "item": _id_type(content.item_ids),
        },
        **details,
        "versions": versions,
        "files": {n: f for n, f in FILES.items() if n not in left_out},
    }


def _id_type(ids: np.ndarray) -> str:
    return "str" if ids.dtype.kind == "U" else "int"


def _read_array(path: str, size: Tuple[int, int]) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as err:
        raise ValueError(f"'{path}' cannot be read ({err})") from err
    if array.shape != size or array.dtype != np.float32:
        raise ValueError(
            f"'{path}': expected float32 of shape {list(size)}, found "
            f"{array.dtype} of shape {list(array.shape)}"
        )
    return array


def _read_ids(path: str, kind: str, size: int) -> np.ndarray:
    try:
        with open(path, encoding="utf-8", newline="\n") as f:
            lines = f.read().split("\n")
    except (OSError, UnicodeDecodeError) as err:
        raise ValueError(f"'{path}' cannot be read ({err})") from err
    rows: List[str] = lines[:-1]  # The last line ends the file.
    if len(rows) != size or lines[-1] != "":
        raise ValueError(f"'{path}': expected {size} lines, found {len(rows)}")
    try:
        return np.array(rows, dtype=np.int64 if kind == "int" else np.str_)
    except ValueError as err:
        raise ValueError(f"'{path}': expected integers ({err})") from err


def _read_seen(path: str, num_users: int, num_items: int) -> UserItems:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            rowptr, col = arrays["seen_rowptr"], arrays["seen_col"]
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        zipfile.BadZipFile,
    ) as err:
        raise ValueError(f"'{path}' cannot be read ({err})") from err
    if (
        rowptr.shape != (num_users + 1,)
        or col.ndim != 1
        or rowptr.dtype != np.int64
        or col.dtype != np.int64
        or rowptr[0] != 0
        or rowptr[-1] != len(col)
        or (np.diff(rowptr) < 0).any()
        or (len(col) > 0 and not 0 <= col.min() <= col.max() < num_items)
    ):
        raise ValueError(
            f"'{path}': expected the rows of {num_users} users with items "
            f"from 0 to {num_items - 1}, found others"
        )
    return UserItems(torch.from_numpy(rowptr), torch.from_numpy(col))
