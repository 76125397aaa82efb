"""TMFUN in plain dense algebra on its parameters, in double precision: the
values of all parts of the loss, and all their gradients.
"""

import pytest
import torch
from dense_content import draw_parameters
from dense_tmfun import dense_neighbor_scores
from toy_data import make_data

from tmfun_pyg.nn import TMFUN
from tmfun_pyg.transforms import ToRecGraph

OPTIONS = {
    "channels": 4,
    "num_layers": 2,
    "score_channels": 3,
    "neighbors": 2,
    "softmax_negatives": 5,
    "alignment_weight": 0.7,
    "contrastive_weight": 0.9,
    "pair_weight": 0.4,
    "temperature": 0.3,
    "reg_weight": 0.1,
}
RATIO = 50.0  # Of the weight of a contrast to the scale of its rows, at most.
EMBEDDINGS = "user_embedding.weight", "item_embedding.weight"


class Reference:
    """The equations of the documentation, on parameters by name."""

    def __init__(self, state, data, features, options):
        self.p, self.options = state, options
        self.features = features
        self.names = list(features)
        num_users, num_items = data["user"].num_nodes, data["item"].num_nodes
        self.r = torch.zeros(num_users, num_items, dtype=torch.double)
        self.r[tuple(data["user", "interacts", "item"].edge_index)] = 1.0
        self.masks = [
            data["item"].get(
                f"mask_{name}", torch.ones(num_items, dtype=torch.bool)
            )
            for name in self.names
        ]
        self.similar = []
        for name in self.names:
            store = data["item", f"similar_{name}", "item"]
            s = torch.zeros(num_items, num_items, dtype=torch.double)
            s[store.edge_index[1], store.edge_index[0]] = (
                store.edge_weight.double()
            )
            self.similar.append(s)

    def collaborative(self, user_emb, item_emb):
        normal = self.r / (
            self.r.sum(dim=1, keepdim=True) * self.r.sum(dim=0)
        ).sqrt().clamp(min=1.0)
        users, items = [user_emb], [item_emb]
        for _ in range(self.options["num_layers"]):
            user, item = users[-1], items[-1]
            users.append(normal @ item)
            items.append(normal.t() @ user)
        return sum(users) / len(users), sum(items) / len(items)

    def sources(self, item_emb):
        """What is found for each item, and which items have it."""
        out, plain = [], []
        for name, s in zip(self.names, self.similar, strict=True):
            conv = f"item_content.convs.{name}.gate"
            hidden = (
                self.features[name] @ self.p[f"{conv}.0.weight"].t()
                + self.p[f"{conv}.0.bias"]
            )
            hidden = torch.where(hidden > 0, hidden, 0.01 * hidden)
            gate = (
                hidden @ self.p[f"{conv}.2.weight"].t()
                + self.p[f"{conv}.2.bias"]
            )
            out.append(s @ (item_emb / (1 + torch.exp(-gate))))
            plain.append(s @ item_emb)
        odds = torch.stack(self.masks) * self.p[
            "item_content.graph_logit"
        ].exp().view(-1, 1)
        share = odds / odds.sum(dim=0).clamp(min=1e-300)
        out.append(
            sum(b.view(-1, 1) * h for b, h in zip(share, plain, strict=True))
        )
        return out, [*self.masks, torch.stack(self.masks).any(dim=0)]

    def user_mean(self, items, mask, user, exclude):
        rows, present = [], []
        for n, u in enumerate(user.tolist()):
            own = [
                i
                for i in range(len(items))
                if self.r[u, i] > 0
                and mask[i]
                and (exclude is None or i != int(exclude[n]))
            ]
            present.append(len(own) > 0)
            rows.append(items[own].sum(dim=0) / max(1, len(own)))
        return torch.stack(rows), torch.tensor(present)

    def attend(self, prefix, x, query, mask):
        """Row by row, over those that are there."""
        rows = []
        for n in range(len(query)):
            score, value = [], []
            for m, h in enumerate(x):
                if not mask[n, m]:
                    continue
                key = (
                    self.p[f"{prefix}.lin_key.weight"] @ h[n]
                    + self.p[f"{prefix}.lin_key.bias"]
                    + self.p[f"{prefix}.lin_query.weight"] @ query[n]
                )
                score.append((self.p[f"{prefix}.att"][0] * key.tanh()).sum())
                value.append(h[n])
            if not value:
                rows.append(0 * query[n])
                continue
            odds = torch.stack(score).exp()
            weight = (odds / odds.sum()).view(-1, 1)
            rows.append((weight * torch.stack(value)).sum(dim=0))
        return torch.stack(rows)

    def fuse(self, sources, query, mask):
        size = len(self.names)
        out = self.attend("fusion.attention", sources[:size], query, mask)
        for step, source in enumerate(sources):
            prefix = f"fusion.later_steps.steps.{step}"
            has = mask[:, step].view(-1, 1)
            if self.options.get("step_kind") == "attention":
                two = torch.ones(len(query), 2, dtype=torch.bool)
                merged = self.attend(prefix, [out, source], query, two)
            else:
                share = torch.sigmoid(
                    query @ self.p[f"{prefix}.weight"].t()
                    + self.p[f"{prefix}.bias"]
                )
                merged = (1 - share) * out + share * source
            out = torch.where(has, merged, out)
        return out / 3

    def score(self, user, item, exclude):
        users, items = [], []
        for m, name in enumerate(self.names):
            x = self.features[name] - self.p[f"content_score.mean_{name}"]
            x = x / x.pow(2).sum(dim=1, keepdim=True).sqrt()
            x = x @ self.p[f"content_score.basis_{name}"]
            x = x * self.masks[m].view(-1, 1)
            mean, _ = self.user_mean(x, self.masks[m], user, exclude)
            users.append(self.p["content_score.log_weight"][m].exp() * mean)
            items.append(x[item])
        return torch.cat(users, dim=1), torch.cat(items, dim=1)

    def contrast(self, weight, x, y, node=None, mask=None, other=None):
        """Row by row. A node counts once, whatever the number of its rows."""
        scale = float((x.norm(dim=1) * y.norm(dim=1)).mean())
        rows = range(len(x))
        share = [1.0 for _ in rows]
        if node is not None:
            share = [1 / int((node == node[n]).sum()) for n in rows]
        if mask is not None:
            rows = [n for n in rows if mask[n]]
        total = 0.0 * x.sum()
        for n in rows:
            odds = {
                k: ((x[n] @ y[k]) / (x[n].norm() * y[k].norm()))
                .div(self.options["temperature"])
                .exp()
                for k in rows
            }
            below = sum(
                share[k] * odds[k]
                for k in rows
                if other is None or other[n, k] or k == n
            )
            total = total - share[n] * (odds[n] / below).log()
        count = sum(share[n] for n in rows)
        return min(weight, RATIO * scale) * total / max(count, 1e-9)

    def parts(self, user, pos, neg):
        p, options = self.p, self.options
        warm = (self.r.sum(dim=0) > 0).view(-1, 1)
        user_emb, item_emb = (p[name] for name in EMBEDDINGS)
        item_emb = item_emb * warm
        users, items = self.collaborative(user_emb, item_emb)
        sources, masks = self.sources(item_emb)
        exclude = pos if options.get("leave_one_out", True) else None
        means = [
            self.user_mean(h, mask, user, exclude)
            for h, mask in zip(sources, masks, strict=True)
        ]
        user_mask = torch.stack([has for _, has in means], dim=1)
        item_mask = torch.stack(masks, dim=1)
        x_user, x_item = users[user], items
        z_user = self.fuse([mean for mean, _ in means], x_user, user_mask)
        z_item = self.fuse(sources, x_item, item_mask)
        full_user, full_item = x_user + z_user, x_item + z_item
        score = self.score(user, torch.arange(len(items)), exclude)
        wide_user = torch.cat([full_user, score[0]], dim=1)
        wide_item = torch.cat([full_item, score[1]], dim=1)

        size = len(user)
        neg_rows = neg
        if options["softmax_negatives"]:
            most = options["softmax_negatives"]
            shared = neg.flatten()[: 128 if most == "auto" else most]
            neg_rows = shared.expand(size, -1)
        bias = dense_neighbor_scores(
            self.r, options["neighbors"], user, pos, neg_rows
        )
        bias[1::2] = 0
        bias = bias * p["neighbor_score.log_weight"].exp()
        positive = (wide_user * wide_item[pos]).sum(dim=1) + bias[:, 0]
        out = {}
        if options["softmax_negatives"]:
            others = (wide_user @ wide_item[shared].t() + bias[:, 1:]).exp()
            if most == "auto":
                counted = 4 * self.r.sum(dim=1)[user] ** 2
                place = torch.arange(len(shared))
                assert 0 < (place < counted.view(-1, 1)).sum() < others.numel()
                others = others * (place < counted.view(-1, 1))
            total = positive.exp() + others.sum(dim=1)
            out["softmax"] = -(positive.exp() / total).log().sum() / size
        else:
            difference = positive.view(-1, 1) - torch.einsum(
                "bc,bnc->bn", wide_user, wide_item[neg]
            )
            difference = difference - bias[:, 1:]
            out["bpr"] = (1 + torch.exp(-difference)).log().mean()
        rows = (p[EMBEDDINGS[0]][user], p[EMBEDDINGS[1]][pos])
        rows = (*rows, p[EMBEDDINGS[1]][neg])
        out["reg"] = options["reg_weight"] * sum(
            x.pow(2).sum() / size for x in rows
        )
        aligned = [
            self.contrast(
                options["alignment_weight"],
                sources[m][pos],
                sources[n][pos],
                pos,
                (masks[m] & masks[n])[pos],
            )
            for n in range(len(self.names))
            for m in range(n)
        ]
        out["alignment"] = sum(aligned) / len(aligned)
        weight = options["contrastive_weight"]
        out["contrastive"] = self.contrast(
            weight, z_user, x_user, user, user_mask[:, -1]
        ) + self.contrast(
            weight, z_item[pos], x_item[pos], pos, item_mask[pos, -1]
        )
        other = (user.view(-1, 1) != user) & (pos.view(-1, 1) != pos)
        out["pair_contrastive"] = self.contrast(
            options["pair_weight"], full_user, full_item[pos], other=other
        )
        return out


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"softmax_negatives": 0},
        {"leave_one_out": False},
        {"step_kind": "attention"},
        {"softmax_negatives": "auto"},
    ],
)
def test_all_gradients(missing, bounded, options):
    options = {**OPTIONS, **options}
    if bounded:  # By the scale of the rows, in place of the weight.
        for name in ("alignment", "contrastive", "pair"):
            options[f"{name}_weight"] *= 1e6
    data = make_data(3, missing)
    edge_index = data["user", "interacts", "item"].edge_index
    is_warm = edge_index[1] != 4
    edge_index = edge_index[:, is_warm]
    data["user", "interacts", "item"].edge_index = edge_index
    user, pos_item = edge_index[:, ::2]
    for index in (user, pos_item):
        assert 1 < index.unique().numel() < index.numel()
    neg_item = torch.stack([pos_item.flip(0), 5 - pos_item], dim=1)
    batch = user, pos_item, neg_item
    torch.set_default_dtype(torch.double)  # Of degrees, and what they weigh.
    try:
        graph = ToRecGraph()(data)
    finally:
        torch.set_default_dtype(torch.float)
    model = TMFUN.from_data(data, **options).double()
    graph = model.in_own_precision(graph)
    model.fit(graph)
    draw_parameters(model)
    parameters = dict(model.named_parameters())
    state = {
        **model.state_dict(),
        **{
            name: value.detach().clone().requires_grad_()
            for name, value in parameters.items()
        },
    }
    features = {n: graph["item"][f"x_{n}"] for n in model.modalities}
    reference = Reference(state, data, features, options)

    expected = reference.parts(*batch)
    found = model.loss(model.prepare(graph), *batch)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-9)
        for grads in zip(
            parameters,
            *(
                torch.autograd.grad(
                    part, every, retain_graph=True, materialize_grads=True
                )
                for part, every in (
                    (value, list(parameters.values())),
                    (expected[name], [state[key] for key in parameters]),
                )
            ),
            strict=True,
        ):
            key, grad, wanted = grads
            torch.testing.assert_close(
                grad,
                wanted,
                rtol=1e-8,
                atol=1e-9,
                msg=lambda text, at=f"{name}, {key}": f"{at}: {text}",
            )
