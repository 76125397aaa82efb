from typing import List

import pytest
import torch
from torch.utils.data import DataLoader

from tmfun_pyg.loader import InteractionDataset, InteractionSampler

EDGE_INDEX = torch.tensor(
    [[0, 0, 1, 2, 2, 2, 3], [1, 4, 0, 0, 1, 2, 4]],
)


def make_loader(
    seed: int = 0, num_negatives: int = 2, batch_size: int = 3
) -> DataLoader:
    dataset = InteractionDataset(EDGE_INDEX, 4, 5, num_negatives)
    sampler = InteractionSampler(dataset, batch_size, seed)
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


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"'num_negatives' .* \(got 0\)"):
        make_loader(num_negatives=0)
    with pytest.raises(ValueError, match=r"'batch_size' .* \(got 0\)"):
        make_loader(batch_size=0)
    with pytest.raises(ValueError, match=r"'seed' .* \(got -1\)"):
        make_loader(seed=-1)
