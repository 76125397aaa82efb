"""Columns of ids that are read in chunks."""

import numpy as np
import pandas as pd

from tmfun_pyg.utils.ids import ids_from_text


class IdChunks:
    """The chunks of a column of ids in text, as 32-bit numbers."""

    def __init__(self) -> None:
        self._numbers = [np.empty(0, np.int32)]
        # The first index covers all chunks before those of the others.
        self._distinct = [pd.Index([], dtype=str)]

    def add(self, ids: pd.Series) -> None:
        """Adds a chunk."""
        number, distinct = pd.factorize(ids)
        if isinstance(distinct.dtype, pd.CategoricalDtype):
            distinct = distinct.astype(distinct.categories.dtype)
        self._numbers.append(number.astype(np.int32))
        self._distinct.append(distinct)
        # Keeps merging linear in the sum of distinct ids per chunk.
        if sum(map(len, self._distinct[1:])) > len(self._distinct[0]):
            self._merge()

    def _merge(self) -> None:
        """Numbers the distinct ids of all chunks together."""
        first, *others = self._distinct
        place, distinct = pd.factorize(first.append(others))
        ends = np.cumsum([*map(len, self._distinct)])
        start = len(self._numbers) - len(others)
        for chunk, places in enumerate(np.split(place, ends[:-1])[1:], start):
            places = np.append(places, -1).astype(np.int32)  # -1 for none.
            self._numbers[chunk] = places[self._numbers[chunk]]
        self._distinct = [distinct]

    def join(self, as_text: bool) -> pd.Series:
        """Returns the column as categorical, with categories in the order of
        appearance.

        Args:
            as_text (bool): Whether ids stay text if all are integers.
        """
        self._merge()
        (distinct,) = self._distinct
        number = np.concatenate(self._numbers)
        categories = distinct if as_text else ids_from_text(distinct)
        return pd.Series(pd.Categorical.from_codes(number, categories))
