from typing import NamedTuple, Tuple

import torch
from torch import Tensor
from torch_geometric.index import index2ptr

from tmfun_pyg.utils.csr import entries_of
from tmfun_pyg.utils.edges import plain_edges


class UserItems(NamedTuple):
    r"""The items that each user has interacted with, in CSR format.

    Args:
        rowptr (torch.Tensor): Where each user's items begin and end in
            :obj:`col`, of shape :obj:`[num_users + 1]`.
        col (torch.Tensor): The item indices, of shape
            :obj:`[num_interactions]`, ascending within a user.
    """

    rowptr: Tensor
    col: Tensor

    @classmethod
    def from_edge_index(cls, edge_index: Tensor, num_users: int) -> "UserItems":
        r"""Builds the rows from (user, item) pairs in any order.

        Args:
            edge_index (torch.Tensor or EdgeIndex): The pairs, of shape
                :obj:`[2, num_interactions]`.
            num_users (int): The number of users.
        """
        user, item = plain_edges(edge_index).long()
        num_items = int(item.max()) + 1 if item.numel() > 0 else 0
        perm = (user * num_items + item).argsort()
        return cls(index2ptr(user[perm], num_users), item[perm])

    def select(self, place: Tensor) -> "UserItems":
        r"""Returns only some of the items, with new indices.

        Args:
            place (torch.Tensor): The new index of each item, ascending, or
                :obj:`-1` for those that are left out, of shape
                :obj:`[num_items]`.
        """
        num_users = self.rowptr.numel() - 1
        user, item = self.edges_of(torch.arange(num_users, device=place.device))
        edges = torch.stack([user, place[item]])
        return self.from_edge_index(edges[:, edges[1] >= 0], num_users)

    def edges_of(self, user_index: Tensor) -> Tuple[Tensor, Tensor]:
        r"""Returns the positions in :obj:`user_index` and the items of all
        interactions of these users.

        Args:
            user_index (torch.Tensor): The users, of shape :obj:`[num_rows]`.
        """
        row, entry = entries_of(self.rowptr, user_index)
        return row, self.col.index_select(0, entry)
