from typing import Tuple

import torch
from torch import Tensor


class PairIndex:
    r"""Looks up pairs of users and items.

    Args:
        user (torch.Tensor): The users, of shape :obj:`[num_pairs]`.
        item (torch.Tensor): The items, of shape :obj:`[num_pairs]`.
        num_items (int): The number of all items.
        is_sorted (bool, optional): Whether pairs are sorted by user, then
            item. (default: :obj:`True`)
    """

    def __init__(
        self, user: Tensor, item: Tensor, num_items: int, is_sorted: bool = True
    ) -> None:
        self.num_items = num_items
        # A last key above all pairs, so that each search ends at some key:
        self.key = user.new_empty(user.numel() + 1)
        self.key[-1] = torch.iinfo(self.key.dtype).max
        key = torch.mul(user, num_items, out=self.key[:-1]).add_(item)
        if not is_sorted:
            key.copy_(key.sort().values)

    def find(self, user: Tensor, item: Tensor) -> Tuple[Tensor, Tensor]:
        r"""Returns the positions of pairs among the sorted ones (any position
        for missing pairs), and whether each pair exists.

        Args:
            user (torch.Tensor): The users, of any shape.
            item (torch.Tensor): The items, of a matching shape.
        """
        wanted = user * self.num_items + item
        place = torch.searchsorted(self.key, wanted)
        is_there = self.key[place] == wanted
        return place.where(is_there, 0), is_there

    def holds(self, user: Tensor, item: Tensor) -> Tensor:
        r"""Returns whether pairs exist.

        Args:
            user (torch.Tensor): The users, of any shape.
            item (torch.Tensor): The items, of a matching shape.
        """
        return self.find(user, item)[1]
