import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from tmfun_pyg.nn.models.csr_matrix import CSRMatrix
from torch_geometric.testing import withDevice
from toy_data import (
    NUM_ITEMS,
    NUM_USERS,
    dense_interactions,
    dense_light_gcn,
    make_data,
)

from tmfun_pyg.nn import TMFUN, info_nce

ABLATIONS = [
    "modality_graphs",
    "item_graph",
    "attention",
    "later_steps",
    "contrastive",
]


def leave_out(data, new):
    """Makes items new."""
    store = data["user", "interacts", "item"]
    is_old = ~torch.isin(store.edge_index[1], torch.tensor(new))
    store.edge_index = store.edge_index[:, is_old]


def dense_new_scores(model, data, collaborative, content):
    """The scores of items as if all were new: by least squares on the rows of
    the known items and one row more for each weight, and by a matrix of how
    often items are chosen together.
    """
    r = dense_interactions(data).double()
    known = r.sum(dim=0) > 0
    parts = []
    for name in model.modalities:
        x = data["item"][f"x_{name}"]
        mask = data["item"].get(f"mask_{name}", torch.ones(len(x)).bool())
        x = F.layer_norm(x, x.shape[1:]).double()
        parts.append((x - x[known & mask].mean(dim=0)) * mask.view(-1, 1))
    features = torch.cat(parts, dim=1)
    penalty = features[known].pow(2).sum() / 256
    size = features.size(1)
    ridge = torch.cat([features[known], penalty.sqrt() * torch.eye(size)])

    def regress(target):
        zeros = torch.zeros(size, target.size(1))
        target = torch.cat([target[known], zeros.double()])
        return torch.linalg.lstsq(ridge, target, driver="gelsd").solution

    x = collaborative[NUM_USERS:].double()
    mean = x[known].mean(dim=0)
    estimate = features @ regress(x - mean) + mean + content[NUM_USERS:]
    user_emb = (collaborative + content)[:NUM_USERS].double()
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
        return score[:, known].var(dim=1, correction=0).mean().sqrt()

    if by_profile[:, known].abs().max() == 0.0:
        return by_embedding / 2
    scale = spread(by_embedding) / spread(by_profile)
    return (by_embedding + scale * by_profile) / 2


def dense_branches(model, data):
    """The equations of the docstring with dense matrices."""
    is_new = dense_interactions(data).sum(dim=0) == 0
    item_emb = model.item_embedding.weight * ~is_new.view(-1, 1)
    collaborative = dense_light_gcn(
        data,
        model.user_embedding.weight,
        item_emb,
        model.propagation.num_layers,
    )
    r = dense_interactions(data)

    def with_users(items, mask):
        """Puts the mean over a user's items with content above the items."""
        items = items * mask.view(-1, 1)
        has = r * mask
        users = has @ items / has.sum(dim=1, keepdim=True).clamp(min=1)
        return torch.cat([users, items])

    masks, graphs, gates = [], [], []
    for name in model.modalities:
        x = data["item"][f"x_{name}"]
        mask = data["item"].get(f"mask_{name}", torch.ones(len(x))).float()
        x = (x - x.mean(1, keepdim=True)) / (
            x.var(1, keepdim=True, correction=0) + 1e-5
        ).sqrt()
        store = data["item", f"similar_{name}", "item"]
        s = torch.zeros(NUM_ITEMS, NUM_ITEMS)
        s[store.edge_index[1], store.edge_index[0]] = store.edge_weight
        masks.append(mask)
        graphs.append(s)
        gates.append(model.behavior_gates[name](x).sigmoid())

    h = []
    for mask, s, gate in zip(masks, graphs, gates, strict=True):
        z = item_emb * gate
        h.append(with_users(s @ z if model.modality_graphs else z, mask))
    any_mask = torch.stack(masks).amax(dim=0)
    r_any = torch.cat([(r @ any_mask > 0).float(), any_mask])
    present = [torch.cat([(r @ m > 0).float(), m]).bool() for m in masks]

    stacked, mask = torch.stack(h, dim=1), torch.stack(present, dim=1)
    if model.attention is None:
        total = mask.sum(dim=1, keepdim=True).clamp(min=1)
        content = stacked.sum(dim=1) / total
    else:
        content = model.attention(stacked, collaborative, mask)

    sources = list(zip(h, present, strict=True))
    if model.item_graph:
        logit = model.graph_logit.exp()
        weight = torch.stack(masks, dim=1) * logit
        weight = weight / weight.sum(dim=1, keepdim=True).clamp(min=1e-9)
        mixed = sum(
            weight[:, m : m + 1] * (s @ item_emb) for m, s in enumerate(graphs)
        )
        sources.append((with_users(mixed, any_mask), r_any.bool()))
    for step, (source, has) in zip(
        model.later_steps.steps, sources, strict=False
    ):
        share = step(collaborative).sigmoid() * has.view(-1, 1)
        content = (1 - share) * content + share * source
    return collaborative, model.content_weight * content


@pytest.mark.parametrize("num_modalities", [1, 2, 4])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("off", [None, *ABLATIONS])
@pytest.mark.parametrize("new", [[], [2], [2, 4]])
def test_dense_reference(num_modalities, missing, off, new):
    data = make_data(num_modalities, missing)
    leave_out(data, new)
    kwargs = {} if off is None else {off: False}
    model = TMFUN.from_data(data, channels=4, num_layers=2, **kwargs)
    for parameter in model.parameters():  # Far from the starting point.
        torch.nn.init.normal_(parameter)

    collaborative, content = dense_branches(model, data)
    branches = model.encode()
    torch.testing.assert_close(branches.collaborative, collaborative)
    torch.testing.assert_close(branches.content, content)
    user_emb, item_emb = (collaborative + content).split([7, 6])
    expected = user_emb @ item_emb.t()
    is_known = dense_interactions(data).sum(dim=0) > 0
    assert not bool(is_known[new].any())
    if new:
        others = dense_new_scores(model, data, collaborative, content)
        expected[:, new] = others[:, new].float()
    found = model()
    torch.testing.assert_close(found[0][:, :4], user_emb)
    torch.testing.assert_close(found[1][is_known, :4], item_emb[is_known])
    torch.testing.assert_close(
        found[0] @ found[1].t(), expected, rtol=1e-4, atol=1e-4
    )

    probe = torch.randn_like(content)
    (content * probe).sum().backward()
    expected = [p.grad for p in model.parameters()]
    model.zero_grad()
    (branches.content * probe).sum().backward()
    for parameter, grad in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("contrastive_weight", [0.01, 1.0])
@pytest.mark.parametrize("off", [None, *ABLATIONS])
def test_loss_parts(data, batch, off, contrastive_weight):
    kwargs = {
        "contrastive_weight": contrastive_weight,
        "pair_weight": contrastive_weight / 2,
    }
    if off is not None:
        kwargs[off] = False
    model = TMFUN.from_data(
        data, channels=4, max_contrast=0.3, reg_weight=0.1, **kwargs
    )
    torch.nn.init.normal_(model.item_embedding.weight)
    user, pos_item, neg_item = batch
    parts = model.loss(*batch)
    contrastive = {"contrastive", "pair_contrastive"}
    assert set(parts) == {"bpr", "reg"} | (
        set() if off == "contrastive" else contrastive
    )

    user_emb, item_emb = model()
    scores = user_emb @ item_emb.t()
    difference = (
        scores[user, pos_item].view(-1, 1) - scores[user.view(-1, 1), neg_item]
    )
    torch.testing.assert_close(parts["bpr"], -F.logsigmoid(difference).mean())
    squared = (
        model.user_embedding(user).pow(2).sum()
        + model.item_embedding(pos_item).pow(2).sum()
        + model.item_embedding(neg_item).pow(2).sum()
    )
    torch.testing.assert_close(parts["reg"], 0.1 * squared / len(user))

    if off != "contrastive":
        collaborative, content, _ = model.encode()
        mask = torch.cat([model.graph.user_mask, model.graph.item_mask])
        expected = 0.0
        length = content.norm(dim=1) * collaborative.norm(dim=1)
        for rows in (user, pos_item + NUM_USERS):
            node = rows.unique()
            node = node[mask[node, -1]]
            loss = info_nce(content[node], collaborative[node], 0.2)
            weight = 0.3 * length[rows].mean().item()
            expected += loss * min(weight, model.contrastive_weight)
        torch.testing.assert_close(parts["contrastive"], expected)

        other = (user.view(-1, 1) != user) & (
            pos_item.view(-1, 1) != pos_item
        ) | torch.eye(len(user), dtype=torch.bool)
        x, y = user_emb[user], item_emb[pos_item]
        cosine = F.normalize(x, dim=1) @ F.normalize(y, dim=1).t()
        logits = (cosine / 0.2).where(other, -torch.inf)
        loss = F.cross_entropy(logits, torch.arange(len(x)))
        length = (x.norm(dim=1) * y.norm(dim=1)).mean().item()
        expected = loss * min(0.3 * length, model.pair_weight)
        torch.testing.assert_close(parts["pair_contrastive"], expected)

    total = sum(parts.values())
    total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("missing", [False, True])
def test_shortcuts_change_nothing(batch, missing, monkeypatch):
    """The users of a batch are cut out of the means where they are few, and
    masks are left out where nothing is missing.
    """
    data = make_data(2, missing)
    store = data["user", "interacts", "item"]
    last = torch.tensor([[NUM_USERS - 1], [3]])  # Has no interaction yet.
    store.edge_index = torch.cat([store.edge_index, last], dim=1)
    model = TMFUN.from_data(data, channels=4)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    assert model.graph.is_complete != missing
    results = []
    for is_complete in {False, model.graph.is_complete}:
        model.graph.is_complete = is_complete
        for few in (False, True):
            monkeypatch.setattr(
                CSRMatrix, "has_few_entries", lambda *_, few=few: few
            )
            loss = sum(model.loss(*batch).values())
            grads = torch.autograd.grad(loss, list(model.parameters()))
            results.append((loss, *grads))
    for result in results[1:]:
        for found, expected in zip(result, results[0], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("contrast_size", [1, 3, 4, None])
def test_contrast_of_a_part_of_the_batch(data, batch, contrast_size):
    model = TMFUN.from_data(data, channels=4, contrast_size=contrast_size)
    part = tuple(index[:contrast_size] for index in batch)
    found = model.loss(*batch)
    model.contrast_size = None
    expected = model.loss(*part)
    for name in ("contrastive", "pair_contrastive"):
        torch.testing.assert_close(found[name], expected[name])


def test_one_branch_less_is_less_work(data):
    """Ablations take their parameters along."""
    full = {name for name, _ in TMFUN.from_data(data).named_parameters()}
    for off, prefix in (
        ("item_graph", ("graph_logit", "later_steps.steps.2.")),
        ("attention", ("attention.",)),
        ("later_steps", ("later_steps.", "graph_logit")),
    ):
        model = TMFUN.from_data(data, **{off: False})
        names = {name for name, _ in model.named_parameters()}
        gone = {n for n in full if n.startswith(prefix)}
        assert gone
        assert names == full - gone


def test_users_and_items_can_be_renamed(data):
    """A permutation of users and items permutes the embeddings."""
    model = TMFUN.from_data(data, channels=4)
    user_emb, item_emb = model()
    users, items = torch.randperm(NUM_USERS), torch.randperm(NUM_ITEMS)

    renamed = copy.deepcopy(data)
    for edge_type, store in renamed.edge_items():
        for row, name in ((0, edge_type[0]), (1, edge_type[2])):
            perm = users if name == "user" else items
            store.edge_index[row] = perm.argsort()[store.edge_index[row]]
    for name, value in list(renamed["item"].items()):
        if isinstance(value, torch.Tensor):
            renamed["item"][name] = value[items]
    other = TMFUN.from_data(renamed, channels=4)
    other.load_state_dict(model.state_dict())
    other.user_embedding.weight.data = model.user_embedding.weight[users]
    other.item_embedding.weight.data = model.item_embedding.weight[items]
    torch.testing.assert_close(other()[0], user_emb[users])
    torch.testing.assert_close(other()[1], item_emb[items])


@pytest.mark.parametrize("part", ["contrastive", "pair_contrastive"])
@pytest.mark.parametrize("seed", range(3))
def test_contrast_is_insensitive_to_the_scale_of_embeddings(
    data, batch, seed, part
):
    """The gradients of contrast and BPR keep their ratio at small scales,
    where it would explode otherwise, and contrast fades at large ones.
    """
    torch.manual_seed(seed)
    model = TMFUN.from_data(data, channels=16)
    # Gates and queries open with the scale, which is not what is tested:
    for step in model.later_steps.steps:
        torch.nn.init.zeros_(step.weight)
    torch.nn.init.zeros_(model.attention.lin_query.weight)
    torch.nn.init.zeros_(model.attention.lin_key.weight)
    tables = [model.user_embedding.weight, model.item_embedding.weight]
    start = [table.detach().clone() for table in tables]

    ratios = []
    for scale in (1e-4, 1e-3, 1e-2, 0.1, 1.0):
        for table, values in zip(tables, start, strict=True):
            table.data = values / values.norm(dim=1).mean() * scale
        norms = []
        for name in (part, "bpr"):
            value = model.loss(*batch)[name]
            grads = torch.autograd.grad(value, tables)
            norms.append(torch.cat(grads).norm().item())
        ratios.append(norms[0] / norms[1])
    assert ratios[:3] == pytest.approx([ratios[0]] * 3, rel=0.01)
    assert ratios[0] > ratios[3] > ratios[4]


@pytest.mark.parametrize("num_modalities", [1, 10])
def test_modality_weights(num_modalities):
    data = make_data(num_modalities, missing=True)
    model = TMFUN.from_data(data, channels=4)
    weight = model.item_modality_weights()
    assert weight.shape == (NUM_ITEMS, num_modalities)
    assert weight[0].abs().max() == 0  # Item 0 lacks all modalities.
    assert weight[1, 0] == 0  # Item 1 lacks the first.
    present = torch.stack(
        [data["item"][f"mask_m{m}"] for m in range(num_modalities)], dim=1
    )
    torch.testing.assert_close(weight.sum(dim=1), present.any(dim=1).float())

    pairs = torch.tensor(
        list(itertools.product(range(NUM_USERS), range(NUM_ITEMS)))
    ).t()
    out = model.pair_modality_weights(*pairs)
    of_user = model.encode().weight[:NUM_USERS][pairs[0]]
    product = of_user * weight[pairs[1]]
    has = product.sum(dim=1) > 0
    torch.testing.assert_close(
        out[has], product[has] / product[has].sum(dim=1, keepdim=True)
    )
    assert bool((out[~has] == 0).all())


def test_feature_scale_does_not_matter(data):
    """Encoders differ in scale by orders of magnitude."""
    model = TMFUN.from_data(data, channels=4)
    expected = model()[1]
    data["item"].x_m0 = data["item"].x_m0 * 1000 + 7
    torch.testing.assert_close(
        model.bind(data)()[1], expected, rtol=1e-3, atol=1e-5
    )


def test_missing_features_are_never_read(data):
    model = TMFUN.from_data(data, channels=4)
    expected = model()
    data["item"].x_m0[:2] = 1e6
    torch.testing.assert_close(model.bind(data)(), expected)


@withDevice
def test_on_any_device(data, batch, device):
    model = TMFUN.from_data(data, channels=4)
    expected = model.loss(*batch)
    user_emb, _ = model()
    model = model.to(device)
    parts = model.loss(*(index.to(device) for index in batch))
    assert set(parts) == set(expected)
    for name in parts:
        torch.testing.assert_close(parts[name].cpu(), expected[name])
    torch.testing.assert_close(model()[0].cpu(), user_emb)
    assert model.recommend(k=3)[1].device == device


def test_bf16_autocast_is_near(data, batch):
    model = TMFUN.from_data(data, channels=16)
    expected = model.loss(*batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts = model.loss(*batch)
    for name in parts:
        torch.testing.assert_close(
            parts[name], expected[name], rtol=0.05, atol=1e-4
        )
    sum(parts.values()).backward()
    for parameter in model.parameters():
        assert bool(parameter.grad.isfinite().all())


def test_save_and_load(data, tmp_path):
    model = TMFUN.from_data(data, channels=4, heads=2, step_kind="attention")
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other = TMFUN.from_data(data, channels=4, heads=2, step_kind="attention")
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    torch.testing.assert_close(other(), model())


def test_errors(data):
    with pytest.raises(ValueError, match="names no modality"):
        TMFUN(7, 6, in_channels={})
    with pytest.raises(ValueError, match="'kind' must be"):
        TMFUN.from_data(data, step_kind="sum")
    with pytest.raises(ValueError, match=r"'contrast_size' .* \(got 0\)"):
        TMFUN.from_data(data, contrast_size=0)
    model = TMFUN.from_data(data)
    data["item"].x_m1 = data["item"].x_m1[:, :2]
    with pytest.raises(ValueError, match=r"x_m1 must be of shape \[6, 4\]"):
        model.bind(data)
    del data["item"].x_m1
    with pytest.raises(ValueError, match=r"x_m1 must .* \(got None\)"):
        model.bind(data)
    del data["item", "similar_m0", "item"]
    with pytest.raises(ValueError, match=r"apply tmfun_pyg\.transforms"):
        TMFUN.from_data(data)
    TMFUN.from_data(data, modality_graphs=False, item_graph=False)()
