from typing import NamedTuple, Optional

import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.utils import degree

from tmfun_pyg.nn.models.csr_matrix import CSRMatrix


class Operator(NamedTuple):
    r"""The two blocks of a user-item graph, as sparse CSR tensors.

    Args:
        to_user (torch.Tensor): From items to users, of shape
            :obj:`[num_users, num_items]`.
        to_item (torch.Tensor): From users to items, of shape
            :obj:`[num_items, num_users]`.
    """

    to_user: Tensor
    to_item: Tensor


class InteractionGraph(torch.nn.Module):
    r"""The user-item graph, symmetrically normalized:

    .. math::
        \mathbf{A} = \begin{pmatrix} 0 & \mathbf{R} \\
        \mathbf{R}^{\top} & 0 \end{pmatrix}, \qquad
        r_{ui} = \frac{1}{\sqrt{d_u d_i}}

    It is held by its blocks, of which each product gathers from fewer rows
    than from the whole, so that more of them stay in the cache.

    In a sampled neighborhood, where :math:`s_u` of the :math:`d_u` items of a
    user were drawn, the weight of an edge to the user is :math:`r_{ui} \, d_u
    / s_u`, so that a sum over neighbors has the expectation of the whole sum.
    The other direction is drawn apart from it: there are then two blocks that
    are not each other's transposed.

    Args:
        data (HeteroData): A data set, or a batch of
            :class:`tmfun_pyg.loader.SampledInteractionDataset`.
    """

    user_index: Optional[Tensor]
    item_index: Optional[Tensor]
    item_degree: Tensor

    def __init__(self, data: HeteroData) -> None:
        super().__init__()
        user, item = data["user", "interacts", "item"].edge_index
        size = (data["user"].num_nodes, data["item"].num_nodes)
        self.to_item: Optional[CSRMatrix] = None
        is_sampled = "n_id" in data["item"]
        for name in ("user", "item"):
            # None stands for all nodes in their order:
            index = data[name].n_id if is_sampled else None
            self.register_buffer(f"{name}_index", index, persistent=False)
        if is_sampled:
            item_degree = data["item"].degree
            self.to_user = _sampled_block(data, "item", "user")
            self.to_item = _sampled_block(data, "user", "item")
        else:
            user_degree = degree(user, size[0])
            item_degree = degree(item, size[1])
            value = (user_degree[user] * item_degree[item]).rsqrt()
            self.to_user = CSRMatrix.from_coo(user, item, value, size)
        self.register_buffer("item_degree", item_degree, persistent=False)

    @property
    def operator(self) -> Operator:
        r"""The graph :math:`\mathbf{A}`."""
        if self.to_item is None:
            return Operator(self.to_user.adj_t, self.to_user.adj)
        return Operator(self.to_user.adj_t, self.to_item.adj_t)

    @property
    def transposed(self) -> Operator:
        r"""The transposed graph :math:`\mathbf{A}^{\top}`."""
        if self.to_item is None:
            return self.operator
        return Operator(self.to_item.adj, self.to_user.adj)


def _sampled_block(data: HeteroData, source: str, target: str) -> CSRMatrix:
    relation = "interacts" if target == "item" else "rev_interacts"
    col, row = data[source, relation, target].edge_index
    size = (data[target].num_nodes, data[source].num_nodes)
    drawn = degree(row, size[0])
    target_degree = data[target].degree
    value = (target_degree[row] / data[source].degree[col]).sqrt() / drawn[row]
    return CSRMatrix.from_coo(row, col, value, size)
