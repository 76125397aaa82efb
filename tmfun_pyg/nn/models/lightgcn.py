from typing import Dict, Literal, Optional, Union

from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.nn.conv import InteractionPropagation
from tmfun_pyg.nn.models.embedding_model import Negatives
from tmfun_pyg.nn.models.propagation_model import PropagationModel
from tmfun_pyg.nn.models.ranking_model import Embeddings


class LightGCN(PropagationModel):
    r"""LightGCN from the `"LightGCN: Simplifying and Powering Graph
    Convolution Network for Recommendation"
    <https://arxiv.org/abs/2002.02126>`_ paper, equivalent to
    :class:`torch_geometric.nn.models.LightGCN`, with the interface of this
    package.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        channels (int, optional): Size of the embeddings.
            (default: :obj:`64`)
        num_layers (int, optional): The number of layers.
            (default: :obj:`3`)
        reg_weight (float, optional): The weight of the L2 term on the
            embeddings of a batch. (default: :obj:`1e-4`)
        softmax_negatives (int or str, optional): See
            :class:`~tmfun_pyg.nn.EmbeddingModel`. (default: :obj:`0`)
        sparse (bool, optional): If set to :obj:`True`, gradients of the ID
            embeddings are sparse in training on sampled neighborhoods.
            (default: :obj:`False`)
        svd_start (bool or str, optional): If set to :obj:`True`, training
            starts from the leading singular vectors of the normalized
            interactions, added to the random ID embeddings; :obj:`"auto"`
            does so from 262,144 interactions on. (default: :obj:`"auto"`)
    """

    reads_feature_graphs = False
    supports_sampling = True

    def __init__(
        self,
        num_users: int,
        num_items: int,
        channels: int = 64,
        num_layers: int = 3,
        reg_weight: float = 1e-4,
        softmax_negatives: Negatives = 0,
        sparse: bool = False,
        svd_start: Union[bool, Literal["auto"]] = "auto",
    ) -> None:
        super().__init__(
            num_users,
            num_items,
            channels,
            num_layers,
            reg_weight,
            sparse,
            softmax_negatives=softmax_negatives,
            svd_start=svd_start,
        )
        self.propagation = InteractionPropagation(num_layers)
        self.reset_parameters()

    def encode(
        self,
        data: HeteroData,
        user: Optional[Tensor] = None,
        item: Optional[Tensor] = None,
        exclude: Optional[Tensor] = None,
    ) -> Embeddings:
        r"""Computes the propagated embeddings."""
        emb = self.propagation(*self.id_embeddings(data), data)
        return Embeddings(*emb).rows(user, item)

    def loss(
        self, data: HeteroData, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Computes the ranking loss and the L2 term (Eq. 15 of the paper)."""
        emb = self.encode(data)
        return self.ranking_loss(data, emb, user, pos_item, neg_item)
