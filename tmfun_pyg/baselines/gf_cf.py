import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.baselines.item_scorer import ItemScorer
from tmfun_pyg.nn.models.ranking_model import RankingModel
from tmfun_pyg.utils.messages import check_at_least
from tmfun_pyg.utils.spmm import spmm

NUM_ITERATIONS = 8  # Of the subspace, to three digits of the scores.


class GFCF(RankingModel):
    r"""Collaborative filtering as a filter on the graph of items, from `"How
    Powerful is Graph Convolution for Recommendation?"
    <https://arxiv.org/abs/2108.07567>`_:

    .. math::
        \hat{\mathbf{x}}_u = \mathbf{r}_u \left( \tilde{\mathbf{R}}^{\top}
        \tilde{\mathbf{R}} + \alpha \, \mathbf{D}_{\mathcal{I}}^{-1/2}
        \mathbf{V} \mathbf{V}^{\top} \mathbf{D}_{\mathcal{I}}^{1/2} \right)

    where :math:`\tilde{\mathbf{R}} = \mathbf{D}_{\mathcal{U}}^{-1/2}
    \mathbf{R} \mathbf{D}_{\mathcal{I}}^{-1/2}`, and :math:`\mathbf{V}` holds
    its leading singular vectors.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        channels (int, optional): The number of singular vectors, cut to the
            number of users and of items. (default: :obj:`256`)
        alpha (float, optional): The weight :math:`\alpha` of the ideal
            low-pass filter. (default: :obj:`0.3`)

    Raises:
        ValueError: If an option is out of range.
    """

    has_embeddings = False
    supports_fold_in = True
    basis: Tensor

    def __init__(
        self,
        num_users: int,
        num_items: int,
        channels: int = 256,
        alpha: float = 0.3,
    ) -> None:
        super().__init__(num_users, num_items)
        check_at_least("channels", channels, 1)
        check_at_least("alpha", alpha, 0)
        self.alpha = alpha
        channels = min(channels, num_users, num_items)
        # NaN is refused by whatever ranks, until it is fitted:
        unknown = torch.full((num_items, channels), torch.nan)
        self.register_buffer("basis", unknown)

    @torch.no_grad()
    def fit(self, data: HeteroData) -> None:
        r"""Computes the singular vectors, by subspace iteration."""
        self.check_data(data)
        store = data["user", "interacts", "item"]
        edge, weight = store.edge_index, store.edge_weight
        num_items, channels = self.basis.shape
        # More vectors than asked for, so that the last ones converge, too:
        width = min(2 * channels, self.num_users, num_items)
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(num_items, width, generator=generator)
        x = x.to(self.basis.device)
        for _ in range(NUM_ITERATIONS):
            x = spmm(edge, spmm(edge, x, weight), weight, transpose=True)
            x = torch.linalg.qr(x).Q
        # Rayleigh-Ritz, within the subspace found:
        _, _, v = torch.linalg.svd(spmm(edge, x, weight), full_matrices=False)
        self.basis.copy_(x @ v[:channels].t())

    def scorer(self, data: HeteroData) -> ItemScorer:
        r"""Returns what scores all items for some users."""
        self.check_data(data)
        # Of the users of training alone, whoever asks:
        store = data["item", "rev_interacts", "user"]
        edge, weight = store.edge_index, store.edge_weight
        scale = data["item"].degree.clamp(min=1).sqrt().view(-1, 1)

        def product(owned: Tensor) -> Tensor:
            x = spmm(edge, owned, weight, transpose=True)
            linear = spmm(edge, x, weight)
            ideal = self.basis @ (self.basis.t() @ (owned / scale))
            return linear + self.alpha * scale * ideal

        return ItemScorer(data, product)
