from typing import Optional, Tuple

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.data import HeteroData
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform
from torch_geometric.utils import degree

from tmfun_pyg.utils.check_data import (
    check_data,
    check_finite,
    check_interactions,
)
from tmfun_pyg.utils.edges import plain_edges
from tmfun_pyg.utils.interaction_step import interaction_step
from tmfun_pyg.utils.schema import (
    INTERACTS,
    REVERSE,
    is_rec_graph,
    is_sampled_batch,
    modalities_of,
    similar_source,
)
from tmfun_pyg.utils.standard_rows import standard_rows


@functional_transform("to_rec_graph")
class ToRecGraph(BaseTransform):
    r"""Converts a data set into the graph that the models of
    :mod:`tmfun_pyg.nn` read, as the last transform (functional name:
    :obj:`to_rec_graph`). It works on a shallow copy, and edges that are sorted
    already share memory with the input: do not modify either in place.

    .. code-block:: python

        data = Compose([FeatureGraph(k=10), ToRecGraph()])(dataset[0])

    * The interactions :obj:`('user', 'interacts', 'item')` and their reverse
      :obj:`('item', 'rev_interacts', 'user')` become an
      :class:`~torch_geometric.EdgeIndex` each, sorted by row. Their
      :obj:`edge_weight` is the symmetric normalization

      .. math::
          r_{ui} = \frac{1}{\sqrt{d_u d_i}},

      so each relation is the transpose of the other, and gradients flow back
      along the other. :obj:`data.is_symmetric` records this. If you change
      edges or weights so that it no longer holds, set it to :obj:`False`.

    * The feature graphs :obj:`('item', 'similar_<m>', 'item')` become an
      :class:`~torch_geometric.EdgeIndex` sorted by column, the target.
    * The features :obj:`x_<m>` are standardized to zero mean and unit variance
      item by item, and set to zero for items that lack them according to
      :obj:`mask_<m>`. The scale of an encoder carries no information, and
      items added later are treated the same.
    * :obj:`data['item'].mask` has one column per modality, in the order of
      :obj:`data.modalities`, and a last one for items that have any;
      :obj:`data['item'].degree` counts the training interactions, and
      :obj:`data['user'].degree` those of the users.
    * :obj:`data['user'].mask` marks users who have an item with content, and
      :obj:`data['user'].scale` turns normalized sums over such items into
      means.
    * :obj:`data.is_complete` says whether all users and items have all
      modalities, and :obj:`data.has_cold` whether there are items without a
      training interaction. These are plain booleans, so that reading them does
      not wait for the device.

    In a batch of :class:`~tmfun_pyg.loader.SampledInteractionDataset`, the
    sources of the feature graphs are nodes of type :obj:`'similar_item'`. An
    edge to a node with :math:`s` of its :math:`d` neighbors sampled counts
    :math:`d / s` times, which keeps sums over neighbors unbiased.

    Raises:
        ValueError: If the graph is one already, if it has no training
            interaction, if the interactions have weights, which no model
            reads, if indices are out of range or a pair repeats, or if
            features, masks or feature graphs are invalid.
    """

    @torch.no_grad()
    def forward(self, data: HeteroData) -> HeteroData:
        r"""Converts :obj:`data`."""
        if is_rec_graph(data):
            raise ValueError("'data' is a graph of ToRecGraph() already")
        is_sampled, source = is_sampled_batch(data), similar_source(data)
        if is_sampled:
            _weigh_drawn_interactions(data)
        else:
            check_data(data)
            degrees = set_interactions(data, check_interactions(data))
            data["user"].degree, data["item"].degree = degrees
        data.modalities = modalities_of(data)
        if not is_sampled:  # Features of a sample are standardized already.
            _standardize(data)
        for name in data.modalities:
            if (source, f"similar_{name}", "item") in data.edge_types:
                _sort_similar(data, source, name)
        describe_content(data)
        data.has_cold = bool((data[source].degree == 0).any())
        return data


def set_interactions(
    data: HeteroData, edge_index: Tensor, dtype: Optional[torch.dtype] = None
) -> Tuple[Tensor, Tensor]:
    r"""Writes both directions of the interactions, normalized, and returns
    the degrees of users and items.

    Args:
        data (HeteroData): The graph to write to.
        edge_index (torch.Tensor): Users and items, of shape
            :obj:`[2, num_interactions]`.
        dtype (torch.dtype, optional): The type of weights and degrees. If not
            given, uses PyTorch's default. (default: :obj:`None`)
    """
    user, item = edge_index
    num_users, num_items = data["user"].num_nodes, data["item"].num_nodes
    of_user = degree(user, num_users, dtype)
    of_item = degree(item, num_items, dtype)
    for edge_type, edges, degrees in (
        (INTERACTS, edge_index, (of_user, of_item)),
        (REVERSE, edge_index.flip(0), (of_item, of_user)),
    ):
        size = degrees[0].numel(), degrees[1].numel()
        index, _ = _sorted_edges(edges, size, "row")
        row, col = index.as_tensor()
        weight = (degrees[0][row] * degrees[1][col]).rsqrt()
        data[edge_type].edge_index = index.fill_cache_(no_transpose=True)
        data[edge_type].edge_weight = weight
    data.is_symmetric = True
    return of_user, of_item


def _weigh_drawn_interactions(data: HeteroData) -> None:
    # Edges are sampled for their target: those of the reverse relation are for
    # users, and form their rows here.
    drawn_for_users = data[REVERSE].edge_index.flip(0)
    drawn_for_items = data[INTERACTS].edge_index.flip(0)
    for edge_type, edges in (
        (INTERACTS, drawn_for_users),
        (REVERSE, drawn_for_items),
    ):
        target, source = data[edge_type[0]], data[edge_type[2]]
        size = (target.num_nodes, source.num_nodes)
        index, _ = _sorted_edges(edges, size, "row")
        row, col = index.as_tensor()
        weight = (target.degree[row] / source.degree[col]).sqrt()
        data[edge_type].edge_index = index.fill_cache_()
        data[edge_type].edge_weight = weight / degree(row, size[0])[row]
    data.is_symmetric = False


def _standardize(data: HeteroData) -> None:
    item = data["item"]
    mask = torch.zeros_like(item.degree, dtype=torch.bool)
    mask = mask.view(-1, 1).repeat(1, len(data.modalities) + 1)
    for column, name in enumerate(data.modalities):
        x = item[f"x_{name}"].float()
        mask[:, column] = item.get(f"mask_{name}", torch.tensor(True))
        # Values in absent rows, perhaps NaN, must not reach gradients:
        x = x.masked_fill(~mask[:, column : column + 1], 0.0)
        check_finite(f"data['item'].x_{name}", x)
        item[f"x_{name}"] = standard_rows(x)
    mask[:, -1] = mask[:, :-1].any(dim=1)
    item.mask = mask


def _sort_similar(data: HeteroData, source: str, name: str) -> None:
    store = data[source, f"similar_{name}", "item"]
    edges = plain_edges(store.edge_index).long()
    size = (data[source].num_nodes, data["item"].num_nodes)
    weight = store.get("edge_weight")
    if weight is None:
        weight = torch.ones(edges.size(1), device=edges.device)
    weight = weight.to(data["item"].degree.dtype)
    if source != "item":
        dst = edges[1]
        drawn = degree(dst, size[1])[dst]
        weight = weight * data["item"][f"degree_{name}"][dst] / drawn
    edge_index, perm = _sorted_edges(edges, size, "col")
    store.edge_index = edge_index.fill_cache_()
    store.edge_weight = weight[perm]


def item_weight(data: HeteroData, item: Optional[Tensor] = None) -> Tensor:
    r"""Returns the weights that undo the items' factor :math:`1 / \sqrt{d_i}`
    of the normalization, for items with content, and zero for the others, with
    the columns of :obj:`data['item'].mask`.

    Args:
        data (HeteroData): A graph of :class:`ToRecGraph`.
        item (torch.Tensor, optional): The items, all of them if not given.
            (default: :obj:`None`)
    """
    mask, degree = data["item"].mask, data["item"].degree
    if item is not None:
        mask, degree = mask.index_select(0, item), degree.index_select(0, item)
    # Users of AddUsers() may have cold items, which count as degree 1:
    return mask * degree.clamp(min=1).sqrt().view(-1, 1)


def describe_content(data: HeteroData) -> None:
    r"""Writes the mask of users who have items with content, and the scale
    that turns sums over these into means.

    Args:
        data (HeteroData): The graph to write to.
    """
    item, store = data["item"], data[INTERACTS]
    # The user's factor cancels out in the quotient.
    if store.edge_index.size(1) < item.num_nodes:  # As after AddUsers().
        row, col = plain_edges(store.edge_index)
        value = item_weight(data, col) * store.edge_weight.view(-1, 1)
        total = value.new_zeros(data["user"].num_nodes, value.size(1))
        total.index_add_(0, row, value)
    else:
        total = interaction_step(data, "user", item_weight(data))
    mask = total > 0
    data["user"].mask = mask
    data["user"].scale = total.where(mask, 1.0).reciprocal()
    data.is_complete = not is_sampled_batch(data) and all(
        bool(has.all()) for has in (mask, item.mask)
    )


def _sorted_edges(
    edges: Tensor, size: Tuple[int, int], order: str
) -> Tuple[EdgeIndex, Tensor]:
    """Returns the edges sorted by one side, then the other, in the same memory
    if they already are, and the permutation.
    """
    row, col = edges
    key = row * size[1] + col if order == "row" else col * size[0] + row
    perm = torch.arange(key.numel(), device=key.device)
    if bool((key[1:] < key[:-1]).any()):
        perm = key.argsort()
        edges = edges[:, perm]
    index = EdgeIndex(edges.contiguous(), sparse_size=size, sort_order=order)
    return index, perm
