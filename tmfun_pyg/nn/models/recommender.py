from abc import ABC, abstractmethod
from typing import Dict, Optional, Tuple

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.retrieval import SeenItems, top_k


class Recommender(torch.nn.Module, ABC):
    r"""The interface of every recommender here: embeddings of users and items
    whose inner product ranks items, and a training loss in named parts.

    A model of your own implements :meth:`forward` and :meth:`loss`; training,
    evaluation and :meth:`recommend` then work with it.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        edge_index (torch.Tensor): The training interactions, pairs of user
            and item, of shape :obj:`[2, num_interactions]`.

    Raises:
        ValueError: If :obj:`edge_index` is empty, has another shape, or names
            a user or an item out of range.
    """

    seen_rowptr: Tensor
    seen_col: Tensor

    def __init__(
        self, num_users: int, num_items: int, edge_index: Tensor
    ) -> None:
        super().__init__()
        _check_interactions(edge_index, num_users, num_items)
        self.num_users = num_users
        self.num_items = num_items
        seen = SeenItems.from_edge_index(edge_index, num_users)
        # The graph belongs to the data, not to the weights of a checkpoint:
        self.register_buffer("seen_rowptr", seen.rowptr, persistent=False)
        self.register_buffer("seen_col", seen.col, persistent=False)

    @staticmethod
    def sizes(data: HeteroData) -> Tuple[int, int, Tensor]:
        r"""Reads the constructor's arguments off a data set.

        Args:
            data (HeteroData): Users, items and their interactions.

        Returns:
            The number of users, the number of items and the training
            interactions.
        """
        return (
            data["user"].num_nodes,
            data["item"].num_nodes,
            data["user", "interacts", "item"].edge_index,
        )

    @property
    def seen(self) -> SeenItems:
        r"""The training items of every user."""
        return SeenItems(self.seen_rowptr, self.seen_col)

    @abstractmethod
    def forward(self) -> Tuple[Tensor, Tensor]:
        r"""Returns the embeddings of all users, of shape
        :obj:`[num_users, channels]`, and of all items, of shape
        :obj:`[num_items, channels]`.
        """

    @abstractmethod
    def loss(
        self, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Computes the weighted parts of the training loss, whose sum is to
        be minimized.

        Args:
            user (torch.Tensor): The users, of shape :obj:`[batch_size]`.
            pos_item (torch.Tensor): An item each of them interacted with, of
                shape :obj:`[batch_size]`.
            neg_item (torch.Tensor): Items they did not interact with, of
                shape :obj:`[batch_size, num_negatives]`.
        """

    @torch.no_grad()
    def recommend(
        self,
        user_index: Optional[Tensor] = None,
        k: int = 20,
        exclude_seen: bool = True,
        batch_size: Optional[int] = None,
    ) -> Tuple[Tensor, Tensor]:
        r"""Recommends the :obj:`k` items of highest score to each user.

        Args:
            user_index (torch.Tensor, optional): The users, all of them if not
                given. (default: :obj:`None`)
            k (int, optional): The length of the lists. (default: :obj:`20`)
            exclude_seen (bool, optional): If set to :obj:`False`, the items of
                a user's training interactions are recommended as well.
                (default: :obj:`True`)
            batch_size (int, optional): The number of users scored at once,
                about 64 MiB of scores if not given. (default: :obj:`None`)

        Returns:
            Scores and item indices, both of shape :obj:`[num_rows, k]`, a row
            for each entry of :obj:`user_index`. Where fewer than :obj:`k`
            items are left for a user, the scores at the end of the list are
            :obj:`-inf` and the items :obj:`-1`.

        Raises:
            ValueError: If a user is out of range, or :obj:`k` not positive.
        """
        if user_index is not None:
            user_index = user_index.to(self.seen_rowptr.device)
            _check_range("user_index", user_index, self.num_users)
        was_training = self.training
        self.eval()
        user_emb, item_emb = self()
        self.train(was_training)
        seen = self.seen if exclude_seen else None
        return top_k(user_emb, item_emb, k, user_index, seen, batch_size)


def _check_range(name: str, index: Tensor, size: int) -> None:
    if index.numel() == 0:
        return
    low, high = int(index.min()), int(index.max())
    if low < 0 or high >= size:
        raise ValueError(
            f"'{name}' must hold indices from 0 to {size - 1} "
            f"(got {low if low < 0 else high})"
        )


def _check_interactions(
    edge_index: Tensor, num_users: int, num_items: int
) -> None:
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(
            f"'edge_index' must be of shape [2, num_interactions] "
            f"(got {list(edge_index.shape)})"
        )
    if edge_index.size(1) == 0:
        raise ValueError("'edge_index' holds no training interaction")
    _check_range("edge_index[0]", edge_index[0], num_users)
    _check_range("edge_index[1]", edge_index[1], num_items)
