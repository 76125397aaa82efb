"""Recommendation lists, and the files they are written to."""

import json
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional

import numpy as np
import pandas as pd

from tmfun_pyg.recommender.tables import TABLES, values_of, write_as


class Recommendations(NamedTuple):
    r"""The recommendation lists of users.

    Args:
        user_id (np.ndarray): The raw ids of the users, of shape
            :obj:`[num_rows]`: integers if all requested ids and those of the
            data set are, else text.
        item_id (np.ndarray): The raw ids of their items, best first, of shape
            :obj:`[num_rows, k]`. If a user has fewer items left, the row ends
            in :obj:`-1` or :obj:`""`, which :meth:`lists` drops.
        score (np.ndarray): The scores of the items, :obj:`-inf` if there is
            none, of shape :obj:`[num_rows, k]`.
        known (np.ndarray): Whether the model knows the user, from a training
            interaction or a history, of shape :obj:`[num_rows]`. The others
            get the fallback lists.
        folded_in (np.ndarray): Whether the model knows the user from a
            history, of shape :obj:`[num_rows]`.
        fallback (np.ndarray): The :obj:`source` of a fallback list, of shape
            :obj:`[num_rows]`.
    """

    user_id: np.ndarray
    item_id: np.ndarray
    score: np.ndarray
    known: np.ndarray
    folded_in: np.ndarray
    fallback: np.ndarray

    @property
    def source(self) -> np.ndarray:
        r"""Where each user's list comes from: :obj:`"model"`,
        :obj:`"folded-in"` or the fallback: :obj:`"most-popular"`,
        :obj:`"popular:30d"` or :obj:`"group:COLUMN"`.
        """
        of_model = np.where(self.folded_in, "folded-in", "model")
        return np.where(self.known, of_model, self.fallback)

    @classmethod
    def concat(cls, chunks: Iterable["Recommendations"]) -> "Recommendations":
        r"""Concatenates the lists of several groups of users.

        Args:
            chunks (Iterable[Recommendations]): At least one group.
        """
        return cls(*map(np.concatenate, zip(*chunks, strict=True)))

    def lists(self) -> List[List[Any]]:
        r"""Returns the raw ids of each user's items, best first. A list is
        shorter than :math:`k` if fewer items are left.
        """
        length = np.isfinite(self.score).sum(axis=1).tolist()
        rows = zip(self.item_id.tolist(), length, strict=True)
        return [row[:end] for row, end in rows]


def write_recommendations(
    path: Any,
    chunks: Iterable[Recommendations],
    titles: Optional[pd.Series] = None,
    k: int = 0,
) -> Dict[str, int]:
    r"""Writes recommendations to a file, completely or not at all.

    The columns of a :obj:`.csv` or :obj:`.parquet` file are :obj:`user_id`,
    :obj:`rank` (from 1), :obj:`item_id`, :obj:`score`, :obj:`source`, see
    :class:`Recommendations`, and optionally :obj:`title`. A :obj:`.jsonl` file
    has one line per user, with :obj:`user_id`, :obj:`source`, and lists
    :obj:`item_ids`, :obj:`scores` and optionally :obj:`titles`.

    Args:
        path (str): The file.
        chunks (Iterable[Recommendations]): The lists, as
            :meth:`~tmfun_pyg.recommender.Recommender.recommend_iter` returns
            them.
        titles (pandas.Series, optional): The titles of the items by raw id,
            as :attr:`~tmfun_pyg.recommender.Recommender.titles` holds them.
            (default: :obj:`None`)
        k (int, optional): The requested length of the lists, which are
            shorter if there are not that many items.
            (default: :obj:`0`)

    Returns:
        The numbers of :obj:`"users"`, of :obj:`"unknown"` ones among them, and
        of :obj:`"short"` lists, those of users with fewer items left.

    Raises:
        ImportError: If the file is Parquet, and pyarrow is not installed.
        ValueError: If the file has another type.
        OSError: If it can't be written.
    """
    count = {"users": 0, "unknown": 0, "short": 0}
    is_table = Path(path).suffix in TABLES

    def pieces() -> Iterator[Dict[str, Any]]:
        for chunk in chunks:
            count["users"] += len(chunk.user_id)
            count["unknown"] += int((~chunk.known).sum())
            length = np.isfinite(chunk.score).sum(axis=1)
            count["short"] += int((length < max(k, chunk.score.shape[1])).sum())
            yield _columns(chunk, titles) if is_table else _lists(chunk, titles)

    write_as(path, {**TABLES, ".jsonl": _write_jsonl}, pieces())
    return count


def _columns(
    chunk: Recommendations, titles: Optional[pd.Series]
) -> Dict[str, np.ndarray]:
    """Returns the columns of a table with one row per item."""
    row, place = np.isfinite(chunk.score).nonzero()
    columns = {
        "user_id": chunk.user_id[row],
        "rank": place + 1,
        "item_id": chunk.item_id[row, place],
        "score": chunk.score[row, place],
        "source": chunk.source[row],
    }
    if titles is not None:
        columns["title"] = titles.loc[columns["item_id"]].to_numpy()
    return columns


def _lists(
    chunk: Recommendations, titles: Optional[pd.Series]
) -> Dict[str, list]:
    """Returns columns with one entry per user."""
    items = chunk.lists()
    scores = zip(values_of(chunk.score), items, strict=True)
    lists = {
        "user_id": chunk.user_id.tolist(),
        "item_ids": items,
        "scores": [row[: len(listed)] for row, listed in scores],
        "source": chunk.source.tolist(),
    }
    if titles is not None:
        lists["titles"] = [titles.loc[listed].tolist() for listed in items]
    return lists


def _write_jsonl(path: Path, pieces: Iterator[Dict[str, list]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for lists in pieces:
            for values in zip(*lists.values(), strict=True):
                row = dict(zip(lists, values, strict=True))
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
