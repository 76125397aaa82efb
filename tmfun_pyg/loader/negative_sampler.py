from typing import Optional

import numpy as np
import torch
from torch import Tensor


def check_negatives(
    degree: Tensor, num_items: int, user_ids: Optional[np.ndarray] = None
) -> None:
    r"""Checks that each user has an item to sample as a negative.

    Args:
        degree (torch.Tensor): The number of items of each user, of shape
            :obj:`[num_users]`.
        num_items (int): The number of items with interactions.
        user_ids (np.ndarray, optional): The user ids to name in errors.
            (default: the indices)

    Raises:
        ValueError: If a user has interacted with all items.
    """
    full = (degree == num_items).nonzero().view(-1)
    if full.numel() > 0:
        first = int(full[0])
        name = first if user_ids is None else f"'{user_ids[first]}'"
        raise ValueError(
            f"The interactions must leave each user an item to draw as a "
            f"negative (got user {name} with all {num_items} items; "
            f"{full.numel()} of {degree.numel()} users have all): leave such "
            f"users out, or take a model in closed form such as EASE"
        )


class NegativeSampler:
    r"""Samples items that a user has not interacted with, uniformly from all
    items with a training interaction. To training, an item without one is new:
    that nobody chose it says nothing about it.

    PyG's :func:`~torch_geometric.utils.negative_sampling` samples from all
    pairs of nodes, not for given users, and may return fewer than requested.
    Here, no sample is rejected: with the positions :math:`p_0 < p_1 < \ldots`
    of a user's items, the :math:`r`-th position without interaction is

    .. math::
        r + |\{ j : p_j - j \leq r \}|,

    so one random number and one binary search give one negative, whatever the
    density of the data, and without waiting for the device.

    Args:
        edge_index (torch.Tensor): The interactions, pairs of user and item in
            any order, of shape :obj:`[2, num_interactions]`.
        num_users (int): The number of users.

    Raises:
        ValueError: If a user has interacted with every one of these items.
    """

    def __init__(self, edge_index: Tensor, num_users: int) -> None:
        # Positions among the items to sample from, instead of the items:
        self._item, place = edge_index[1].unique(return_inverse=True)
        num_items = self._item.numel()
        # Repeated interactions would count an item twice:
        pair = (edge_index[0] * num_items + place).unique()
        user = pair // num_items
        degree = torch.bincount(user, minlength=num_users)
        check_negatives(degree, num_items)
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
        r"""Samples items for each user, independently of one another.

        Args:
            user (torch.Tensor): The users, of shape :obj:`[batch_size]`.
            num_negatives (int, optional): The number of items per entry of
                :obj:`user`. (default: :obj:`1`)
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
        key = user * self._item.numel() + rank
        passed = torch.searchsorted(self._key, key, right=True)
        return self._item[rank + passed - self._begin[user]]
