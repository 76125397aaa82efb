"""Lists of recommendations, and the files they are written into."""

import csv
import json
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple

import numpy as np

from tmfun_pyg.utils.extras import import_extra
from tmfun_pyg.utils.files import atomic_write


class Recommendations(NamedTuple):
    r"""The lists of some users.

    Args:
        user_id (np.ndarray): The raw ids of the users, of shape
            :obj:`[num_rows]`.
        item_id (np.ndarray): The raw ids of their items, best first, of shape
            :obj:`[num_rows, k]`. Where a user has fewer items left, the row
            ends in :obj:`-1` or :obj:`""`: :meth:`lists` is without these.
        score (np.ndarray): The scores of the items, :obj:`-inf` where there
            is none, of shape :obj:`[num_rows, k]`.
        known (np.ndarray): Whether the model knows the user, by a training
            interaction or by a history, of shape :obj:`[num_rows]`. The others
            get the most popular items, with numbers of training interactions
            as scores.
        folded_in (np.ndarray): Whether the model knows the user by a history,
            of shape :obj:`[num_rows]`.
    """

    user_id: np.ndarray
    item_id: np.ndarray
    score: np.ndarray
    known: np.ndarray
    folded_in: np.ndarray

    @property
    def source(self) -> np.ndarray:
        r"""Where each user's list comes from: :obj:`"model"`,
        :obj:`"folded-in"` or :obj:`"most-popular"`.
        """
        of_model = np.where(self.folded_in, "folded-in", "model")
        return np.where(self.known, of_model, "most-popular")

    @classmethod
    def concat(cls, chunks: Iterable["Recommendations"]) -> "Recommendations":
        r"""Puts the lists of several groups of users together.

        Args:
            chunks (Iterable[Recommendations]): At least one group.
        """
        return cls(*map(np.concatenate, zip(*chunks, strict=True)))

    def lists(self) -> List[List[Any]]:
        r"""Returns the raw ids of each user's items, best first. A list is
        shorter than :math:`k` where fewer items are left.
        """
        length = np.isfinite(self.score).sum(axis=1).tolist()
        rows = zip(self.item_id.tolist(), length, strict=True)
        return [row[:end] for row, end in rows]


def write_recommendations(
    path: Any, chunks: Iterable[Recommendations]
) -> Dict[str, int]:
    r"""Writes recommendations into a file, whole or not at all.

    The columns of a :obj:`.csv` or :obj:`.parquet` file are :obj:`user_id`,
    :obj:`rank` (from 1 on), :obj:`item_id`, :obj:`score` and :obj:`source`,
    see :class:`Recommendations`. A :obj:`.jsonl` file has a line for each
    user, with lists :obj:`item_ids` and :obj:`scores`.

    Args:
        path (str): The file.
        chunks (Iterable[Recommendations]): The lists, as
            :meth:`~tmfun_pyg.recommender.Recommender.recommend_iter` returns
            them.

    Returns:
        The numbers of :obj:`"users"`, of those :obj:`"unknown"`, and of
        :obj:`"short"` lists, of users who have fewer items left.

    Raises:
        ImportError: If the file is to be Parquet, and pyarrow is missing.
        ValueError: If the file is of another type.
        OSError: If it can't be written.
    """
    path = Path(path)
    if path.suffix not in WRITERS:
        raise ValueError(
            f"'{path}' must be of type {', '.join(WRITERS)} (got "
            f"'{path.suffix}')"
        )
    count = {"users": 0, "unknown": 0, "short": 0}

    def counted() -> Iterator[Recommendations]:
        for chunk in chunks:
            count["users"] += len(chunk.user_id)
            count["unknown"] += int((~chunk.known).sum())
            count["short"] += int(np.isinf(chunk.score).any(axis=1).sum())
            yield chunk

    with atomic_write(path) as part:
        WRITERS[path.suffix](part, counted())
    return count


def _columns(chunk: Recommendations) -> Dict[str, np.ndarray]:
    """Lays the lists out, a row for each item."""
    row, place = np.isfinite(chunk.score).nonzero()
    return {
        "user_id": chunk.user_id[row],
        "rank": place + 1,
        "item_id": chunk.item_id[row, place],
        "score": chunk.score[row, place],
        "source": chunk.source[row],
    }


def _write_csv(path: Path, chunks: Iterator[Recommendations]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "rank", "item_id", "score", "source"])
        for chunk in chunks:
            columns = (c.tolist() for c in _columns(chunk).values())
            writer.writerows(zip(*columns, strict=True))


def _write_jsonl(path: Path, chunks: Iterator[Recommendations]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for chunk in chunks:
            parts = chunk.user_id, chunk.score, chunk.source
            user_id, score, source = (part.tolist() for part in parts)
            for user, items, scores, origin in zip(
                user_id, chunk.lists(), score, source, strict=True
            ):
                row = {
                    "user_id": user,
                    "item_ids": items,
                    "scores": scores[: len(items)],
                    "source": origin,
                }
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_parquet(path: Path, chunks: Iterator[Recommendations]) -> None:
    pyarrow = import_extra("pyarrow", "data")
    parquet = import_extra("pyarrow.parquet", "data")
    table = pyarrow.table(_columns(next(chunks)))
    with parquet.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        for chunk in chunks:
            writer.write_table(pyarrow.table(_columns(chunk)))


WRITERS = {
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}
