from functools import partial

import pytest
import torch
from toy_data import NUM_ITEMS, NUM_USERS, make_data, needs_sampler

from tmfun_pyg.loader import SampledInteractionDataset
from tmfun_pyg.nn import TMFUN, EmbeddingTable, LightGCN

pytestmark = needs_sampler
ALL = -1


def in_whole_graph(batch):
    """The users, positives and negatives of a batch."""
    user, item = batch["user"], batch["item"]
    return (
        user.n_id[user.src_index],
        item.n_id[item.dst_pos_index],
        item.n_id[item.dst_neg_index],
    )


def make_model(model_cls, data, **kwargs):
    model = model_cls.from_data(data, channels=4, **kwargs)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("model_cls", [LightGCN, TMFUN])
def test_all_neighbors_equal_the_whole_graph(model_cls, num_layers, missing):
    data = make_data(2, missing)
    model = make_model(model_cls, data, num_layers=num_layers)
    dataset = SampledInteractionDataset(data, [ALL] * num_layers, ALL, 2)
    batch = dataset[torch.tensor([3, 0, 3, 5])]
    parts = model.sampled_loss(batch)
    expected = model.loss(*in_whole_graph(batch))
    assert set(parts) == set(expected)
    for name in parts:
        torch.testing.assert_close(parts[name], expected[name])

    parameters = list(model.parameters())
    found = torch.autograd.grad(sum(parts.values()), parameters)
    wanted = torch.autograd.grad(sum(expected.values()), parameters)
    for grad, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(grad, other, rtol=1e-4, atol=1e-6)


def test_expectation_is_that_of_the_whole_graph():
    """One layer is linear in what is drawn."""
    torch.manual_seed(0)
    data = make_data(1, missing=False)
    model = make_model(LightGCN, data, num_layers=1)
    user_emb, item_emb = model()
    sums = [
        torch.zeros(2, n, 4, dtype=torch.double)
        for n in (NUM_USERS, NUM_ITEMS)
    ]
    counts = [torch.zeros(n) for n in (NUM_USERS, NUM_ITEMS)]
    with torch.no_grad():
        for _ in range(1000):
            dataset = SampledInteractionDataset(data, [2])
            batch = dataset[torch.arange(len(dataset))]
            graph = model.make_graph(batch)
            out = model.propagation(*model.id_embeddings(graph), graph)
            for name, emb, total, count in zip(
                ("user", "item"), out, sums, counts, strict=True
            ):
                n_id = batch[name].n_id
                total[0, n_id] += emb
                total[1, n_id] += emb.double() ** 2
                count[n_id] += 1
    for emb, (first, second), count in zip(
        (user_emb, item_emb), sums, counts, strict=True
    ):
        seen = count > 0
        mean = first[seen] / count[seen].view(-1, 1)
        variance = second[seen] / count[seen].view(-1, 1) - mean**2
        error = (variance.clamp(min=1e-9) / count[seen].view(-1, 1)).sqrt()
        assert bool(((mean - emb[seen]).abs() < 5 * error + 1e-5).all())
        assert bool((error > 1e-3).any())  # Something was left to chance.


def test_sparse_gradients_reach_the_rows_of_the_batch_alone():
    data = make_data(2, missing=False)
    model = make_model(
        TMFUN, data, num_layers=1, table=partial(EmbeddingTable, sparse=True)
    )
    dataset = SampledInteractionDataset(data, [1], 1)
    batch = dataset[torch.tensor([0])]
    sum(model.sampled_loss(batch).values()).backward()
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


def test_several_steps_over_feature_graphs_are_refused():
    data = make_data(1, missing=False)
    batch = SampledInteractionDataset(data, [2])[torch.tensor([0])]
    model = TMFUN.from_data(data, num_layers=1, num_feature_layers=2)
    with pytest.raises(ValueError, match=r"'num_feature_layers' .*\(got 2\)"):
        model.sampled_loss(batch)


@pytest.mark.parametrize("off", ["modality_graphs", "item_graph"])
def test_parts_of_content_in_samples(off):
    data = make_data(2, missing=True)
    model = make_model(TMFUN, data, num_layers=1, **{off: False})
    batch = SampledInteractionDataset(data, [ALL], ALL)[torch.arange(4)]
    parts = model.sampled_loss(batch)
    expected = model.loss(*in_whole_graph(batch))
    for name in expected:
        torch.testing.assert_close(parts[name], expected[name])


def test_too_few_hops():
    data = make_data(1, missing=False)
    dataset = SampledInteractionDataset(data, [2])
    with pytest.raises(ValueError, match=r"each of the 2 layers .*got 1"):
        LightGCN.from_data(data, num_layers=2).sampled_loss(
            dataset[torch.tensor([0])]
        )
