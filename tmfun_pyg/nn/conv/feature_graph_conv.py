from typing import Any, Callable, Final, Optional, Tuple, Union

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.nn.conv import MessagePassing
from torch_geometric.nn.dense import Linear
from torch_geometric.nn.inits import reset
from torch_geometric.nn.resolver import activation_resolver
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

from tmfun_pyg.utils.messages import check_count
from tmfun_pyg.utils.spmm import spmm


class FeatureGraphConv(MessagePassing):
    r"""Content-gated propagation over a feature graph, a sparse graph of nodes
    with similar content (our reading of the modality feature graph of
    `"Attention-guided Multi-step Fusion: A Hierarchical Fusion Network for
    Multimodal Recommendation" <https://arxiv.org/abs/2304.11979>`_; the gate
    is the behavior-guided purifier of `"Multi-View Graph Convolutional Network
    for Multimedia Recommendation" <https://arxiv.org/abs/2308.03588>`_):

    .. math::
        \mathbf{h}_i = \sum_{j \in \mathcal{N}(i)} \hat{a}_{ji} \left(
        \mathbf{x}_j \odot \sigma \left( \mathbf{W}_2 \, \phi
        (\mathbf{W}_1 \mathbf{f}_j + \mathbf{b}_1) + \mathbf{b}_2 \right)
        \right)

    where :math:`\mathbf{f}_j` are the content features of node :math:`j`, and
    :math:`\phi` is :obj:`act`. The gate is computed once per source node,
    before propagation. Without :obj:`feat_channels`, there is no gate and no
    parameter.

    The edge weight :math:`\hat{a}_{ji}` is :math:`a_{ji}` from node :math:`j`
    to node :math:`i` (1 by default), or with :obj:`normalize`

    .. math::
        \hat{a}_{ji} = \frac{a_{ji}}{\sqrt{d^{\textrm{out}}_j
        d^{\textrm{in}}_i}}, \qquad
        d^{\textrm{out}}_j = \sum_i a_{ji}, \quad
        d^{\textrm{in}}_i = \sum_j a_{ji}

    An :class:`~torch_geometric.EdgeIndex` sorted by column runs as one sparse
    product, forward and backward. Set its :obj:`sparse_size` and fill its
    cache; otherwise it is sorted again in every call.
    :meth:`torch.compile` has no graph breaks if the graph is a plain
    :obj:`edge_index`.

    Args:
        channels (int): Size of the node representations.
        feat_channels (int, optional): Size of the features that gate them, or
            :obj:`-1` to derive it from the first input. No gate if
            :obj:`None`. (default: :obj:`None`)
        act (str or torch.nn.Module, optional): The non-linearity of the gate's
            hidden layer, or :obj:`None`. (default: :obj:`"leaky_relu"`)
        normalize (bool, optional): If set to :obj:`True`, normalizes the edge
            weights as above in every call. Leave it off for graphs that are
            normalized already, such as those of
            :class:`~tmfun_pyg.transforms.FeatureGraph`. Degrees must not be
            negative. (default: :obj:`False`)
        **kwargs (optional): Additional arguments of
            :class:`torch_geometric.nn.conv.MessagePassing`, except
            :obj:`aggr`; :obj:`flow` and :obj:`node_dim` must be the defaults.

    Shapes:
        - **input:**
          node representations :math:`(*, |\mathcal{V}|, F)` or
          :math:`((*, |\mathcal{V_s}|, F), (*, |\mathcal{V_t}|, F))` if
          bipartite,
          edge indices :math:`(2, |\mathcal{E}|)` or a sparse adjacency matrix
          of shape :math:`(|\mathcal{V_t}|, |\mathcal{V_s}|)`,
          edge weights :math:`(|\mathcal{E}|)` *(optional)*,
          features :math:`(|\mathcal{V_s}|, F_f)` *(with a gate)*
        - **output:** node representations :math:`(*, |\mathcal{V}|, F)` or
          :math:`(*, |\mathcal{V_t}|, F)` if bipartite

    Raises:
        ValueError: If a size is not positive, :obj:`flow` is not
            :obj:`"source_to_target"`, or :obj:`node_dim` not :obj:`-2`.
    """

    SUPPORTS_FUSED_EDGE_INDEX: Final[bool] = True

    def __init__(
        self,
        channels: int,
        feat_channels: Optional[int] = None,
        act: Union[str, torch.nn.Module, None] = "leaky_relu",
        normalize: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(aggr="add", **kwargs)
        if self.flow != "source_to_target":
            raise ValueError(
                f"'flow' must be 'source_to_target' (got {self.flow!r})"
            )
        if self.node_dim != -2:
            raise ValueError(f"'node_dim' must be -2 (got {self.node_dim})")
        check_count("channels", channels)
        if feat_channels is not None and feat_channels != -1:
            check_count("feat_channels", feat_channels)
        self.channels = channels
        self.feat_channels = feat_channels
        self.normalize = normalize
        self.gate: Optional[torch.nn.Sequential] = None
        if feat_channels is not None:
            hidden = [] if act is None else [activation_resolver(act)]
            self.gate = torch.nn.Sequential(
                Linear(feat_channels, channels),
                *hidden,
                Linear(channels, channels),
            )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        reset(self.gate)

    def forward(
        self,
        x: Union[Tensor, OptPairTensor],
        edge_index: Adj,
        edge_weight: OptTensor = None,
        feat: Union[Tensor, OptPairTensor, None] = None,
        size: Size = None,
    ) -> Tensor:
        r"""Runs the forward pass of the module.

        Args:
            x (torch.Tensor or (torch.Tensor, torch.Tensor)): The node
                representations, or those of source and target nodes. Target
                rows only give the number of target nodes, and may be
                :obj:`None`.
            edge_index (torch.Tensor or SparseTensor): The graph, in any
                layout of PyG. Sparse matrices hold the transposed adjacency,
                as elsewhere in PyG.
            edge_weight (torch.Tensor, optional): The edge weights
                :math:`a_{ji}`, with or without gradient.
                (default: :obj:`None`)
            feat (torch.Tensor or (torch.Tensor, torch.Tensor), optional): The
                features, of which only those of source nodes are read.
                Required with a gate. (default: :obj:`None`)
            size ((int, int), optional): The number of source and target
                nodes, if bipartite. (default: :obj:`None`)

        Raises:
            ValueError: If :obj:`feat` is missing with a gate or given without
                one, if :obj:`edge_weight` is given with a sparse matrix, which
                holds its own weights, if a shape does not fit, if an
                :class:`~torch_geometric.EdgeIndex` has more nodes than
                :obj:`x` or :obj:`size`, or if :obj:`normalize` cannot
                determine the number of target nodes.
        """
        if edge_weight is not None:
            _check_weight(edge_index, edge_weight)
        pair: OptPairTensor = (x, x) if isinstance(x, Tensor) else x
        dtype = pair[0].dtype
        if edge_weight is not None:
            dtype = torch.promote_types(dtype, edge_weight.dtype)
        if isinstance(edge_index, EdgeIndex):
            edge_index = _sized(edge_index, pair, size, self.node_dim)
        if self.normalize:
            if size is None:
                size = _size(edge_index, pair, self.node_dim)
            edge_index, edge_weight = _normalize(
                edge_index, edge_weight, size, pair[0].dtype
            )

        pair = (self.apply_gate(pair[0], feat), pair[1])
        # propagate_type: (x: OptPairTensor, edge_weight: OptTensor)
        out = self.propagate(
            edge_index, x=pair, edge_weight=edge_weight, size=size
        )
        # Sums and degrees are computed in at least single precision.
        return out.to(dtype)

    def apply_gate(
        self, x: Tensor, feat: Union[Tensor, OptPairTensor, None] = None
    ) -> Tensor:
        r"""Gates the source nodes, before propagation.

        Args:
            x (torch.Tensor): The representations of the source nodes.
            feat (torch.Tensor or (torch.Tensor, torch.Tensor), optional): As
                in :meth:`forward`. (default: :obj:`None`)
        """
        if isinstance(feat, (tuple, list)):
            feat = feat[0]
        if (feat is None) != (self.gate is None):
            raise ValueError(
                f"'feat' must {'not ' if self.gate is None else ''}be given "
                f"(feat_channels={self.feat_channels})"
            )
        if x.size(-1) != self.channels:
            raise ValueError(
                f"'x' must have {self.channels} channels (got {x.size(-1)})"
            )
        if self.gate is None or feat is None:
            return x
        if feat.size(-2) != x.size(-2):
            raise ValueError(
                f"'feat' must have a row for each of the {x.size(-2)} source "
                f"nodes (got {feat.size(-2)})"
            )
        return x * self.gate(feat).sigmoid()

    def message(self, x_j: Tensor, edge_weight: OptTensor) -> Tensor:
        """Weights the representations of the neighbors."""
        return x_j if edge_weight is None else edge_weight.view(-1, 1) * x_j

    @torch.compiler.disable  # It can't trace sparse matrices.
    def message_and_aggregate(
        self, edge_index: Adj, x: OptPairTensor, edge_weight: OptTensor
    ) -> Tensor:
        """Propagates as one sparse product."""
        by_node = x[0].movedim(self.node_dim, 0)
        columns = by_node.flatten(1)
        if isinstance(edge_index, EdgeIndex):
            out = spmm(edge_index, columns, edge_weight, transpose=True)
        else:
            with torch.autocast(x[0].device.type, enabled=False):
                out = pyg_spmm(*_same_type(edge_index, columns), reduce="sum")
        return out.unflatten(1, by_node.shape[1:]).movedim(0, self.node_dim)

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}({self.channels}, "
            f"feat_channels={self.feat_channels})"
        )


def _check_weight(edge_index: Adj, edge_weight: Tensor) -> None:
    if is_sparse(edge_index):
        raise ValueError(
            "'edge_weight' cannot be given together with a sparse matrix: put "
            "the weights into the matrix"
        )
    if edge_weight.dim() != 1 or edge_weight.size(0) != edge_index.size(1):
        raise ValueError(
            f"'edge_weight' must be of shape [{edge_index.size(1)}] (got "
            f"{list(edge_weight.shape)})"
        )


def _same_type(adj_t: Adj, x: Tensor) -> Tuple[Adj, Tensor]:
    """Returns a sparse matrix and a dense one in their common precision, at
    least single: few sparse kernels support half precision.
    """
    found = adj_t.dtype if isinstance(adj_t, Tensor) else adj_t.dtype()
    dtype = torch.promote_types(x.dtype, found)
    dtype = torch.promote_types(dtype, torch.float)
    if found != dtype:
        adj_t = _set_value(
            adj_t,
            lambda row, col, value: None if value is None else value.to(dtype),
        )
    return adj_t, x.to(dtype)


def _set_value(
    adj_t: Adj, function: Callable[[Tensor, Tensor, OptTensor], OptTensor]
) -> Adj:
    """Replaces the weights of a sparse matrix by a function of its rows,
    columns and weights.
    """
    if isinstance(adj_t, SparseTensor):
        value = function(*adj_t.coo())
        return adj_t.set_value(value, layout="coo")
    (row, col), value = to_edge_index(adj_t)
    return set_sparse_value(adj_t, function(row, col, value))


def _sized(
    edge_index: EdgeIndex, x: OptPairTensor, size: Size, dim: int
) -> EdgeIndex:
    """Returns the graph with as many nodes as the input has. The size that PyG
    derives from the edges by default misses the last isolated nodes.
    """
    if size is not None:
        for value, num in zip(x, size, strict=True):
            if value is not None and value.size(dim) != num:
                raise ValueError(
                    f"'size' must be that of 'x' (got {tuple(size)}, and "
                    f"{value.size(dim)} nodes in 'x')"
                )
    known = edge_index.sparse_size()
    dst = known[1] if size is None else size[1]
    asked = x[0].size(dim), dst if x[1] is None else x[1].size(dim)
    if asked == known:
        return edge_index
    known = tuple(edge_index.get_sparse_size())  # These cover all edges.
    for name, most, num in zip(("source", "target"), asked, known, strict=True):
        if most is not None and num > most:
            raise ValueError(
                f"'edge_index' must have at most {most} {name} nodes, as 'x' "
                f"or 'size' has (got {num})"
            )
    return EdgeIndex(
        edge_index.as_tensor(),
        sparse_size=asked,
        sort_order=edge_index.sort_order,
    )


def _size(edge_index: Adj, x: OptPairTensor, dim: int) -> Tuple[int, int]:
    if is_sparse(edge_index):
        return edge_index.size(1), edge_index.size(0)
    num_src = x[0].size(dim)
    if x[1] is not None:
        return num_src, x[1].size(dim)
    if (
        isinstance(edge_index, EdgeIndex)
        and None not in edge_index.sparse_size()
    ):
        return edge_index.sparse_size()
    raise ValueError(
        "'normalize' needs 'size' or the features of target nodes for "
        "bipartite input"
    )


def _normalize(
    edge_index: Adj,
    edge_weight: OptTensor,
    size: Tuple[int, int],
    dtype: torch.dtype,
) -> Tuple[Adj, OptTensor]:
    # Degrees lose digits in half precision:
    dtype = torch.promote_types(dtype, torch.float)
    if is_sparse(edge_index):
        return _normalize_sparse(edge_index, size, dtype), None
    is_indexed = isinstance(edge_index, EdgeIndex)
    src, dst = edge_index.as_tensor() if is_indexed else edge_index
    weight = _normalized_weight(src, dst, edge_weight, size, dtype)
    return edge_index, weight


@torch.compiler.disable  # It can't trace sparse matrices.
def _normalize_sparse(
    adj_t: Adj, size: Tuple[int, int], dtype: torch.dtype
) -> Adj:
    return _set_value(
        adj_t,
        lambda row, col, value: _normalized_weight(
            col, row, value, size, dtype
        ),
    )


def _normalized_weight(
    src: Tensor,
    dst: Tensor,
    weight: OptTensor,
    size: Tuple[int, int],
    dtype: torch.dtype,
) -> Tensor:
    if weight is None:
        weight = torch.ones(src.numel(), dtype=dtype, device=src.device)
    weight = weight.to(torch.promote_types(dtype, weight.dtype))
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
