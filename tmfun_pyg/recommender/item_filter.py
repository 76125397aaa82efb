"""The items that may be in the lists of a request."""

import warnings
from dataclasses import dataclass
from itertools import chain
from typing import (
    Any,
    Dict,
    Hashable,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Tuple,
    Union,
)

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tmfun_pyg.utils.ids import RawIds, check_list, ids_as_text
from tmfun_pyg.utils.messages import check_count, name_first
from tmfun_pyg.utils.topk import GroupLimit
from tmfun_pyg.utils.user_items import UserItems


@dataclass(frozen=True)
class NamedItems:
    r"""Items that were looked up before.

    Args:
        index (torch.Tensor): Their indices, ascending.
    """

    index: Tensor


# Raw ids for all queries, or by the raw id of a query (a user or an item).
Ids = Union[Iterable[Any], Mapping[Any, Iterable[Any]], NamedItems]


class ItemLists(NamedTuple):
    r"""The items of some queries.

    Args:
        row_of (Dict[str, int]): The row of each query, by its raw id as text.
        items (UserItems): The items of each row, and of an empty last row for
            all others.
    """

    row_of: Dict[str, int]
    items: UserItems

    @property
    def last(self) -> int:
        r"""The row of all others."""
        return len(self.row_of)

    def rows(self, names: List[str]) -> Tensor:
        r"""Returns the rows of queries."""
        rows = [self.row_of.get(name, self.last) for name in names]
        return torch.tensor(rows, dtype=torch.long)


class ItemFilter:
    r"""Selects the items that may be in the lists of a request. Takes raw ids
    and holds indices.

    Args:
        item_ids (RawIds): The raw ids of all items.
        items (List or Dict, optional): The eligible items, for all queries or
            by query. (default: :obj:`None`)
        exclude_items (List or Dict, optional): Items to leave out, likewise.
            (default: :obj:`None`)
        max_per_group (int, optional): The maximum number of items per group
            in a list. (default: :obj:`None`)
        groups (Dict[int or str, Any], optional): The groups of items.
            (default: the column :obj:`group` of :obj:`table`)
        table (pandas.DataFrame, optional): The table of all items, by index.
            (default: :obj:`None`)

    Attributes:
        allowed (torch.Tensor, optional): The eligible items for all queries,
            ascending.
        excluded (torch.Tensor, optional): The excluded items for all queries.
        allowed_of (ItemLists, optional): The eligible items for some.
        excluded_of (ItemLists, optional): The excluded items for some.
        limit (GroupLimit, optional): The limit on items per group.

    Raises:
        ValueError: If an item is unknown, if no item is left for all queries,
            if :obj:`max_per_group` is not positive, or if it comes without
            groups or groups without it.
    """

    def __init__(
        self,
        item_ids: RawIds,
        items: Optional[Ids] = None,
        exclude_items: Optional[Ids] = None,
        max_per_group: Optional[int] = None,
        groups: Optional[Mapping[Any, Any]] = None,
        table: Optional[pd.DataFrame] = None,
    ) -> None:
        self.allowed, self.allowed_of = _read("items", items, item_ids)
        self.excluded, self.excluded_of = _read(
            "exclude_items", exclude_items, item_ids
        )
        if self.allowed is not None and self.allowed.numel() == 0:
            raise ValueError("'items' must hold at least one item (got none)")
        if self.excluded is not None:
            every = self.allowed
            if every is None:
                every = torch.arange(len(item_ids))
            left = every[~torch.isin(every, self.excluded)]
            if left.numel() == 0:
                raise ValueError(
                    f"'exclude_items' must leave at least one item (got all "
                    f"{len(every)})"
                )
            # If few are left, they take less space than those excluded:
            if self.allowed is not None or 2 * len(left) <= len(every):
                self.allowed, self.excluded = left, None
        self.limit = _read_limit(item_ids, max_per_group, groups, table)

    def check_keys(self, ids: RawIds, asked: np.ndarray) -> None:
        r"""Checks that lists by query are for ids of the data set or of this
        request: the list of a mistyped id would restrict nothing.

        Args:
            ids (RawIds): The raw ids of all possible queries.
            asked (np.ndarray): The raw ids of the queries.

        Raises:
            ValueError: If there is a list for another id, unless :obj:`ids`
                only warns of unknown ids, see :class:`RawIds`.
        """
        for name, lists in (
            ("items", self.allowed_of),
            ("exclude_items", self.excluded_of),
        ):
            if lists is None:
                continue
            other = [key for key in lists.row_of if key not in ids.place_of]
            if other:
                names = set(asked.astype(np.str_).tolist())
                other = sorted(key for key in other if key not in names)
            if not other:
                continue
            text = (
                f"'{name}' must have keys of the data set, or of those who ask "
                f"(got {len(other)} other(s): {name_first(other)})"
            )
            if ids.unknown == "error":
                raise ValueError(text)
            warnings.warn(text, stacklevel=4)


def _read(
    name: str, ids: Optional[Ids], item_ids: RawIds
) -> Tuple[Optional[Tensor], Optional[ItemLists]]:
    """Returns the items for all queries, ascending and without duplicates, or
    those by query.
    """
    if ids is None:
        return None, None
    if isinstance(ids, NamedItems):
        return ids.index, None
    if not isinstance(ids, Mapping):
        found = torch.from_numpy(item_ids.find_some(name, ids))
        return found[found >= 0].unique(), None
    names = _check_texts(name, ids)
    row_of = {who: row for row, who in enumerate(names)}
    for who, of_one in ids.items():
        check_list(f"{name} of {who}", of_one)
    lists = [*map(list, ids.values())]
    row = np.repeat(range(len(lists)), [*map(len, lists)]).astype(np.int64)
    item = item_ids.find_some(name, [*chain.from_iterable(lists)])
    edge_index = torch.from_numpy(np.stack([row, item])[:, item >= 0])
    lists_of = UserItems.from_edge_index(edge_index, len(row_of) + 1)
    return None, ItemLists(row_of, lists_of)


def _check_texts(name: str, by_id: Mapping[Any, Any]) -> List[str]:
    """Returns the keys as text, after checking that they differ."""
    names = ids_as_text(name, [*by_id])
    num_texts = len(set(names))
    if num_texts < len(names):
        raise ValueError(
            f"'{name}' must have keys that differ as text (got {len(names)} "
            f"keys, but {num_texts} texts)"
        )
    return names


def _read_limit(
    item_ids: RawIds,
    most: Optional[int],
    groups: Optional[Mapping[Any, Any]],
    table: Optional[pd.DataFrame],
) -> Optional[GroupLimit]:
    if most is None:
        if groups is not None:
            raise ValueError("'groups' must come with 'max_per_group'")
        return None
    check_count("max_per_group", most)
    if groups is not None:
        if not isinstance(groups, Mapping):
            raise ValueError(
                f"'groups' must map ids of items to groups (got a "
                f"{type(groups).__name__})"
            )
        for item, group in groups.items():
            if not isinstance(group, Hashable):
                raise ValueError(
                    f"'groups' must give each item one group (got {group!r} "
                    f"for {item})"
                )
        _check_texts("groups", groups)
        code = np.full(len(item_ids), -1)
        of_item = pd.Series([*groups.values()], dtype=object)
        found = item_ids.find_some("groups", [*groups])
        code[found[found >= 0]] = _number(of_item)[found >= 0]
    elif table is not None and "group" in table:
        code = _number(table["group"])
    else:
        raise ValueError(
            "'max_per_group' must come with groups of the items, in the data "
            "set or given (got neither)"
        )
    return GroupLimit(torch.from_numpy(code), most)


def _number(groups: pd.Series) -> np.ndarray:
    """Numbers groups, with -1 for empty ones, which are no groups."""
    return pd.factorize(groups.where(groups != "", None))[0]
