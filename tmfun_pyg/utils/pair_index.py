import torch
from torch import Tensor


class PairIndex:
    r"""Tells which pairs of users and items are there.

    Args:
        user (torch.Tensor): The users, of shape :obj:`[num_pairs]`.
        item (torch.Tensor): The items, of shape :obj:`[num_pairs]`.
        num_items (int): The number of all items.
        is_sorted (bool, optional): Whether pairs ascend, by user, then item.
            (default: :obj:`True`)
    """

    def __init__(
        self, user: Tensor, item: Tensor, num_items: int, is_sorted: bool = True
    ) -> None:
        self.num_items = num_items
        key = user * num_items + item
        key = key if is_sorted else key.sort().values
        # One more is behind all pairs, so that each search ends at some key:
        behind_all = key.new_full((1,), torch.iinfo(key.dtype).max)
        self.key = torch.cat([key, behind_all])

    def holds(self, user: Tensor, item: Tensor) -> Tensor:
        r"""Returns whether pairs are there.

        Args:
            user (torch.Tensor): The users, of any shape.
            item (torch.Tensor): The items, of a shape that fits.
        """
        wanted = user * self.num_items + item
        return self.key[torch.searchsorted(self.key, wanted)] == wanted
