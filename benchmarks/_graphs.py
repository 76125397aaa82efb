"""The graphs for benchmarks of time and memory."""

from typing import Optional, Tuple

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.data import HeteroData

from tmfun_pyg.datasets import MultimodalRecDataset

# Users, items and interactions: 10 and 92 times the interactions of Sports.
SIZES = {
    "x10": (355_980, 183_570, 2_184_090),
    "x100": (1_000_000, 500_000, 20_000_000),
}
MODALITIES = ("m0", "m1")


def load_graph(name: str, root: Optional[str]) -> HeteroData:
    """Reads or generates a graph, with random features and similar items."""
    torch.manual_seed(0)
    if name in SIZES:
        data = generate(*SIZES[name])
    else:
        data = MultimodalRecDataset(root, name, modalities=[])[0]
    for modality in MODALITIES:
        x = torch.randn(data["item"].num_nodes, 128)
        data["item"][f"x_{modality}"] = x
    connect_similar(data)
    return data


def generate(num_users: int, num_items: int, num_edges: int) -> HeteroData:
    """Samples users with three or more interactions, and items of unequal
    popularity.
    """
    user = torch.rand(num_edges).pow(1.5).mul(num_users).long()
    user[: 3 * num_users] = torch.arange(num_users).repeat(3)[:num_edges]
    item = torch.rand(num_edges).pow(2).mul(num_items).long()
    item[:num_items] = torch.arange(num_items)
    item = torch.randperm(num_items)[item]
    pair = (user * num_items + item).unique()
    edge_index = torch.stack([pair // num_items, pair % num_items])
    data = HeteroData()
    data["user"].num_nodes, data["item"].num_nodes = num_users, num_items
    store = data["user", "interacts", "item"]
    store.edge_index = edge_index
    user, item = torch.arange(num_users), torch.randint(num_items, (num_users,))
    is_new = ~torch.isin(user * num_items + item, pair)
    store.test_edge_label_index = torch.stack([user[is_new], item[is_new]])
    data["item", "rev_interacts", "user"].edge_index = edge_index.flip(0)
    return data


def connect_similar(data: HeteroData) -> None:
    """Samples ten distinct neighbors of each item among those with
    interactions.
    """
    num_items = data["item"].num_nodes
    warm = data["user", "interacts", "item"].edge_index[1].unique()
    for modality in MODALITIES:
        target = torch.arange(num_items).repeat_interleave(10)
        step = torch.randint(1, max(2, warm.numel() // 10), target.shape)
        step = step.view(num_items, 10).cumsum(dim=1).flatten()
        source = warm[(target + step) % warm.numel()]
        similar = data["item", f"similar_{modality}", "item"]
        similar.edge_index = torch.stack([source, target])
        similar.edge_weight = torch.full(target.shape, 0.1)


def all_nodes(
    data: HeteroData, device: torch.device
) -> Tuple[EdgeIndex, Tensor, Tensor]:
    """Returns the normalized graph of users, then items, as in PyG and most
    published code: edges sorted by source, their weights, and the same as a
    COO tensor.
    """
    user, item = data["user", "interacts", "item"].edge_index.as_tensor()
    num_users = data["user"].num_nodes
    num_nodes = num_users + data["item"].num_nodes
    index = torch.stack([user, item + num_users]).to(device)
    index = torch.cat([index, index.flip(0)], dim=1)
    scale = torch.bincount(index[0], minlength=num_nodes).float().rsqrt()
    size = (num_nodes, num_nodes)
    coo = torch.sparse_coo_tensor(index, scale[index].prod(dim=0), size)
    coo = coo.coalesce()
    edge_index = EdgeIndex(
        coo.indices(), sparse_size=size, sort_order="row", is_undirected=True
    )
    return edge_index.fill_cache_(), coo.values(), coo
