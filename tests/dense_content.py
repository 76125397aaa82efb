"""Dense references for models with content, on the data of toy_data."""

import torch
import torch.nn.functional as F


def normalized_features(data, name):
    x = data["item"][f"x_{name}"]
    std = x.std(dim=1, keepdim=True, correction=0)
    return (x - x.mean(dim=1, keepdim=True)) / std


def item_mask(data, name):
    everywhere = torch.ones(data["item"].num_nodes, dtype=torch.bool)
    return data["item"].get(f"mask_{name}", everywhere)


def dense_similar(data, name):
    store = data["item", f"similar_{name}", "item"]
    size = data["item"].num_nodes
    out = torch.zeros(size, size)
    out[store.edge_index[1], store.edge_index[0]] = store.edge_weight
    return out


def dense_ranking_loss(
    model,
    user_emb,
    item_emb,
    user,
    pos_item,
    neg_item,
    row_emb=None,
    bias=None,
    degree=None,
):
    """The ranking loss and L2, pair by pair. A row's own embedding of its user
    may be given, and what is added to the scores, and how many items users
    have.
    """
    if bias is None:
        bias = torch.zeros(len(user), 1 + neg_item.numel())
    row_emb = user_emb[user] if row_emb is None else row_emb
    shared = neg_item.flatten()[: model.softmax_negatives]
    rank, reg = 0.0, 0.0
    for n in range(len(user)):
        reg = reg + model.user_embedding.weight[user[n]].pow(2).sum()
        reg = reg + model.item_embedding.weight[pos_item[n]].pow(2).sum()
        positive = row_emb[n] @ item_emb[pos_item[n]] + bias[n, 0]
        for m, j in enumerate(neg_item[n], 1):
            reg = reg + model.item_embedding.weight[j].pow(2).sum()
            if not model.softmax_negatives:
                difference = positive - row_emb[n] @ item_emb[j] - bias[n, m]
                rank = rank - F.logsigmoid(difference) / neg_item.size(1)
        if model.softmax_negatives:
            total = positive.exp()
            counted = len(shared)
            if model.limits_negatives:
                counted = 4 * int(degree[user[n]]) ** 2
            for m, j in enumerate(shared[:counted], 1):
                total = total + (row_emb[n] @ item_emb[j] + bias[n, m]).exp()
            rank = rank - (positive.exp() / total).log()
    name = "softmax" if model.softmax_negatives else "bpr"
    return {
        name: rank / len(user),
        "reg": model.l2_loss.weight * reg / len(user),
    }


def dense_info_nce(x, y, index, mask, temperature):
    """InfoNCE over the nodes of a batch, each once, that have content."""
    node = index.unique()
    node = node[mask[node]]
    if len(node) == 0:
        return torch.zeros(())
    cos = F.normalize(x[node], dim=1) @ F.normalize(y[node], dim=1).t()
    return F.cross_entropy(cos / temperature, torch.arange(len(node)))


def draw_parameters(model, seed=0):
    """Takes a model far from its starting point."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, generator=generator)


def dense_learned_graph(model, data, name, k, skip_weight):
    """The learned graph of a modality, mixed with its feature graph."""
    linear = model.learned[name].lin
    x = normalized_features(data, name) @ linear.weight.t() + linear.bias
    mask = item_mask(data, name)
    x = x / x.norm(dim=1, keepdim=True)
    cos = x @ x.t()
    rows = []
    for i in range(len(x)):
        others = [j for j in range(len(x)) if j != i and mask[i] & mask[j]]
        others.sort(key=lambda j, i=i: -cos[i, j].item())
        near = torch.zeros(len(x))
        near[others[:k]] = 1.0
        rows.append(cos[i].clamp(min=0) * near)
    a = torch.stack(rows)
    degree = a.sum(dim=1)
    scale = (1 / degree.where(degree > 0, 1.0).sqrt()).where(degree > 0, 0.0)
    a = scale.view(-1, 1) * a * scale
    return skip_weight * dense_similar(data, name) + (1 - skip_weight) * a
