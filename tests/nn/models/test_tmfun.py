import copy
import importlib

import pytest
import torch
from dense_content import draw_parameters
from dense_tmfun import dense_branches, dense_embeddings, dense_parts
from torch_geometric.testing import withDevice
from toy_data import NUM_ITEMS, NUM_USERS, dense_interactions, make_data

from tmfun_pyg.nn import TMFUN
from tmfun_pyg.testing import RankingModelTests, assert_same_loss
from tmfun_pyg.transforms import ToRecGraph

# What a model without an option has in place of True:
ABLATIONS = {
    "modality_graphs": False,
    "item_graph": False,
    "attention": False,
    "later_steps": False,
    "contrastive": False,
    "leave_one_out": False,
    "score_channels": 0,
    "softmax_negatives": 0,
}


def leave_out(data, cold):
    """Makes items cold."""
    store = data["user", "interacts", "item"]
    is_warm = ~torch.isin(store.edge_index[1], torch.tensor(cold))
    store.edge_index = store.edge_index[:, is_warm]


class TestTMFUN(RankingModelTests):
    model_cls = TMFUN
    options = {
        "channels": 4,
        "num_layers": 2,
        "alignment_weight": 0.2,
        "contrastive_weight": 0.7,
        "pair_weight": 0.3,
        "reg_weight": 0.1,
    }

    def dense_loss(self, model, data, *batch):
        return dense_parts(model, data, *batch)


class TestTMFUNByPairs(TestTMFUN):
    options = {
        **TestTMFUN.options,
        "score_channels": 2,
        "softmax_negatives": 0,
        "leave_one_out": False,
    }


class TestTMFUNWithAttentionSteps(RankingModelTests):
    model_cls = TMFUN
    options = {"channels": 4, "num_layers": 2, "step_kind": "attention"}


class TestTMFUNWithoutGraphs(RankingModelTests):
    model_cls = TMFUN
    options = {
        "channels": 4,
        "num_layers": 1,
        "modality_graphs": False,
        "item_graph": False,
    }
    test_cold_items = None  # Content is read from similar items alone.


@pytest.mark.parametrize("num_modalities", [1, 2, 4])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("off", [None, *ABLATIONS])
@pytest.mark.parametrize("cold", [[], [2], [2, 4]])
def test_dense_reference(num_modalities, missing, off, cold):
    data = make_data(num_modalities, missing)
    leave_out(data, cold)
    graph = ToRecGraph()(data)
    kwargs = {} if off is None else {off: ABLATIONS[off]}
    model = TMFUN.from_data(data, channels=4, num_layers=2, **kwargs)
    model.fit(graph)
    draw_parameters(model)

    collaborative, content, mask = dense_branches(model, data)
    found = model.encode(graph)
    torch.testing.assert_close(torch.cat(found.collaborative), collaborative)
    torch.testing.assert_close(torch.cat(found.content), content)
    assert torch.equal(torch.cat(found.mask)[:, -1], mask)
    torch.testing.assert_close(model(graph), dense_embeddings(model, data))

    probe = torch.randn_like(content)
    parameters = list(model.parameters())
    grads, expected = (
        torch.autograd.grad(
            (out * probe).sum(), parameters, materialize_grads=True
        )
        for out in (torch.cat(found.content), content)
    )
    torch.testing.assert_close(grads, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("off", [None, "item_graph", "attention"])
def test_rows_without_an_item_of_the_user(missing, off):
    """The positive item is left out of its user's own content, and of nothing
    else.
    """
    data = make_data(2, missing)
    store = data["user", "interacts", "item"]
    last = torch.tensor([[NUM_USERS - 1], [3]])  # The user's one item.
    store.edge_index = torch.cat([store.edge_index, last], dim=1)
    graph = ToRecGraph()(data)
    assert graph.is_complete != missing
    kwargs = {} if off is None else {off: ABLATIONS[off]}
    model = TMFUN.from_data(data, channels=4, num_layers=2, **kwargs)
    model.fit(graph)
    draw_parameters(model)
    # Every interaction, and then some of items that a user does not have:
    user, item = data["user", "interacts", "item"].edge_index
    user = torch.cat([user, torch.arange(NUM_USERS)])
    item = torch.cat([item, torch.arange(NUM_USERS) % NUM_ITEMS])
    found = model.encode(graph, user, item, exclude=item)
    _, content, mask = dense_branches(model, data, user, item)
    sizes = [len(user), NUM_ITEMS]
    content_user, content_item = content.split(sizes)
    torch.testing.assert_close(found.content[0], content_user)
    torch.testing.assert_close(found.content[1], content_item[item])
    assert torch.equal(found.mask[0][:, -1], mask[: len(user)])
    assert not mask[: len(user)].all()
    has_weights = found.weight[0].any(dim=1)
    assert torch.equal(has_weights, mask[: len(user)])
    expected, _ = dense_embeddings(model, data, user, item)
    torch.testing.assert_close(found.user, expected)
    unchanged = model.encode(graph, user, item)
    torch.testing.assert_close(found.collaborative, unchanged.collaborative)
    torch.testing.assert_close(found.item, unchanged.item)
    assert not torch.allclose(found.user, unchanged.user)

    probe = torch.randn_like(content_user)
    grads, expected = (
        torch.autograd.grad(
            (out * probe).sum(),
            list(model.parameters()),
            materialize_grads=True,
        )
        for out in (found.content[0], content_user)
    )
    torch.testing.assert_close(grads, expected, rtol=1e-4, atol=1e-5)


def test_rows_of_all_that_is_told(graph, batch):
    model = TMFUN.from_data(graph, channels=4)
    user, item, _ = batch
    every = model.encode(graph)
    found = model.encode(graph, user, item)
    for name in ("collaborative", "content", "mask", "weight"):
        of_user, of_item = getattr(every, name)
        torch.testing.assert_close(
            getattr(found, name), (of_user[user], of_item[item])
        )
    torch.testing.assert_close(found.sources, every.sources)
    torch.testing.assert_close(found.id_emb, every.id_emb)


@pytest.mark.parametrize("contrastive_weight", [0.01, 1.0])
@pytest.mark.parametrize("off", [None, *ABLATIONS])
def test_loss_parts(data, graph, batch, off, contrastive_weight, monkeypatch):
    module = importlib.import_module("tmfun_pyg.nn.loss.scaled_contrast")
    monkeypatch.setattr(module, "MAX_RATIO", 0.3)
    kwargs = {
        "alignment_weight": 2 * contrastive_weight,
        "contrastive_weight": contrastive_weight,
        "pair_weight": contrastive_weight / 2,
    }
    if off is not None:
        kwargs[off] = ABLATIONS[off]
    model = TMFUN.from_data(data, channels=4, reg_weight=0.1, **kwargs)
    model.fit(graph)
    torch.nn.init.normal_(model.item_embedding.weight)
    parts = model.loss(graph, *batch)
    contrastive = {"alignment", "contrastive", "pair_contrastive"}
    name = "bpr" if off == "softmax_negatives" else "softmax"
    assert set(parts) == {name, "reg"} | (
        set() if off == "contrastive" else contrastive
    )
    expected = dense_parts(model, data, *batch, ratio=0.3)
    assert_same_loss(model, parts, expected)
    for name, parameter in model.named_parameters():
        assert parameter.grad.any(), name


def test_contrast_is_left_out_where_it_has_no_weight(graph, batch):
    for name, part in (
        ("alignment_weight", "alignment"),
        ("contrastive_weight", "contrastive"),
        ("pair_weight", "pair_contrastive"),
    ):
        options = {"alignment_weight": 0.1}
        full = set(TMFUN.from_data(graph, **options).loss(graph, *batch))
        model = TMFUN.from_data(graph, **{**options, name: 0.0})
        assert set(model.loss(graph, *batch)) == full - {part}


@pytest.mark.parametrize("missing", [False, True])
def test_shortcuts_change_nothing(batch, missing, monkeypatch):
    """The users of a batch are cut out of the means where they are few, and
    masks are left out where nothing is missing.
    """
    data = make_data(2, missing)
    store = data["user", "interacts", "item"]
    last = torch.tensor([[NUM_USERS - 1], [3]])  # Has no interaction yet.
    store.edge_index = torch.cat([store.edge_index, last], dim=1)
    graph = ToRecGraph()(data)
    model = TMFUN.from_data(data, channels=4)
    model.fit(graph)
    draw_parameters(model)
    assert graph.is_complete != missing
    module = importlib.import_module("tmfun_pyg.nn.models.user_content")
    results = []
    for is_complete in {False, graph.is_complete}:
        graph.is_complete = is_complete
        for few in (False, True):
            monkeypatch.setattr(
                module, "_has_few_entries", lambda *_, few=few: few
            )
            loss = sum(model.loss(graph, *batch).values())
            grads = torch.autograd.grad(loss, list(model.parameters()))
            results.append((loss, *grads))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-4, atol=1e-6)


def test_large_batches_are_contrasted_in_part(graph, batch):
    model = TMFUN.from_data(graph, channels=4)
    part = [index[torch.arange(1024) % len(index)] for index in batch]
    # Further rows, of one pair alone, which would count if they were read:
    large = [torch.cat([index, index[:1].expand_as(index)]) for index in part]
    found, expected = model.loss(graph, *large), model.loss(graph, *part)
    for name in ("contrastive", "pair_contrastive"):
        torch.testing.assert_close(found[name], expected[name])


def test_one_branch_less_is_less_work(data):
    """Ablations take their parameters along."""
    full = {name for name, _ in TMFUN.from_data(data).named_parameters()}
    for off, prefix in (
        (
            "item_graph",
            ("item_content.graph_logit", "fusion.later_steps.steps.2."),
        ),
        ("attention", ("fusion.attention.",)),
        ("later_steps", ("fusion.later_steps.", "item_content.graph_logit")),
    ):
        model = TMFUN.from_data(data, **{off: False})
        names = {name for name, _ in model.named_parameters()}
        gone = {n for n in full if n.startswith(prefix)}
        assert gone
        assert names == full - gone


def test_users_and_items_can_be_renamed(data, graph):
    """A permutation of users and items permutes the embeddings."""
    model = TMFUN.from_data(data, channels=4)
    model.fit(graph)
    user_emb, item_emb = model(graph)
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
    torch.testing.assert_close(
        other(ToRecGraph()(renamed)), (user_emb[users], item_emb[items])
    )


@pytest.mark.parametrize("part", ["contrastive", "pair_contrastive"])
@pytest.mark.parametrize("seed", range(3))
def test_contrast_is_insensitive_to_the_scale_of_embeddings(
    graph, batch, seed, part
):
    """The gradients of contrast and BPR keep their ratio at small scales,
    where it would explode otherwise, and contrast fades at large ones.
    """
    torch.manual_seed(seed)
    options = {"score_channels": 0, "softmax_negatives": 0}
    model = TMFUN.from_data(graph, channels=16, **options)
    # Gates and queries open with the scale, which is not what is tested:
    for step in model.fusion.later_steps.steps:
        torch.nn.init.zeros_(step.weight)
    torch.nn.init.zeros_(model.fusion.attention.lin_query.weight)
    torch.nn.init.zeros_(model.fusion.attention.lin_key.weight)
    tables = [model.user_embedding.weight, model.item_embedding.weight]
    start = [table.detach().clone() for table in tables]

    ratios = []
    for scale in (1e-4, 1e-3, 1e-2, 0.1, 1.0):
        for table, values in zip(tables, start, strict=True):
            table.data = values / values.norm(dim=1).mean() * scale
        norms = []
        for name in (part, "bpr"):
            value = model.loss(graph, *batch)[name]
            grads = torch.autograd.grad(value, tables)
            norms.append(torch.cat(grads).norm().item())
        ratios.append(norms[0] / norms[1])
    assert ratios[:3] == pytest.approx([ratios[0]] * 3, rel=0.01)
    assert ratios[0] > ratios[3] > ratios[4]


@pytest.mark.parametrize("num_modalities", [1, 10])
def test_modality_weights(num_modalities):
    data = make_data(num_modalities, missing=True)
    model = TMFUN.from_data(data, channels=4)
    of_user, of_item = model.modality_weights(ToRecGraph()(data))
    assert of_user.shape == (NUM_USERS, num_modalities)
    assert of_item.shape == (NUM_ITEMS, num_modalities)
    assert not of_user.requires_grad
    assert of_item[0].abs().max() == 0  # Item 0 lacks all modalities.
    assert of_item[1, 0] == 0  # Item 1 lacks the first.
    present = torch.stack(
        [data["item"][f"mask_m{m}"] for m in range(num_modalities)], dim=1
    )
    assert torch.equal(of_item > 0, present)
    has_content = present.any(dim=1).float()
    torch.testing.assert_close(of_item.sum(dim=1), has_content)
    has_content = dense_interactions(data) @ has_content > 0
    assert not has_content.all()
    torch.testing.assert_close(of_user.sum(dim=1), has_content.float())


def test_feature_scale_does_not_matter(data, graph):
    """Encoders differ in scale by orders of magnitude."""
    model = TMFUN.from_data(data, channels=4)
    model.fit(graph)
    expected = model(graph)[1]
    data["item"].x_m0 = data["item"].x_m0 * 1000 + 7
    torch.testing.assert_close(
        model(ToRecGraph()(data))[1], expected, rtol=1e-3, atol=1e-5
    )


@withDevice
def test_on_any_device(graph, batch, device):
    model = TMFUN.from_data(graph, channels=4)
    expected = model.loss(graph, *batch)
    user_emb, _ = model(graph)
    model = model.to(device)
    graph = copy.copy(graph).to(device)
    parts = model.loss(graph, *(index.to(device) for index in batch))
    assert set(parts) == set(expected)
    for name in parts:
        torch.testing.assert_close(parts[name].cpu(), expected[name])
    torch.testing.assert_close(model(graph)[0].cpu(), user_emb)


def test_bf16_autocast_is_near(graph, batch):
    model = TMFUN.from_data(graph, channels=16)
    expected = model.loss(graph, *batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts = model.loss(graph, *batch)
    for name in parts:
        torch.testing.assert_close(
            parts[name], expected[name], rtol=0.05, atol=1e-4
        )
    sum(parts.values()).backward()
    for parameter in model.parameters():
        assert bool(parameter.grad.isfinite().all())


def test_errors(data, graph, batch):
    with pytest.raises(ValueError, match="at least one modality for TMFUN"):
        TMFUN(7, 6, in_channels={})
    with pytest.raises(ValueError, match="'kind' must be"):
        TMFUN.from_data(data, step_kind="sum")
    for name in ("content", "alignment", "contrastive", "pair", "reg"):
        match = rf"'{name}_weight' must be at least 0 \(got -0.1\)"
        with pytest.raises(ValueError, match=match):
            TMFUN.from_data(data, **{f"{name}_weight": -0.1})
        with pytest.raises(ValueError, match=rf"{name}_weight. must be finite"):
            TMFUN.from_data(data, **{f"{name}_weight": float("inf")})
    for value in (0.0, float("nan")):
        with pytest.raises(ValueError, match="'temperature' must be positive"):
            TMFUN.from_data(data, temperature=value)
    with pytest.raises(ValueError, match=r"such as dataset\[0\] \(got a list"):
        TMFUN.from_data([data])
    model = TMFUN.from_data(data)
    with pytest.raises(ValueError, match="'exclude' needs the 'user'"):
        model.encode(graph, exclude=batch[1])
    data["item"].x_m1 = data["item"].x_m1[:, :2]
    with pytest.raises(ValueError, match=r"x_m1 must have 4 .* \(got 2\)"):
        model(ToRecGraph()(data))
    del data["item"].x_m1
    with pytest.raises(ValueError, match=r"'m1'\], but 'data' has \['m0'\]"):
        model(ToRecGraph()(data))
    model = TMFUN.from_data(data)
    del data["item", "similar_m0", "item"]
    graph = ToRecGraph()(data)
    with pytest.raises(ValueError, match=r"apply tmfun_pyg\.transforms"):
        model(graph)
    TMFUN.from_data(data, modality_graphs=False, item_graph=False)(graph)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("options", [{}, {"score_channels": 0}])
def test_users_are_fused_in_blocks(missing, options, monkeypatch):
    module = importlib.import_module("tmfun_pyg.nn.models.tmfun")
    sizes, user_content = [], module.user_content

    def watched(data, sources, user=None, exclude=None):
        sizes.append(NUM_USERS if user is None else user.numel())
        return user_content(data, sources, user, exclude)

    monkeypatch.setattr(module, "user_content", watched)
    monkeypatch.setattr(module, "BLOCK", 3)
    data = ToRecGraph()(make_data(2, missing))
    model = TMFUN.from_data(data, channels=4, **options)
    model.fit(data)
    draw_parameters(model)
    prepared = model.prepare(data)
    with torch.no_grad():
        found = model.encode(prepared)
    assert sizes == [0, 3, 3, 1]  # None for the items.
    whole = model.encode(prepared)  # With gradient.
    assert whole.user.requires_grad
    for pair, expected in zip(
        ((found.user, found.item), *found[2:6]),
        ((whole.user, whole.item), *whole[2:6]),
        strict=True,
    ):
        torch.testing.assert_close(pair, expected)
