from abc import ABC, abstractmethod
from typing import Any, Dict, Optional, Tuple, TypeVar

import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.nn.models.lightgcn import BPRLoss

from tmfun_pyg.utils.retrieval import top_k
from tmfun_pyg.utils.user_items import UserItems

ModelType = TypeVar("ModelType", bound="RankingModel")


class RankingModel(torch.nn.Module, ABC):
    r"""The interface of every recommender here: embeddings of users and items
    whose inner product ranks items, and a training loss in named parts.

    The constructor takes sizes and options and makes the weights;
    :meth:`bind` attaches a data set, whose graph and features move with the
    model but are no part of its :meth:`state_dict`. :meth:`from_data` does
    both. A model of your own implements :meth:`forward` and :meth:`loss`, and
    :meth:`start_epoch` if it has to; training, evaluation and
    :meth:`recommend` then work with it.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.

    Raises:
        ValueError: If a size is not positive.
    """

    seen_rowptr: Tensor
    seen_col: Tensor
    #: The constructor's arguments but for the sizes, if made by `from_data`.
    options: Optional[Dict[str, Any]] = None
    #: Whether items without a training interaction are scored by content.
    scores_new_items: bool = False

    def __init__(self, num_users: int, num_items: int) -> None:
        super().__init__()
        for name, size in (("num_users", num_users), ("num_items", num_items)):
            if size < 1:
                raise ValueError(f"'{name}' must be positive (got {size})")
        self.num_users = num_users
        self.num_items = num_items

    @classmethod
    def from_data(
        cls: "type[ModelType]", data: HeteroData, **kwargs: Any
    ) -> ModelType:
        r"""Builds the model for a data set and binds it.

        Args:
            data (HeteroData): Users, items and their interactions, as the
                classes of :mod:`tmfun_pyg.datasets` hold them.
            **kwargs (optional): Options of the constructor.
        """
        model = cls(
            num_users=data["user"].num_nodes,
            num_items=data["item"].num_nodes,
            **kwargs,
        )
        model.options = kwargs
        return model.bind(data)

    def bind(self: ModelType, data: HeteroData) -> ModelType:
        r"""Attaches the training interactions of a data set, and whatever else
        the model reads from it, in place of what was bound before.

        Args:
            data (HeteroData): Users, items and their interactions, on the
                device of the model.

        Returns:
            The model itself.

        Raises:
            ValueError: If the data set does not have the sizes of the model,
                or holds no interactions, or some that are out of range.
        """
        for name, size in (("user", self.num_users), ("item", self.num_items)):
            found = data[name].num_nodes
            if found != size:
                raise ValueError(
                    f"The model has {size} {name}s, the data set {found}"
                )
        edge_index = data["user", "interacts", "item"].edge_index
        _check_interactions(edge_index, self.num_users, self.num_items)
        seen = UserItems.from_edge_index(edge_index, self.num_users)
        self.register_buffer("seen_rowptr", seen.rowptr, persistent=False)
        self.register_buffer("seen_col", seen.col, persistent=False)
        return self

    @property
    def seen(self) -> UserItems:
        r"""The training items of every user."""
        return UserItems(self.seen_rowptr, self.seen_col)

    def start_epoch(self, epoch: int) -> None:
        r"""Called before every epoch of training, for what changes once an
        epoch and not in every step. Does nothing unless overridden.

        What is random here must be drawn from a generator seeded by
        :obj:`epoch`, so that all processes draw the same and a resumed run
        what an undisturbed one would have drawn.

        Args:
            epoch (int): The number of the epoch, from zero on.
        """

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
                about 32 MiB of scores if not given. (default: :obj:`None`)

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


def bpr_loss(user_emb: Tensor, pos_emb: Tensor, neg_emb: Tensor) -> Tensor:
    r"""The BPR loss of :class:`~torch_geometric.nn.models.lightgcn.BPRLoss`
    for inner-product scores, averaged over all pairs of a positive and one of
    its negatives.

    Args:
        user_emb (torch.Tensor): The embeddings of the users of a batch, of
            shape :obj:`[batch_size, channels]`.
        pos_emb (torch.Tensor): Those of their positive items, of shape
            :obj:`[batch_size, channels]`.
        neg_emb (torch.Tensor): Those of their negative items, of shape
            :obj:`[batch_size, num_negatives, channels]`.
    """
    positives = (user_emb * pos_emb).sum(dim=-1, keepdim=True)
    negatives = (user_emb.unsqueeze(1) * neg_emb).sum(dim=-1)
    return BPRLoss()(positives, negatives)


def l2_loss(*embeddings: Tensor) -> Tensor:
    r"""The squared length of embeddings, summed over its arguments and
    averaged over the rows of a batch.

    Args:
        *embeddings (torch.Tensor): Embeddings of shape
            :obj:`[batch_size, *, channels]`.
    """
    parts = [emb.pow(2).sum() / emb.size(0) for emb in embeddings]
    return torch.stack(parts).sum()


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
