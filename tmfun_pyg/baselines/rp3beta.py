from typing import Iterator, Tuple

from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.baselines.neighborhood_model import NeighborhoodModel
from tmfun_pyg.utils.messages import check_at_least, check_count
from tmfun_pyg.utils.retrieval import user_blocks
from tmfun_pyg.utils.schema import INTERACTS, REVERSE
from tmfun_pyg.utils.shared_users import SharedUsers
from tmfun_pyg.utils.sparse_rows import SparseRows
from tmfun_pyg.utils.spmm import spmm

NODES = ("user", "item")


class RP3beta(NeighborhoodModel):
    r"""Random walks that start at a user, with popular items discounted, from
    `"Updatable, Accurate, Diverse, and Scalable Recommendations for
    Interactive Applications" <https://doi.org/10.1145/2955101>`_:

    .. math::
        \mathbf{S} = \left( \mathbf{D}_{\mathcal{I}}^{-\alpha}
        \mathbf{R}^{\top} \mathbf{D}_{\mathcal{U}}^{-\alpha} \mathbf{R}
        \right)^{(h - 1) / 2} \mathbf{D}_{\mathcal{I}}^{-\beta}

    with interactions :math:`\mathbf{R}` and degrees :math:`\mathbf{D}`. The
    paper has three hops; longer walks are our extension.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        k (int, optional): The number of neighbors per item.
            (default: :obj:`100`)
        alpha (float, optional): The power :math:`\alpha` of transition
            probabilities. (default: :obj:`1.0`)
        beta (float, optional): The discount :math:`\beta` of popular items.
            (default: :obj:`0.6`)
        num_hops (int, optional): The length :math:`h` of a walk, an odd
            number. (default: :obj:`3`)

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        k: int = 100,
        alpha: float = 1.0,
        beta: float = 0.6,
        num_hops: int = 3,
    ) -> None:
        super().__init__(num_users, num_items, k)
        check_at_least("alpha", alpha, 0)
        check_count("num_hops", num_hops, 3)
        if num_hops % 2 == 0:
            raise ValueError(f"'num_hops' must be odd (got {num_hops})")
        self.alpha = alpha
        self.beta = beta
        self.num_hops = num_hops

    def similarities(
        self, data: HeteroData
    ) -> Iterator[Tuple[Tensor, SparseRows]]:
        r"""Computes walk probabilities from all items to some at a time."""
        of_users, of_items = (
            data[edge_type].edge_index for edge_type in (INTERACTS, REVERSE)
        )
        # Isolated nodes have no walks, so their weight does not matter:
        user, item = (data[name].degree.clamp(min=1) for name in NODES)
        to_item, to_user = user.pow(-self.alpha), item.pow(-self.alpha)
        discount = item.pow(-self.beta)
        shared = SharedUsers(data, to_item)
        for block in shared.blocks():
            # Sparse entries take four times the memory of dense ones:
            for target in user_blocks(block, 4 * self.num_items):
                rows = shared.rows(target, discount[target])
                value = rows.value * to_user[rows.col]
                rows = rows._replace(value=value)
                for _ in range(self.num_hops // 2 - 1):
                    x = rows.to_dense().t()
                    x = spmm(of_users, x) * to_item.view(-1, 1)
                    x = spmm(of_items, x)
                    rows = SparseRows.from_dense((x * to_user.view(-1, 1)).t())
                yield target, rows
