from pathlib import Path
from typing import Any, Dict, Iterator, List, Literal, Optional, Tuple

from tqdm import tqdm

from tmfun_pyg.cli.command import with_options
from tmfun_pyg.cli.unknown_ids import unknown_by_file
from tmfun_pyg.datasets.features import read_features
from tmfun_pyg.datasets.histories import read_histories
from tmfun_pyg.datasets.id_files import read_ids, read_ids_of_rows
from tmfun_pyg.recommender import (
    Recommendations,
    Recommender,
    write_recommendations,
)
from tmfun_pyg.utils.messages import NAMED, name_first

SEVERAL = {
    "cold_items": "New items: feature files named after their modalities "
    "(visual.npy or visual_feat.npy; any name if there is one modality), and a "
    ".txt file with one item id per line, in the order of the rows.",
    "columns": "The names of all columns of a text history without a header, "
    "as --columns user_id item_id timestamp.",
}

# The names of Python arguments here.
ARGUMENTS = {"features": "--cold_items"}


def recommend(
    recommender: Recommender,
    out: Path,
    users: str = "all",
    k: int = 20,
    cold_items: Optional[List[str]] = None,
    only_cold: bool = False,
    exclude_seen: bool = True,
    history: Optional[str] = None,
    replace: bool = False,
    items: Optional[str] = None,
    exclude_items: Optional[str] = None,
    max_per_group: Optional[int] = None,
    with_titles: bool = False,
    fallback: Optional[str] = None,
    cold_share: float = 0.0,
    sep: Optional[str] = None,
    columns: Optional[List[str]] = None,
    encoding: Optional[str] = None,
    unknown: Literal["error", "warn"] = "error",
) -> None:
    r"""Writes the items with the highest scores for each user. Unknown users
    get the lists of --fallback, and are marked; with --history, users are
    represented by their items.

    Args:
        recommender: The model and its data set.
        out: The file to write: .csv, .parquet or .jsonl.
        users: A file with the id of a user in each line, or "all".
        k: The length of the lists.
        cold_items: See above.
        only_cold: Whether to recommend only the items of --cold_items.
        exclude_seen: Whether to leave out items that a user already has.
        history: A log of new users, or of further items of known ones, instead
            of --users: a file with the columns user_id and item_id.
        replace: Whether the history replaces the stored interactions of known
            users instead of extending them.
        items: A file with the ids of the only items to recommend.
        exclude_items: A file with the ids of items not to recommend.
        max_per_group: The maximum number of items of one group in a list.
        with_titles: Whether to add the titles of the items.
        fallback: What unknown users get: popular, popular:30d (any number of
            days), or group:COLUMN (of the item table, whose groups take
            turns); by default the fallback of the checkpoint.
        cold_share: The share of each list reserved for cold items, ranked by
            content and spread evenly.
        sep: The column separator of a text history, such as ";", "\t" or
            "::"; by default that of its suffix.
        columns: See above.
        encoding: The encoding of a text history, by default UTF-8.
        unknown: Whether unknown ids are an error, or a warning (warn) that
            counts and names them, after which they are skipped; unknown users
            always get the fallback.
    """
    recommender = with_options(recommender, fallback=fallback, unknown=unknown)
    allowed = None if items is None else read_ids(items)
    excluded = None if exclude_items is None else read_ids(exclude_items)
    if cold_items is not None:
        ids_path, tables = _find_items(
            cold_items, recommender.dataset.modalities
        )
        recommender, ids = _add_items(recommender, ids_path, tables)
        if only_cold and allowed is not None:
            raise ValueError("--only_cold must not come with --items")
        allowed = ids if only_cold else allowed
    elif only_cold:
        raise ValueError("--only_cold must come with --cold_items")
    if history is not None and users != "all":
        raise ValueError("--users must be left out with --history")
    if history is None and replace:
        raise ValueError("--replace must come with --history")
    titles = recommender.titles if with_titles else None
    asked = None
    if users != "all":
        asked = [*dict.fromkeys(read_ids(users))]  # Without repetitions.
    found = None
    if history is not None:
        if sep is not None:
            sep = sep.replace("\\t", "\t")  # A tab is hard to type.
        found = read_histories(history, sep, columns, encoding)
    elif (sep, columns, encoding) != (None, None, None):
        raise ValueError(
            "--sep, --columns, --encoding must come with --history"
        )
    everyone = recommender.dataset.user_ids if found is None else found
    total = len(everyone if asked is None else asked)
    strangers: List[Any] = []
    with tqdm(total=total, unit=" users", disable=None) as bar:

        def shown() -> Iterator[Recommendations]:
            for chunk in recommender.recommend_iter(
                asked,
                k,
                allowed,
                exclude_seen,
                found,
                replace,
                excluded,
                max_per_group,
                cold_share=cold_share,
            ):
                yield chunk
                if len(strangers) <= NAMED:
                    strangers.extend(chunk.user_id[~chunk.known].tolist())
                bar.update(len(chunk.user_id))

        with unknown_by_file(
            items=f"'{items}'",
            exclude_items=f"'{exclude_items}'",
            history=f"'{history}', column 'item_id'",
        ):
            count = write_recommendations(out, shown(), titles, k)
    print(f"{out}: {count['users']} users")
    if count["unknown"] > 0:
        print(
            f"{count['unknown']} of them are unknown to the model and get the "
            f"lists of the fallback (source: {recommender.fallback_source}): "
            f"{name_first(strangers)}"
        )
    if count["short"] > 0:
        print(f"{count['short']} have fewer than {k} items left")


def _find_items(
    names: List[str], modalities: List[str]
) -> Tuple[str, Dict[str, str]]:
    """Returns the file of item ids, and the feature file of each modality."""
    lists = [name for name in names if name.endswith(".txt")]
    tables = [name for name in names if name.endswith(".npy")]
    features = {Path(x).stem.removesuffix("_feat"): x for x in tables}
    if len(modalities) == len(tables) == 1:
        features = {modalities[0]: tables[0]}
    fits = len(lists) == 1 and 0 < len(features) == len(names) - 1
    if not fits or not features.keys() <= set(modalities):
        raise ValueError(
            f"--cold_items must be one .txt file of item ids, and .npy files "
            f"of features named after some of {modalities} (got {names})"
        )
    return lists[0], features


def _add_items(
    recommender: Recommender, ids_path: str, tables: Dict[str, str]
) -> Tuple[Recommender, List[str]]:
    """Adds the items of files, and also returns their ids."""
    features = {name: read_features(path) for name, path in tables.items()}
    for name, path in tables.items():
        ids = read_ids_of_rows(ids_path, path, features[name])
    try:
        return recommender.add_items(ids, features), ids
    except ValueError as error:  # Names Python arguments.
        text = str(error).replace("'item_ids'", f"'{ids_path}'")
        for name, path in tables.items():
            text = text.replace(f"features['{name}']", f"'{path}'")
        raise ValueError(text) from error
