import re
from typing import Any, Sequence, Tuple

import numpy as np
import pandas as pd
from torch import Tensor

from tmfun_pyg.utils.ids import INTEGER

# What `pandas.api.types.infer_dtype` calls ids that are not exact, or of
# which equal ones may look different.
REFUSED = re.compile("boolean|bytes|complex|decimal|floating|mixed-integer.*")


def to_ids(names: Sequence[str]) -> np.ndarray:
    """Converts text to ids: int64 if all are plain integers, else str."""
    ids = np.array(names, dtype=np.str_)
    is_integer = all(map(re.compile(INTEGER).fullmatch, names))
    return ids.astype(np.int64) if is_integer else ids


def to_ids_like(
    names: Sequence[str], like: np.ndarray, source: str
) -> np.ndarray:
    """Converts text to ids of the same type as ``like``.

    Raises:
        ValueError: If integers are expected, but not found.
    """
    if like.dtype.kind == "U":
        return np.array(names, dtype=np.str_)
    for name in names:
        if not re.fullmatch(INTEGER, name):
            raise ValueError(
                f"{source} must have integers as item ids, like the log (got "
                f"'{name}')"
            )
    return to_ids(names)


def number_ids(ids: Any, source: str) -> Tuple[np.ndarray, np.ndarray]:
    """Numbers ids in sorted order.

    Args:
        ids: A sequence of ids.
        source (str): The name of the sequence in errors.

    Returns:
        The number of each id, and the distinct ids in sorted order: int64
        if they are integers, else str.

    Raises:
        ValueError: If ids are missing, or of a type that is not exact.
    """
    if isinstance(ids, Tensor):
        ids = ids.cpu().numpy()
    number, distinct = pd.factorize(pd.Series(ids))
    check_complete(number < 0, "an id", source)
    if isinstance(distinct.dtype, pd.CategoricalDtype):
        distinct = distinct.astype(distinct.categories.dtype)
    kind = pd.api.types.infer_dtype(distinct)
    example = distinct.max() if kind == "integer" else distinct[0]
    if REFUSED.fullmatch(kind) or (kind == "integer" and example >= 2**63):
        raise ValueError(
            f"{source} must have 64-bit integers or strings as ids (got "
            f"'{example}' of type '{kind}'); convert them by .astype(str)"
        )
    if kind == "integer":
        names = distinct.to_numpy().astype(np.int64)
    else:
        names = distinct.map(str).to_numpy().astype(np.str_)
    names, place = np.unique(names, return_inverse=True)
    if len(names) < len(distinct):
        raise ValueError(
            f"{source} must have ids that differ as strings (got "
            f"{len(distinct)} ids, but {len(names)} strings)"
        )
    return place[number], names


def check_complete(missing: np.ndarray, value: str, source: str) -> None:
    """Raises a :class:`ValueError` if a row has no value."""
    if missing.any():
        raise ValueError(
            f"{source} must have {value} in every row (row "
            f"{missing.argmax()}, counted from 0, has none)"
        )
