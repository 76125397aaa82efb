from typing import List, Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.nn.models.ranking_model import Embeddings, RankingModel
from tmfun_pyg.utils.spmm import spmm


class ContentKNN(RankingModel):
    r"""Recommends the items whose features are most similar to those of a
    user's training items:

    .. math::
        \hat{x}_{ui} = \frac{1}{M} \sum_{m=1}^{M} \frac{1}{|\mathcal{N}_{um}|}
        \sum_{j \in \mathcal{N}_{um}}
        \cos(\mathbf{x}_{im} - \boldsymbol{\mu}_m,
        \mathbf{x}_{jm} - \boldsymbol{\mu}_m)

    where :math:`\mathcal{N}_{um}` are the training items of user :math:`u`
    that have modality :math:`m`, and :math:`\boldsymbol{\mu}_m` is the mean of
    the features over the warm items that have it. Without centering, most
    cosines would be nearly equal: the embeddings of an encoder tend to lie in
    a narrow cone around their mean, which says nothing about an item. A
    modality that the item or all of the user's items lack has a cosine of
    zero.

    The features are standardized item by item by
    :class:`~tmfun_pyg.transforms.ToRecGraph`. Each modality is then centered
    over the warm items that have it.

    This is the baseline for cold items. It has no parameters and needs no
    training. The score is the inner product of the item's unit vectors,
    concatenated over modalities, with their means over the user's items: the
    embeddings have as many channels as all features together.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
    """

    needs_features = True
    reads_feature_graphs = False
    supports_cold_items = True
    supports_fold_in = True

    def encode(
        self,
        data: HeteroData,
        user: Optional[Tensor] = None,
        item: Optional[Tensor] = None,
        exclude: Optional[Tensor] = None,
    ) -> Embeddings:
        r"""Returns the means of users and the unit vectors of items, with as
        many channels as all features together.
        """
        units = self.fold_in_state(data)
        emb = self.encode_new_users(units, data), torch.cat(units, dim=1)
        return Embeddings(*emb).rows(user, item)

    def fold_in_state(self, data: HeteroData) -> List[Tensor]:
        r"""Returns the unit vectors of items for each modality."""
        self.check_data(data)
        return unit_features(data)

    def encode_new_users(self, state: List[Tensor], data: HeteroData) -> Tensor:
        r"""Returns the means of users, new or not."""
        edge_index = data["user", "interacts", "item"].edge_index
        has = data["item"].mask.to(state[0].dtype)
        count = spmm(edge_index, has).clamp(min=1) * len(state)
        means = [
            spmm(edge_index, x) / count[:, column : column + 1]
            for column, x in enumerate(state)
        ]
        return torch.cat(means, dim=1)


def unit_features(data: HeteroData) -> List[Tensor]:
    r"""Returns the features of all items by modality, centered over the warm
    items and scaled to unit length, zero for items that lack them.

    Args:
        data (HeteroData): A graph of
            :class:`~tmfun_pyg.transforms.ToRecGraph`.
    """
    units = []
    for column, name in enumerate(data.modalities):
        x = data["item"][f"x_{name}"]
        mask = data["item"].mask[:, column : column + 1]
        is_warm = mask & (data["item"].degree > 0).view(-1, 1)
        mean = (x * is_warm).sum(0, dtype=torch.double)
        mean = mean / is_warm.sum().clamp(min=1)
        units.append(F.normalize(x - mean.to(x.dtype), dim=1) * mask)
    return units
