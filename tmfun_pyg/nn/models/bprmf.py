from typing import Dict, Optional

from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.nn.models.embedding_model import EmbeddingModel, Negatives
from tmfun_pyg.nn.models.ranking_model import Embeddings


class BPRMF(EmbeddingModel):
    r"""Matrix factorization from the `"BPR: Bayesian Personalized Ranking from
    Implicit Feedback" <https://arxiv.org/abs/1205.2618>`_ paper (Section 4.3.1
    with the criterion BPR-Opt):

    .. math::
        \hat{x}_{ui} = \mathbf{w}_u^{\top} \mathbf{h}_i, \qquad
        \mathcal{L} = - \ln \sigma(\hat{x}_{ui} - \hat{x}_{uj})
        + \lambda \left( \lVert \mathbf{w}_u \rVert^2
        + \lVert \mathbf{h}_i \rVert^2 + \lVert \mathbf{h}_j \rVert^2 \right)

    averaged over the users :math:`u`, positive items :math:`i` and negative
    items :math:`j` of a batch.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        channels (int, optional): Size of the embeddings.
            (default: :obj:`64`)
        reg_weight (float, optional): The weight :math:`\lambda` of the L2 term
            on the embeddings of a batch. (default: :obj:`1e-4`)
        softmax_negatives (int or str, optional): See
            :class:`~tmfun_pyg.nn.EmbeddingModel`. (default: :obj:`0`)
        sparse (bool, optional): If set to :obj:`True`, gradients of the ID
            embeddings are sparse in training on sampled neighborhoods.
            (default: :obj:`False`)
    """

    reads_feature_graphs = False
    supports_sampling = True

    def __init__(
        self,
        num_users: int,
        num_items: int,
        channels: int = 64,
        reg_weight: float = 1e-4,
        softmax_negatives: Negatives = 0,
        sparse: bool = False,
    ) -> None:
        super().__init__(
            num_users,
            num_items,
            channels,
            0,
            reg_weight,
            sparse,
            softmax_negatives=softmax_negatives,
        )
        self.reset_parameters()

    def encode(
        self,
        data: HeteroData,
        user: Optional[Tensor] = None,
        item: Optional[Tensor] = None,
        exclude: Optional[Tensor] = None,
    ) -> Embeddings:
        r"""Returns the embeddings of users and items."""
        return Embeddings(*self.id_embeddings(data)).rows(user, item)

    def loss(
        self, data: HeteroData, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Computes the ranking loss and the L2 term."""
        self.check_data(data)
        rows = self.id_rows(data, user, pos_item, neg_item)
        return {
            self.rank_loss.name: self.rank_rows(data, user, *rows),
            "reg": self.l2_loss(*rows),
        }
