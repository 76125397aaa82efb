"""The items of a data set by raw id, title and name."""

from typing import Any, Dict, Iterable, Mapping, Optional, Protocol

import pandas as pd
import torch

from tmfun_pyg.recommender.item_filter import Ids, ItemFilter, NamedItems
from tmfun_pyg.utils.ids import RawIds


class HasItemTable(Protocol):
    """A data set, or an export."""

    @property
    def item_table(self) -> pd.DataFrame:
        """Titles, pictures and groups of the items, by index."""


class Catalog:
    r"""All items by raw id and title, and named lists of items.

    Args:
        ids (RawIds): The raw ids of all items.
        source (HasItemTable): The owner of the item table, which may be
            replaced later.
    """

    def __init__(self, ids: RawIds, source: HasItemTable) -> None:
        self.ids, self.source = ids, source
        self.named: Dict[str, NamedItems] = {}

    def name_items(self, name: str, items: Iterable[Any]) -> None:
        r"""Stores items under a name, see
        :meth:`tmfun_pyg.recommender.Recommender.name_items`.
        """
        if not isinstance(name, str):
            raise ValueError(f"'name' must be a text (got {name!r})")
        found = self.ids.find_some("items", items)
        index = torch.from_numpy(found[found >= 0]).unique()
        self.named[name] = NamedItems(index)

    @property
    def titles(self) -> pd.Series:
        r"""The title of each item, see
        :attr:`tmfun_pyg.recommender.Recommender.titles`.
        """
        table = self.source.item_table
        if "title" not in table:
            raise ValueError(
                "The data set must have titles of its items, from the file of "
                "items that it is prepared with (got none)"
            )
        return pd.Series(table["title"].to_numpy(), self.ids.ids)

    def filter(
        self,
        items: Optional[Ids],
        exclude_items: Optional[Ids],
        max_per_group: Optional[int],
        groups: Optional[Mapping[Any, Any]],
    ) -> ItemFilter:
        r"""Returns the filter of the items in the lists of a request, see
        :class:`ItemFilter`. A name stands for its list.
        """
        return ItemFilter(
            self.ids,
            self._look_up("items", items),
            self._look_up("exclude_items", exclude_items),
            max_per_group,
            groups,
            self.source.item_table,
        )

    def _look_up(self, option: str, items: Optional[Ids]) -> Optional[Ids]:
        if not isinstance(items, str):
            return items
        if items not in self.named:
            raise ValueError(
                f"'{option}' must be a list, a dictionary or a name given to "
                f"'name_items' (got '{items}')"
            )
        return self.named[items]
