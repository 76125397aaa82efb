import warnings
from pathlib import Path
from typing import Dict, Iterator, Literal, Optional

import numpy as np

from tmfun_pyg.cli.command import with_options
from tmfun_pyg.cli.unknown_ids import unknown_by_file
from tmfun_pyg.datasets.pair_files import read_pairs
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.recommender.tables import write_table
from tmfun_pyg.utils.messages import NAMED, name_first

WRITTEN = ("score", "source")


def score(
    recommender: Recommender,
    pairs: Path,
    out: Path,
    fallback: Optional[str] = None,
    unknown: Literal["error", "warn"] = "error",
) -> None:
    """Writes the scores of given pairs of a user and an item, the scores that
    recommend ranks by, after the columns of the file.

    Args:
        recommender: The model and its data set.
        pairs: The pairs: a .csv or .tsv file with the columns user_id and
            item_id, which may be compressed (.csv.gz). It is read in chunks.
        out: The file to write: .csv or .parquet.
        fallback: What unknown users get, see recommend.
        unknown: Whether unknown items are an error, or a warning (warn) that
            counts and names them, after which their scores are missing.
    """
    recommender = with_options(recommender, fallback=fallback, unknown=unknown)
    count = {"pairs": 0, "unknown": 0, "without": 0}
    strangers: Dict[str, None] = {}
    others: Dict[str, None] = {}

    def pieces() -> Iterator[Dict[str, np.ndarray]]:
        for frame in read_pairs(str(pairs)):
            taken = [name for name in WRITTEN if name in frame]
            if taken:
                raise ValueError(
                    f"'{pairs}' must not have the column(s) "
                    f"{', '.join(taken)}, which are written"
                )
            where = f"'{pairs}', column 'item_id'"
            with unknown_by_file(items=where), warnings.catch_warnings():
                # Reported once, for all rows.
                warnings.simplefilter("ignore", UserWarning)
                found = recommender.score(frame["user_id"], frame["item_id"])
            count["pairs"] += len(frame)
            count["unknown"] += int((~found.known).sum())
            users = frame["user_id"][~found.known].unique()
            strangers.update(dict.fromkeys(users[: NAMED + 1]))
            has_none = found.source == ""
            count["without"] += int(has_none.sum())
            items = frame["item_id"][has_none].unique()
            others.update(dict.fromkeys(items[: NAMED + 1]))
            columns = {name: frame[name].to_numpy() for name in frame}
            written = {"score": found.score, "source": found.source}
            yield {**columns, **written}

    write_table(out, pieces())
    if others:
        warnings.warn(
            f"{count['without']} of the pairs have items that are not in the "
            f"data set, and no score: {name_first([*others])}",
            stacklevel=2,
        )
    print(f"{out}: {count['pairs']} pairs")
    if count["unknown"] > 0:
        print(
            f"{count['unknown']} of them are of users unknown to the model, "
            f"and have the score of the fallback (source: "
            f"{recommender.fallback_source}): {name_first([*strangers])}"
        )
