from typing import Tuple

import torch
from torch import Tensor
from torch_geometric.nn.conv import LGConv
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from tmfun_pyg.nn.models.csr_matrix import CSRMatrix
from tmfun_pyg.nn.spmm import spmm


class _SymmetricLGConv(LGConv):
    """LGConv with a symmetric matrix, which is its own transposed."""

    def message_and_aggregate(self, adj_t: Tensor, x: Tensor) -> Tensor:
        return spmm(adj_t, adj_t, x)


class InteractionPropagation(torch.nn.Module):
    r"""The collaborative branch: the mean of :math:`L` light graph
    convolutions over the user-item graph and of their input, from the
    `"LightGCN: Simplifying and Powering Graph Convolution Network for
    Recommendation" <https://arxiv.org/abs/2002.02126>`_ paper (Eq. 3 and 4):

    .. math::
        \mathbf{X}^c = \frac{1}{L + 1} \sum_{l=0}^{L} \left( \mathbf{D}^{-1/2}
        \mathbf{A} \mathbf{D}^{-1/2} \right)^l \mathbf{E}

    Args:
        num_layers (int): The number of layers :math:`L`.

    Raises:
        ValueError: If :obj:`num_layers` is negative.
    """

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        if num_layers < 0:
            raise ValueError(
                f"'num_layers' must not be negative (got {num_layers})"
            )
        self.num_layers = num_layers
        self.conv = _SymmetricLGConv(normalize=False)

    def bind(self, edge_index: Tensor, num_users: int, num_items: int) -> None:
        r"""Sets the graph.

        Args:
            edge_index (torch.Tensor): The training interactions, pairs of
                user and item, of shape :obj:`[2, num_interactions]`.
            num_users (int): The number of users.
            num_items (int): The number of items.
        """
        user, item = edge_index[0], edge_index[1] + num_users
        row, col = torch.cat([user, item]), torch.cat([item, user])
        num_nodes = num_users + num_items
        index, weight = gcn_norm(
            torch.stack([row, col]), None, num_nodes, add_self_loops=False
        )
        self.graph = CSRMatrix(
            index[0], index[1], weight, (num_nodes, num_nodes)
        )

    def forward(
        self, user_emb: Tensor, item_emb: Tensor
    ) -> Tuple[Tensor, Tensor]:
        r"""Propagates the embeddings of users and items.

        Args:
            user_emb (torch.Tensor): The user embeddings, of shape
                :obj:`[num_users, channels]`.
            item_emb (torch.Tensor): The item embeddings, of shape
                :obj:`[num_items, channels]`.
        """
        adj_t = self.graph.adj_t
        x = out = torch.cat([user_emb, item_emb])
        for _ in range(self.num_layers):
            x = self.conv(x, adj_t)
            out = out + x
        out = out / (self.num_layers + 1)
        num_users, num_items = user_emb.size(0), item_emb.size(0)
        user_out, item_out = out.split([num_users, num_items])
        return user_out, item_out
