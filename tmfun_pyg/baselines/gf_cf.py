import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.baselines.item_scorer import ItemScorer
from tmfun_pyg.nn.models.ranking_model import RankingModel
from tmfun_pyg.utils.interaction_step import interaction_step
from tmfun_pyg.utils.messages import check_at_least, check_count
from tmfun_pyg.utils.singular_vectors import singular_vectors


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
    its leading singular vectors, computed iteratively, for about three digits
    of the scores.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        channels (int, optional): The number of singular vectors, at most the
            number of users and of items. (default: :obj:`256`)
        alpha (float, optional): The weight :math:`\alpha` of the ideal
            low-pass filter. (default: :obj:`0.3`)

    Raises:
        ValueError: If an option is out of range.
    """

    reads_feature_graphs = False
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
        check_count("channels", channels)
        check_at_least("alpha", alpha, 0)
        self.alpha = alpha
        channels = min(channels, num_users, num_items)
        # Before it is fitted, NaN makes every ranking raise:
        unknown = torch.full((num_items, channels), torch.nan)
        self.register_buffer("basis", unknown)

    @torch.no_grad()
    def fit(self, data: HeteroData) -> None:
        r"""Computes the singular vectors."""
        self.check_data(data)
        channels = self.basis.size(1)
        self.basis.copy_(singular_vectors(data, channels).item)

    def scorer(self, data: HeteroData) -> ItemScorer:
        r"""Returns a scorer of all items."""
        self.check_data(data)
        scale = data["item"].degree.clamp(min=1).sqrt().view(-1, 1)

        def product(owned: Tensor) -> Tensor:
            # Users of AddUsers() send nothing: only those of training count.
            x = interaction_step(data, "user", owned)
            linear = interaction_step(data, "item", x)
            ideal = self.basis @ (self.basis.t() @ (owned / scale))
            return linear + self.alpha * scale * ideal

        return ItemScorer(data, product)
