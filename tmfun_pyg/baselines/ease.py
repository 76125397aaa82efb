import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.baselines.item_scorer import ItemScorer
from tmfun_pyg.nn.models.ranking_model import RankingModel
from tmfun_pyg.utils.messages import check_positive
from tmfun_pyg.utils.schema import INTERACTS, REVERSE
from tmfun_pyg.utils.spmm import to_csr

MAX_ITEMS = 30_000


class EASE(RankingModel):
    r"""The closed-form linear autoencoder from `"Embarrassingly Shallow
    Autoencoders for Sparse Data" <https://arxiv.org/abs/1905.03375>`_ (its
    equation 8), with interactions :math:`\mathbf{R}`:

    .. math::
        \mathbf{P} = \left( \mathbf{R}^{\top} \mathbf{R} + \lambda \mathbf{I}
        \right)^{-1}, \qquad
        s_{ji} = \begin{cases} 0 & \textrm{if } i = j \\
        - p_{ji} / p_{ii} & \textrm{otherwise} \end{cases}, \qquad
        \hat{x}_{ui} = \sum_{j \in \mathcal{N}_u} s_{ji}

    The matrix is dense: memory is quadratic in the number of items, and time
    cubic.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items, at most 30,000.
        reg_weight (float, optional): The weight :math:`\lambda` of the L2
            term. (default: :obj:`200.0`)

    Raises:
        ValueError: If :obj:`reg_weight` is not positive, or if there are too
            many items.
    """

    reads_feature_graphs = False
    has_embeddings = False
    supports_fold_in = True
    weight: Tensor

    def __init__(
        self, num_users: int, num_items: int, reg_weight: float = 200.0
    ) -> None:
        super().__init__(num_users, num_items)
        check_positive("reg_weight", reg_weight)
        if num_items > MAX_ITEMS:
            raise ValueError(
                f"EASE inverts a dense matrix of items by items: 'num_items' "
                f"must be at most {MAX_ITEMS} (got {num_items}, which would "
                f"take {3 * num_items**2 * 4 / 2**30:.0f} GiB)"
            )
        self.reg_weight = reg_weight
        # Before it is fitted, NaN makes every ranking raise:
        unknown = torch.full((num_items, num_items), torch.nan)
        self.register_buffer("weight", unknown)

    @torch.no_grad()
    def fit(self, data: HeteroData) -> None:
        r"""Computes the matrix."""
        self.check_data(data)
        value = torch.ones_like(data[INTERACTS].edge_weight)
        user_item, item_user = (
            to_csr(data[edge_type].edge_index, value)
            for edge_type in (INTERACTS, REVERSE)
        )
        gram = (item_user @ user_item).to_dense()
        gram.diagonal().add_(self.reg_weight)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        self.weight.copy_(inverse / -inverse.diagonal())
        self.weight.fill_diagonal_(0.0)

    def scorer(self, data: HeteroData) -> ItemScorer:
        r"""Returns a scorer of all items."""
        self.check_data(data)
        return ItemScorer(data, self._product)

    def _product(self, owned: Tensor) -> Tensor:
        return self.weight.t() @ owned
