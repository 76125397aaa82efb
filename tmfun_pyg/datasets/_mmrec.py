"""Data sets in MMRec format."""

import os
import os.path as osp
from typing import List, Tuple

import numpy as np
import pandas as pd
import torch

from tmfun_pyg.datasets._content import (
    Content,
    Interactions,
    build_content,
    check_splits,
    first_of_pairs,
)
from tmfun_pyg.datasets._mmrec_files import (
    COLUMNS,
    read_inter,
    read_mapping,
    write_mapping,
)
from tmfun_pyg.datasets.features import ZeroRows, check_features, read_features

FEATURES = "_feat.npy"
MAPPINGS = {"user": "u_id_mapping.csv", "item": "i_id_mapping.csv"}


def find_raw_dir(root: str, name: str) -> str:
    """Returns the folder of the raw files, whether it exists or not."""
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
    """Returns the names of all files: the mappings only if they exist."""
    return [
        f"{name}.inter",
        *(modality + FEATURES for modality in modalities),
        *filter(lambda f: osp.isfile(osp.join(raw_dir, f)), MAPPINGS.values()),
    ]


def read(
    raw_dir: str, name: str, modalities: List[str], zero_rows: ZeroRows
) -> Content:
    """Reads and checks all files of a data set.

    Raises:
        ValueError: If a file has another format, or does not fit the others.
    """
    inter_path = osp.join(raw_dir, f"{name}.inter")
    rows = read_inter(inter_path)
    paths = {m: osp.join(raw_dir, m + FEATURES) for m in modalities}
    features = {
        modality: check_features(read_features(path), f"'{path}'", zero_rows)
        for modality, path in paths.items()
    }
    # A larger index without a mapping is almost surely a raw id.
    bound = max([len(rows.user), *(len(x) for x, _ in features.values())])
    user_ids, _ = _read_ids(inter_path, "user", rows.user, bound)
    item_ids, source = _read_ids(inter_path, "item", rows.item, bound)
    for modality, path in paths.items():
        num_rows = len(features[modality][0])
        if num_rows != len(item_ids):
            raise ValueError(
                f"'{path}' must have {len(item_ids)} rows, the number of "
                f"items in '{source}' (got {num_rows})"
            )
    kept = first_of_pairs(rows.user, rows.item, rows.label)
    inter = Interactions(*(column[kept] for column in rows))
    check_splits(inter.label, f"'{inter_path}'")
    num_duplicates = len(rows.user) - len(kept)
    return build_content(inter, features, user_ids, item_ids, num_duplicates)


def write(content: Content, name: str, folder: str) -> None:
    """Writes the files of a data set for :func:`read`.

    Raises:
        ValueError: If a raw id is empty.
    """
    user, item = torch.cat(content.splits, dim=1).numpy()
    num_pairs = [pairs.size(1) for pairs in content.splits]
    columns = user, item, np.repeat(range(3), num_pairs)
    pd.DataFrame(dict(zip(COLUMNS, columns, strict=True))).to_csv(
        osp.join(folder, f"{name}.inter"), sep="\t", index=False
    )
    for modality in content.modalities:
        matrix = content.data["item"][f"x_{modality}"].numpy()
        np.save(osp.join(folder, modality + FEATURES), matrix)
    for kind, ids in (("user", content.user_ids), ("item", content.item_ids)):
        write_mapping(osp.join(folder, MAPPINGS[kind]), f"{kind}ID", ids)


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
