"""Splits as MMSSL and MMHCL publish them: one JSON file each."""

import json
import os.path as osp
from collections import Counter
from itertools import chain
from typing import Any, Dict, List, Tuple

import numpy as np
import pandas as pd

from tmfun_pyg.datasets._content import Interactions
from tmfun_pyg.datasets._files import read_text

# Training, validation and test: the items of each user.
SPLIT_FILES = ("train.json", "val.json", "test.json")
INDEX = "0|[1-9][0-9]{0,8}"
EXPECTED = (
    "an object of users' indices, each with a list of items' indices, as in "
    '{"0": [5, 2]}'
)


def read_json_splits(folder: str) -> Interactions:
    """Reads the three files of a folder, in this order.

    Raises:
        ValueError: If a file is missing or has the wrong format.
    """
    parts = []
    for label, name in enumerate(SPLIT_FILES):
        user, item = _read_split(osp.join(folder, name))
        parts.append((user, item, np.full(len(user), label)))
    return Interactions(*map(np.concatenate, zip(*parts, strict=True)))


def _read_split(path: str) -> Tuple[np.ndarray, np.ndarray]:
    try:
        items_of = json.loads(read_text(path), object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as err:
        raise ValueError(f"'{path}' must be {EXPECTED} (got: {err})") from err
    if not isinstance(items_of, dict):
        raise _other(path, type(items_of).__name__)
    users, lists = pd.Series(list(items_of), dtype=str), items_of.values()
    bad = ~users.str.fullmatch(INDEX)
    if bad.any():
        raise _other(path, f"the user {users[bad.argmax()]!r}")
    if not set(map(type, lists)) <= {list}:
        raise _other(path, "a user without a list")
    items = list(chain.from_iterable(lists))
    if not set(map(type, items)) <= {int}:
        raise _other(path, "an item that is no integer")
    if items and not 0 <= min(items) <= max(items) < 10**9:
        raise _other(path, f"items from {min(items)} to {max(items)}")
    user = users.astype(np.int64).to_numpy()
    return user.repeat(list(map(len, lists))), np.array(items, dtype=np.int64)


def _distinct(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    items_of = dict(pairs)
    if len(items_of) < len(pairs):  # The last one would replace the others.
        count = Counter(user for user, _ in pairs)
        (user, number), *_ = count.most_common(1)
        raise ValueError(f"the user {user!r} {number} times")
    return items_of


def _other(path: str, got: str) -> ValueError:
    return ValueError(f"'{path}' must be {EXPECTED} (got {got})")
