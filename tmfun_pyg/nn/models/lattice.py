from typing import Dict, Optional

import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.nn.inits import zeros

from tmfun_pyg.nn.models.embedding_model import Negatives
from tmfun_pyg.nn.models.learned_graph import LearnedGraphModel
from tmfun_pyg.nn.models.ranking_model import Embeddings


class LATTICE(LearnedGraphModel):
    r"""LATTICE from the `"Mining Latent Structures for Multimedia
    Recommendation" <https://arxiv.org/abs/2104.09036>`_ paper, with LightGCN
    as its collaborative filtering:

    .. math::
        \left( \mathbf{U}, \mathbf{V} \right) &= \frac{1}{L + 1}
        \sum_{l=0}^{L} \left( \mathbf{D}^{-1/2} \mathbf{R} \mathbf{D}^{-1/2}
        \right)^l \mathbf{E}

        \mathbf{H} &= \mathbf{A} \, \mathbf{E}_{\mathcal{I}},
        \qquad \mathbf{A} = \sum_m \alpha_m \mathbf{A}_m, \qquad
        \boldsymbol{\alpha} = \mathrm{softmax}(\mathbf{a})
        && \textrm{(Eq. 9)}

        \mathbf{X}_{\mathcal{U}} &= \mathbf{U}, \qquad
        \mathbf{x}_i = \mathbf{v}_i + \mathbf{h}_i / \lVert \mathbf{h}_i
        \rVert

    with ID embeddings :math:`\mathbf{E}`, the user-item graph
    :math:`\mathbf{R}` and learned weights :math:`\mathbf{a}` of the
    modalities. The graph of modality :math:`m` mixes the feature graph
    :math:`\mathbf{S}_m` with a graph of the current similarities of projected
    features:

    .. math::
        \mathbf{A}_m &= \lambda \, \mathbf{S}_m + (1 - \lambda) \,
        \mathbf{D}_m^{-1/2} \tilde{\mathbf{A}}_m \mathbf{D}_m^{-1/2}, \qquad
        d_{i,m} = \sum_j \tilde{a}_{ij,m}

        \tilde{a}_{ij,m} &= \cos(\tilde{\mathbf{x}}_{i,m},
        \tilde{\mathbf{x}}_{j,m}) \textrm{ for the } k \textrm{ most similar
        items } j, \qquad
        \tilde{\mathbf{x}}_{i,m} = \mathbf{W}_m \mathbf{x}_{i,m} +
        \mathbf{b}_m

    The loss is BPR with an L2 term. In our reading, the :math:`k` items are
    searched once per epoch, exactly and without a matrix of all pairs, and
    their cosines are computed in each step, so that they always have
    gradients. An item is never its own neighbor, negative cosines count as
    zero, the feature graphs keep the weights of
    :class:`tmfun_pyg.transforms.FeatureGraph`, and the L2 term is on the ID
    embeddings of a batch. Features are constants, standardized to zero mean
    and unit variance item by item, as in all models here.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        in_channels (Dict[str, int]): The feature size of each modality.
        channels (int, optional): Size of the embeddings and of projected
            features. (default: :obj:`64`)
        num_layers (int, optional): The number of layers :math:`L` over the
            user-item graph. (default: :obj:`2`)
        k (int, optional): The number of neighbors :math:`k` of an item in a
            learned graph, or all others if there are fewer.
            (default: :obj:`10`)
        skip_weight (float, optional): The weight :math:`\lambda` of the
            feature graphs. (default: :obj:`0.9`)
        reg_weight (float, optional): The weight of the L2 term.
            (default: :obj:`1e-4`)
        softmax_negatives (int or str, optional): See
            :class:`~tmfun_pyg.nn.EmbeddingModel`. (default: :obj:`0`)

    Raises:
        ValueError: If an option is out of range, or there is no modality.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        in_channels: Dict[str, int],
        channels: int = 64,
        num_layers: int = 2,
        k: int = 10,
        skip_weight: float = 0.9,
        reg_weight: float = 1e-4,
        softmax_negatives: Negatives = 0,
    ) -> None:
        super().__init__(
            num_users,
            num_items,
            in_channels,
            channels,
            num_layers,
            k,
            skip_weight,
            reg_weight,
            softmax_negatives=softmax_negatives,
        )
        self.graph_logit = torch.nn.Parameter(torch.empty(len(in_channels)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        zeros(self.graph_logit)

    def encode(
        self,
        data: HeteroData,
        user: Optional[Tensor] = None,
        item: Optional[Tensor] = None,
        exclude: Optional[Tensor] = None,
    ) -> Embeddings:
        r"""Computes the embeddings."""
        id_emb = self.id_embeddings(data)
        weights = self.graph_logit.softmax(dim=0).unbind()
        parts = [
            weight * h
            for weight, h in zip(
                weights, self.convolve(data, id_emb[1]), strict=True
            )
        ]
        h = torch.stack(parts).sum(dim=0)
        return self.add(data, id_emb, h).rows(user, item)

    def loss(
        self, data: HeteroData, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Computes the ranking loss and the L2 term."""
        emb = self.encode(data)
        return self.ranking_loss(data, emb, user, pos_item, neg_item)
