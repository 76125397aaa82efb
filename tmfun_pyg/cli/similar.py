from pathlib import Path
from typing import Literal, Optional

import numpy as np

from tmfun_pyg.cli.command import with_options
from tmfun_pyg.cli.unknown_ids import unknown_by_file
from tmfun_pyg.datasets.id_files import read_ids
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.recommender.similarity import content_vectors
from tmfun_pyg.recommender.tables import write_table

# The names of Python arguments here.
ARGUMENTS = {
    "ids": "--items",
    "items": "--candidates",
    "similar_items": "similar",
}


def similar(
    recommender: Recommender,
    out: Path,
    items: str = "all",
    k: int = 10,
    by: str = "embedding",
    candidates: Optional[str] = None,
    exclude_items: Optional[str] = None,
    max_per_group: Optional[int] = None,
    with_titles: bool = False,
    unknown: Literal["error", "warn"] = "error",
) -> None:
    """Writes the items most similar to each item, which comes first in its
    own list.

    Args:
        recommender: The model and its data set.
        out: The file to write: .csv or .parquet.
        items: A file with the id of an item in each line, or "all".
        k: The length of the lists.
        by: What is compared: embedding, a modality, or content for all
            modalities.
        candidates: A file with the ids of the only items to return.
        exclude_items: A file with the ids of items not to return.
        max_per_group: The maximum number of items of one group in a list.
        with_titles: Whether to add the titles of the items.
        unknown: Whether unknown ids are an error, or a warning (warn) that
            counts and names them, after which they are skipped.
    """
    recommender = with_options(recommender, unknown=unknown)
    titles = recommender.titles if with_titles else None
    every = recommender.dataset.item_ids
    if items != "all":
        # Without repetitions.
        asked = np.array([*dict.fromkeys(read_ids(items))])
    elif by == "embedding":
        asked = every[recommender.known_items.cpu().numpy()]
    else:
        has_any = content_vectors(recommender.data, by).any(dim=1)
        asked = every[has_any.cpu().numpy()]
    allowed = None if candidates is None else read_ids(candidates)
    excluded = None if exclude_items is None else read_ids(exclude_items)
    with unknown_by_file(
        ids=f"'{items}'",
        items=f"'{candidates}'",
        exclude_items=f"'{exclude_items}'",
    ):
        found, score = recommender.similar_items(
            asked, k, by, allowed, excluded, max_per_group
        )
    row, place = np.isfinite(score).nonzero()
    columns = {
        "item_id": asked[row].astype(every.dtype),
        "rank": place + 1,
        "similar_id": found[row, place],
        "score": score[row, place],
    }
    if titles is not None:
        columns["title"] = titles.loc[columns["item_id"]].to_numpy()
        columns["similar_title"] = titles.loc[columns["similar_id"]].to_numpy()
    write_table(out, [columns])
    print(f"{out}: {len(asked)} items")
    if items == "all" and by != "embedding" and len(asked) < len(every):
        print(f"{len(every) - len(asked)} have no {by}, and no list")
    num_short = int((np.isfinite(score).sum(axis=1) < k).sum())
    if num_short > 0:
        print(f"{num_short} have fewer than {k} similar items left")
