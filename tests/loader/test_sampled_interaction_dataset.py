import pytest
import torch
from torch.utils.data import DataLoader
from torch_geometric import typing
from toy_data import dense_interactions, make_data, needs_sampler

from tmfun_pyg.loader import InteractionSampler, SampledInteractionDataset


@pytest.fixture
def data():
    return make_data(num_modalities=2, missing=True)


@needs_sampler
def test_an_epoch_is_made_of_all_interactions(data):
    dataset = SampledInteractionDataset(data, [2, 1], num_negatives=3)
    sampler = InteractionSampler(dataset, batch_size=4, seed=1)
    seen = dense_interactions(data)
    pairs = []
    for batch in DataLoader(dataset, batch_size=None, sampler=sampler):
        user, item = batch["user"], batch["item"]
        source = user.n_id[user.src_index]
        positive = item.n_id[item.dst_pos_index]
        negative = item.n_id[item.dst_neg_index]
        assert negative.shape == (len(source), 3)
        assert bool((seen[source.view(-1, 1), negative] == 0).all())
        pairs += zip(source.tolist(), positive.tolist(), strict=True)
    expected = data["user", "interacts", "item"].edge_index.t().tolist()
    assert sorted(pairs) == sorted(map(tuple, expected))


@needs_sampler
def test_drawn_edges_and_features_are_those_of_the_data(data):
    dataset = SampledInteractionDataset(data, [2, 1], num_similar=1)
    batch = dataset[torch.arange(3)]
    assert batch.num_hops == 2
    seen = dense_interactions(data)
    item = batch["item"].n_id
    for (source, relation, target), store in batch.edge_items():
        row, col = store.edge_index
        src_id = batch[source].n_id
        row, col = src_id[row], batch[target].n_id[col]
        if relation == "interacts":
            assert bool((seen[row, col] == 1).all())
        elif relation == "rev_interacts":
            assert bool((seen[col, row] == 1).all())
        else:
            assert source == "similar_item"
            assert torch.equal(batch[source].x_m1, data["item"].x_m1[src_id])
            original = data["item", relation, target]
            dense = torch.zeros(6, 6)
            src, dst = original.edge_index
            dense[src, dst] = original.edge_weight
            assert torch.equal(dense[row, col], store.edge_weight)
            assert int(col.bincount().max()) == 1
            degree = batch["item"][f"degree_{relation[8:]}"]
            assert torch.equal(degree, (dense > 0).sum(0)[item].float())
    torch.testing.assert_close(batch["item"].degree, seen.sum(0)[item])
    assert torch.equal(batch["item"].x_m1, data["item"].x_m1[item])
    assert torch.equal(batch["item"].mask_m0, data["item"].mask_m0[item])


@needs_sampler
def test_workers_draw_apart(data):
    dataset = SampledInteractionDataset(data, [1], num_negatives=50)
    index = torch.zeros(4, dtype=torch.long).split(1)
    loader = DataLoader(dataset, batch_size=None, sampler=index, num_workers=2)
    drawn = [
        batch["item"].n_id[batch["item"].dst_neg_index] for batch in loader
    ]
    for i in range(4):
        for j in range(i):
            assert not torch.equal(drawn[i], drawn[j])


@needs_sampler
def test_errors(data):
    with pytest.raises(ValueError, match="at least one hop"):
        SampledInteractionDataset(data, [])
    with pytest.raises(ValueError, match=r"'num_neighbors' must .* \(got 0\)"):
        SampledInteractionDataset(data, [5, 0])
    with pytest.raises(ValueError, match=r"'num_similar' must .* \(got -2\)"):
        SampledInteractionDataset(data, [5], -2)
    with pytest.raises(ValueError, match=r"'num_negatives' .* \(got 0\)"):
        SampledInteractionDataset(data, [5], num_negatives=0)


def test_says_what_to_install(data, monkeypatch):
    monkeypatch.setattr(typing, "WITH_PYG_LIB", False)
    monkeypatch.setattr(typing, "WITH_TORCH_SPARSE", False)
    with pytest.raises(ImportError, match=r"tmfun-pyg\[sparse\]"):
        SampledInteractionDataset(data, [5])
