from typing import Optional

import torch
from torch import Tensor


class NegativeSampler:
    r"""Draws items a user has not interacted with, each with the same
    probability.

    Nothing is drawn in vain: with the items :math:`p_0 < p_1 < \ldots` of a
    user, the :math:`r`-th item without interaction is

    .. math::
        r + |\{ j : p_j - j \leq r \}|,

    so that one random number and one binary search give one negative,
    whatever the density of the data, and without waiting for the device.

    Args:
        edge_index (torch.Tensor): The interactions, pairs of user and item in
            any order, of shape :obj:`[2, num_interactions]`.
        num_users (int): The number of users.
        num_items (int): The number of items.

    Raises:
        ValueError: If a user has interacted with every item.
    """

    def __init__(
        self, edge_index: Tensor, num_users: int, num_items: int
    ) -> None:
        self.num_items = num_items
        # Repeated interactions would count an item twice:
        pair = (edge_index[0] * num_items + edge_index[1]).unique()
        user = pair // num_items
        degree = torch.bincount(user, minlength=num_users)
        full = (degree == num_items).nonzero().view(-1)
        if full.numel() > 0:
            raise ValueError(
                f"No negative items can be drawn for user {int(full[0])}, who "
                f"has interacted with all {num_items} items ({full.numel()} "
                f"of {num_users} users have)"
            )
        self._num_negatives = num_items - degree
        self._begin = degree.cumsum(0) - degree
        rank = torch.arange(pair.numel(), device=pair.device)
        self._key = pair - (rank - self._begin[user])

    def sample(
        self,
        user: Tensor,
        num_negatives: int = 1,
        generator: Optional[torch.Generator] = None,
    ) -> Tensor:
        r"""Draws items for each user, independently of one another.

        Args:
            user (torch.Tensor): The users, of shape :obj:`[batch_size]`.
            num_negatives (int, optional): The number of items for each entry
                of :obj:`user`. (default: :obj:`1`)
            generator (torch.Generator, optional): The source of randomness,
                on the device of the interactions. (default: :obj:`None`)

        Returns:
            The items, of shape :obj:`[batch_size, num_negatives]`.
        """
        user = user.view(-1, 1)
        # The remainder of a 63-bit number favors no item noticeably:
        rank = torch.randint(
            torch.iinfo(torch.long).max,
            (user.size(0), num_negatives),
            generator=generator,
            device=user.device,
        ).remainder(self._num_negatives[user])
        key = user * self.num_items + rank
        passed = torch.searchsorted(self._key, key, right=True)
        return rank + passed - self._begin[user]
