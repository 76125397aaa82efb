"""Reads and writes data sets in MMRec format."""

import csv
import os
import os.path as osp
from typing import Any, Dict, List, Tuple, Union

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from tmfun_pyg.datasets import _content
from tmfun_pyg.datasets._content import Content, Features, Interactions
from tmfun_pyg.datasets._files import CHUNK, read_csv
from tmfun_pyg.datasets.features import ZeroRows, check_features, read_features
from tmfun_pyg.datasets.item_table import read_table, write_table
from tmfun_pyg.datasets.projection import to_features, to_half
from tmfun_pyg.utils.ids import NO_PARTS, ids_from_text, is_no_id

FEATURES, PROJECTION = "_feat.npy", "_projection.npy"
MAPPINGS = {"user": "u_id_mapping.csv", "item": "i_id_mapping.csv"}
ITEM_TABLE = "item_table.csv"
# The seconds since 1970 of each row of the .inter file.
TIMES = "interaction_times.npy"
# Suffix of the name of a column of raw ids that are text even if all of them
# look like integers.
TEXT = ":str"
# The columns of an .inter file, with the pattern of their fields and a
# description for errors.
COLUMNS = {
    "userID": ("[0-9]{1,18}", "a non-negative integer"),
    "itemID": ("[0-9]{1,18}", "a non-negative integer"),
    "x_label": ("[012]", "0 (training), 1 (validation) or 2 (test)"),
}


def find_raw_dir(root: str, name: str) -> str:
    """Returns the folder of the raw files, which need not exist."""
    raw_dir = osp.join(root, name, "raw")
    if not osp.isdir(raw_dir):
        for folder in (osp.join(root, name), root):
            if osp.isfile(osp.join(folder, f"{name}.inter")):
                return folder
    return raw_dir


def find_modalities(raw_dir: str) -> List[str]:
    """Returns the modalities with a feature file, sorted by name."""
    files = sorted(os.listdir(raw_dir)) if osp.isdir(raw_dir) else []
    return [f.removesuffix(FEATURES) for f in files if f.endswith(FEATURES)]


def raw_files(raw_dir: str, name: str, modalities: List[str]) -> List[str]:
    """Returns the names of all files: the projections, the mappings, the item
    table and the times only if they exist.
    """
    optional = [modality + PROJECTION for modality in modalities]
    optional += [*MAPPINGS.values(), ITEM_TABLE, TIMES]
    return [
        f"{name}.inter",
        *(modality + FEATURES for modality in modalities),
        *filter(lambda f: osp.isfile(osp.join(raw_dir, f)), optional),
    ]


def read(
    raw_dir: str,
    name: str,
    modalities: List[str],
    zero_rows: ZeroRows,
    half: bool,
) -> Content:
    """Reads and checks all files of a data set.

    Raises:
        ValueError: If a file has the wrong format, or does not fit the others.
    """
    inter_path = osp.join(raw_dir, f"{name}.inter")
    rows = read_inter(inter_path)
    paths = {m: osp.join(raw_dir, m + FEATURES) for m in modalities}
    tables = {modality: read_features(path) for modality, path in paths.items()}
    # Without a mapping, a larger index is almost surely a raw id.
    num_rows = [len(table) for table in tables.values() if table.ndim > 0]
    bound = max([len(rows.user), *num_rows])
    user_ids, _ = _read_ids(inter_path, "user", rows.user, bound)
    item_ids, source = _read_ids(inter_path, "item", rows.item, bound)
    features: Features = {}
    projections: Dict[str, Tensor] = {}
    for modality, path in paths.items():
        table = tables.pop(modality)
        if table.ndim > 0 and len(table) != len(item_ids):
            raise ValueError(
                f"'{path}' must have {len(item_ids)} rows, the number of "
                f"items in '{source}' (got {len(table)})"
            )
        present = check_features(table, f"'{path}'", zero_rows, item_ids)
        if half:
            features[modality] = to_half(table, f"'{path}'"), present
        else:
            features[modality] = to_features(table), present
        path = osp.join(raw_dir, modality + PROJECTION)
        if osp.isfile(path):
            projections[modality] = _read_projection(path, table.shape[1])
    kept = _content.first_of_pairs(rows.user, rows.item, rows.label)
    inter = Interactions(*(column[kept] for column in rows))
    _content.check_splits(
        inter.label, f"'{inter_path}'", "among the labels 0, 1 and 2"
    )
    num_duplicates = len(rows.user) - len(kept)
    content = _content.build_content(
        inter, features, user_ids, item_ids, num_duplicates
    )._replace(projections=projections)
    path = osp.join(raw_dir, ITEM_TABLE)
    if osp.isfile(path):
        table = read_table(path, len(item_ids))
        content = content._replace(item_table=table)
    path = osp.join(raw_dir, TIMES)
    if osp.isfile(path):
        seconds = _read_seconds(path, len(rows.user))[kept]
        times = _content.timed(inter.user, inter.item, seconds)
        content = content._replace(interaction_times=times)
    return content


def write(content: Content, name: str, folder: str) -> None:
    """Writes the files of a data set for :func:`read`."""
    splits = [
        Interactions(
            user.numpy(), item.numpy(), np.full(len(user), label, np.int8)
        )
        for label, (user, item) in enumerate(content.splits)
    ]
    write_inter(osp.join(folder, f"{name}.inter"), *splits)
    for modality in content.modalities:
        matrix = content.data["item"][f"x_{modality}"].numpy()
        np.save(osp.join(folder, modality + FEATURES), matrix)
    for modality, projection in content.projections.items():
        np.save(osp.join(folder, modality + PROJECTION), projection.numpy())
    for kind, ids in (("user", content.user_ids), ("item", content.item_ids)):
        write_mapping(osp.join(folder, MAPPINGS[kind]), f"{kind}ID", ids)
    if len(content.item_table.columns) > 0:
        write_table(osp.join(folder, ITEM_TABLE), content.item_table)
    if content.interaction_times is not None:
        seconds = _times_of(splits, content.interaction_times.numpy())
        np.save(osp.join(folder, TIMES), seconds)


def _times_of(splits: List[Interactions], times: np.ndarray) -> np.ndarray:
    """Returns the seconds of interactions, from rows of users, items and
    seconds sorted by pair.
    """
    num_items = int(times[1].max()) + 1
    pair = times[0] * num_items + times[1]
    parts = [
        times[2][np.searchsorted(pair, rows.user * num_items + rows.item)]
        for rows in splits
    ]
    return np.concatenate(parts)


def _read_projection(path: str, num_features: int) -> Tensor:
    matrix = read_features(path)
    if (
        matrix.dtype != np.float32
        or matrix.ndim != 2
        or matrix.shape[1] != num_features
        or not np.isfinite(matrix).all()
    ):
        raise ValueError(
            f"'{path}' must hold finite 32-bit numbers of shape "
            f"[num_raw_features, {num_features}], as prepare() writes them "
            f"(got {matrix.dtype} of shape {list(matrix.shape)})"
        )
    return torch.tensor(matrix)


def _read_seconds(path: str, num_rows: int) -> np.ndarray:
    try:
        seconds = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as err:
        raise ValueError(f"'{path}' cannot be read: {err}") from err
    if seconds.dtype != np.int64 or seconds.shape != (num_rows,):
        raise ValueError(
            f"'{path}' must hold {num_rows} times, a 64-bit integer for each "
            f"row of the .inter file (got {seconds.dtype} of shape "
            f"{list(seconds.shape)})"
        )
    return seconds


def read_inter(path: str) -> Interactions:
    """Returns the rows of an ``.inter`` file in order, so that row ``n`` is
    in line ``n + 2`` of the file.

    Raises:
        ValueError: If the file has the wrong format; the message names the
            line and the column.
    """
    # Other columns may hold anything.
    options = {"quoting": csv.QUOTE_NONE, "encoding_errors": "replace"}
    frame = _read_rows(path, low_memory=False, **options)
    if not set(COLUMNS).issubset(frame):
        raise ValueError(
            f"'{path}', line 1 must have the tab-separated columns "
            f"{list(COLUMNS)} (got {list(frame)})"
        )
    rows = frame[list(COLUMNS)]
    if (
        (rows.dtypes != np.int64).any()
        or (rows < 0).any(axis=None)
        or (rows["x_label"] > 2).any()
    ):
        frame = _read_rows(path, dtype=str, **options)
        for name, (pattern, expected) in COLUMNS.items():
            bad = ~frame[name].str.fullmatch(pattern)
            _check(path, frame[name], bad, expected)
    return Interactions(*(frame[name].to_numpy(np.int64) for name in COLUMNS))


def write_inter(
    path: Union[str, "os.PathLike[str]"], *parts: Interactions
) -> None:
    """Writes a file for :func:`read_inter`, with a progress bar."""
    total = sum(len(rows.user) for rows in parts)
    bar = tqdm(
        total=total,
        desc=osp.basename(path),
        unit=" rows",
        unit_scale=True,
        delay=1,
        disable=None,
    )
    with bar, open(path, "w", encoding="utf-8", newline="") as file:
        file.write("\t".join(COLUMNS) + os.linesep)
        for rows in parts:
            for start in range(0, len(rows.user), CHUNK):
                some = [column[start : start + CHUNK] for column in rows]
                frame = pd.DataFrame(dict(zip(COLUMNS, some, strict=True)))
                frame.to_csv(file, sep="\t", index=False, header=False)
                bar.update(len(frame))


def read_mapping(path: str, column: str) -> np.ndarray:
    """Returns the raw ids by index: int64 if all of them are 64-bit integers
    and the name of their column does not end in ``:str``, else str.

    Args:
        path (str): A tab-separated file with a header and two columns: raw
            ids and their indices.
        column (str): The name of the second column.

    Raises:
        ValueError: If the file has the wrong format; the message names the
            line and the column.
    """
    frame = _read_rows(path, dtype=str)
    if frame.shape[1] != 2 or frame.columns[1] != column:
        raise ValueError(
            f"'{path}', line 1 must have two tab-separated columns, raw ids "
            f"and '{column}' (got {list(frame)})"
        )
    raw, number = frame.iloc[:, 0], frame.iloc[:, 1]
    _check(
        path,
        raw,
        is_no_id(raw),
        f"an id without {NO_PARTS} and spaces around it",
    )
    _check(path, raw, raw.duplicated(), "an id that is not repeated")
    bad = ~number.str.fullmatch("(0|[1-9][0-9]{0,17})") | number.duplicated()
    _check(path, number, bad, "an index from 0 on that is not repeated")
    index = number.astype(np.int64)
    size = len(index)
    _check(path, index, index >= size, f"below {size}, the number of rows")
    names = raw.iloc[index.argsort()].to_numpy()
    is_text = frame.columns[0].endswith(TEXT)
    return names.astype(np.str_) if is_text else ids_from_text(names)


def write_mapping(path: str, column: str, ids: np.ndarray) -> None:
    """Writes a file for :func:`read_mapping`."""
    raw = "raw_id" + TEXT * (ids.dtype.kind == "U")
    frame = pd.DataFrame({raw: ids, column: range(len(ids))})
    frame.to_csv(path, sep="\t", index=False, lineterminator="\n")


def _read_rows(path: str, **options: Any) -> pd.DataFrame:
    frame = read_csv(
        path, sep="\t", na_filter=False, skip_blank_lines=False, **options
    )
    if frame.empty:
        raise ValueError(f"'{path}' must have rows (got only a header)")
    frame.index += 2
    return frame


def _check(path: str, values: pd.Series, bad: Any, expected: str) -> None:
    """Reports the first bad value; the index holds the line numbers."""
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"'{path}', line {values.index[row]}, column '{values.name}' must "
            f"be {expected} (got '{values.iloc[row]}')"
        )


def _read_ids(
    inter_path: str, kind: str, index: np.ndarray, bound: int
) -> Tuple[np.ndarray, str]:
    """Returns the raw ids of all users or items, and the file that defines
    them. Without a mapping file, ids are indices.
    """
    row = int(index.argmax())
    path = osp.join(osp.dirname(inter_path), MAPPINGS[kind])
    if osp.isfile(path):
        ids = read_mapping(path, f"{kind}ID")
        hint = f"the number of {kind}s in '{path}'"
    else:
        path = inter_path
        ids = np.arange(min(int(index[row]) + 1, bound))
        hint = "raw ids need MultimodalRecDataset.from_interactions"
    if index[row] >= len(ids):
        raise ValueError(
            f"'{inter_path}', line {row + 2}, column '{kind}ID' must be below "
            f"{len(ids)} (got {index[row]}): {hint}"
        )
    return ids, path
