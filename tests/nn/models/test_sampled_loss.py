import pytest
import torch
from toy_data import NUM_ITEMS, NUM_USERS, make_data

from tmfun_pyg.loader import SampledInteractionDataset
from tmfun_pyg.nn import BPRMF, TMFUN, LightGCN, SimGCL
from tmfun_pyg.testing import assert_same_loss
from tmfun_pyg.transforms import ToRecGraph

ALL = -1


def rows_of(batch):
    """The users, positives and negatives of a batch."""
    user, item = batch["user"], batch["item"]
    return user.src_index, item.dst_pos_index, item.dst_neg_index


def in_whole_graph(batch):
    """The same as nodes of the graph that the batch was drawn from."""
    user, *items = rows_of(batch)
    n_id = batch["item"].n_id
    return batch["user"].n_id[user], *(n_id[item] for item in items)


def make_model(model_cls, data, **kwargs):
    model = model_cls.from_data(data, channels=4, **kwargs)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("model_cls", [LightGCN, SimGCL, TMFUN])
@pytest.mark.parametrize("sparse", [False, True])
def test_all_neighbors_equal_the_whole_graph(
    model_cls, num_layers, missing, sparse
):
    graph = ToRecGraph()(make_data(2, missing))
    model = make_model(model_cls, graph, num_layers=num_layers, sparse=sparse)
    model.eval()  # Without noise.
    dataset = SampledInteractionDataset(graph, [ALL] * num_layers, ALL, 2)
    batch = dataset[torch.tensor([3, 0, 3, 5])]
    assert_same_loss(
        model,
        model.loss(batch, *rows_of(batch)),
        model.loss(graph, *in_whole_graph(batch)),
    )


@pytest.mark.parametrize("model_cls", [BPRMF, LightGCN, SimGCL, TMFUN])
def test_rows_without_negatives(model_cls):
    """The L2 term has a mean over the negatives that there are."""
    graph = ToRecGraph()(make_data(2, missing=True))
    options = {"softmax_negatives": 3, "reg_weight": 0.1}
    if model_cls is TMFUN:
        options["score_channels"] = 2  # Fewer than there are features.
    model = make_model(model_cls, graph, **options).eval()
    model.fit(graph)
    num_hops = max(model.num_layers, 1)
    dataset = SampledInteractionDataset(
        graph, [ALL] * num_hops, ALL, max_negatives=3
    )
    batch = dataset[torch.arange(5)]
    found = model.loss(batch, *rows_of(batch))
    user, pos_item, neg_item = in_whole_graph(batch)
    assert neg_item.shape == (3, 1)
    expected = model.loss(graph, user, pos_item, neg_item)
    assert_same_loss(model, found, expected)
    means = [
        table.weight[index].pow(2).sum(dim=-1).mean()
        for table, index in (
            (model.user_embedding, user),
            (model.item_embedding, pos_item),
            (model.item_embedding, neg_item),
        )
    ]
    torch.testing.assert_close(found["reg"], 0.1 * sum(means))


def test_expectation_is_that_of_the_whole_graph():
    """One layer is linear in what is drawn."""
    torch.manual_seed(0)
    graph = ToRecGraph()(make_data(1, missing=False))
    model = make_model(LightGCN, graph, num_layers=1)
    sums = [
        torch.zeros(2, n, 4, dtype=torch.double) for n in (NUM_USERS, NUM_ITEMS)
    ]
    counts = [torch.zeros(n) for n in (NUM_USERS, NUM_ITEMS)]
    with torch.no_grad():
        whole = model(graph)
        for _ in range(1000):
            dataset = SampledInteractionDataset(graph, [2])
            batch = dataset[torch.arange(len(dataset))]
            for name, emb, total, count in zip(
                ("user", "item"), model.encode(batch), sums, counts, strict=True
            ):
                n_id = batch[name].n_id
                total[0, n_id] += emb
                total[1, n_id] += emb.double() ** 2
                count[n_id] += 1
    for emb, (first, second), count in zip(whole, sums, counts, strict=True):
        seen = count > 0
        mean = first[seen] / count[seen].view(-1, 1)
        variance = second[seen] / count[seen].view(-1, 1) - mean**2
        error = (variance.clamp(min=1e-9) / count[seen].view(-1, 1)).sqrt()
        assert bool(((mean - emb[seen]).abs() < 5 * error + 1e-5).all())
        assert bool((error > 1e-3).any())  # Something was left to chance.


@pytest.mark.parametrize("model_cls", [BPRMF, LightGCN, SimGCL, TMFUN])
def test_sparse_gradients_reach_the_rows_of_the_batch_alone(model_cls):
    graph = ToRecGraph()(make_data(2, missing=False))
    model = make_model(model_cls, graph, sparse=True)
    num_hops = max(model.num_layers, 1)
    batch = SampledInteractionDataset(graph, [1] * num_hops, 1)[
        torch.tensor([0])
    ]
    sum(model.loss(batch, *rows_of(batch)).values()).backward()
    for name, table in (
        ("user", model.user_embedding),
        ("item", model.item_embedding),
    ):
        grad = table.weight.grad
        assert grad.is_sparse
        rows = set(grad.coalesce().indices()[0].tolist())
        read = batch[name].n_id.tolist()
        if name == "item":
            read += batch["similar_item"].n_id.tolist()
        assert rows <= set(read)
        assert len(rows) > 0


@pytest.mark.parametrize("off", ["modality_graphs", "item_graph"])
def test_parts_of_content_in_samples(off):
    graph = ToRecGraph()(make_data(2, missing=True))
    model = make_model(TMFUN, graph, num_layers=1, **{off: False})
    dataset = SampledInteractionDataset(graph, [ALL], ALL)
    batch = dataset[torch.arange(4)]
    assert_same_loss(
        model,
        model.loss(batch, *rows_of(batch)),
        model.loss(graph, *in_whole_graph(batch)),
    )


@pytest.mark.parametrize("missing", [False, True])
def test_an_item_of_the_user_left_out_in_samples(missing):
    graph = ToRecGraph()(make_data(2, missing))
    model = make_model(TMFUN, graph, num_layers=2)
    dataset = SampledInteractionDataset(graph, [ALL] * 2, ALL)
    batch = dataset[torch.arange(len(dataset))]
    user, pos_item, _ = rows_of(batch)
    found = model.encode(batch, user, pos_item, exclude=pos_item)
    user, pos_item, _ = in_whole_graph(batch)
    expected = model.encode(graph, user, pos_item, exclude=pos_item)
    torch.testing.assert_close(found[:5], expected[:5])


def test_few_neighbors_have_finite_gradients():
    """Where nothing was drawn of what a node has."""
    graph = ToRecGraph()(make_data(2, missing=True))
    model = make_model(TMFUN, graph, num_layers=1)
    batch = SampledInteractionDataset(graph, [1], 1)[torch.arange(3)]
    sum(model.loss(batch, *rows_of(batch)).values()).backward()
    for name, parameter in model.named_parameters():
        assert bool(parameter.grad.isfinite().all()), name


def test_too_few_hops():
    graph = ToRecGraph()(make_data(1, missing=False))
    batch = SampledInteractionDataset(graph, [2])[torch.tensor([0])]
    model = LightGCN.from_data(graph, num_layers=2)
    with pytest.raises(ValueError, match=r"each of the 2 layers .*got 1"):
        model.loss(batch, *rows_of(batch))
