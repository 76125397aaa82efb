"""Dense references for TMFUN, on the data of toy_data."""

import torch
import torch.nn.functional as F
from dense_content import (
    dense_ranking_loss,
    dense_similar,
    item_mask,
    normalized_features,
)
from toy_data import dense_folded_in, dense_interactions, dense_light_gcn


def dense_user_means(r, items, mask, user=None, exclude=None):
    """The mean over those of a user's items that have content, item by item,
    and whether there are any.
    """
    if user is None:
        user = range(len(r))
    means, present = [], []
    for n, u in enumerate(user):
        own = [i for i in range(r.size(1)) if r[u, i] and mask[i]]
        if exclude is not None:
            own = [i for i in own if i != exclude[n]]
        total = sum((items[i] for i in own), 0 * items[0])
        means.append(total / max(len(own), 1))
        present.append(len(own) > 0)
    return torch.stack(means), torch.tensor(present)


def dense_sources(model, data):
    """What is known of the items, source by source, and which of them have
    each source.
    """
    r = dense_interactions(data)
    is_cold = r.sum(dim=0) == 0
    item_emb = model.item_embedding.weight * ~is_cold.view(-1, 1)
    masks = [item_mask(data, name) for name in model.modalities]
    graphs = [dense_similar(data, name) for name in model.modalities]
    sources = []
    for name, s in zip(model.modalities, graphs, strict=True):
        first, _, second = model.item_content.convs[name].gate
        x = normalized_features(data, name)
        x = x * item_mask(data, name).view(-1, 1)
        hidden = x @ first.weight.t()
        hidden = F.leaky_relu(hidden + first.bias)
        z = item_emb * (hidden @ second.weight.t() + second.bias).sigmoid()
        sources.append(s @ z if model.item_content.modality_graphs else z)
    present = list(masks)
    if model.item_graph:
        weight = (
            torch.stack(masks, dim=1) * model.item_content.graph_logit.exp()
        )
        weight = weight / weight.sum(dim=1, keepdim=True).clamp(min=1e-9)
        sources.append(
            sum(
                weight[:, m : m + 1] * (s @ item_emb)
                for m, s in enumerate(graphs)
            )
        )
        present.append(torch.stack(masks).any(dim=0))
    return item_emb, sources, present


def dense_branches(model, data, user=None, exclude=None):
    """The collaborative and content parts of users (some of them perhaps) and,
    below them, of all items, and who has any content.
    """
    r = dense_interactions(data)
    item_emb, sources, present = dense_sources(model, data)
    collaborative = dense_light_gcn(
        data,
        model.user_embedding.weight,
        item_emb,
        model.propagation.num_layers,
    )
    if user is not None:
        users, items = collaborative[: len(r)], collaborative[len(r) :]
        collaborative = torch.cat([users[user], items])

    h, masks = [], []
    for items, mask in zip(sources, present, strict=True):
        means, has = dense_user_means(r, items, mask, user, exclude)
        h.append(torch.cat([means, items]))
        masks.append(torch.cat([has, mask]))
    content, has_any = dense_fusion(model, collaborative, h, masks)
    return collaborative, content, has_any


def dense_fusion(model, collaborative, h, masks):
    """The content part of nodes of which all sources are known, and who has
    any.
    """
    size = len(model.modalities)
    stacked = torch.stack(h[:size], dim=1)
    mask = torch.stack(masks[:size], dim=1)
    fusion = model.fusion
    if fusion.attention is None:
        total = mask.sum(dim=1, keepdim=True).clamp(min=1)
        content = (stacked * mask.unsqueeze(2)).sum(dim=1) / total
    else:
        content = fusion.attention(stacked, collaborative, mask)
    for step, source, has in zip(
        fusion.later_steps.steps, h, masks, strict=False
    ):
        share = step(collaborative).sigmoid() * has.view(-1, 1)
        content = (1 - share) * content + share * source
    return fusion.weight * content, mask.any(dim=1)


def dense_content_score(model, data, user=None, exclude=None, r=None):
    """The factors of users (some of them, or others) and of all items."""
    r = dense_interactions(data) if r is None else r
    module = model.content_score
    users, items = [], []
    for m, name in enumerate(model.modalities):
        mean = getattr(module, f"mean_{name}")
        x = normalized_features(data, name) - mean
        x = x / x.norm(dim=1, keepdim=True)
        mask = item_mask(data, name)
        x = x @ getattr(module, f"basis_{name}") * mask.view(-1, 1)
        profile, _ = dense_user_means(r, x, mask, user, exclude)
        users.append(module.log_weight[m].exp() * profile)
        items.append(x)
    return torch.cat(users, dim=1), torch.cat(items, dim=1)


def dense_neighbors(r, k):
    """The neighbors of each item, and how many users chose both."""
    together = (r.t() @ r).tolist()
    degree = r.sum(dim=0).clamp(min=1).tolist()
    out = []
    for i, row in enumerate(together):
        count = {j: int(n) for j, n in enumerate(row) if n > 0 and j != i}
        root = {j: (degree[i] * degree[j]) ** 0.5 for j in count}
        order = sorted(
            count,
            key=lambda j, n=count, d=root: (
                -(n[j] - 1) / d[j],
                n[j] == 1 and d[j],
                j,
            ),
        )
        out.append({j: (count[j], root[j]) for j in order[:k]})
    return out


def dense_neighbor_scores(r, k, user, pos_item, neg_item):
    """The neighbor scores of weight one of a positive item and of others, of
    which the user of a row is no witness.
    """
    near = dense_neighbors(r, k)
    rows = []
    for n, u in enumerate(user.tolist()):
        pos = int(pos_item[n])
        own = [j for j in range(r.size(1)) if r[u, j] and j != pos]
        row = []
        for less, i in [(1, pos), *((0, j) for j in neg_item[n].tolist())]:
            of_item = [near[i][j] for j in own if j in near[i]]
            total = sum(max(count - less, 0) / d for count, d in of_item)
            row.append(total / max(len(own), 1) ** 0.5)
        rows.append(row)
    return torch.tensor(rows, dtype=r.dtype)


def dense_embeddings(model, data, user=None, exclude=None):
    collaborative, content, _ = dense_branches(model, data, user, exclude)
    size = len(collaborative) - model.num_items
    emb = (collaborative + content).split([size, model.num_items])
    if model.content_score is None:
        return emb
    score = dense_content_score(model, data, user, exclude)
    return tuple(
        torch.cat(pair, dim=1) for pair in zip(emb, score, strict=True)
    )


def dense_folded_in_user(model, data, own):
    """The embedding of a user without an ID embedding who has some items."""
    item_emb, sources, present = dense_sources(model, data)
    collaborative = dense_folded_in(
        data,
        model.user_embedding.weight,
        item_emb,
        model.propagation.num_layers,
        own,
    ).view(1, -1)
    r = torch.zeros(1, model.num_items)
    r[0, own] = 1.0
    pairs = [
        dense_user_means(r, items, mask)
        for items, mask in zip(sources, present, strict=True)
    ]
    h, masks = zip(*pairs, strict=True)
    content, _ = dense_fusion(model, collaborative, h, masks)
    score, _ = dense_content_score(model, data, r=r)
    return torch.cat([collaborative + content, score], dim=1)[0]


def dense_parts(model, data, user, pos_item, neg_item, ratio=50.0):
    """All parts of the loss, of the whole batch."""
    rows = user, pos_item if model.leave_one_out else None
    collaborative, content, mask = dense_branches(model, data, *rows)
    user_emb, item_emb = dense_embeddings(model, data, *rows)
    bias = None
    if model.neighbor_score is not None:
        neg_rows = neg_item
        if model.softmax_negatives:
            shared = neg_item.flatten()[: model.softmax_negatives]
            neg_rows = shared.expand(len(user), -1)
        scores = dense_neighbor_scores(
            dense_interactions(data),
            model.neighbor_score.neighbor.size(1),
            *(user, pos_item, neg_rows),
        )
        is_half = torch.arange(len(user)).view(-1, 1) % 2 == 0
        bias = scores * is_half * model.neighbor_score.log_weight.exp()
    parts = dense_ranking_loss(
        *(model, None, item_emb, user, pos_item, neg_item, user_emb, bias),
        degree=dense_interactions(data).sum(dim=1),
    )
    if model.contrasts.alignment is not None:
        _, sources, present = dense_sources(model, data)
        losses = []
        for m in range(len(model.modalities)):
            for n in range(m):
                x, y = sources[n][pos_item], sources[m][pos_item]
                has = present[n][pos_item] & present[m][pos_item]
                share = has / (pos_item.view(-1, 1) == pos_item).sum(dim=1)
                length = (x.norm(dim=1) * y.norm(dim=1)).mean().item()
                contrast = model.contrasts.alignment
                args = x, y, share, contrast, ratio * length
                losses.append(_info_nce(*args))
        if losses:
            parts["alignment"] = sum(losses) / len(losses)
    if model.contrasts.content is not None:
        parts["contrastive"] = torch.zeros(())
        items = len(user) + pos_item
        for node, row in ((user, torch.arange(len(user))), (pos_item, items)):
            x, y = content[row], collaborative[row]
            length = (x.norm(dim=1) * y.norm(dim=1)).mean().item()
            # A node counts once, shared by those of its rows with content:
            share = mask[row] / (node.view(-1, 1) == node).sum(dim=1)
            parts["contrastive"] = parts["contrastive"] + _info_nce(
                *(x, y, share, model.contrasts.content, ratio * length)
            )
    if model.contrasts.pair is not None:
        x = user_emb[:, : model.channels]
        y = item_emb[pos_item, : model.channels]
        other = (user.view(-1, 1) != user) & (
            pos_item.view(-1, 1) != pos_item
        ) | torch.eye(len(user), dtype=torch.bool)
        length = (x.norm(dim=1) * y.norm(dim=1)).mean().item()
        one = torch.ones(len(user))
        parts["pair_contrastive"] = _info_nce(
            *(x, y, one, model.contrasts.pair, ratio * length, other)
        )
    return parts


def _info_nce(x, y, share, contrast, bound, allowed=None):
    logits = F.normalize(x, dim=1) @ F.normalize(y, dim=1).t()
    logits = logits / contrast.temperature
    exp = logits.exp() * share
    if allowed is not None:
        exp = exp * allowed
    value = exp.sum(dim=1).clamp(min=1e-12).log() - logits.diagonal()
    value = (share * value).sum() / share.sum().clamp(min=1e-9)
    return min(bound, contrast.weight) * value


def dense_cold_scores(model, data):
    """The scores of items as if all were cold: by least squares on the rows of
    the warm items and one row more for each weight, and by a matrix of how
    often items are chosen together.
    """
    collaborative, content, _ = dense_branches(model, data)
    r = dense_interactions(data).double()
    num_users = len(r)
    warm = r.sum(dim=0) > 0
    parts = []
    for name in model.modalities:
        x = normalized_features(data, name).double()
        mask = item_mask(data, name)
        parts.append((x - x[warm & mask].mean(dim=0)) * mask.view(-1, 1))
    features = torch.cat(parts, dim=1)
    penalty = features[warm].pow(2).sum() / 256
    size = features.size(1)
    ridge = torch.cat([features[warm], penalty.sqrt() * torch.eye(size)])

    def regress(target):
        zeros = torch.zeros(size, target.size(1))
        target = torch.cat([target[warm], zeros.double()])
        return torch.linalg.lstsq(ridge, target, driver="gelsd").solution

    x = collaborative[num_users:].double()
    mean = x[warm].mean(dim=0)
    estimate = features @ regress(x - mean) + mean + content[num_users:]
    user_emb = (collaborative + content)[:num_users].double()
    by_embedding = user_emb @ estimate.t()

    share = r / r.sum(dim=1, keepdim=True).clamp(min=1)
    together = share.t() @ r
    together.fill_diagonal_(0.0)
    metric = regress(regress(together).t())
    value, vector = torch.linalg.eigh((metric + metric.t()) / 2)
    value[: -model.channels] = 0.0
    value[value < 1e-8 * metric.norm()] = 0.0
    metric = vector @ value.diag() @ vector.t()
    by_profile = share @ features @ metric @ features.t()

    def spread(score):
        return score[:, warm].var(dim=1, correction=0).mean().sqrt()

    scale = 0.0
    if by_profile[:, warm].abs().max() > 0.0:
        scale = spread(by_embedding) / spread(by_profile)
    score = (by_embedding + scale * by_profile) / 2
    if model.content_score is None:
        return score
    users, items = dense_content_score(model, data)
    return score + users.double() @ items.double().t()
