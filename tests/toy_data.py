"""A small random data set, and dense references on it."""

import pytest
import torch
from torch_geometric import typing
from torch_geometric.data import HeteroData

NUM_USERS, NUM_ITEMS = 7, 6

needs_sampler = pytest.mark.skipif(
    not (typing.WITH_PYG_LIB or typing.WITH_TORCH_SPARSE),
    reason="neither pyg-lib nor torch_sparse is installed",
)


def make_data(num_modalities: int, missing: bool) -> HeteroData:
    """Users, items, features and feature graphs, drawn at random.

    User 6 has no interaction. With ``missing``, item 0 has no modality, and
    item 1 lacks the first one.
    """
    generator = torch.Generator().manual_seed(num_modalities)

    def edges(size, p):
        mask = torch.rand(size, generator=generator) < p
        return mask.nonzero().t().contiguous()

    data = HeteroData()
    data["user"].num_nodes = NUM_USERS
    data["item"].num_nodes = NUM_ITEMS
    edge_index = edges((NUM_USERS - 1, NUM_ITEMS), 0.4)
    data["user", "interacts", "item"].edge_index = torch.cat(
        [edge_index, torch.tensor([[0], [0]])], dim=1
    ).unique(dim=1)
    for m in range(num_modalities):
        name = f"m{m}"
        x = torch.randn(NUM_ITEMS, 3 + m, generator=generator)
        mask = torch.ones(NUM_ITEMS, dtype=torch.bool)
        if missing:
            mask[0] = False
            mask[1] = m > 0
            data["item"][f"mask_{name}"] = mask
        data["item"][f"x_{name}"] = x
        edge_index = edges((NUM_ITEMS, NUM_ITEMS), 0.5)
        edge_index = edge_index[:, mask[edge_index].all(dim=0)]
        store = data["item", f"similar_{name}", "item"]
        store.edge_index = edge_index
        store.edge_weight = torch.rand(edge_index.size(1), generator=generator)
    return data


def dense_interactions(data: HeteroData) -> torch.Tensor:
    out = torch.zeros(data["user"].num_nodes, data["item"].num_nodes)
    user, item = data["user", "interacts", "item"].edge_index
    out[user, item] = 1.0
    return out


def dense_light_gcn(data, user_emb, item_emb, num_layers):
    """LightGCN with the dense adjacency matrix of the whole graph."""
    r = dense_interactions(data)
    n, m = r.shape
    adj = torch.zeros(n + m, n + m)
    adj[:n, n:], adj[n:, :n] = r, r.t()
    scale = adj.sum(dim=1).clamp(min=1).rsqrt()
    adj = scale.view(-1, 1) * adj * scale
    x = torch.cat([user_emb, item_emb])
    layers = [x]
    for _ in range(num_layers):
        layers.append(adj @ layers[-1])
    return torch.stack(layers).mean(dim=0)
