from typing import List

import pytest
import torch
from torch.utils.data import DataLoader
from torch_geometric import EdgeIndex

from tmfun_pyg.loader import InteractionDataset, InteractionSampler

EDGE_INDEX = torch.tensor([[0, 0, 1, 2, 2, 2, 3], [1, 4, 0, 0, 1, 2, 3]])


def make_loader(
    seed: int = 0,
    num_negatives: int = 2,
    batch_size: int = 3,
    num_replicas: int = 1,
    rank: int = 0,
) -> DataLoader:
    dataset = InteractionDataset(EDGE_INDEX, 4, num_negatives)
    sampler = InteractionSampler(dataset, batch_size, seed, num_replicas, rank)
    return DataLoader(dataset, batch_size=None, sampler=sampler)


def read(loader: DataLoader, epoch: int) -> List[torch.Tensor]:
    loader.sampler.set_epoch(epoch)
    return [torch.cat(parts) for parts in zip(*loader, strict=True)]


def test_shapes_and_last_short_batch() -> None:
    loader = make_loader()
    batches = list(loader)
    assert len(loader) == len(batches) == 3
    assert [user.numel() for user, _, _ in batches] == [3, 3, 1]
    for user, pos_item, neg_item in batches:
        assert pos_item.size() == user.size()
        assert neg_item.size() == (user.numel(), 2)


def test_every_interaction_once_an_epoch() -> None:
    loader = make_loader()
    expected = sorted(EDGE_INDEX.t().tolist())
    for epoch in range(3):
        user, pos_item, _ = read(loader, epoch)
        pairs = torch.stack([user, pos_item]).t().tolist()
        assert sorted(pairs) == expected


def test_epoch_depends_on_seed_and_number_alone() -> None:
    undisturbed = make_loader()
    epochs = [read(undisturbed, epoch) for epoch in range(4)]

    resumed = make_loader()
    for part, expected in zip(read(resumed, 3), epochs[3], strict=True):
        assert torch.equal(part, expected)

    # A pass cut short leaves no trace:
    undisturbed.sampler.set_epoch(1)
    next(iter(undisturbed))
    for part, expected in zip(read(undisturbed, 2), epochs[2], strict=True):
        assert torch.equal(part, expected)

    assert not torch.equal(epochs[0][2], epochs[1][2])
    other_seed = read(make_loader(seed=1), 0)
    assert not torch.equal(other_seed[2], epochs[0][2])
    assert not torch.equal(other_seed[2], epochs[1][2])


@pytest.mark.parametrize(
    ("num_replicas", "batch_size", "sizes"),
    [(1, 4, [4, 3]), (2, 4, [4, 4]), (2, 6, [6, 2]), (16, 16, [16])],
)
def test_parts_make_up_the_batches_of_one_process(
    num_replicas: int, batch_size: int, sizes: List[int]
) -> None:
    order = torch.stack(read(make_loader(batch_size=batch_size), 2)[:2])
    # Filled up from the start, as often as it takes:
    expected = order.repeat(1, 3)[:, : sum(sizes)].split(sizes, dim=1)
    loaders = [
        make_loader(batch_size=batch_size, num_replicas=num_replicas, rank=rank)
        for rank in range(num_replicas)
    ]
    for loader in loaders:
        loader.sampler.set_epoch(2)
        assert len(loader) == len(sizes)
    for parts, batch in zip(zip(*loaders, strict=True), expected, strict=True):
        pairs = [torch.stack([user, item]) for user, item, _ in parts]
        assert len({pair.size(1) for pair in pairs}) == 1
        assert torch.equal(torch.cat(pairs, dim=1), batch)


def test_ranks_draw_other_negatives() -> None:
    options = {"num_negatives": 50, "batch_size": 2, "num_replicas": 2}
    loaders = [make_loader(rank=rank, **options) for rank in range(2)]
    first, second = (read(loader, 3) for loader in loaders)
    same = first[0] == second[0]  # Of the same user, so that they could agree.
    assert bool(same.any())
    assert not torch.equal(first[2][same], second[2][same])
    # Resumed, each of them finds its own again:
    for rank, expected in enumerate((first, second)):
        resumed = read(make_loader(rank=rank, **options), 3)
        assert torch.equal(resumed[2], expected[2])


def test_graph_of_models() -> None:
    index = EdgeIndex(EDGE_INDEX, sparse_size=(4, 5), sort_order="row")
    with torch.inference_mode():
        dataset = InteractionDataset(index.fill_cache_(), 4)
        parts = dataset[torch.tensor([6, 1])]
    for part in parts:
        assert type(part) is torch.Tensor
    assert parts[0].tolist() == [3, 0]
    assert parts[1].tolist() == [3, 4]


def test_the_seed_of_a_batch_decides() -> None:
    dataset = InteractionDataset(EDGE_INDEX, 4, num_negatives=50)
    index = torch.arange(7)
    (_, _, first), (_, _, again), (_, _, other) = (
        dataset[index, seed] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_workers_draw_what_the_process_itself_would() -> None:
    alone = make_loader(num_negatives=50)
    shared = DataLoader(
        alone.dataset, batch_size=None, sampler=alone.sampler, num_workers=2
    )
    for epoch in range(2):
        found, expected = read(shared, epoch), read(alone, epoch)
        for a, b in zip(found, expected, strict=True):
            assert torch.equal(a, b)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"by their number 2 \(got 3\)"):
        make_loader(num_replicas=2)
    with pytest.raises(ValueError, match="Invalid rank 2"):
        make_loader(num_replicas=2, rank=2, batch_size=4)
    with pytest.raises(ValueError, match=r"'num_negatives' .* \(got 0\)"):
        make_loader(num_negatives=0)
    with pytest.raises(ValueError, match=r"'batch_size' .* \(got 0\)"):
        make_loader(batch_size=0)
    with pytest.raises(ValueError, match=r"'seed' .* \(got -1\)"):
        make_loader(seed=-1)
