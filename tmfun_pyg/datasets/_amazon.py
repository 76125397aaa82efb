"""Reads the items of Amazon's review data."""

from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
import pandas as pd

from tmfun_pyg.datasets._json_lines import read_json_lines
from tmfun_pyg.datasets._text_table import join_texts


class Fields(NamedTuple):
    """The names of fields in one edition.

    Args:
        item (str): The id of the item.
        group (str): Its brand or shop.
        texts (List[str]): The parts of its text, in this order.
        images (List[str]): Its pictures, the best first.
    """

    item: str
    group: str
    texts: Sequence[str]
    images: Sequence[str]


EDITIONS = {
    "amazon2018": Fields(
        "asin",
        "brand",
        ("title", "feature", "category", "description"),
        ("imageURLHighRes", "imageURL"),
    ),
    "amazon2023": Fields(
        "parent_asin",
        "store",
        ("title", "features", "categories", "description"),
        ("images",),
    ),
}
SIZES = ("hi_res", "large", "thumb")  # Of pictures in 2023.


def read_meta(
    edition: str, path: str, item_ids: np.ndarray
) -> Tuple[pd.DataFrame, int]:
    """Returns one row for each of the items that are in the file, with the
    columns ``item_id``, ``title``, ``image_url``, ``group`` and ``text``, and
    the number of skipped rows: those of other items, and all but the first of
    repeated ones. Skipped rows are not kept in memory.

    Args:
        edition (str): The edition, ``"amazon2018"`` or ``"amazon2023"``.
        path (str): A file ``meta_*.jsonl``, optionally gzipped.
        item_ids (np.ndarray): The items.

    Raises:
        ValueError: If the file is missing or has the wrong format.
    """
    fields = EDITIONS[edition]
    known = set(item_ids.astype(str))
    frames: List[pd.DataFrame] = []
    num_others = 0
    others = [*fields.texts, fields.group, *fields.images]
    for rows in read_json_lines(path, [fields.item], others):
        item = rows[fields.item].astype(str)
        kept = item.isin(known) & ~item.duplicated()
        known.difference_update(item[kept])
        num_others += len(item) - int(kept.sum())
        rows = rows[kept]
        texts = {name: rows[name].map(_text) for name in fields.texts}
        columns: Dict[str, Any] = {
            "item_id": item[kept],
            "title": texts["title"],
            "image_url": rows[fields.images[0]].map(_image),
            "group": rows[fields.group].map(_text),
            "text": join_texts(list(texts.values())),
        }
        for name in fields.images[1:]:
            image = columns["image_url"]
            columns["image_url"] = image.where(
                image != "", rows[name].map(_image)
            )
        frames.append(pd.DataFrame(columns))
    if not any(map(len, frames)):
        raise ValueError(
            f"'{path}' must have items of the log such as {item_ids[0]} in "
            f"the field '{fields.item}' (got none of them)"
        )
    return pd.concat(frames, ignore_index=True), num_others


def _text(value: Any) -> str:
    """Returns a text, or a list of texts, in one line."""
    parts = value if isinstance(value, list) else [value]
    texts = [part for part in parts if isinstance(part, str)]
    return " ".join(" ".join(texts).split())


def _image(value: Any) -> str:
    """Returns the URL of the first picture of a list."""
    first = value[0] if isinstance(value, list) and value else None
    if isinstance(first, dict):
        first = next(filter(None, map(first.get, SIZES)), None)
    return first if isinstance(first, str) else ""
