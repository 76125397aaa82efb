import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.data import HeteroData
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform
from torch_geometric.utils import degree

from tmfun_pyg.transforms.to_rec_graph import describe_content
from tmfun_pyg.utils.edges import check_pairs
from tmfun_pyg.utils.schema import (
    INTERACTS,
    REVERSE,
    is_rec_graph,
    is_sampled_batch,
)


@functional_transform("add_users")
class AddUsers(BaseTransform):
    r"""Adds users after all others. They receive messages from their items,
    but send none, so nothing else in the graph changes (functional name:
    :obj:`add_users`). Apply it after
    :class:`~tmfun_pyg.transforms.ToRecGraph`.

    The edge from item :math:`i` to an added user :math:`u` with :math:`d_u`
    items has weight :math:`1 / \sqrt{d_u d_i}`, where :math:`d_i` counts the
    training interactions, without those of added users, and is at least one.
    On this graph, :math:`L` layers of propagation as in
    :class:`~tmfun_pyg.nn.LightGCN` give the user the embedding

    .. math::
        \mathbf{x}_u = \frac{1}{L + 1} \left( \mathbf{e}_u +
        \frac{1}{\sqrt{d_u}} \sum_{i \in \mathcal{N}_u}
        \frac{1}{\sqrt{d_i}} \sum_{l=0}^{L-1} \mathbf{x}_i^{(l)} \right)

    with the item embeddings :math:`\mathbf{x}_i^{(l)}` of each layer in
    training, and the ID embedding :math:`\mathbf{e}_u` of the known user, zero
    if there is none. A known user with the same items as in training has the
    same embedding as in training.

    :obj:`data['user'].added` holds :obj:`user`. Models with
    :obj:`supports_fold_in` read such a graph.

    Args:
        edge_index (torch.Tensor): The pairs of an added user, numbered from
            zero in the order of :obj:`user`, and an item, each once, of shape
            :obj:`[2, num_pairs]`.
        user (torch.Tensor): The index of the known user that each added one
            is, :obj:`-1` for new users, of shape :obj:`[num_added]`.
        alone (bool, optional): If set to :obj:`True`, leaves out existing
            users and their interactions. No model encodes such a graph: it is
            for :meth:`~tmfun_pyg.nn.RankingModel.encode_new_users`.
            (default: :obj:`False`)

    Raises:
        ValueError: If the graph is not one of
            :class:`~tmfun_pyg.transforms.ToRecGraph`, is a sample, or has
            added users already, or if an index is out of range.
    """

    def __init__(
        self, edge_index: Tensor, user: Tensor, alone: bool = False
    ) -> None:
        self.edge_index = edge_index
        self.user = user
        self.alone = alone

    @torch.no_grad()
    def forward(self, data: HeteroData) -> HeteroData:
        r"""Adds the users to :obj:`data`."""
        if not is_rec_graph(data) or is_sampled_batch(data):
            raise ValueError(
                "Apply AddUsers() after ToRecGraph(), to the whole graph"
            )
        if "added" in data["user"]:
            raise ValueError("'data' has users of AddUsers() already")
        num_users, num_items = data["user"].num_nodes, data["item"].num_nodes
        num_added = self.user.numel()
        size = num_added, num_items
        pairs = check_pairs("'edge_index'", self.edge_index, size)
        low = int(self.user.min()) if num_added > 0 else 0
        high = int(self.user.max()) if num_added > 0 else 0
        if low < -1 or high >= num_users:
            raise ValueError(
                f"'user' must hold indices from -1 to {num_users - 1} (got "
                f"{low if low < -1 else high})"
            )

        user, item = data["user"], data["item"]
        if self.alone:
            num_users = 0
            _leave_out_users(data)
        pairs = pairs.to(item.degree.device)
        row, col = pairs[:, (pairs[0] * num_items + pairs[1]).argsort()]
        own_degree = degree(row, num_added, item.degree.dtype)
        weight = (own_degree[row] * item.degree[col].clamp(min=1)).rsqrt()
        store = data[INTERACTS]
        more = torch.stack([num_users + row, col])
        pairs = torch.cat([store.edge_index.as_tensor(), more], dim=1)
        num_users += num_added
        store.edge_index = _sorted_by_row(pairs, num_users, num_items)
        store.edge_weight = torch.cat([store.edge_weight, weight])
        if not self.alone:
            store.edge_index.fill_cache_(no_transpose=True)
            store = data[REVERSE]
            store.edge_index = _sorted_by_row(
                store.edge_index.as_tensor(), num_items, num_users
            ).fill_cache_(no_transpose=True)
        user.num_nodes = num_users
        user.degree = torch.cat([user.degree, own_degree])
        user.added = self.user.to(row.device)
        data.is_symmetric = False  # Added users receive, but never send.
        describe_content(data)
        return data

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}(num_users={self.user.numel()})"


def _leave_out_users(data: HeteroData) -> None:
    """Removes all users from a graph, and keeps the items."""
    user, store = data["user"], data[INTERACTS]
    nobody = user.degree[:0]
    user.clear()
    user.degree, user.n_id = nobody, nobody.long()
    none = store.edge_index.as_tensor()[:, :0], store.edge_weight[:0]
    store.clear()
    store.edge_index, store.edge_weight = EdgeIndex(none[0]), none[1]
    del data[REVERSE]


def _sorted_by_row(pairs: Tensor, num_rows: int, num_columns: int) -> EdgeIndex:
    size = (num_rows, num_columns)
    return EdgeIndex(pairs, sparse_size=size, sort_order="row")
