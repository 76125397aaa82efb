from typing import Dict, List, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.nn.conv import InteractionPropagation
from tmfun_pyg.nn.distributed import gather_rows
from tmfun_pyg.nn.loss import info_nce
from tmfun_pyg.nn.models.embedding_model import EmbeddingModel, Negatives
from tmfun_pyg.nn.models.ranking_model import Embeddings
from tmfun_pyg.utils.interaction_step import interaction_step
from tmfun_pyg.utils.messages import check_at_least, check_count, check_positive
from tmfun_pyg.utils.schema import is_sampled_batch

Pair = Tuple[Tensor, Tensor]


class SimGCL(EmbeddingModel):
    r"""SimGCL from the `"Are Graph Augmentations Necessary? Simple Graph
    Contrastive Learning for Recommendation"
    <https://arxiv.org/abs/2112.08679>`_ paper (Section 3): LightGCN without
    its layer 0, and a contrast between two views of it with noise of length
    :math:`\epsilon` added to each layer. With ID embeddings
    :math:`\mathbf{E}` and the normalized user-item graph :math:`\mathbf{A}`:

    .. math::
        \mathbf{X} &= \frac{1}{L} \sum_{l=1}^{L} \mathbf{A}^l \mathbf{E}

        \mathbf{X}^{\prime} &= \frac{1}{L} \sum_{l=1}^{L}
        \mathbf{Z}^{(l)}, \qquad \mathbf{Z}^{(l)} = \mathbf{A}
        \mathbf{Z}^{(l-1)} + \boldsymbol{\Delta}^{(l)}, \quad
        \mathbf{Z}^{(0)} = \mathbf{E}

        \boldsymbol{\delta}^{(l)}_n &= \epsilon \,
        \frac{\mathbf{r}_n}{\lVert \mathbf{r}_n \rVert} \odot
        \mathrm{sign} \left( \mathbf{A} \mathbf{Z}^{(l-1)} \right)_n,
        \qquad r_{nk} \sim \mathcal{U}(0, 1)

    and :math:`\mathbf{X}^{\prime\prime}` with other noise. The scores are
    inner products of :math:`\mathbf{X}`. The loss is :math:`\textrm{BPR} +
    \lambda \cdot \textrm{InfoNCE}(\mathbf{X}^{\prime},
    \mathbf{X}^{\prime\prime}) + \lambda_r L_2`, with the contrast between
    different users and between different positive items of a batch, or of its
    first 1,024 interactions. The mean over nodes in the contrast and the L2
    term on rows of :math:`\mathbf{E}` are our reading.

    The noise is a constant. A view is therefore :math:`\mathbf{X}` plus a
    constant, and the backward pass is that of LightGCN, once for all views.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        channels (int, optional): Size of the embeddings.
            (default: :obj:`64`)
        num_layers (int, optional): The number of layers :math:`L`.
            (default: :obj:`2`)
        eps (float, optional): The length :math:`\epsilon` of the noise, which
            is zero in evaluation mode. (default: :obj:`0.1`)
        contrastive_weight (float, optional): The weight :math:`\lambda` of
            the contrastive loss. The paper searches larger ones, but with
            initial embeddings as short as here, these drown out the BPR loss.
            (default: :obj:`0.01`)
        temperature (float, optional): The temperature of the contrastive
            loss. (default: :obj:`0.2`)
        reg_weight (float, optional): The weight :math:`\lambda_r` of the L2
            term on the embeddings of a batch. (default: :obj:`1e-4`)
        softmax_negatives (int or str, optional): See
            :class:`~tmfun_pyg.nn.EmbeddingModel`. (default: :obj:`0`)
        sparse (bool, optional): If set to :obj:`True`, gradients of the ID
            embeddings are sparse in training on sampled neighborhoods.
            (default: :obj:`False`)

    Raises:
        ValueError: If an option is out of range.
    """

    reads_feature_graphs = False
    supports_sampling = True

    def __init__(
        self,
        num_users: int,
        num_items: int,
        channels: int = 64,
        num_layers: int = 2,
        eps: float = 0.1,
        contrastive_weight: float = 0.01,
        temperature: float = 0.2,
        reg_weight: float = 1e-4,
        softmax_negatives: Negatives = 0,
        sparse: bool = False,
    ) -> None:
        super().__init__(
            num_users,
            num_items,
            channels,
            num_layers,
            reg_weight,
            sparse,
            softmax_negatives=softmax_negatives,
        )
        check_count("num_layers", num_layers)
        check_at_least("eps", eps, 0)
        check_at_least("contrastive_weight", contrastive_weight, 0)
        check_positive("temperature", temperature)
        self.eps = eps
        self.contrastive_weight = contrastive_weight
        self.temperature = temperature
        # The mean of layers 1 to L is that of layers 0 to L - 1 on A E:
        self.propagation = InteractionPropagation(num_layers - 1)
        self.reset_parameters()

    def encode(
        self,
        data: HeteroData,
        user: Optional[Tensor] = None,
        item: Optional[Tensor] = None,
        exclude: Optional[Tensor] = None,
    ) -> Embeddings:
        r"""Computes the propagated embeddings, without noise."""
        id_emb = self.id_embeddings(data)
        emb = self.propagation(*_layer(*id_emb, data), data)
        return Embeddings(*emb).rows(user, item)

    def fold_in_state(self, data: HeteroData) -> Tensor:
        r"""Returns the messages that users receive from their items."""
        return self.propagation(*self.id_embeddings(data), data)[1]

    def encode_new_users(self, state: Tensor, data: HeteroData) -> Tensor:
        r"""Computes the embeddings of new users."""
        return interaction_step(data, "user", state)

    @torch.no_grad()
    def _view(self, data: HeteroData) -> Pair:
        """Computes the embeddings with noise in each layer."""
        user, item = self.id_embeddings(data)
        layers: List[Pair] = []
        for _ in range(self.num_layers):
            user, item = _layer(user, item, data)
            user, item = self._add_noise(user), self._add_noise(item)
            layers.append((user, item))
        users, items = zip(*layers, strict=True)
        return sum(users) / len(users), sum(items) / len(items)

    def _add_noise(self, x: Tensor) -> Tensor:
        eps = self.eps if self.training else 0.0
        noise = F.normalize(torch.rand_like(x), dim=-1)
        return x + eps * noise * x.sign()

    def loss(
        self, data: HeteroData, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Computes the ranking loss, the contrastive loss and the L2 term."""
        emb = self.encode(data)
        parts = self.ranking_loss(data, emb, user, pos_item, neg_item)
        if self.contrastive_weight > 0:
            if not is_sampled_batch(data):  # Over the nodes of all processes.
                user, pos_item = gather_rows(user), gather_rows(pos_item)
            first, second = (self._view(data) for _ in range(2))
            contrast = [
                self._contrast(*of_side)
                for of_side in zip(
                    (user, pos_item), emb, first, second, strict=True
                )
            ]
            weight = self.contrastive_weight
            parts["contrastive"] = weight * torch.stack(contrast).sum()
        return parts

    def _contrast(
        self, node: Tensor, x: Tensor, first: Tensor, second: Tensor
    ) -> Tensor:
        """Contrasts two views of embeddings over nodes, which may be
        repeated.
        """
        rows = F.embedding(node, x)
        x, y = (
            rows + (F.embedding(node, view) - rows).detach()
            for view in (first, second)
        )
        return info_nce(x, y, self.temperature, node)


def _layer(user: Tensor, item: Tensor, data: HeteroData) -> Pair:
    return (
        interaction_step(data, "user", item),
        interaction_step(data, "item", user),
    )
