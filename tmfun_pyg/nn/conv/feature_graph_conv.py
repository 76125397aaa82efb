from typing import Any, Final, Optional, Tuple, Union

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.nn.conv import MessagePassing
from torch_geometric.typing import (
    Adj,
    OptPairTensor,
    OptTensor,
    Size,
    SparseTensor,
)
from torch_geometric.utils import is_sparse, scatter, to_edge_index
from torch_geometric.utils import spmm as pyg_spmm
from torch_geometric.utils.sparse import set_sparse_value

from tmfun_pyg.nn.spmm import spmm


class FeatureGraphConv(MessagePassing):
    r"""Propagates representations over a feature graph, a sparse graph of
    nodes with similar content (our reading of the modality feature graph of
    `"Attention-guided Multi-step Fusion: A Hierarchical Fusion Network for
    Multimodal Recommendation" <https://arxiv.org/abs/2304.11979>`_; the same
    linear propagation as in `"Mining Latent Structures for Multimedia
    Recommendation" <https://arxiv.org/abs/2104.09036>`_, Eq. 9):

    .. math::
        \mathbf{x}^{(l)}_i = \sum_{j \in \mathcal{N}(i)} \hat{a}_{ji}
        \, \mathbf{x}^{(l-1)}_j \quad \left[ + \, \mathbf{x}^{(l-1)}_i
        \textrm{ with residual} \right], \qquad l = 1, \ldots, L

    where :math:`\hat{a}_{ji}` is the edge weight :math:`a_{ji}` from node
    :math:`j` to node :math:`i` (1 by default), or with :obj:`normalize`

    .. math::
        \hat{a}_{ji} = \frac{a_{ji}}{\sqrt{d^{\textrm{out}}_j
        d^{\textrm{in}}_i}}, \qquad
        d^{\textrm{out}}_j = \sum_i a_{ji}, \quad
        d^{\textrm{in}}_i = \sum_j a_{ji}

    On an undirected graph this is the normalization of
    :class:`torch_geometric.nn.conv.LGConv`. The layer has no parameters.

    :meth:`torch.compile` takes the layer whole where the graph is an
    :obj:`edge_index`. Sparse products it leaves to eager mode.

    Args:
        num_layers (int, optional): The number of propagation steps
            :math:`L`. (default: :obj:`1`)
        normalize (bool, optional): If set to :obj:`True`, normalizes the edge
            weights as above in every call. Leave it off where the graph comes
            normalized, as from :class:`tmfun_pyg.transforms.FeatureGraph`.
            (default: :obj:`False`)
        residual (bool, optional): If set to :obj:`True`, adds the input of
            each step to its output. (default: :obj:`False`)
        **kwargs (optional): Additional arguments of
            :class:`torch_geometric.nn.conv.MessagePassing`.

    Shapes:
        - **input:**
          node features :math:`(|\mathcal{V}|, F)` or
          :math:`((|\mathcal{V_s}|, F), (|\mathcal{V_t}|, F))` if bipartite,
          edge indices :math:`(2, |\mathcal{E}|)` or a sparse adjacency matrix
          of shape :math:`(|\mathcal{V_t}|, |\mathcal{V_s}|)`,
          edge weights :math:`(|\mathcal{E}|)` *(optional)*
        - **output:** node features :math:`(|\mathcal{V}|, F)` or
          :math:`(|\mathcal{V_t}|, F)` if bipartite

    Raises:
        ValueError: If :obj:`num_layers` is not positive, or a bipartite input
            meets more than one step, or lacks the target features that
            :obj:`residual` needs; if :obj:`edge_weight` comes beside a sparse
            matrix, which holds its weights itself; or if :obj:`adj` comes
            without one.
    """

    SUPPORTS_FUSED_EDGE_INDEX: Final[bool] = True

    def __init__(
        self,
        num_layers: int = 1,
        normalize: bool = False,
        residual: bool = False,
        **kwargs: Any,
    ) -> None:
        if num_layers < 1:
            raise ValueError(
                f"'num_layers' must be at least 1 (got {num_layers})"
            )
        super().__init__(aggr="add", **kwargs)
        self.num_layers = num_layers
        self.normalize = normalize
        self.residual = residual

    def forward(
        self,
        x: Union[Tensor, OptPairTensor],
        edge_index: Adj,
        edge_weight: OptTensor = None,
        size: Size = None,
        adj: Optional[Adj] = None,
    ) -> Tensor:
        r"""Runs the propagation.

        Args:
            x (torch.Tensor or (torch.Tensor, torch.Tensor)): The node
                features, or those of source and target nodes, where the
                latter may be :obj:`None`.
            edge_index (torch.Tensor or SparseTensor): The graph, in any
                layout of PyG. Sparse matrices are transposed, as PyG has it.
            edge_weight (torch.Tensor, optional): The edge weights
                :math:`a_{ji}`, with or without gradient.
                (default: :obj:`None`)
            size ((int, int), optional): The number of source and target
                nodes, if bipartite. (default: :obj:`None`)
            adj (torch.Tensor or SparseTensor, optional): The transposed of a
                sparse :obj:`edge_index`, for an undirected graph
                :obj:`edge_index` itself. It promises that the graph is
                constant, and makes the backward pass one more sparse product,
                as cheap as the forward pass, where autograd would transpose
                the matrix first. An :class:`~torch_geometric.EdgeIndex` keeps
                its transposed by itself. (default: :obj:`None`)
        """
        if edge_weight is not None and is_sparse(edge_index):
            raise ValueError(
                "'edge_weight' can't be given beside a sparse matrix: put the "
                "weights into the matrix"
            )
        if adj is not None and (self.normalize or not is_sparse(edge_index)):
            raise ValueError(
                "'adj' goes with a sparse matrix that is not to be normalized"
            )
        bipartite = not isinstance(x, Tensor)
        pair: OptPairTensor = (x, x) if isinstance(x, Tensor) else x
        if bipartite and self.num_layers > 1:
            raise ValueError(
                f"'num_layers' must be 1 for bipartite input "
                f"(got {self.num_layers})"
            )
        if self.residual and pair[1] is None:
            raise ValueError("'residual' needs the features of target nodes")

        if self.normalize:
            if size is None:
                size = _size(edge_index, pair)
            edge_index, edge_weight = _normalize(edge_index, edge_weight, size)

        for _ in range(self.num_layers):
            if adj is not None:
                # `propagate` would unfold the matrix into edges in each call:
                out = spmm(_to_csr(edge_index), _to_csr(adj), pair[0])
            else:
                # propagate_type: (x: OptPairTensor, edge_weight: OptTensor)
                out = self.propagate(
                    edge_index, x=pair, edge_weight=edge_weight, size=size
                )
            if self.residual:
                out = out + pair[1]
            pair = (out, out)
        return out

    def message(self, x_j: Tensor, edge_weight: OptTensor) -> Tensor:
        """Weighs the features of the neighbors."""
        return x_j if edge_weight is None else edge_weight.view(-1, 1) * x_j

    @torch.compiler.disable  # It can't trace sparse matrices.
    def message_and_aggregate(
        self,
        edge_index: Adj,
        x: OptPairTensor,
        edge_weight: OptTensor,
    ) -> Tensor:
        """Propagates as one sparse product."""
        if isinstance(edge_index, EdgeIndex):
            return edge_index.matmul(
                other=x[0], input_value=edge_weight, transpose=True
            )
        return pyg_spmm(edge_index, x[0], reduce="sum")

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}(num_layers={self.num_layers})"


def _size(edge_index: Adj, x: OptPairTensor) -> Tuple[int, int]:
    if is_sparse(edge_index):
        return edge_index.size(1), edge_index.size(0)
    num_src = x[0].size(0)
    if x[1] is not None:
        return num_src, x[1].size(0)
    if (
        isinstance(edge_index, EdgeIndex)
        and None not in edge_index.sparse_size()
    ):
        return edge_index.sparse_size()
    raise ValueError(
        "'normalize' needs 'size' or the features of target nodes for "
        "bipartite input"
    )


@torch.compiler.disable  # It can't trace sparse matrices.
def _to_csr(adj: Adj) -> Tensor:
    if isinstance(adj, SparseTensor):
        return adj.to_torch_sparse_csr_tensor()
    return adj if adj.layout == torch.sparse_csr else adj.to_sparse_csr()


def _normalize(
    edge_index: Adj, edge_weight: OptTensor, size: Tuple[int, int]
) -> Tuple[Adj, OptTensor]:
    if is_sparse(edge_index):
        return _normalize_sparse(edge_index, size), None
    is_indexed = isinstance(edge_index, EdgeIndex)
    src, dst = edge_index.as_tensor() if is_indexed else edge_index
    return edge_index, _normalized_weight(src, dst, edge_weight, size)


@torch.compiler.disable  # It can't trace sparse matrices.
def _normalize_sparse(adj_t: Adj, size: Tuple[int, int]) -> Adj:
    if isinstance(adj_t, SparseTensor):
        row, col, value = adj_t.coo()
        value = _normalized_weight(col, row, value, size)
        return adj_t.set_value(value, layout="coo")
    (row, col), value = to_edge_index(adj_t)
    return set_sparse_value(adj_t, _normalized_weight(col, row, value, size))


def _normalized_weight(
    src: Tensor, dst: Tensor, weight: OptTensor, size: Tuple[int, int]
) -> Tensor:
    if weight is None:
        weight = torch.ones(src.numel(), device=src.device)
    out_degree = scatter(weight, src, dim_size=size[0], reduce="sum")
    in_degree = scatter(weight, dst, dim_size=size[1], reduce="sum")
    return (
        weight * _inverse_sqrt(out_degree)[src] * _inverse_sqrt(in_degree)[dst]
    )


def _inverse_sqrt(degree: Tensor) -> Tensor:
    # Two steps, so that a degree of 0 has a gradient of 0 and not NaN:
    isolated = degree == 0
    return (
        degree.masked_fill(isolated, 1.0).pow(-0.5).masked_fill(isolated, 0.0)
    )
