import re
from typing import Sequence

import numpy as np

# Integers as Python writes them: without leading zeros.
INTEGER = r"0|-?[1-9][0-9]{0,17}"


class IdIndex:
    """Finds raw ids, given as text.

    Args:
        ids (np.ndarray): The raw ids (int64 or str), each once.
    """

    def __init__(self, ids: np.ndarray) -> None:
        self.is_integer = ids.dtype.kind == "i"
        self.order = ids.argsort(kind="stable")
        self.ids = ids[self.order]

    def find(self, raw: Sequence[str]) -> np.ndarray:
        """Returns the place of each id, or -1."""
        asked = np.array(raw, dtype=np.str_)
        known = np.ones(len(asked), dtype=bool)
        if self.is_integer:
            match = re.compile(INTEGER).fullmatch
            known = np.array([match(text) is not None for text in raw], bool)
            asked = np.where(known, asked, "0").astype(np.int64)
        if len(asked) == 0 or len(self.ids) == 0:
            return np.full(len(asked), -1)
        place = self.ids.searchsorted(asked).clip(max=len(self.ids) - 1)
        known &= self.ids[place] == asked
        return np.where(known, self.order[place], -1)
