import itertools
import json

import numpy as np
import pytest
import torch
from dense_content import draw_parameters, item_mask, normalized_features
from dense_tmfun import dense_neighbors
from toy_data import NUM_ITEMS, NUM_USERS, dense_interactions, make_data

from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.explain import explain
from tmfun_pyg.nn import BPRMF, TMFUN, ColdItems, LightGCN
from tmfun_pyg.transforms import FeatureGraph, ToRecGraph

SWITCHES = ["modality_graphs", "item_graph", "attention", "later_steps"]
OPTIONS = [
    {},
    *({name: False} for name in SWITCHES),
    {"modality_graphs": False, "item_graph": False},
    {"num_layers": 0},
    {"num_layers": 1},
]
COLD = [2, 4]


def leave_out(raw, cold):
    """Makes items cold."""
    store = raw["user", "interacts", "item"]
    is_warm = ~torch.isin(store.edge_index[1], torch.tensor(cold))
    store.edge_index = store.edge_index[:, is_warm]


def make_graph(raw, dtype=torch.double):
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # Of degrees and weights.
    try:
        data = ToRecGraph()(raw)
    finally:
        torch.set_default_dtype(default)
    return data.apply(lambda x: x.to(dtype) if x.is_floating_point() else x)


def make_model(data, cls=TMFUN, **kwargs):
    model = cls.from_data(data, **{"channels": 4, "num_layers": 2, **kwargs})
    model.to(data["item"].degree.dtype).fit(data)
    draw_parameters(model)
    return model


def sums(explanation):
    return float(explanation.contributions.sum()) + explanation.user_part


def in_double(model):
    neighbor, weight = model.neighbor_score.neighbors()
    return neighbor, weight.double()


def assert_sums_to_the_score(model, data, users, items, rtol, cold=None):
    with torch.no_grad():
        emb = model(data)
        if cold is not None:
            emb = cold.extend(model.encode(data))
        near = torch.zeros(model.num_items, model.num_items).double()
        if isinstance(model, TMFUN):
            near.scatter_add_(1, *in_double(model))
    r = dense_interactions(data).double()
    scale = r.sum(dim=1, keepdim=True).clamp(min=1).sqrt()
    of_neighbors = r / scale @ near.t()
    for user, item in itertools.product(users, items):
        found = explain(model, data, user, item, cold=cold)
        expected = float((emb[0][user] * emb[1][item]).sum())
        expected += float(of_neighbors[user, item])
        # Parts may be larger than their sum:
        parts = found.contributions.abs().sum() + abs(found.user_part)
        atol = rtol * float(parts)
        assert found.score == pytest.approx(expected, rel=rtol, abs=atol)
        assert sums(found) == pytest.approx(expected, rel=rtol, abs=atol)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("step_kind", ["gate", "attention"])
@pytest.mark.parametrize(("missing", "cold"), [(False, []), (True, COLD)])
def test_contributions_sum_to_the_score(options, step_kind, missing, cold):
    raw = make_data(2, missing)
    leave_out(raw, cold)
    data = make_graph(raw)
    model = make_model(data, step_kind=step_kind, **options)
    # User 6 has no training item, item 0 has content in some cases only.
    assert_sums_to_the_score(model, data, [0, 3, 6], [0, 2, 5], rtol=1e-9)


@pytest.mark.parametrize("num_modalities", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float, torch.double])
def test_every_pair(num_modalities, dtype):
    raw = make_data(num_modalities, missing=True)
    leave_out(raw, COLD)
    data = make_graph(raw, dtype)
    model = make_model(data)
    rtol = {torch.float: 1e-4, torch.double: 1e-9}[dtype]
    users, items = range(NUM_USERS), range(NUM_ITEMS)
    assert_sums_to_the_score(model, data, users, items, rtol)
    assert model.training
    seen = dense_interactions(raw)
    for user, item in itertools.product(users, items):
        found = explain(model, data, user, item)
        mine = seen[user].nonzero().view(-1).tolist()
        assert sorted(found.history.tolist()) == mine
        assert not found.is_cold  # No estimate takes its place.
    assert len(explain(model, data, NUM_USERS - 1, 0).history) == 0


def make_cold(dtype=torch.double, **kwargs):
    """A model and what estimates the cold items, by profiles as well."""
    raw = FeatureGraph(k=3)(
        SyntheticMultimodal(
            20, 16, {"m0": 3, "m1": 4}, missing={"m0": 0.3, "m1": 0.3}
        )[0]
    )
    leave_out(raw, COLD)
    # User 0 has no training item:
    store = raw["user", "interacts", "item"]
    store.edge_index = store.edge_index[:, store.edge_index[0] > 0]
    data = make_graph(raw, dtype)
    model = make_model(data, **kwargs)
    cold = ColdItems.fit(model, data)
    assert (cold.item_profile[COLD] != 0).any(dim=1).all()
    return raw, data, model, cold


@pytest.mark.parametrize(
    ("dtype", "options"),
    [(torch.float, {}), *((torch.double, options) for options in OPTIONS)],
    ids=str,
)
def test_cold_items(dtype, options):
    _, data, model, cold = make_cold(dtype, **options)
    rtol = {torch.float: 1e-4, torch.double: 1e-9}[dtype]
    items = [*COLD, 5]
    assert_sums_to_the_score(model, data, range(3), items, rtol, cold)
    for user, item in itertools.product(range(3), items):
        found = explain(model, data, user, item, cold=cold)
        plain = explain(model, data, user, item)
        assert not plain.is_cold
        assert "profile" not in plain.paths
        assert found.is_cold == (item in COLD)
        if item in COLD:
            assert found.paths == [*plain.paths, "profile"]
            assert found.item_weights == found.pair_weights == {}
            assert found.user_weights == plain.user_weights
        else:  # What is known of warm items, no estimate changes.
            assert found.to_dict() == plain.to_dict()


def test_profiles():
    """What the profiles add is a mean over the user's items."""
    raw, data, model, cold = make_cold()
    with torch.no_grad():
        _, items = cold.extend(model.encode(data))
    r = dense_interactions(raw).double()
    for user, item in itertools.product(range(20), COLD):
        found = explain(model, data, user, item, cold=cold)
        expected = cold.item_profile @ items[item, -cold.item_profile.size(1) :]
        expected = r[user] * expected / r[user].sum().clamp(min=1)
        value = torch.zeros(16).double()
        value[found.history] = found.contributions[:, -1]
        torch.testing.assert_close(value, expected)
        assert bool(value.any()) == bool(r[user].any())


def attention_weights(attention, stacked, query, present):
    """Attention of one node, modality by modality."""
    score = {}
    for m in range(len(stacked)):
        if present[m]:
            key = attention.lin_key(stacked[m])
            key = (key + attention.lin_query(query)).tanh()
            score[m] = (attention.att[0] @ key).exp()
    out = torch.zeros_like(stacked)
    for m, value in score.items():
        out[m] = value / sum(score.values())
    return out


def dense_paths(model, data, user, item):
    """What each item adds by each path: the equations of TMFUN, with dense
    matrices, for items that are not cold.
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
        s[store.edge_index[1], store.edge_index[0]] = store.edge_weight.double()
        gate = model.item_content.convs[name].gate(x).sigmoid()
        sources.append(s @ (item_id * gate))
        plain.append(s @ item_id)
    logit = model.item_content.graph_logit.exp()
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
        weight[:num] = attention_weights(
            model.fusion.attention, values[:num], query[node], present
        )
        for t, step in enumerate(model.fusion.later_steps.steps):
            if not present[t]:
                continue
            if isinstance(step, torch.nn.Linear):
                share = step(query[node]).sigmoid()
            else:
                x = (weight * values).sum(dim=0)
                pair = torch.stack([x, values[t]])
                share = attention_weights(step, pair, query[node], [True] * 2)[
                    1
                ]
            weight = weight * (1 - share)
            weight[t] += share
        return model.fusion.weight * weight

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
    for m, name in enumerate(model.modalities):
        module = model.content_score
        x = normalized_features(data, name).double()
        x = x - getattr(module, f"mean_{name}")
        x = x / x.norm(dim=1, keepdim=True)
        f = x @ getattr(module, f"basis_{name}") * masks[m].view(-1, 1)
        columns.append(module.log_weight[m].exp() * means[m] * (f @ f[item]))
    gain = dense_neighbors(r, 20)[item]
    near = torch.zeros(NUM_ITEMS).double()
    for j, (count, root) in gain.items():
        near[j] = model.neighbor_score.log_weight.exp() * count / root
    columns.append(r[user] * near / r[user].sum().clamp(min=1).sqrt())
    return torch.stack(columns, dim=1).detach(), own.item()


@pytest.mark.parametrize("step_kind", ["gate", "attention"])
@pytest.mark.parametrize("missing", [False, True])
def test_dense_reference(step_kind, missing):
    raw = make_data(2, missing)
    data = make_graph(raw)
    model = make_model(data, step_kind=step_kind)
    known = dense_interactions(raw).sum(dim=0).nonzero().view(-1).tolist()
    for user, item in itertools.product(range(NUM_USERS), known):
        expected, own = dense_paths(model, raw, user, item)
        found = explain(model, data, user, item)
        assert found.paths == [
            "collaborative",
            "modality:m0",
            "modality:m1",
            "item_graph",
            "content_score:m0",
            "content_score:m1",
            "neighbors",
        ]
        value = torch.zeros_like(expected)
        value[found.history] = found.contributions
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
        assert found.user_part == pytest.approx(own, rel=1e-5)
        total = found.contributions.sum(dim=1)
        assert total.tolist() == sorted(total.tolist(), reverse=True)


@pytest.mark.parametrize("num_layers", [0, 1, 3])
def test_lightgcn(num_layers):
    data = make_graph(make_data(1, missing=False))
    model = make_model(data, cls=LightGCN, num_layers=num_layers)
    user_emb, item_emb = (x.detach() for x in model(data))
    for user, item in itertools.product(range(NUM_USERS), range(NUM_ITEMS)):
        found = explain(model, data, user, item)
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
    raw = make_data(0, missing=False)
    raw["user"].num_nodes = raw["item"].num_nodes = 2
    raw["user", "interacts", "item"].edge_index = torch.tensor(
        [[0, 0, 1], [0, 1, 1]]
    )
    data = make_graph(raw)
    model = make_model(data, cls=LightGCN, channels=1, num_layers=1)
    with torch.no_grad():
        model.user_embedding.weight.copy_(torch.tensor([[2.0], [3.0]]))
        model.item_embedding.weight.copy_(torch.tensor([[5.0], [7.0]]))
    # Item 1 is (7 + 2 / 2 + 3 / sqrt(2)) / 2, user 0 is half of
    # 2 + 5 / sqrt(2) + 7 / 2.
    target = (7 + 1 + 3 / 2**0.5) / 2
    found = explain(model, data, 0, 1)
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
    raw = make_data(2, missing=True)
    leave_out(raw, [2])
    data = make_graph(raw)
    model = make_model(data, attention=attention)
    cold = ColdItems.fit(model, data)
    of_user, of_item = model.modality_weights(data)
    for user, item in itertools.product(range(NUM_USERS), range(NUM_ITEMS)):
        found = explain(model, data, user, item, cold=cold)
        assert list(found.user_weights) == ["m0", "m1"]
        assert list(found.user_weights.values()) == pytest.approx(
            of_user[user].tolist()
        )
        if found.is_cold:
            assert found.item_weights == found.pair_weights == {}
            continue
        assert list(found.item_weights.values()) == pytest.approx(
            of_item[item].tolist()
        )
        # Of a modality that both have, their products:
        pair = of_user[user] * of_item[item]
        pair = pair / pair.sum().clamp(min=1e-30)
        assert list(found.pair_weights.values()) == pytest.approx(pair.tolist())


def test_raw_ids():
    data = make_graph(make_data(2, missing=False))
    model = make_model(data)
    users = np.array([f"u{i}" for i in range(NUM_USERS)])
    items = np.arange(100, 100 + NUM_ITEMS)
    found = explain(model, data, 1, 2, users, items)
    assert (found.user, found.user_id) == (1, "u1")
    assert (found.item, found.item_id) == (2, 102)
    assert found.history_ids == [100 + i for i in found.history.tolist()]
    for raw in (found.user_id, found.item_id, *found.history_ids):
        assert type(raw) in (int, str)
    plain = explain(model, data, 1, 2)
    assert (plain.user_id, plain.item_id) == (1, 2)
    assert plain.history_ids == plain.history.tolist()
    assert json.loads(found.to_json()) == found.to_dict()


def test_what_a_user_has():
    """Of any split: it is not recommended."""
    raw = make_data(2, missing=False)
    data = make_graph(raw)
    model = make_model(data)
    has = dense_interactions(raw)
    free = has.argmin(dim=1).tolist()
    data["user", "interacts", "item"].test_edge_label_index = torch.tensor(
        [[0, NUM_USERS - 1], [free[0], free[-1]]]
    )
    has[[0, -1], [free[0], free[-1]]] = 1
    for user, item in itertools.product(range(NUM_USERS), range(NUM_ITEMS)):
        found = explain(model, data, user, item)
        assert found.is_seen == bool(has[user, item])
        assert found.to_dict()["item"]["is_seen"] == found.is_seen
        assert ("it is not recommended" in found.to_text()) == found.is_seen
    assert "is recommended the most popular items" in found.to_text()


def test_bad_input():
    raw = make_data(2, missing=False)
    data = make_graph(raw)
    model = make_model(data)
    for user, item, name in (
        (-1, 0, "user"),
        (NUM_USERS, 0, "user"),
        (0, -1, "item"),
        (0, NUM_ITEMS, "item"),
    ):
        with pytest.raises(ValueError, match=f"'{name}' must be an index"):
            explain(model, data, user, item)
    with pytest.raises(ValueError, match="'item_ids' must hold 6 ids"):
        explain(model, data, 0, 0, item_ids=np.arange(5))
    with pytest.raises(ValueError, match=r"LightGCN, TMFUN \(got BPRMF"):
        explain(BPRMF.from_data(data), data, 0, 0)
    with pytest.raises(ValueError, match=r"apply .*ToRecGraph\(\)"):
        explain(model, raw, 0, 0)
    with pytest.raises(ValueError, match="made for 2 users, but"):
        explain(LightGCN(2, 2), data, 0, 0)

    class Other(LightGCN):
        """Might compute anything."""

    with pytest.raises(ValueError, match="got Other"):
        explain(Other.from_data(data), data, 0, 0)
    with torch.no_grad():
        model.user_embedding.weight[0] = torch.nan
    with pytest.raises(ValueError, match="has the training diverged"):
        explain(model, data, 0, 0)
