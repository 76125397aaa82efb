from pathlib import Path
from typing import Dict, Iterator, List, Optional

import numpy as np
from tqdm import tqdm

from tmfun_pyg.cli._command import load, run
from tmfun_pyg.datasets.features import read_features
from tmfun_pyg.recommender.add_items import add_items
from tmfun_pyg.recommender.recommendations import (
    Recommendations,
    recommendations,
    write_recommendations,
)

NEW_ITEMS = (
    "Items that the model was not trained with: feature files named after "
    "their modalities (visual.npy or visual_feat.npy; any name if there is "
    "one modality), and a .txt file with the id of an item in each line, in "
    "the order of the rows."
)


def recommend(args: List[str]) -> None:
    """Writes recommendations."""
    run("recommend", write, args, {"new_items": NEW_ITEMS})


def write(
    ckpt: Path,
    out: Path,
    users: str = "all",
    k: int = 20,
    new_items: Optional[List[str]] = None,
    only_new: bool = False,
    exclude_seen: bool = True,
    root: Optional[str] = None,
    name: Optional[str] = None,
) -> None:
    """Writes the items of highest score for each user. Users whom the model
    does not know get the most popular items, and are marked.

    Args:
        ckpt: The checkpoint.
        out: The file to write: .csv, .parquet or .jsonl.
        users: A file with the id of a user in each line, or "all".
        k: The length of the lists.
        new_items: See above.
        only_new: Whether to recommend none but the new items.
        exclude_seen: Whether to leave out what a user has chosen already.
        root: The root directory of the data set, if it was moved.
        name: The name of the data set, if it was moved.
    """
    loaded = load(ckpt, root, name)
    num_known = loaded.model.num_items
    if new_items is not None:
        ids, features = _read_new_items(
            [Path(path) for path in new_items], loaded.dataset.modalities
        )
        loaded = add_items(loaded, ids, features)
    elif only_new:
        raise ValueError("--only_new: found no --new_items, expected some")
    asked: Optional[Iterator[str]] = None
    total: Optional[int] = len(loaded.dataset.user_ids)
    if users != "all":
        asked, total = _read_lines(Path(users), "--users"), None
    items = range(num_known, loaded.model.num_items) if only_new else None
    with tqdm(total=total, unit=" users", disable=None) as bar:

        def shown() -> Iterator[Recommendations]:
            for chunk in recommendations(
                loaded, asked, k, exclude_seen, items
            ):
                yield chunk
                bar.update(len(chunk.user_id))

        count = write_recommendations(out, shown())
    print(f"{out}: {count['users']} users")
    if count["unknown"] > 0:
        print(
            f"{count['unknown']} of them are unknown to the model and get the "
            f"most popular items (source: most-popular)"
        )
    if count["short"] > 0:
        print(f"{count['short']} have fewer than {k} items left")


def _read_new_items(
    paths: List[Path], modalities: List[str]
) -> "tuple[List[str], Dict[str, np.ndarray]]":
    lists = [path for path in paths if path.suffix == ".txt"]
    tables = [path for path in paths if path.suffix == ".npy"]
    if len(lists) != 1 or len(tables) == 0 or len(tables) + 1 != len(paths):
        raise ValueError(
            f"--new_items: found {[str(path) for path in paths]}, expected "
            f"feature files (.npy) and one file of item ids (.txt)"
        )
    features: Dict[str, np.ndarray] = {}
    for path in tables:
        modality = path.stem.removesuffix("_feat")
        if len(modalities) == 1 and len(tables) == 1:
            modality = modalities[0]
        if modality not in modalities or modality in features:
            raise ValueError(
                f"--new_items {path}: found the modality '{modality}', "
                f"expected one file for each of {modalities}, named after it"
            )
        features[modality] = read_features(str(path))
    return list(_read_lines(lists[0], "--new_items")), features


def _read_lines(path: Path, option: str) -> Iterator[str]:
    if not path.is_file():
        raise ValueError(f"{option} {path}: found no such file")
    return _lines(path, option)


def _lines(path: Path, option: str) -> Iterator[str]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            text = line.rstrip("\r\n")
            if text == "":
                raise ValueError(
                    f"{option} {path}, line {number}: found an empty line, "
                    f"expected an id"
                )
            yield text
