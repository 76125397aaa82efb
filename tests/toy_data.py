"""A small random data set, and dense references on it."""

import pytest
import torch
from torch_geometric import typing
from torch_geometric.data import HeteroData

from tmfun_pyg import testing

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
    return testing.make_data(
        NUM_USERS,
        NUM_ITEMS,
        range(3, 3 + num_modalities),
        missing,
        seed=num_modalities,
    )


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
