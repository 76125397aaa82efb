"""Raw ids: 64-bit integers, or text."""

import re
import warnings
from functools import cached_property
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

import numpy as np
import pandas as pd

from tmfun_pyg.utils.messages import name_first

# Text that is not an id: empty, with one of these parts, or spaces around it.
NO_PARTS = "line breaks, null characters, lone surrogates"
NO_ID = re.compile(r"^$|^\s|\s$|[\n\r\0\ud800-\udfff]")
# The ways to handle unknown ids.
UNKNOWN = ("error", "warn")


def is_no_id(names: Any) -> np.ndarray:
    """Returns a mask of the text that is not an id.

    Args:
        names (Sequence[str]): The text.
    """
    return np.array([NO_ID.search(name) is not None for name in names], bool)


def ids_from_text(names: Any) -> np.ndarray:
    """Converts text to ids: int64 if all are 64-bit integers as Python writes
    them, so that ids stay distinct and unchanged, else str.

    Args:
        names (Sequence[str]): The text.
    """
    ids = np.asarray(names).astype(np.str_)
    try:
        numbers = ids.astype(np.int64)
    except (ValueError, OverflowError):
        return ids
    # Python also reads "05", "1_000", " 7" and digits of other scripts.
    return numbers if (numbers.astype(np.str_) == ids).all() else ids


def ids_like(names: Any, known: np.ndarray) -> np.ndarray:
    """Converts text to ids that join known ones: integers if all of both are,
    else text.

    Args:
        names (Sequence[str]): The text.
        known (np.ndarray): The known ids (int64 or str).
    """
    if known.dtype.kind == "i":
        return ids_from_text(names)
    return np.asarray(names).astype(np.str_)


def is_integer(names: Any) -> np.ndarray:
    """Returns a mask of the text that :func:`ids_from_text` reads as integers.

    Args:
        names (Sequence[str]): The text.
    """
    column = pd.Series(names, dtype=object)
    kind = column.map(lambda name: ids_from_text([name]).dtype.kind)
    return (kind == "i").to_numpy()


def index_by_text(ids: np.ndarray) -> Dict[str, int]:
    """Returns the index of each raw id by its text.

    Args:
        ids (np.ndarray): The raw ids (int64 or str) by index, each once.
    """
    return {str(raw): index for index, raw in enumerate(ids.tolist())}


def check_list(name: str, ids: Any) -> None:
    """Raises a :class:`ValueError` for anything but a list of ids, such as a
    single id or a matrix.
    """
    if isinstance(ids, (str, bytes, Mapping)) or not hasattr(ids, "__iter__"):
        raise ValueError(f"'{name}' must be a list of ids (got {ids!r})")
    shape = [*getattr(ids, "shape", (0,))]
    if len(shape) != 1:
        raise ValueError(
            f"'{name}' must be a list of ids (got a {type(ids).__name__} of "
            f"shape {shape})"
        )


def ids_as_text(name: str, ids: Iterable[Any]) -> List[str]:
    r"""Returns raw ids as text.

    Args:
        name (str): Their name, for errors.
        ids (Iterable[int or str]): The ids.

    Raises:
        ValueError: If :obj:`ids` is a single id, or holds anything but
            integers and strings that can be ids.
    """
    check_list(name, ids)
    values = [i.item() if hasattr(i, "item") else i for i in ids]
    for value in values:
        if not isinstance(value, (int, str)) or isinstance(value, bool):
            raise ValueError(
                f"'{name}' must hold integers or strings (got {value!r})"
            )
    names = [str(value) for value in values]
    bad = is_no_id(names)
    if bad.any():
        raise ValueError(
            f"'{name}' must hold ids without {NO_PARTS} and spaces around "
            f"them (got {names[int(bad.argmax())]!r})"
        )
    return names


class RawIds:
    r"""All raw ids of one kind by index, and the index of each. Look-up tables
    are built once, on first use.

    Args:
        ids (np.ndarray): The raw ids (int64 or str) by index, each once.
        unknown (str, optional): How :meth:`find_some` handles unknown ids:
            :obj:`"error"` or :obj:`"warn"`. (default: :obj:`"error"`)

    Raises:
        ValueError: If :obj:`unknown` is neither.
    """

    def __init__(self, ids: np.ndarray, unknown: str = "error") -> None:
        if unknown not in UNKNOWN:
            raise ValueError(
                f"'unknown' must be one of {', '.join(UNKNOWN)} (got "
                f"{unknown!r})"
            )
        self.ids, self.unknown = ids, unknown

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def place_of(self) -> Dict[str, int]:
        r"""The index of each id by its text."""
        return index_by_text(self.ids)

    @cached_property
    def _index(self) -> pd.Index:
        return pd.Index(self.ids)

    def find(self, name: str, raw: Iterable[Any]) -> np.ndarray:
        r"""Returns the indices of raw ids.

        Args:
            name (str): Their name, for errors.
            raw (Iterable[int or str]): The ids.

        Raises:
            ValueError: If some are unknown.
        """
        found, unknown = self._look_up(name, raw)
        if unknown:
            raise ValueError(
                f"'{name}' must be in the data set, with ids such as "
                f"{self.ids[0]} (got {unknown})"
            )
        return found

    def find_some(self, name: str, raw: Iterable[Any]) -> np.ndarray:
        r"""Returns the indices of raw ids. If :obj:`unknown` is
        :obj:`"warn"`, unknown ids get :obj:`-1` and a warning.

        Args:
            name (str): Their name, for messages.
            raw (Iterable[int or str]): The ids.

        Raises:
            ValueError: If some are unknown, and :obj:`unknown` is
                :obj:`"error"`.
        """
        if self.unknown == "error":
            return self.find(name, raw)
        found, unknown = self._look_up(name, raw)
        if unknown:
            warnings.warn(
                f"'{name}' holds what is not in the data set and is left out, "
                f"with ids such as {self.ids[0]} there (got {unknown})",
                stacklevel=3,
            )
        return found

    def _look_up(
        self, name: str, raw: Iterable[Any]
    ) -> Tuple[np.ndarray, Optional[str]]:
        """Returns the indices, and text that names the unknown ids."""
        check_list(name, raw)
        asked = list(raw)
        # Look up numbers directly; text takes a hundred times as long:
        numbers = None
        is_numeric = self.ids.dtype.kind == "i"
        if is_numeric and {*map(type, asked)} <= {int, np.int64}:
            numbers = np.array(asked)
        if numbers is not None and numbers.dtype == np.int64:
            found = self._index.get_indexer(numbers)
        else:
            texts = ids_as_text(name, asked)
            places = [self.place_of.get(text, -1) for text in texts]
            found = np.array(places, dtype=np.int64)
        rows = (found < 0).nonzero()[0].tolist()
        unknown = [*dict.fromkeys(str(asked[row]) for row in rows)]
        if len(unknown) < 2:
            return found, unknown[0] if unknown else None
        return found, f"{len(unknown)} others: {name_first(unknown)}"
