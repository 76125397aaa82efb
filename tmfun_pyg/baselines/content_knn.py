from typing import Dict, Tuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.nn.models.csr_matrix import CSRMatrix
from tmfun_pyg.nn.models.multimodal_graph import feature_sizes
from tmfun_pyg.nn.models.ranking_model import RankingModel

ModelType = TypeVar("ModelType", bound="ContentKNN")


class ContentKNN(RankingModel):
    r"""Recommends the items whose features are most like those of a user's
    training items:

    .. math::
        \hat{x}_{ui} = \frac{1}{M} \sum_{m=1}^{M} \frac{1}{|\mathcal{N}_{um}|}
        \sum_{j \in \mathcal{N}_{um}}
        \cos(\mathbf{x}_{im} - \boldsymbol{\mu}_m,
        \mathbf{x}_{jm} - \boldsymbol{\mu}_m)

    where :math:`\mathcal{N}_{um}` are the training items of user :math:`u`
    that have modality :math:`m`, and :math:`\boldsymbol{\mu}_m` is the mean of
    the features over all items that have it. Without it most cosines would be
    alike: the embeddings of an encoder tend to lie in a narrow cone around
    their mean, which says nothing about an item. A modality that the item or
    all of the user's items lack counts as a cosine of zero.

    The baseline for items that nobody has interacted with yet. It has no
    parameters and needs no training. The score is the inner product of the
    unit vectors of the item, one modality after the other, with their means
    over the items of the user: the embeddings are as wide as all features
    together.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
    """

    item_emb: Tensor
    item_mask: Tensor
    scores_new_items = True

    def bind(self: ModelType, data: HeteroData) -> ModelType:
        r"""Attaches the training interactions of a data set and its features.

        Args:
            data (HeteroData): Users, items, their interactions and the
                features :obj:`data["item"].x_<modality>`.

        Raises:
            ValueError: If there are no features.
        """
        super().bind(data)
        self.in_channels = feature_sizes(data)
        if len(self.in_channels) == 0:
            raise ValueError(
                "data['item'] holds no features 'x_<modality>': ContentKNN "
                "needs at least one modality"
            )
        user, item = data["user", "interacts", "item"].edge_index
        one = torch.ones(user.numel(), device=user.device)
        size = (self.num_users, self.num_items)
        self.to_user = CSRMatrix.from_coo(user, item, one, size)

        parts, masks = [], []
        for name in self.in_channels:
            x = data["item"][f"x_{name}"]
            mask = data["item"].get(f"mask_{name}")
            if mask is None:
                mask = x.new_ones(x.size(0), dtype=torch.bool)
            present = x[mask].float()
            mean = present.mean(dim=0, dtype=torch.double).float()
            part = x.new_zeros(x.shape, dtype=torch.float)
            part[mask] = F.normalize(present - mean, dim=1)
            parts.append(part)
            masks.append(mask)
        item_mask = torch.stack(masks, dim=1)
        self.register_buffer("item_mask", item_mask, persistent=False)
        item_emb = torch.cat(parts, dim=1)
        self.register_buffer("item_emb", item_emb, persistent=False)
        return self

    def forward(self) -> Tuple[Tensor, Tensor]:
        r"""Returns the means of users and the unit vectors of items, of the
        size of all features together.
        """
        sizes = list(self.in_channels.values())
        count = self.to_user(self.item_mask.float())
        scale = (count.clamp(min=1) * len(sizes)).reciprocal()
        total = self.to_user(self.item_emb)
        parts = total.split(sizes, dim=1)
        user_emb = torch.cat(
            [part * scale[:, m : m + 1] for m, part in enumerate(parts)],
            dim=1,
        )
        return user_emb, self.item_emb

    def loss(
        self, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Returns no parts: there is nothing to train."""
        return {}
