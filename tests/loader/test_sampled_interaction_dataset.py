import pytest
import torch
from every_model import MODELS
from torch.utils.data import DataLoader
from torch_geometric import EdgeIndex, typing
from toy_data import dense_interactions, make_data

from tmfun_pyg.loader import InteractionSampler, SampledInteractionDataset
from tmfun_pyg.nn import BPRMF, TMFUN, LightGCN
from tmfun_pyg.transforms import ToRecGraph

ALL = -1
INTERACTS = ("user", "interacts", "item")
REVERSE = ("item", "rev_interacts", "user")
SAMPLED_MODELS = [cls for cls in MODELS if cls.supports_sampling]


@pytest.fixture
def raw():
    return make_data(num_modalities=2, missing=True)


@pytest.fixture
def data(raw):
    return ToRecGraph()(raw)


def in_whole_graph(batch):
    """The users, positives and negatives of a batch."""
    user, item = batch["user"], batch["item"]
    return (
        user.n_id[user.src_index],
        item.n_id[item.dst_pos_index],
        item.n_id[item.dst_neg_index],
    )


def in_batch(batch):
    user, item = batch["user"], batch["item"]
    return user.src_index, item.dst_pos_index, item.dst_neg_index


def draw_model(model_cls, data, **kwargs):
    generator = torch.Generator().manual_seed(0)
    model = model_cls.from_data(data, channels=4, **kwargs).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return model


def gradients(model, parts):
    parameters = list(model.parameters())
    return torch.autograd.grad(sum(parts.values()), parameters)


def test_an_epoch_is_made_of_all_interactions(raw, data):
    dataset = SampledInteractionDataset(data, [2, 1], num_negatives=3)
    sampler = InteractionSampler(dataset, batch_size=4, seed=1)
    seen = dense_interactions(raw)
    pairs = []
    for batch in DataLoader(dataset, batch_size=None, sampler=sampler):
        source, positive, negative = in_whole_graph(batch)
        assert negative.shape == (len(source), 3)
        assert bool((seen[source.view(-1, 1), negative] == 0).all())
        pairs += zip(source.tolist(), positive.tolist(), strict=True)
    expected = raw[INTERACTS].edge_index.t().tolist()
    assert sorted(pairs) == sorted(map(tuple, expected))


def test_no_more_negatives_than_are_read(raw, data):
    dataset = SampledInteractionDataset(
        data, [2, 1], num_negatives=2, max_negatives=3
    )
    batch = dataset[torch.arange(5)]
    source, positive, negative = in_whole_graph(batch)
    assert negative.shape == (2, 2)
    pairs = torch.stack([source, positive])
    assert torch.equal(pairs, raw[INTERACTS].edge_index[:, :5])
    seen = dense_interactions(raw)
    assert bool((seen[source[:2].view(-1, 1), negative] == 0).all())
    assert dataset[torch.arange(1)]["item"].dst_neg_index.shape == (1, 2)


def test_drawn_edges_and_features_are_those_of_the_data(raw, data):
    dataset = SampledInteractionDataset(data, [2, 1], num_similar=1)
    batch = dataset[torch.arange(3)]
    assert batch.num_hops == 2
    assert batch.modalities == ["m0", "m1"]
    seen = dense_interactions(raw)
    item = batch["item"].n_id
    for (source, relation, target), store in batch.edge_items():
        row, col = store.edge_index.as_tensor()
        src_id = batch[source].n_id
        row, col = src_id[row], batch[target].n_id[col]
        if relation == "interacts":
            assert bool((seen[row, col] == 1).all())
        elif relation == "rev_interacts":
            assert bool((seen[col, row] == 1).all())
        else:
            assert source == "similar_item"
            assert torch.equal(batch[source].x_m1, data["item"].x_m1[src_id])
            original = raw["item", relation, target]
            dense = torch.zeros(6, 6)
            src, dst = original.edge_index
            dense[src, dst] = original.edge_weight
            degree = (dense > 0).sum(0)
            # One was drawn, and stands for all:
            weight = dense[row, col] * degree[col]
            torch.testing.assert_close(store.edge_weight, weight)
            assert int(col.bincount().max()) == 1
            found = batch["item"][f"degree_{relation[8:]}"]
            assert torch.equal(found, degree[item].float())
    torch.testing.assert_close(batch["item"].degree, seen.sum(0)[item])
    assert torch.equal(batch["item"].x_m1, data["item"].x_m1[item])
    assert torch.equal(batch["item"].mask, data["item"].mask[item])


def local_matrix(batch, edge_type):
    """Which edges a batch holds, ones in a dense matrix."""
    source, _, target = edge_type
    out = torch.zeros(batch[source].num_nodes, batch[target].num_nodes)
    row, col = batch[edge_type].edge_index.as_tensor()
    out[row, col] = 1.0
    return out


def drawn_matrices(batch, raw):
    """The graph that a batch stands for: drawn edges, weighed by hand."""
    seen = dense_interactions(raw)
    user_degree = seen.sum(dim=1)[batch["user"].n_id].view(-1, 1)
    item_degree = seen.sum(dim=0)[batch["item"].n_id].view(-1, 1)
    matrices = []
    for edge_type, of_row, of_col in (
        (INTERACTS, user_degree, item_degree),
        (REVERSE, item_degree, user_degree),
    ):
        drawn = local_matrix(batch, edge_type)
        count = drawn.sum(dim=1, keepdim=True)
        weight = drawn / (of_row * of_col.t()).sqrt()
        matrices.append(weight * of_row / count.clamp(min=1))
    for name in ("m0", "m1"):
        drawn = local_matrix(batch, ("similar_item", f"similar_{name}", "item"))
        store = raw["item", f"similar_{name}", "item"]
        whole = torch.zeros(6, 6)
        whole[store.edge_index[0], store.edge_index[1]] = store.edge_weight
        degree = (whole > 0).sum(dim=0)[batch["item"].n_id]
        row, col = batch["similar_item"].n_id, batch["item"].n_id
        weight = drawn * whole[row][:, col]
        count = drawn.sum(dim=0)
        matrices.append(weight.t() * (degree / count.clamp(min=1)).view(-1, 1))
    return matrices


def propagate(model, batch, to_user, to_item):
    users = [model.user_embedding.weight[batch["user"].n_id]]
    items = [model.item_embedding.weight[batch["item"].n_id]]
    for _ in range(model.num_layers):
        users.append(to_user @ items[-1])
        items.append(to_item @ users[-2])
    return torch.stack(users).mean(dim=0), torch.stack(items).mean(dim=0)


def dense_losses(model, batch, user_emb, pos_emb, neg_emb, bias=None):
    tables = model.user_embedding.weight, model.item_embedding.weight
    user, pos, neg = in_whole_graph(batch)
    score = (user_emb * pos_emb).sum(dim=1, keepdim=True)
    if model.softmax_negatives:
        shared = neg_emb.flatten(0, 1)[: model.softmax_negatives]
        others = user_emb @ shared.t()
        if bias is not None:
            score, others = score + bias[:, :1], others + bias[:, 1:]
        others = others.exp().sum(dim=1, keepdim=True)
        rank = {"softmax": (1 + others / score.exp()).log().mean()}
    else:
        other = (user_emb.unsqueeze(1) * neg_emb).sum(dim=2)
        rank = {"bpr": (1 + (other - score).exp()).log().mean()}
    rows = [tables[0][user], tables[1][pos], tables[1][neg]]
    squares = sum(x.square().sum() for x in rows)
    reg = model.l2_loss.weight * squares / len(user)
    return {**rank, "reg": reg}


def dense_lightgcn(model, batch, raw):
    to_user, to_item, *_ = drawn_matrices(batch, raw)
    users, items = propagate(model, batch, to_user, to_item)
    user, pos, neg = in_batch(batch)
    return dense_losses(model, batch, users[user], items[pos], items[neg])


def dense_neighbor_bias(model, batch, raw):
    """The neighbor scores of every other row, where a mean over what was drawn
    of a user's items stands for that over all of them.
    """
    seen = dense_interactions(raw)
    together, degree = seen.t() @ seen, seen.sum(dim=0).clamp(min=1)
    n_id = batch["item"].n_id
    user, pos, neg = in_batch(batch)
    drawn = local_matrix(batch, INTERACTS)
    bias = torch.zeros(len(user), 1 + neg.numel())
    for row in range(0, len(user), 2):
        own = [int(j) for j in drawn[user[row]].nonzero() if j != pos[row]]
        size = int(seen[batch["user"].n_id[user[row]]].sum()) - 1
        for column, item in enumerate([pos[row], *neg.flatten()]):
            i, less = n_id[item], column == 0
            total = 0.0
            for j in n_id[own]:
                if i != j:
                    count = max(float(together[i, j]) - less, 0)
                    total += count / float(degree[i] * degree[j]) ** 0.5
            root = max(size, 1) ** 0.5
            bias[row, column] = root * total / max(len(own), 1)
    return bias * model.neighbor_score.log_weight.exp()


def dense_tmfun(model, batch, raw):
    to_user, to_item, *similar = drawn_matrices(batch, raw)
    users, items = propagate(model, batch, to_user, to_item)
    near = batch["similar_item"].n_id
    warm = dense_interactions(raw).sum(dim=0)[near] > 0
    source_id = model.item_embedding.weight[near] * warm.view(-1, 1)
    standard = ToRecGraph()(raw)["item"]
    mask = standard.mask[batch["item"].n_id]

    sources, plain = [], []
    for name, s in zip(("m0", "m1"), similar, strict=True):
        gate = (
            model.item_content.convs[name]
            .gate(standard[f"x_{name}"][near])
            .sigmoid()
        )
        sources.append(s @ (source_id * gate))
        plain.append(s @ source_id)
    beta = model.item_content.graph_logit.exp() * mask[:, :2]
    beta = beta / beta.sum(dim=1, keepdim=True).clamp(min=1e-9)
    sources.append(beta[:, :1] * plain[0] + beta[:, 1:] * plain[1])

    # Means over what was drawn of a user's items, and has content, but for
    # the positive one:
    user, pos, neg = in_batch(batch)
    drawn = local_matrix(batch, INTERACTS)[user]
    drawn = drawn.scatter(1, pos.view(-1, 1), 0.0)
    has = [drawn * mask[:, c] for c in range(3)]
    means = [
        h @ x / h.sum(dim=1, keepdim=True).clamp(min=1)
        for h, x in zip(has, sources, strict=True)
    ]
    item = torch.cat([pos, neg.flatten()])
    query = torch.cat([users[user], items[item]])
    rows = [
        torch.cat([a, b[item]]) for a, b in zip(means, sources, strict=True)
    ]
    present = torch.stack([h.sum(dim=1) > 0 for h in has], dim=1)
    present = torch.cat([present, mask[item]])
    content, _ = model.fusion(rows, query, present)
    n = len(user)
    emb = query + content
    score = []
    for m, name in enumerate(("m0", "m1")):
        x = standard[f"x_{name}"][batch["item"].n_id]
        x = x - getattr(model.content_score, f"mean_{name}")
        x = x / x.norm(dim=1, keepdim=True) * mask[:, m : m + 1]
        x = x @ getattr(model.content_score, f"basis_{name}")
        mean = has[m] @ x / has[m].sum(dim=1, keepdim=True).clamp(min=1)
        weight = model.content_score.log_weight[m].exp()
        score.append(torch.cat([weight * mean, x[item]]))
    full = torch.cat([emb, *score], dim=1)
    neg_emb = full[2 * n :].view(*neg.shape, -1)
    pos_emb = emb[n : 2 * n]
    bias = dense_neighbor_bias(model, batch, raw)
    return {
        **dense_losses(model, batch, full[:n], full[n : 2 * n], neg_emb, bias),
        "contrastive": model.contrasts.content(
            content[:n], query[:n], user, present[:n, 2]
        )
        + model.contrasts.content(
            content[n : 2 * n], query[n : 2 * n], pos, present[n : 2 * n, 2]
        ),
        "pair_contrastive": model.contrasts.pair(
            emb[:n], pos_emb, same=(user, pos)
        ),
    }


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(
    ("model_cls", "reference"),
    [(LightGCN, dense_lightgcn), (TMFUN, dense_tmfun)],
)
def test_gradients_of_what_was_drawn(
    model_cls, reference, missing, num_workers
):
    torch.manual_seed(0)
    raw = make_data(2, missing)
    data = ToRecGraph()(raw)
    model = draw_model(model_cls, data, num_layers=2)
    model.fit(data)
    dataset = SampledInteractionDataset(data, [2, 1], 1, num_negatives=2)
    sampler = InteractionSampler(dataset, batch_size=5)
    loader = DataLoader(
        dataset, batch_size=None, sampler=sampler, num_workers=num_workers
    )
    num_drawn = 0
    for batch in loader:
        for store in batch.edge_stores:
            assert isinstance(store.edge_index, EdgeIndex)
            assert store.edge_index.validate()._T_perm is not None
        num_drawn += batch[INTERACTS].edge_index.size(1)
        parts = model.loss(batch, *in_batch(batch))
        expected = reference(model, batch, raw)
        assert set(parts) == set(expected)
        for name in parts:
            torch.testing.assert_close(
                parts[name], expected[name], rtol=1e-5, atol=1e-5, msg=name
            )
        for (name, _), grad, other in zip(
            model.named_parameters(),
            gradients(model, parts),
            gradients(model, expected),
            strict=True,
        ):
            torch.testing.assert_close(
                grad, other, rtol=1e-4, atol=1e-5, msg=name
            )
    # Chance had its say:
    seen = dense_interactions(raw)
    assert num_drawn < len(loader) * seen.sum()


@pytest.mark.parametrize("missing", [False, True])
def test_all_neighbors_make_whole_rows(missing):
    raw = make_data(2, missing)
    data = ToRecGraph()(raw)
    batch = SampledInteractionDataset(data, [ALL], ALL)[torch.arange(4)]
    user, pos, neg = in_batch(batch)
    item = torch.cat([pos, neg.flatten()])
    ids = {name: batch[name].n_id for name in batch.node_types}
    relations = [(INTERACTS, INTERACTS, user), (REVERSE, REVERSE, item)]
    for name in (f"similar_{name}" for name in ("m0", "m1")):
        drawn = ("similar_item", name, "item")
        relations.append((drawn, ("item", name, "item"), item))
    for drawn, edge_type, target in relations:
        found, whole = batch[drawn], data[edge_type]
        row, col = found.edge_index.as_tensor()
        row, col = ids[drawn[0]][row], ids[drawn[2]][col]
        size = tuple(whole.edge_index.sparse_size())
        matrix, expected = torch.zeros(size), torch.zeros(size)
        matrix[row, col] = found.edge_weight
        expected[tuple(whole.edge_index.as_tensor())] = whole.edge_weight
        if drawn != edge_type:  # Sorted by column, the target.
            matrix, expected = matrix.t(), expected.t()
        target = ids["user" if drawn == INTERACTS else "item"][target]
        torch.testing.assert_close(matrix[target], expected[target])
    for name in ("mask", "scale"):
        torch.testing.assert_close(
            batch["user"][name][user], data["user"][name][ids["user"][user]]
        )


@pytest.mark.parametrize("num_hops", [1, 3])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("model_cls", SAMPLED_MODELS)
def test_all_neighbors_equal_the_whole_graph(model_cls, missing, num_hops):
    data = ToRecGraph()(make_data(2, missing))
    options = {} if model_cls is BPRMF else {"num_layers": num_hops}
    model = draw_model(model_cls, data, **options)
    dataset = SampledInteractionDataset(data, [ALL] * num_hops, ALL, 2)
    batch = dataset[torch.tensor([3, 0, 3, 5])]
    parts = model.loss(batch, *in_batch(batch))
    expected = model.loss(data, *in_whole_graph(batch))
    assert set(parts) == set(expected)
    for name in parts:
        torch.testing.assert_close(parts[name], expected[name])
    for grad, other in zip(
        gradients(model, parts), gradients(model, expected), strict=True
    ):
        torch.testing.assert_close(grad, other, rtol=1e-4, atol=1e-6)


def test_without_feature_graphs(raw):
    for edge_type in raw.edge_types:
        if edge_type != INTERACTS:
            del raw[edge_type]
    data = ToRecGraph()(raw)
    batch = SampledInteractionDataset(data, [ALL], ALL)[torch.arange(4)]
    model = draw_model(
        TMFUN, data, num_layers=1, modality_graphs=False, item_graph=False
    )
    parts = model.loss(batch, *in_batch(batch))
    expected = model.loss(data, *in_whole_graph(batch))
    for name in expected:
        torch.testing.assert_close(parts[name], expected[name])
    with pytest.raises(ValueError, match=r"has no edges .*FeatureGraph"):
        draw_model(TMFUN, data, num_layers=1).loss(batch, *in_batch(batch))


def test_every_neighbor_is_equally_likely(data):
    torch.manual_seed(0)
    num_draws = 80
    dataset = SampledInteractionDataset(data, [2], 2)
    whole = {INTERACTS: INTERACTS, REVERSE: REVERSE}
    for name in ("similar_m0", "similar_m1"):
        whole["similar_item", name, "item"] = ("item", name, "item")
    count = {edge_type: torch.zeros(7, 7) for edge_type in whole}
    for _ in range(num_draws):
        batch = dataset[torch.arange(len(dataset))]
        for edge_type, drawn in count.items():
            row, col = batch[edge_type].edge_index.as_tensor()
            row = batch[edge_type[0]].n_id[row]
            drawn[row, batch[edge_type[2]].n_id[col]] += 1
    is_warm = data["item"].degree > 0
    by_chance = 0
    for edge_type, drawn in count.items():
        row, col = data[whole[edge_type]].edge_index.as_tensor()
        target = row if edge_type in (INTERACTS, REVERSE) else col
        if edge_type != INTERACTS:  # Cold items are never read.
            row, col, target = (x[is_warm[target]] for x in (row, col, target))
        p = (2 / target.bincount()[target]).clamp(max=1.0)
        error = (p * (1 - p) / num_draws).sqrt()
        found = drawn[row, col] / num_draws
        assert bool(((found - p).abs() <= 5 * error).all())
        by_chance += int((p < 1).sum())
    assert by_chance > 10


def test_workers_draw_apart(data):
    dataset = SampledInteractionDataset(data, [1], num_negatives=50)
    index = torch.zeros(4, dtype=torch.long).split(1)
    loader = DataLoader(dataset, batch_size=None, sampler=index, num_workers=2)
    drawn = [in_whole_graph(batch)[2] for batch in loader]
    for i in range(4):
        for j in range(i):
            assert not torch.equal(drawn[i], drawn[j])


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_draw_what_the_process_itself_would(data, context):
    if context not in torch.multiprocessing.get_all_start_methods():
        pytest.skip(f"{context} is not available")
    drawn = []
    for num_workers in (0, 2):
        dataset = SampledInteractionDataset(data, [2])
        sampler = InteractionSampler(dataset, batch_size=5, seed=3)
        loader = DataLoader(
            dataset,
            batch_size=None,
            sampler=sampler,
            num_workers=num_workers,
            multiprocessing_context=context if num_workers else None,
        )
        drawn.append([in_whole_graph(batch) for batch in loader])
    alone, shared = drawn
    assert len(alone) == len(shared) > 2
    for expected, found in zip(alone, shared, strict=True):
        for a, b in zip(expected, found, strict=True):
            assert torch.equal(a, b)


def test_data_set_is_left_alone(raw, data):
    before = {store._key: set(store.keys()) for store in data.stores}
    batch = SampledInteractionDataset(data, [1])[torch.arange(2)]
    assert batch["item"].x_m0.data_ptr() != data["item"].x_m0.data_ptr()
    assert {store._key: set(store.keys()) for store in data.stores} == before


def test_errors(raw, data):
    with pytest.raises(ValueError, match="at least one hop"):
        SampledInteractionDataset(data, [])
    with pytest.raises(ValueError, match=r"'num_neighbors' must .* \(got 0\)"):
        SampledInteractionDataset(data, [5, 0])
    with pytest.raises(ValueError, match=r"'num_similar' must .* \(got -2\)"):
        SampledInteractionDataset(data, [5], -2)
    with pytest.raises(ValueError, match=r"'num_negatives' .* \(got 0\)"):
        SampledInteractionDataset(data, [5], num_negatives=0)
    with pytest.raises(ValueError, match=r"'max_negatives' .* \(got 0\)"):
        SampledInteractionDataset(data, [5], max_negatives=0)
    with pytest.raises(ValueError, match=r"graph of ToRecGraph\(\)"):
        SampledInteractionDataset(raw, [5])


def test_needs_no_compiled_package(data, monkeypatch):
    monkeypatch.setattr(typing, "WITH_PYG_LIB", False)
    monkeypatch.setattr(typing, "WITH_TORCH_SPARSE", False)
    dataset = SampledInteractionDataset(data, [2, 1])
    batch = dataset[torch.arange(len(dataset))]
    assert int(batch[INTERACTS].edge_index[0].bincount().max()) == 2
