from typing import Iterator, Tuple

from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.baselines.neighborhood_model import NeighborhoodModel
from tmfun_pyg.utils.messages import check_at_least
from tmfun_pyg.utils.shared_users import SharedUsers
from tmfun_pyg.utils.sparse_rows import SparseRows


class ItemKNN(NeighborhoodModel):
    r"""The nearest neighbors of items, from `"Item-based Top-N Recommendation
    Algorithms" <https://doi.org/10.1145/963770.963776>`_, by the cosine of
    their users, shrunk for items that share few:

    .. math::
        s_{ji} = \frac{|\mathcal{U}_i \cap \mathcal{U}_j|}
        {\sqrt{|\mathcal{U}_i| \, |\mathcal{U}_j|} + \lambda}

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        k (int, optional): The number of neighbors per item.
            (default: :obj:`100`)
        shrinkage (float, optional): The shrinkage :math:`\lambda`.
            (default: :obj:`0.0`)

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        k: int = 100,
        shrinkage: float = 0.0,
    ) -> None:
        super().__init__(num_users, num_items, k)
        check_at_least("shrinkage", shrinkage, 0)
        self.shrinkage = shrinkage

    def similarities(
        self, data: HeteroData
    ) -> Iterator[Tuple[Tensor, SparseRows]]:
        r"""Computes the shrunk cosines of all items to some at a time."""
        root = data["item"].degree.sqrt()
        shared = SharedUsers(data)
        for item in shared.blocks():
            rows = shared.rows(item)
            norm = root[rows.col] * root[item[rows.row]] + self.shrinkage
            yield item, rows._replace(value=rows.value / norm)
