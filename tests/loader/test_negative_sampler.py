import numpy as np
import pytest
import torch
from torch_geometric.testing import withDevice

from tmfun_pyg.loader import NegativeSampler
from tmfun_pyg.loader.negative_sampler import check_negatives


def random_interactions(
    num_users: int, num_items: int, num_interactions: int, seed: int = 0
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    pair = torch.randperm(num_users * num_items, generator=generator)
    pair = pair[:num_interactions]
    return torch.stack([pair // num_items, pair % num_items])


def test_every_negative_is_equally_likely() -> None:
    # Nobody has interacted with items 2 and 8.
    num_items = 9
    edge_index = torch.tensor(
        [[0, 0, 0, 1, 2, 2, 2, 2, 2, 2], [7, 0, 4, 3, 0, 1, 3, 4, 5, 6]]
    )
    items = [0, 1, 3, 4, 5, 6, 7]
    negatives = {0: [1, 3, 5, 6], 1: [0, 1, 4, 5, 6, 7], 2: [7], 3: items}
    sampler = NegativeSampler(edge_index, num_users=4)
    generator = torch.Generator().manual_seed(0)

    num_draws = 12_000
    user = torch.arange(4).repeat(num_draws // 4)
    item = sampler.sample(user, num_negatives=4, generator=generator)
    assert item.size() == (num_draws, 4)
    for u, expected in negatives.items():
        count = torch.bincount(item[user == u].view(-1), minlength=num_items)
        share = torch.zeros(num_items)
        share[list(expected)] = num_draws / len(expected)
        assert count[share == 0].sum() == 0
        chi_square = (count - share)[share > 0].square() / share[share > 0]
        assert chi_square.sum() < 22.5  # 0.1 % quantile of 6 degrees.


@withDevice
@pytest.mark.parametrize("density", [0.01, 0.5, 0.95])
def test_never_a_positive(device: torch.device, density: float) -> None:
    num_users, num_items = 300, 400
    edge_index = random_interactions(
        num_users, num_items, int(density * num_users * num_items)
    ).to(device)
    sampler = NegativeSampler(edge_index, num_users)

    user = torch.arange(num_users, device=device).repeat(100)
    item = sampler.sample(user, num_negatives=10)
    assert item.device == user.device
    assert int(item.min()) >= 0
    assert int(item.max()) < num_items
    seen = torch.zeros(num_users, num_items, dtype=torch.bool, device=device)
    seen[edge_index[0], edge_index[1]] = True
    assert not bool(seen[user.view(-1, 1), item].any())


def test_repeated_interactions_count_once() -> None:
    edge_index = torch.tensor([[0, 0, 0, 1, 1], [1, 1, 1, 0, 2]])
    sampler = NegativeSampler(edge_index, num_users=2)
    item = sampler.sample(torch.zeros(100, dtype=torch.long), 2)
    assert item.unique().tolist() == [0, 2]


def test_same_generator_same_items() -> None:
    edge_index = random_interactions(20, 30, 100)
    sampler = NegativeSampler(edge_index, 20)
    user = torch.arange(20)
    first = sampler.sample(user, 5, torch.Generator().manual_seed(3))
    again = sampler.sample(user, 5, torch.Generator().manual_seed(3))
    other = sampler.sample(user, 5, torch.Generator().manual_seed(4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_user_of_all_items() -> None:
    edge_index = torch.tensor([[0, 1, 1, 1], [0, 2, 0, 1]])
    with pytest.raises(ValueError, match=r"must leave .* user 1 with all 3"):
        NegativeSampler(edge_index, num_users=2)
    degree, ids = torch.tensor([1, 3, 3]), np.array(["a", "b", "c"])
    check_negatives(degree, 4, ids)
    with pytest.raises(ValueError, match="user 'b' with all 3 items; 2 of 3"):
        check_negatives(degree, 3, ids)
