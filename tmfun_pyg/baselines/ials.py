from typing import Any, Optional

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.nn.models.ranking_model import Embeddings, RankingModel
from tmfun_pyg.utils.extras import import_extra
from tmfun_pyg.utils.messages import check_at_least, check_count


class IALS(RankingModel):
    r"""Matrix factorization by weighted alternating least squares, from
    `"Collaborative Filtering for Implicit Feedback Datasets"
    <https://doi.org/10.1109/ICDM.2008.22>`_, as implemented in the library
    :obj:`implicit` (extra :obj:`[ials]`). Users of
    :class:`~tmfun_pyg.transforms.AddUsers` get the factors of its
    :meth:`recalculate_user`, which solves for the factors of their items.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        channels (int, optional): Size of the embeddings.
            (default: :obj:`64`)
        alpha (float, optional): The weight of an interaction relative to a
            missing one. (default: :obj:`10.0`)
        reg_weight (float, optional): The weight of the L2 term.
            (default: :obj:`0.1`)
        num_iterations (int, optional): The number of iterations.
            (default: :obj:`15`)

    Raises:
        ValueError: If an option is out of range.
    """

    reads_feature_graphs = False
    supports_fold_in = True
    user_emb: Tensor
    item_emb: Tensor

    def __init__(
        self,
        num_users: int,
        num_items: int,
        channels: int = 64,
        alpha: float = 10.0,
        reg_weight: float = 0.1,
        num_iterations: int = 15,
    ) -> None:
        super().__init__(num_users, num_items)
        check_count("channels", channels)
        check_count("num_iterations", num_iterations)
        check_at_least("alpha", alpha, 0)
        check_at_least("reg_weight", reg_weight, 0)
        self.alpha = alpha
        self.reg_weight = reg_weight
        self.num_iterations = num_iterations
        # Before it is fitted, NaN makes every ranking raise:
        for name, size in (("user_emb", num_users), ("item_emb", num_items)):
            unknown = torch.full((size, channels), torch.nan)
            self.register_buffer(name, unknown)

    def fit(self, data: HeteroData) -> None:
        r"""Factorizes the interactions.

        Raises:
            ImportError: If :obj:`implicit` is not installed.
        """
        self.check_data(data)
        model = self._solver()
        model.fit(_matrix(data), show_progress=False)
        self.user_emb.copy_(torch.from_numpy(model.user_factors))
        self.item_emb.copy_(torch.from_numpy(model.item_factors))

    def encode(
        self,
        data: HeteroData,
        user: Optional[Tensor] = None,
        item: Optional[Tensor] = None,
        exclude: Optional[Tensor] = None,
    ) -> Embeddings:
        r"""Returns the factors.

        Raises:
            ImportError: If users were added, but :obj:`implicit` is not
                installed.
        """
        self.check_data(data)
        user_emb = self.user_emb
        if "added" in data["user"]:
            added = _matrix(data)[self.num_users :]
            more = self._recalculate(self.fold_in_state(data), added)
            user_emb = torch.cat([user_emb, more])
        return Embeddings(user_emb, self.item_emb).rows(user, item)

    def fold_in_state(self, data: HeteroData) -> Any:
        r"""Returns the solver of :obj:`implicit` with the item factors."""
        model = self._solver()
        model.item_factors = self.item_emb.cpu().numpy()
        return model

    def encode_new_users(self, state: Any, data: HeteroData) -> Tensor:
        r"""Returns the factors of new users."""
        return self._recalculate(state, _matrix(data))

    def _recalculate(self, solver: Any, matrix: Any) -> Tensor:
        """Returns user factors from a sparse matrix of their items."""
        factors = solver.recalculate_user(np.arange(matrix.shape[0]), matrix)
        return torch.from_numpy(factors).to(self.user_emb)

    def _solver(self) -> Any:
        return import_extra("implicit.als", "ials").AlternatingLeastSquares(
            factors=self.user_emb.size(1),
            regularization=self.reg_weight,
            alpha=self.alpha,
            iterations=self.num_iterations,
            use_gpu=False,
            random_state=0,
            num_threads=torch.get_num_threads(),
        )


def _matrix(data: HeteroData) -> Any:
    """Returns the interactions as a sparse SciPy matrix."""
    sparse = import_extra("scipy.sparse", "ials")
    edge_index = data["user", "interacts", "item"].edge_index.cpu()
    user, item = edge_index.as_tensor().numpy()
    value = np.ones(len(user), dtype=np.float32)
    size = data["user"].num_nodes, data["item"].num_nodes
    return sparse.csr_matrix((value, (user, item)), shape=size)
