import re
from typing import Any, Iterable, List, Sequence

import numpy as np

# Integers without leading zeros, of up to 18 digits, which fit into int64.
INTEGER = r"0|-?[1-9][0-9]{0,17}"


class IdIndex:
    """Finds the indices of raw ids that are given as text.

    Args:
        ids (np.ndarray): The raw ids (int64 or str) by index, each once.
    """

    def __init__(self, ids: np.ndarray) -> None:
        self.is_integer = ids.dtype.kind == "i"
        self.order = ids.argsort(kind="stable")
        self.ids = ids[self.order]

    def find(self, raw: Sequence[str]) -> np.ndarray:
        """Returns the index of each id, or :obj:`-1` if it is unknown."""
        query = np.array(raw, dtype=np.str_)
        known = np.ones(len(query), dtype=bool)
        if self.is_integer:
            match = re.compile(INTEGER).fullmatch
            known = np.array([match(text) is not None for text in raw], bool)
            query = np.where(known, query, "0").astype(np.int64)
        if len(query) == 0 or len(self.ids) == 0:
            return np.full(len(query), -1)
        place = self.ids.searchsorted(query).clip(max=len(self.ids) - 1)
        known &= self.ids[place] == query
        return np.where(known, self.order[place], -1)


def check_list(name: str, ids: Any) -> None:
    """Raises a :class:`ValueError` for a single id in place of a list."""
    if isinstance(ids, str) or not hasattr(ids, "__iter__"):
        raise ValueError(f"'{name}' must be a list of ids (got {ids!r})")


def ids_as_text(name: str, ids: Iterable[Any]) -> List[str]:
    r"""Returns raw ids as text.

    Args:
        name (str): What an error calls them.
        ids (Iterable[int or str]): The ids.

    Raises:
        ValueError: If :obj:`ids` is a single id, or holds anything but
            integers and strings.
    """
    check_list(name, ids)
    values = [i.item() if hasattr(i, "item") else i for i in ids]
    for value in values:
        if not isinstance(value, (int, str)) or isinstance(value, bool):
            raise ValueError(
                f"'{name}' must hold integers or strings (got {value!r})"
            )
    return [str(value) for value in values]
