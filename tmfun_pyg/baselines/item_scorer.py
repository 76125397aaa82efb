from typing import Callable, Optional

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.utils.user_items import UserItems


class ItemScorer:
    r"""Scores items for a user from the user's items in the graph: the
    :class:`~tmfun_pyg.utils.retrieval.Scorer` of models that are an items x
    items matrix.

    Args:
        data (HeteroData): A graph of
            :class:`~tmfun_pyg.transforms.ToRecGraph`.
        product (callable): Takes the training items of some users as a matrix
            of zeros and ones, of shape :obj:`[num_items, num_rows]`, and
            returns the scores of all items, of the same shape.
        item (torch.Tensor, optional): The items to score. If not given, scores
            all items. (default: :obj:`None`)
    """

    def __init__(
        self,
        data: HeteroData,
        product: Callable[[Tensor], Tensor],
        item: Optional[Tensor] = None,
    ) -> None:
        edge_index = data["user", "interacts", "item"].edge_index
        self.data, self.product, self.item = data, product, item
        self.num_users, self.catalogue_size = edge_index.get_sparse_size()
        self.num_items = self.catalogue_size if item is None else len(item)
        self.device = edge_index.device
        self.seen = UserItems.from_edge_index(edge_index, self.num_users)

    def score(self, user: Tensor) -> Tensor:
        r"""Returns the scores of all items for some users."""
        row, item = self.seen.edges_of(user)
        owned = torch.zeros(
            self.catalogue_size, user.numel(), device=self.device
        )
        owned[item, row] = 1.0
        scores = self.product(owned)
        if self.item is not None:
            scores = scores[self.item]
        return scores.t().contiguous()

    def select(self, item: Tensor) -> "ItemScorer":
        r"""Returns a scorer of only some of the items."""
        return ItemScorer(self.data, self.product, item)
