import pytest
import torch

from tmfun_pyg.utils.pair_index import PairIndex

USER = torch.tensor([0, 0, 2, 2, 3])
ITEM = torch.tensor([1, 4, 0, 4, 2])


def test_finds_the_places_of_pairs():
    place, is_there = PairIndex(USER, ITEM, 5).find(USER, ITEM)
    assert is_there.all()
    assert place.tolist() == [0, 1, 2, 3, 4]


def test_tells_what_is_not_there():
    # Before all pairs, between them, and behind them:
    user, item = torch.tensor([0, 1, 2, 3]), torch.tensor([0, 4, 1, 4])
    place, is_there = PairIndex(USER, ITEM, 5).find(user, item)
    assert not is_there.any()
    assert ((place >= 0) & (place < USER.numel())).all()


def test_sorts_pairs_on_request():
    order = torch.tensor([3, 0, 4, 2, 1])
    pairs = PairIndex(USER[order], ITEM[order], 5, is_sorted=False)
    # Every user with every item:
    found = pairs.holds(torch.arange(4).view(-1, 1), torch.arange(5))
    expected = torch.zeros(4, 5, dtype=torch.bool)
    expected[USER, ITEM] = True
    assert torch.equal(found, expected)


@pytest.mark.parametrize("is_sorted", [True, False])
def test_of_no_pairs_holds_none(is_sorted):
    none = USER[:0]
    pairs = PairIndex(none, none, 5, is_sorted)
    assert not pairs.holds(USER, ITEM).any()
