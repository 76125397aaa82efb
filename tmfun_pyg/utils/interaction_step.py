"""One step of propagation between users and items."""

from typing import Any, Tuple

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.utils.schema import INTERACTS, REVERSE
from tmfun_pyg.utils.spmm import product, to_csr


def interaction_step(data: HeteroData, node_type: str, x: Tensor) -> Tensor:
    r"""Computes :math:`\mathbf{A} \mathbf{X}`, the weighted sums over the
    items of each user, or over the users of each item, in the precision of the
    graph. Edge weights are constants without gradients.

    Args:
        data (HeteroData): A graph of
            :class:`~tmfun_pyg.transforms.ToRecGraph`.
        node_type (str): The target nodes, :obj:`"user"` or :obj:`"item"`.
        x (torch.Tensor): The rows of the source nodes, of shape
            :obj:`[num_others, channels]`.
    """
    with torch.autocast(x.device.type, enabled=False):
        return _Step.apply(x.to(step_dtype(data)), data, node_type, False)


def step_dtype(data: HeteroData) -> torch.dtype:
    r"""Returns the precision of the weights of a graph.

    Args:
        data (HeteroData): The graph.
    """
    return data[INTERACTS].edge_weight.dtype


def step_matrix(data: HeteroData, node_type: str, backward: bool) -> Tensor:
    r"""Returns the matrix that maps the rows of source nodes to those of a
    node type. In the backward pass, this is the transpose of the matrix for
    the other direction. If :obj:`data.is_symmetric` is set, both are the same,
    and no transpose is computed.

    Args:
        data (HeteroData): As in :func:`interaction_step`.
        node_type (str): As in :func:`interaction_step`.
        backward (bool): Whether it is for the backward pass.
    """
    is_symmetric = "is_symmetric" in data and data.is_symmetric
    transpose = backward and not is_symmetric
    leads_to_user = (node_type == "user") != transpose
    store = data[INTERACTS if leads_to_user else REVERSE]
    return to_csr(store.edge_index, store.edge_weight, transpose)


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, data: HeteroData, node_type: str, backward: bool
    ) -> Tensor:
        ctx.args = data, "item" if node_type == "user" else "user", not backward
        return product(step_matrix(data, node_type, backward), x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tuple[Tensor, None, None, None]:
        return _Step.apply(grad, *ctx.args), None, None, None
