"""A small random data set, and dense references on it."""

import torch
from torch_geometric.data import HeteroData

from tmfun_pyg import testing

NUM_USERS, NUM_ITEMS = 7, 6


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


def edges_of(graph):
    """The interactions that a graph holds, as pairs."""
    edge_index = graph["user", "interacts", "item"].edge_index.as_tensor()
    pairs = {tuple(e) for e in edge_index.t().tolist()}
    reverse = graph["item", "rev_interacts", "user"].edge_index.as_tensor()
    assert pairs == {tuple(e) for e in reverse.flip(0).t().tolist()}
    assert len(pairs) == edge_index.size(1) == reverse.size(1)
    return pairs


def dense_layers(data, user_emb, item_emb, num_layers):
    """The layers of LightGCN, with the dense adjacency matrix of the whole
    graph.
    """
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
    return torch.stack(layers)


def dense_light_gcn(data, user_emb, item_emb, num_layers):
    """The mean of the layers."""
    return dense_layers(data, user_emb, item_emb, num_layers).mean(dim=0)


def dense_folded_in(data, user_emb, item_emb, num_layers, own):
    """The row of LightGCN of a user without an ID embedding who has some
    items, from the layers below the last of training.
    """
    layers = dense_layers(data, user_emb, item_emb, num_layers)
    degree = dense_interactions(data).sum(dim=0).clamp(min=1)
    total = layers[:num_layers, len(user_emb) :].sum(dim=0)
    total = total / degree.sqrt().view(-1, 1)
    return sum(total[i] for i in own) / len(own) ** 0.5 / (num_layers + 1)
