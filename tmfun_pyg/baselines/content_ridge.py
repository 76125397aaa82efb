from typing import NamedTuple, Optional

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.baselines.content_knn import unit_features
from tmfun_pyg.nn.models.ranking_model import Embeddings, RankingModel
from tmfun_pyg.utils.messages import check_positive
from tmfun_pyg.utils.spmm import spmm


class _State(NamedTuple):
    """The features of all items, and the inverse of the regularized Gram
    matrix of the warm ones, in double precision: with more features than
    items, its smallest eigenvalues are the L2 term.
    """

    unit: Tensor
    inverse: Tensor


class ContentRidge(RankingModel):
    r"""Predicts each user's interactions from the features of items by ridge
    regression:

    .. math::
        \hat{x}_{ui} = \mathbf{f}_i^{\top} \left( \mathbf{F}^{\top} \mathbf{F}
        + \lambda \mathbf{I} \right)^{-1} \mathbf{F}^{\top} \mathbf{r}_u

    where :math:`\mathbf{r}_u` are the interactions of user :math:`u` with the
    warm items, and the rows :math:`\mathbf{f}_i` of :math:`\mathbf{F}` are
    the concatenated features of all modalities, each centered over the warm
    items and scaled to unit length as in
    :class:`~tmfun_pyg.baselines.ContentKNN`.

    That method weights all directions of the features equally; this one gives
    less weight to those that many items share. It is a baseline for cold
    items, too. It has no parameters and needs no training. The embeddings have
    as many channels as all features together, and the matrix to invert has
    that many rows and columns.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        reg_weight (float, optional): The weight :math:`\lambda` of the L2
            term. (default: :obj:`10.0`)

    Raises:
        ValueError: If :obj:`reg_weight` is not positive, or infinite.
    """

    needs_features = True
    reads_feature_graphs = False
    supports_cold_items = True
    supports_fold_in = True

    def __init__(
        self, num_users: int, num_items: int, reg_weight: float = 10.0
    ) -> None:
        super().__init__(num_users, num_items)
        check_positive("reg_weight", reg_weight)
        self.reg_weight = reg_weight

    def encode(
        self,
        data: HeteroData,
        user: Optional[Tensor] = None,
        item: Optional[Tensor] = None,
        exclude: Optional[Tensor] = None,
    ) -> Embeddings:
        r"""Returns the coefficients of users and the features of items."""
        state = self.fold_in_state(data)
        emb = self.encode_new_users(state, data), state.unit
        return Embeddings(*emb).rows(user, item)

    def fold_in_state(self, data: HeteroData) -> _State:
        r"""Returns the state that the coefficients of any user depend on."""
        self.check_data(data)
        unit = torch.cat(unit_features(data), dim=1)
        warm = unit[data["item"].degree > 0].double()
        # Rounding may turn zeros into negative numbers:
        value, vector = torch.linalg.eigh(warm.t() @ warm)
        scale = 1 / (value.clamp(min=0) + self.reg_weight)
        return _State(unit, vector * scale @ vector.t())

    def encode_new_users(self, state: _State, data: HeteroData) -> Tensor:
        r"""Returns the coefficients of users, new or not."""
        edge_index = data["user", "interacts", "item"].edge_index
        sums = spmm(edge_index, state.unit.double())
        return (sums @ state.inverse).to(state.unit.dtype)
