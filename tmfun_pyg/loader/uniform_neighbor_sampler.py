from typing import Dict, List, Optional, Tuple, Union

import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.sampler import (
    BaseSampler,
    EdgeSamplerInput,
    HeteroSamplerOutput,
    NegativeSampling,
    NodeSamplerInput,
    NumNeighbors,
)
from torch_geometric.sampler.neighbor_sampler import edge_sample, node_sample
from torch_geometric.sampler.utils import to_hetero_csc
from torch_geometric.typing import EdgeType

from tmfun_pyg.utils.messages import check_count


class UniformNeighborSampler(BaseSampler):
    r"""Samples neighbors in a heterogeneous graph, instead of PyG's
    :class:`~torch_geometric.sampler.NeighborSampler`, which needs pyg-lib or
    torch_sparse. It works with PyG's loaders:

    .. code-block:: python

        sampler = UniformNeighborSampler(data, num_neighbors=[10, 5])
        edges = ("user", "interacts", "item"), edge_label_index
        loader = LinkLoader(data, sampler, edges, batch_size=2048)

    In each hop and for each relation, it samples neighbors of the nodes found
    in the previous hop, uniformly and without replacement. A node is in a
    batch only once, however many edges lead to it.

    Sampling :math:`k` of :math:`d` neighbors costs :math:`\mathcal{O}(k^2)`,
    not :math:`\mathcal{O}(d)`: in Floyd's algorithm, the :math:`j`-th draw is
    from the first :math:`d - k + j` neighbors, and the last of these replaces
    one that was drawn before.

    Random numbers come from torch's global generator, which differs between
    the workers of a loader.

    Args:
        data (HeteroData): The graph.
        num_neighbors (List[int] or Dict[Tuple[str, str, str], List[int]]): The
            number of neighbors in each hop, for all relations or per relation,
            :obj:`-1` for all neighbors.

    Raises:
        ValueError: If a number is less than :obj:`-1`, a relation has none or
            is not in the graph, or relations have different numbers of hops.
    """

    def __init__(
        self,
        data: HeteroData,
        num_neighbors: Union[List[int], Dict[EdgeType, List[int]]],
    ) -> None:
        by_relation = NumNeighbors(num_neighbors)
        self.num_hops = by_relation.num_hops
        self.num_neighbors = by_relation.get_values(data.edge_types)
        for numbers in self.num_neighbors.values():
            for number in numbers:
                check_count("num_neighbors", number, -1)
        self.num_nodes = {key: data[key].num_nodes for key in data.node_types}
        self._colptr, self._row, self._perm = to_hetero_csc(
            data, torch.device("cpu")
        )

    @property
    def edge_permutation(self) -> Dict[EdgeType, Optional[Tensor]]:
        r"""The edges of the graph in the order of the sampler."""
        return self._perm

    def sample_from_nodes(self, index: NodeSamplerInput) -> HeteroSamplerOutput:
        r"""Samples the neighborhood of nodes.

        Args:
            index (NodeSamplerInput): The nodes.

        Raises:
            ValueError: If the nodes have times.
        """
        _refuse_times(index)
        return node_sample(index, self._sample)

    def sample_from_edges(
        self,
        index: EdgeSamplerInput,
        neg_sampling: Optional[NegativeSampling] = None,
    ) -> HeteroSamplerOutput:
        r"""Samples the neighborhood of both ends of edges.

        Args:
            index (EdgeSamplerInput): The edges.
            neg_sampling (NegativeSampling, optional): How to sample negative
                edges. (default: :obj:`None`)

        Raises:
            ValueError: If the edges have times.
        """
        _refuse_times(index)
        return edge_sample(
            index,
            self._sample,
            self.num_nodes,
            disjoint=False,
            neg_sampling=neg_sampling,
        )

    def _sample(
        self, seed: Dict[str, Tensor], seed_time: None
    ) -> HeteroSamplerOutput:
        none = torch.empty(0, dtype=torch.long)
        node = {key: seed.get(key, none) for key in self.num_nodes}
        num_nodes = {key: [index.numel()] for key, index in node.items()}
        start = dict.fromkeys(node, 0)
        edges: Dict[EdgeType, List[Tensor]] = {
            edge_type: [none.view(3, 0)] for edge_type in self.num_neighbors
        }
        for hop in range(self.num_hops):
            # Nodes found in this hop are expanded in the next one:
            last = {key: index[start[key] :] for key, index in node.items()}
            first, start = start, {k: v.numel() for k, v in node.items()}
            for edge_type, number in self.num_neighbors.items():
                source, _, target = edge_type
                col, edge = draw_edges(
                    self._colptr[edge_type], last[target], number[hop]
                )
                node[source], row = _add_nodes(
                    node[source], self._row[edge_type][edge]
                )
                drawn = torch.stack([row, col + first[target], edge])
                edges[edge_type].append(drawn)
            for key, index in node.items():
                num_nodes[key].append(index.numel() - start[key])
        joined = {key: torch.cat(parts, dim=1) for key, parts in edges.items()}
        return HeteroSamplerOutput(
            node=node,
            row={key: value[0] for key, value in joined.items()},
            col={key: value[1] for key, value in joined.items()},
            edge={key: value[2] for key, value in joined.items()},
            num_sampled_nodes=num_nodes,
            num_sampled_edges={
                key: [part.size(1) for part in parts[1:]]
                for key, parts in edges.items()
            },
        )


def draw_edges(
    colptr: Tensor, node: Tensor, number: int
) -> Tuple[Tensor, Tensor]:
    r"""Samples edges of nodes uniformly, without replacement.

    Args:
        colptr (torch.Tensor): The offsets of the edges of each node, of shape
            :obj:`[num_nodes + 1]`.
        node (torch.Tensor): The nodes.
        number (int): The number of edges per node, or :obj:`-1` for all.

    Returns:
        The positions in :obj:`node`, ascending, and the edges.
    """
    begin = colptr[node]
    degree = colptr[node + 1] - begin
    count = degree if number < 0 else degree.clamp(max=number)
    col = torch.arange(node.numel()).repeat_interleave(count)
    rank = torch.arange(col.numel()) - (count.cumsum(0) - count)[col]
    if number >= 0:
        is_large = degree > number
        rank[is_large[col]] = _draw_ranks(degree[is_large], number)
    return col, begin[col] + rank


def _draw_ranks(degree: Tensor, number: int) -> Tensor:
    """Samples distinct numbers below each degree, row by row."""
    # In single precision, some neighbors of hubs would be favored:
    uniform = torch.rand(number, degree.numel(), dtype=torch.double)
    out = torch.empty_like(uniform, dtype=torch.long)
    for j, x in enumerate(uniform):
        last = degree - number + j
        rank = (x * (last + 1)).long()
        is_taken = (out[:j] == rank).any(dim=0)
        out[j] = torch.where(is_taken, last, rank)
    return out.t().flatten()


def _add_nodes(node: Tensor, found: Tensor) -> Tuple[Tensor, Tensor]:
    """Appends new nodes, and returns the positions of those found."""
    unique, inverse = torch.cat([node, found]).unique(return_inverse=True)
    size = node.numel()
    # The first position of each, since seeds may repeat:
    local = torch.full_like(unique, size)
    local.scatter_reduce_(0, inverse[:size], torch.arange(size), "amin")
    is_new = local == size
    local[is_new] = torch.arange(int(is_new.sum())) + size
    return torch.cat([node, unique[is_new]]), local[inverse[size:]]


def _refuse_times(index: Union[NodeSamplerInput, EdgeSamplerInput]) -> None:
    if index.time is not None:
        raise ValueError(
            f"UniformNeighborSampler cannot sample by time: leave out the time "
            f"of the "
            f"{'nodes' if isinstance(index, NodeSamplerInput) else 'edges'}"
        )
