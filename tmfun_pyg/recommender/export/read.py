"""Reads the files of :mod:`tmfun_pyg.recommender.export.write`."""

import json
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Iterable, Iterator, Mapping, Optional, Tuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tmfun_pyg.datasets.item_table import empty_table, read_table
from tmfun_pyg.recommender.catalog import Catalog
from tmfun_pyg.recommender.cold_slots import check_share
from tmfun_pyg.recommender.fallback import Fallback
from tmfun_pyg.recommender.fallback_scorer import FallbackScorer
from tmfun_pyg.recommender.item_filter import Ids
from tmfun_pyg.recommender.raw_ids import recommend_ids
from tmfun_pyg.recommender.recommendations import Recommendations
from tmfun_pyg.utils.ids import RawIds
from tmfun_pyg.utils.neighbor_scorer import NeighborScorer, NeighborTables
from tmfun_pyg.utils.retrieval import EmbeddingScorer
from tmfun_pyg.utils.user_items import UserItems

VERSION = 4
MANIFEST, ITEM_TABLE = "manifest.json", "item_table.csv"
NEIGHBORS = "neighbors.npz"
DTYPES = {"int": np.int64, "str": np.str_}


@dataclass(frozen=True, eq=False, repr=False)
class Exported:
    r"""Recommends items from an export, as :func:`load_exported` reads it.

    Args:
        user_emb (torch.Tensor): The embeddings of the users, of shape
            :obj:`[num_users, channels]`.
        item_emb (torch.Tensor): The embeddings of the items, of shape
            :obj:`[num_items, channels]`.
        user_ids (np.ndarray): Raw user ids (int64 or str), by row.
        item_ids (np.ndarray): Raw item ids (int64 or str), by row.
        seen (UserItems): The items of each user in training, validation or
            test.
        known (torch.Tensor): Whether each user has a training interaction, of
            shape :obj:`[num_users]`. The embeddings of the others are
            meaningless.
        popularity (torch.Tensor): The number of training interactions of each
            item, of shape :obj:`[num_items]`.
        fallback_score (torch.Tensor): The score of each item for unknown
            users, of shape :obj:`[num_items]`.
        fallback (str): The kind of these scores, see
            :class:`~tmfun_pyg.recommender.Recommender`.
        item_table (pandas.DataFrame): The titles, pictures and groups of the
            items, as in :obj:`dataset.item_table`.
        scores_cold (bool): Whether cold items are scored by their content,
            as required for lists with a share of them.
        neighbors (NeighborTables, optional): The tables of neighbor scores,
            which are added to the inner products, if the model has them.
            (default: :obj:`None`)
    """

    user_emb: Tensor
    item_emb: Tensor
    user_ids: np.ndarray
    item_ids: np.ndarray
    seen: UserItems
    known: Tensor
    popularity: Tensor
    fallback_score: Tensor
    fallback: str
    item_table: pd.DataFrame
    scores_cold: bool
    neighbors: Optional[NeighborTables] = None

    def recommend(  # noqa: D417
        self,
        users: Optional[Iterable[Any]] = None,
        k: int = 20,
        items: Optional[Ids] = None,
        exclude_seen: bool = True,
        exclude_items: Optional[Ids] = None,
        max_per_group: Optional[int] = None,
        groups: Optional[Mapping[Any, Any]] = None,
        cold_share: float = 0.0,
        index: Optional[Any] = None,
    ) -> Recommendations:
        r"""Recommends items as
        :meth:`tmfun_pyg.recommender.Recommender.recommend` does; see there for
        the other arguments.

        Args:
            index (faiss.Index, optional): The index of the items,
                :obj:`faiss.read_index("serving/items.faiss")`, searched for
                the lists of users that the model knows. If it finds too few
                items for a list, or at most a quarter of the items is left,
                all are compared, as without it. (default: :obj:`None`)

        Raises:
            ValueError: As there, or if :obj:`index` does not match the items.
        """
        source = "an export without cold_items=True"
        check_share(cold_share, self.scores_cold, source)
        return Recommendations.concat(
            recommend_ids(
                self._scorer,
                self.seen,
                self._user_ids,
                self._items.ids,
                users,
                k,
                self._items.filter(items, exclude_items, max_per_group, groups),
                exclude_seen,
                cold_share=cold_share,
                popularity=self.popularity,
                index=index,
            )
        )

    def name_items(self, name: str, items: Iterable[Any]) -> None:
        r"""Stores items under a name, see
        :meth:`tmfun_pyg.recommender.Recommender.name_items`.

        Args:
            name (str): The name, such as :obj:`"in_stock"`.
            items (Iterable[int or str]): The raw ids of the items.

        Raises:
            ValueError: If an item is unknown.
        """
        self._items.name_items(name, items)

    @property
    def titles(self) -> pd.Series:
        r"""The title of each item by raw id, :obj:`""` for those without.

        Raises:
            ValueError: If the export has no titles.
        """
        return self._items.titles

    @cached_property
    def _user_ids(self) -> RawIds:
        return RawIds(self.user_ids)

    @cached_property
    def _items(self) -> Catalog:
        return Catalog(RawIds(self.item_ids), self)

    @cached_property
    def _scorer(self) -> FallbackScorer:
        scorer = EmbeddingScorer(self.user_emb, self.item_emb)
        if self.neighbors is not None:
            scorer = NeighborScorer.from_tables(scorer, self.neighbors)
        source = Fallback.parse(self.fallback).source
        return FallbackScorer(scorer, self.known, self.fallback_score, source)


def load_exported(folder: Any) -> Exported:
    r"""Reads the matrices, ids and seen items written by
    :meth:`tmfun_pyg.recommender.Recommender.export`, to recommend from them:

    .. code-block:: python

        found = load_exported("serving").recommend(["u1", "u7"], k=10)

    Args:
        folder (str): The folder.

    Raises:
        ValueError: If a file is missing or damaged, differs in size from the
            manifest, or has an unknown format version.
    """
    folder = Path(folder).expanduser()
    with _reading(folder / MANIFEST) as path:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        _check_same("format_version", manifest.get("format_version"), VERSION)
        sizes = manifest["num_users"], manifest["num_items"]
        channels, types = manifest["channels"], manifest["id_types"]
        has_table = ITEM_TABLE in manifest["files"]
        fallback, scores_cold = manifest["fallback"], manifest["scores_cold"]
        has_neighbors = NEIGHBORS in manifest["files"]
        Fallback.parse(fallback)
        _check_same("the type of scores_cold", type(scores_cold), bool)
    embs, ids = [], []
    for name, size in zip(("user", "item"), sizes, strict=True):
        with _reading(folder / f"{name}_embedding.npy") as path:
            embs.append(_read_array(path, np.float32, (size, channels)))
        with _reading(folder / f"{name}_ids.txt") as path:
            text = path.read_bytes().decode("utf-8")  # Keeps each "\r".
            *lines, rest = text.split("\n")
            _check_same("its lines", (len(lines), rest), (size, ""))
            ids.append(np.array(lines, DTYPES[types[name]]))
    with (
        _reading(folder / "seen.npz") as path,
        np.load(path, allow_pickle=False) as arrays,
    ):
        seen = _read_items(arrays, "seen", sizes)
    neighbors = None
    if has_neighbors:
        with (
            _reading(folder / NEIGHBORS) as path,
            np.load(path, allow_pickle=False) as arrays,
        ):
            neighbors = _read_neighbors(arrays, sizes)
    with _reading(folder / "known.npy") as path:
        known = _read_array(path, np.bool_, (sizes[0],))
    with _reading(folder / "popularity.npy") as path:
        popularity = _read_array(path, np.float32, (sizes[1],))
    with _reading(folder / "fallback.npy") as path:
        score = _read_array(path, np.float32, (sizes[1],))
    table = empty_table(sizes[1])
    if has_table:
        with _reading(folder / ITEM_TABLE) as path:
            table = read_table(str(path), sizes[1])
    return Exported(
        embs[0],
        embs[1],
        ids[0],
        ids[1],
        seen,
        known,
        popularity,
        score,
        fallback,
        table,
        scores_cold,
        neighbors,
    )


def _read_items(arrays: Any, name: str, sizes: Tuple[int, int]) -> UserItems:
    rowptr, col = arrays[f"{name}_rowptr"], arrays[f"{name}_col"]
    _check_same(f"the rows of '{name}_rowptr'", len(rowptr) - 1, sizes[0])
    _check_same("its ends", [rowptr[0], rowptr[-1]], [0, len(col)])
    is_item = (col >= 0) & (col < sizes[1])
    if (np.diff(rowptr) < 0).any() or not is_item.all():
        raise ValueError(
            f"'{name}_rowptr' must ascend, and '{name}_col' must hold items "
            f"from 0 to {sizes[1] - 1}"
        )
    return UserItems(torch.from_numpy(rowptr), torch.from_numpy(col))


def _read_neighbors(arrays: Any, sizes: Tuple[int, int]) -> NeighborTables:
    neighbor, weight = arrays["neighbor"], arrays["weight"]
    _check_same("the type of 'neighbor'", neighbor.dtype, np.dtype(np.int64))
    _check_same("the type of 'weight'", weight.dtype, np.dtype(np.float32))
    _check_same("the rows of 'neighbor'", len(neighbor), sizes[1])
    _check_same("the shape of 'weight'", weight.shape, neighbor.shape)
    is_item = (neighbor >= 0) & (neighbor < sizes[1])
    if not (is_item.all() and np.isfinite(weight).all()):
        raise ValueError(
            f"'neighbor' must hold items from 0 to {sizes[1] - 1}, and "
            f"'weight' finite numbers"
        )
    _read_items(arrays, "trained", sizes)  # To check them.
    return NeighborTables.from_arrays(arrays)


def _read_array(path: Path, dtype: type, shape: Tuple[int, ...]) -> Tensor:
    array = np.load(path, allow_pickle=False)
    _check_same("its type", array.dtype, np.dtype(dtype))
    _check_same("its shape", array.shape, shape)
    return torch.from_numpy(array)


@contextmanager
def _reading(path: Path) -> Iterator[Path]:
    """Names the file in any error that its content causes."""
    try:
        yield path
    # Damaged bytes may raise anything.
    except Exception as err:
        raise ValueError(f"'{path}' cannot be read: {err}") from err


def _check_same(what: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise ValueError(f"{what} must be {expected} (got {found})")
