"""Lists of recommendations for many users, in raw ids, written as they are
made.
"""

import csv
import json
from itertools import islice
from pathlib import Path
from typing import (
    Any,
    Dict,
    Iterable,
    Iterator,
    NamedTuple,
    Optional,
    Sequence,
)

import numpy as np
import torch
from torch import Tensor

from tmfun_pyg.training import LoadedCheckpoint
from tmfun_pyg.utils.files import atomic_write
from tmfun_pyg.utils.ids import IdIndex
from tmfun_pyg.utils.retrieval import (
    candidate_items,
    default_batch_size,
    top_k,
)
from tmfun_pyg.utils.user_items import UserItems

CHUNK = 2**15  # Users answered at once, in blocks that are smaller still.


class Recommendations(NamedTuple):
    r"""The lists of some users.

    Args:
        user_id (np.ndarray): The raw ids of the users, of shape
            :obj:`[num_rows]`.
        item_id (np.ndarray): The raw ids of their items, of shape
            :obj:`[num_rows, k]`.
        score (np.ndarray): The scores of the items, :obj:`-inf` where a user
            has fewer items left, of shape :obj:`[num_rows, k]`.
        known (np.ndarray): Whether the model knows the user. The others get
            the most popular items, with numbers of interactions as scores.
    """

    user_id: np.ndarray
    item_id: np.ndarray
    score: np.ndarray
    known: np.ndarray


@torch.no_grad()
def recommendations(
    loaded: LoadedCheckpoint,
    users: Optional[Iterable[str]] = None,
    k: int = 20,
    exclude_seen: bool = True,
    items: Optional[Sequence[int]] = None,
) -> Iterator[Recommendations]:
    r"""Recommends items to users by their raw ids, some thousand at a time.

    A user without a training interaction, or of an unknown id, is answered by
    the most popular items.

    Args:
        loaded (LoadedCheckpoint): A model and its data set, as
            :func:`~tmfun_pyg.training.load_checkpoint` returns them.
        users (Iterable[str], optional): The raw ids as text, all users of the
            data set if not given. (default: :obj:`None`)
        k (int, optional): The length of the lists. (default: :obj:`20`)
        exclude_seen (bool, optional): If set to :obj:`False`, the items of a
            user's training interactions are recommended as well.
            (default: :obj:`True`)
        items (Sequence[int], optional): The indices of the only items to be
            recommended, all if not given. (default: :obj:`None`)

    Raises:
        ValueError: If :obj:`k` is not positive, or there are no items.
    """
    model, dataset = loaded.model, loaded.dataset
    if k < 1:
        raise ValueError(f"k: found {k}, expected 1 or more")
    user_emb, item_emb = model()
    seen = model.seen
    has_items = seen.rowptr.diff() > 0
    count = torch.bincount(seen.col, minlength=item_emb.size(0))
    place = torch.arange(item_emb.size(0), device=item_emb.device)
    if items is not None:
        given = torch.as_tensor(items, device=item_emb.device)
        place, new_place = candidate_items(given, item_emb.size(0))
        item_emb, count = item_emb[place], count[place]
        seen = _keep(seen, new_place)
    # As embeddings of size one: the same order of equal scores.
    popular = top_k(count.new_ones((1, 1)), count.view(-1, 1), k)
    batch_size = default_batch_size(item_emb.size(0))
    for raw, index in _chunks(users, dataset.user_ids):
        user = torch.from_numpy(index).to(item_emb.device)
        known = (user >= 0) & has_items[user]
        score = popular[0].repeat(len(user), 1)
        item = popular[1].repeat(len(user), 1)
        score[known], item[known] = top_k(
            user_emb,
            item_emb,
            k,
            user[known],
            seen if exclude_seen else None,
            batch_size,
        )
        yield Recommendations(
            raw,
            dataset.item_ids[place[item].cpu().numpy()],
            score.cpu().numpy(),
            known.cpu().numpy(),
        )


def write_recommendations(
    path: Any,
    chunks: Iterable[Recommendations],
) -> Dict[str, int]:
    r"""Writes recommendations into a file, whole or not at all.

    The columns of a :obj:`.csv` or :obj:`.parquet` file are :obj:`user_id`,
    :obj:`rank` (from 1 on), :obj:`item_id`, :obj:`score` and :obj:`source`,
    :obj:`"model"` or, for users it does not know, :obj:`"most-popular"`. A
    :obj:`.jsonl` file has a line for each user, with lists :obj:`item_ids` and
    :obj:`scores`.

    Args:
        path (str): The file.
        chunks (Iterable[Recommendations]): What
            :func:`recommendations` returns.

    Returns:
        The numbers of :obj:`"users"`, of those :obj:`"unknown"`, and of
        :obj:`"short"` lists, of users who have fewer items left.

    Raises:
        ImportError: If the file is to be Parquet, and pyarrow is missing.
        ValueError: If the file is of another type.
        OSError: If it can't be written.
    """
    path = Path(path)
    writers = {".csv": _write_csv, ".jsonl": _write_jsonl}
    writers[".parquet"] = _write_parquet
    write = writers.get(path.suffix)
    if write is None:
        raise ValueError(
            f"'{path}': found the file type '{path.suffix}', expected "
            f"{', '.join(writers)}"
        )
    count = {"users": 0, "unknown": 0, "short": 0}

    def counted() -> Iterator[Recommendations]:
        for chunk in chunks:
            count["users"] += len(chunk.user_id)
            count["unknown"] += int((~chunk.known).sum())
            count["short"] += int(np.isinf(chunk.score).any(axis=1).sum())
            yield chunk

    try:
        with atomic_write(path) as part:
            write(part, counted())
    except OSError as err:
        raise OSError(
            f"'{path}' cannot be written ({err}): expected a writable folder "
            f"with enough space"
        ) from err
    return count


def _chunks(
    users: Optional[Iterable[str]], user_ids: np.ndarray
) -> Iterator["tuple[np.ndarray, np.ndarray]"]:
    """Gives raw ids and their indices, -1 for unknown ones."""
    if users is None:
        for start in range(0, len(user_ids), CHUNK):
            raw = user_ids[start : start + CHUNK]
            yield raw, np.arange(start, start + len(raw))
        return
    known, rest = IdIndex(user_ids), iter(users)
    while len(asked := list(islice(rest, CHUNK))) > 0:
        yield np.array(asked, dtype=np.str_), known.find(asked)


def _keep(seen: UserItems, place: Tensor) -> UserItems:
    """Numbers items anew, and leaves out those that have no new number."""
    num_users = seen.rowptr.numel() - 1
    user = torch.arange(num_users, device=place.device)
    row, item = seen.edges_of(user)
    edges = torch.stack([row, place[item]])
    return UserItems.from_edge_index(edges[:, edges[1] >= 0], num_users)


def _columns(chunk: Recommendations) -> Dict[str, np.ndarray]:
    """Lays the lists out, a row for each item."""
    row, place = np.isfinite(chunk.score).nonzero()
    source = np.where(chunk.known, "model", "most-popular")
    return {
        "user_id": chunk.user_id[row],
        "rank": place + 1,
        "item_id": chunk.item_id[row, place],
        "score": chunk.score[row, place],
        "source": source[row],
    }


def _write_csv(path: Path, chunks: Iterator[Recommendations]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "rank", "item_id", "score", "source"])
        for chunk in chunks:
            columns = [c.tolist() for c in _columns(chunk).values()]
            writer.writerows(zip(*columns, strict=True))


def _write_jsonl(path: Path, chunks: Iterator[Recommendations]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for chunk in chunks:
            columns = zip(*(part.tolist() for part in chunk), strict=True)
            for user, items, scores, known in columns:
                left = sum(score > float("-inf") for score in scores)
                row = {
                    "user_id": user,
                    "item_ids": items[:left],
                    "scores": scores[:left],
                    "source": "model" if known else "most-popular",
                }
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_parquet(path: Path, chunks: Iterator[Recommendations]) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as err:
        raise ImportError(
            'writing Parquet needs pyarrow: pip install "tmfun-pyg[data]"'
        ) from err
    writer = None
    try:
        for chunk in chunks:
            table = pyarrow.table(_columns(chunk))
            if writer is None:
                writer = pyarrow.parquet.ParquetWriter(path, table.schema)
            writer.write_table(table)
        if writer is None:
            raise ValueError("users: found none, expected at least one")
    finally:
        if writer is not None:
            writer.close()
