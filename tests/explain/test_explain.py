import itertools
import json

import numpy as np
import pytest
import torch
from dense_content import draw_parameters, item_mask, normalized_features
from toy_data import NUM_ITEMS, NUM_USERS, dense_interactions, make_data

from tmfun_pyg.explain import explain
from tmfun_pyg.nn import BPRMF, TMFUN, LightGCN

SWITCHES = ["modality_graphs", "item_graph", "attention", "later_steps"]
OPTIONS = [
    {},
    *({name: False} for name in SWITCHES),
    {"modality_graphs": False, "item_graph": False},
    {"num_layers": 0},
    {"num_layers": 1, "num_feature_layers": 2},
]


def leave_out(data, new):
    """Makes items new."""
    store = data["user", "interacts", "item"]
    is_old = ~torch.isin(store.edge_index[1], torch.tensor(new))
    store.edge_index = store.edge_index[:, is_old]


def make_model(data, dtype=torch.double, cls=TMFUN, **kwargs):
    model = cls.from_data(data, **{"channels": 4, "num_layers": 2, **kwargs})
    draw_parameters(model)
    return model.to(dtype)


def sums(explanation):
    return float(explanation.contributions.sum()) + explanation.user_part


def assert_sums_to_the_score(model, users, items, rtol):
    user_emb, item_emb = (x.detach() for x in model())
    for user, item in itertools.product(users, items):
        found = explain(model, user, item)
        expected = float((user_emb[user] * item_emb[item]).sum())
        # Parts may be larger than their sum:
        parts = found.contributions.abs().sum() + abs(found.user_part)
        atol = rtol * float(parts)
        assert found.score == pytest.approx(expected, rel=rtol, abs=atol)
        assert sums(found) == pytest.approx(expected, rel=rtol, abs=atol)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("step_kind", ["gate", "attention"])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize(("missing", "new"), [(False, []), (True, [2, 4])])
def test_contributions_sum_to_the_score(
    options, step_kind, heads, missing, new
):
    data = make_data(2, missing)
    leave_out(data, new)
    model = make_model(data, step_kind=step_kind, heads=heads, **options)
    # User 6 has no training item, item 0 has content in some cases only.
    assert_sums_to_the_score(model, [0, 3, 6], [0, 2, 5], rtol=1e-9)


@pytest.mark.parametrize("num_modalities", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float, torch.double])
def test_every_pair(num_modalities, dtype):
    data = make_data(num_modalities, missing=True)
    new = [2, 4]
    leave_out(data, new)
    model = make_model(data, dtype)
    rtol = {torch.float: 1e-4, torch.double: 1e-9}[dtype]
    assert_sums_to_the_score(model, range(NUM_USERS), range(NUM_ITEMS), rtol)
    assert model.training
    seen = dense_interactions(data)
    for user, item in itertools.product(range(NUM_USERS), range(NUM_ITEMS)):
        found = explain(model, user, item)
        mine = seen[user].nonzero().view(-1).tolist()
        assert sorted(found.history.tolist()) == mine
        assert found.is_new == (item in new)
    assert len(explain(model, NUM_USERS - 1, 0).history) == 0


def head_weights(attention, stacked, query, present):
    """Attention of one node, head by head and modality by modality."""
    width = attention.channels // attention.heads
    out = torch.zeros_like(stacked)
    for head in range(attention.heads):
        part = slice(head * width, (head + 1) * width)
        score = {}
        for m in range(len(stacked)):
            if present[m]:
                key = attention.lin_key(stacked[m])
                key = (key + attention.lin_query(query)).tanh()
                score[m] = (attention.att[head] @ key[part]).exp()
        for m, value in score.items():
            out[m, part] = value / sum(score.values())
    return out


def dense_paths(model, data, user, item):
    """What each item adds by each path: the equations of TMFUN, with dense
    matrices, for items that are not new.
    """
    num_layers = model.num_layers
    r = dense_interactions(data).double()
    degree = torch.cat([r.sum(dim=1), r.sum(dim=0)]).clamp(min=1)
    adj = torch.zeros(len(degree), len(degree)).double()
    adj[:NUM_USERS, NUM_USERS:] = r
    adj[NUM_USERS:, :NUM_USERS] = r.t()
    adj = adj / (degree.view(-1, 1) * degree).sqrt()
    item_id = model.item_embedding.weight * (r.sum(dim=0) > 0).view(-1, 1)
    layers = [torch.cat([model.user_embedding.weight, item_id])]
    for _ in range(num_layers):
        layers.append(adj @ layers[-1])
    query = sum(layers) / (num_layers + 1)

    masks = [item_mask(data, name) for name in model.modalities]
    sources, plain = [], []
    for name in model.modalities:
        x = normalized_features(data, name).double()
        store = data["item", f"similar_{name}", "item"]
        s = torch.zeros(NUM_ITEMS, NUM_ITEMS).double()
        s[store.edge_index[1], store.edge_index[0]] = (
            store.edge_weight.double()
        )
        gate = model.behavior_gates[name](x).sigmoid()
        sources.append(s @ (item_id * gate))
        plain.append(s @ item_id)
    logit = model.graph_logit.exp()
    total = sum(w * m for w, m in zip(logit, masks, strict=True))
    sources.append(
        sum(
            (w * m / total.clamp(min=1e-9)).view(-1, 1) * h
            for w, m, h in zip(logit, masks, plain, strict=True)
        )
    )
    masks.append(torch.stack(masks).any(dim=0))

    def fuse(node, values, present):
        """Returns what each source is multiplied with."""
        num = len(model.modalities)
        values = torch.stack(values)
        weight = torch.zeros_like(values)
        weight[:num] = head_weights(
            model.attention, values[:num], query[node], present
        )
        for t, step in enumerate(model.later_steps.steps):
            if not present[t]:
                continue
            if isinstance(step, torch.nn.Linear):
                share = step(query[node]).sigmoid()
            else:
                x = (weight * values).sum(dim=0)
                pair = torch.stack([x, values[t]])
                share = head_weights(step, pair, query[node], [True] * 2)[1]
            weight = weight * (1 - share)
            weight[t] += share
        return model.content_weight * weight

    node = NUM_USERS + item
    values = [h[item] for h in sources]
    present = [bool(mask[item]) for mask in masks]
    target = (fuse(node, values, present) * torch.stack(values)).sum(dim=0)
    target = target + query[node]

    means = []
    for mask in masks:
        has = r[user] * mask
        means.append(has / has.sum().clamp(min=1))
    values = [a @ h for a, h in zip(means, sources, strict=True)]
    weight = fuse(user, values, [bool(a.any()) for a in means])
    columns = []
    hop = sum(layers[:num_layers]) / (num_layers + 1)
    collaborative = adj[user, NUM_USERS:].view(-1, 1) * hop[NUM_USERS:]
    columns.append(collaborative @ target)
    for a, h, w in zip(means, sources, weight, strict=True):
        columns.append(a * (h @ (w * target)))
    own = layers[0][user] @ target / (num_layers + 1)
    return torch.stack(columns, dim=1).detach(), own.item()


@pytest.mark.parametrize("step_kind", ["gate", "attention"])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("missing", [False, True])
def test_dense_reference(step_kind, heads, missing):
    data = make_data(2, missing)
    model = make_model(data, step_kind=step_kind, heads=heads)
    known = dense_interactions(data).sum(dim=0).nonzero().view(-1).tolist()
    for user, item in itertools.product(range(NUM_USERS), known):
        expected, own = dense_paths(model, data, user, item)
        found = explain(model, user, item)
        assert found.paths == [
            "collaborative",
            "modality:m0",
            "modality:m1",
            "item_graph",
        ]
        value = torch.zeros_like(expected)
        value[found.history] = found.contributions
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
        assert found.user_part == pytest.approx(own, rel=1e-5)
        total = found.contributions.sum(dim=1)
        assert total.tolist() == sorted(total.tolist(), reverse=True)


@pytest.mark.parametrize("num_layers", [0, 1, 3])
def test_lightgcn(num_layers):
    data = make_data(1, missing=False)
    model = make_model(data, cls=LightGCN, num_layers=num_layers)
    user_emb, item_emb = (x.detach() for x in model())
    for user, item in itertools.product(range(NUM_USERS), range(NUM_ITEMS)):
        found = explain(model, user, item)
        expected = float(user_emb[user] @ item_emb[item])
        assert found.score == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert sums(found) == pytest.approx(expected, rel=1e-9, abs=1e-12)
        own = model.user_embedding.weight[user] @ item_emb[item]
        assert found.user_part == pytest.approx(
            float(own.detach()) / (num_layers + 1)
        )
        assert found.paths == ["collaborative"]
        assert found.user_weights == found.pair_weights == {}


def test_one_layer_by_hand():
    """Two users, two items; user 0 chose both, user 1 the second one."""
    data = make_data(1, missing=False)
    data["user"].num_nodes = data["item"].num_nodes = 2
    data["user", "interacts", "item"].edge_index = torch.tensor(
        [[0, 0, 1], [0, 1, 1]]
    )
    model = make_model(data, cls=LightGCN, channels=1, num_layers=1)
    with torch.no_grad():
        model.user_embedding.weight.copy_(torch.tensor([[2.0], [3.0]]))
        model.item_embedding.weight.copy_(torch.tensor([[5.0], [7.0]]))
    # Item 1 is (7 + 2 / 2 + 3 / sqrt(2)) / 2, user 0 is half of
    # 2 + 5 / sqrt(2) + 7 / 2.
    target = (7 + 1 + 3 / 2**0.5) / 2
    found = explain(model, 0, 1)
    assert found.history.tolist() == [0, 1]
    torch.testing.assert_close(
        found.contributions.view(-1),
        torch.tensor([5 / 2**0.5, 3.5]).double() / 2 * target,
        rtol=1e-6,
        atol=0.0,
    )
    assert found.user_part == pytest.approx(target)


@pytest.mark.parametrize("attention", [True, False])
def test_modality_weights(attention):
    data = make_data(2, missing=True)
    leave_out(data, [2])
    model = make_model(data, attention=attention)
    of_item = model.item_modality_weights()
    of_user = model.encode().weight[:NUM_USERS]
    for user, item in itertools.product(range(NUM_USERS), range(NUM_ITEMS)):
        found = explain(model, user, item)
        assert list(found.user_weights) == ["m0", "m1"]
        assert list(found.user_weights.values()) == pytest.approx(
            of_user[user].tolist()
        )
        if found.is_new:
            assert found.item_weights == found.pair_weights == {}
            continue
        assert list(found.item_weights.values()) == pytest.approx(
            of_item[item].tolist()
        )
        pair = model.pair_modality_weights(
            torch.tensor([user]), torch.tensor([item])
        )
        assert list(found.pair_weights.values()) == pytest.approx(
            pair[0].tolist()
        )


def test_raw_ids():
    model = make_model(make_data(2, missing=False))
    users = np.array([f"u{i}" for i in range(NUM_USERS)])
    items = np.arange(100, 100 + NUM_ITEMS)
    found = explain(model, 1, 2, users, items)
    assert (found.user, found.user_id) == (1, "u1")
    assert (found.item, found.item_id) == (2, 102)
    assert found.history_ids == [100 + i for i in found.history.tolist()]
    for raw in (found.user_id, found.item_id, *found.history_ids):
        assert type(raw) in (int, str)
    plain = explain(model, 1, 2)
    assert (plain.user_id, plain.item_id) == (1, 2)
    assert plain.history_ids == plain.history.tolist()
    assert json.loads(found.to_json()) == found.to_dict()


def test_bad_input():
    data = make_data(2, missing=False)
    model = make_model(data)
    for user, item, name in (
        (-1, 0, "user"),
        (NUM_USERS, 0, "user"),
        (0, -1, "item"),
        (0, NUM_ITEMS, "item"),
    ):
        with pytest.raises(ValueError, match=f"'{name}' must be an index"):
            explain(model, user, item)
    with pytest.raises(ValueError, match="'item_ids' must hold 6 ids"):
        explain(model, 0, 0, item_ids=np.arange(5))
    with pytest.raises(ValueError, match=r"LightGCN, TMFUN \(got BPRMF"):
        explain(BPRMF.from_data(data), 0, 0)
    with pytest.raises(ValueError, match="not bound"):
        explain(LightGCN(2, 2), 0, 0)

    class Other(LightGCN):
        """Might compute anything."""

    with pytest.raises(ValueError, match="got Other"):
        explain(Other.from_data(data), 0, 0)
    with torch.no_grad():
        model.user_embedding.weight[0] = torch.nan
    with pytest.raises(ValueError, match="has the training diverged"):
        explain(model, 0, 0)
